//! Operations on instances: by id alone, wherever its domain is, or by domain and number.

use bytes::Bytes;
use futures::StreamExt;
use pilothouse_core::command::{ApiError, Command, What};
use pilothouse_core::id::InstanceId;
use pilothouse_core::name::Name;

use super::fitting::fitting;
use super::{MAX_ANSWER, bytes};
use crate::api::{DomainDescription, InstanceList, InstanceOf, KillInstance, ListInstances, OnDomain, OnInstance};
use crate::driver::host::Domains;
use crate::driver::router::{Handle, Question};
use crate::store::Journal;

/// The reason of whoever gives none.
const NO_REASON: &str = "an operator asked for it";

/// Instances that are gathered before those that won't fit are dropped: more than one answer holds.
const GATHERED: usize = 8192;

/// An instance as a caller names it.
#[derive(Debug, PartialEq)]
enum Named<'t> {
    /// By its id.
    Id(InstanceId),
    /// By its number in a domain.
    Number { domain: &'t str },
}

impl<'t> Named<'t> {
    fn parse(text: &'t str) -> Result<Self, ApiError> {
        match text.split_once('/') {
            Some((domain, number)) if number.parse::<u64>().is_ok() => Ok(Self::Number { domain }),
            Some(_) => Err(ApiError::invalid("/instance", "expected the id of an instance, or DOMAIN/NUMBER")),
            None => text.parse().map(Self::Id).map_err(|error| ApiError::invalid("/instance", format!("{error}, or DOMAIN/NUMBER"))),
        }
    }
}

/// Whoever names an instance that is not there learns how instances are named.
pub(in crate::driver) fn instance_called(text: &str) -> String {
    let text: String = text.chars().take(130).collect();
    match text.parse::<u64>() {
        Ok(_) => format!("instance {text} (a number goes with its domain: DOMAIN/{text})"),
        Err(_) => format!("instance {text}"),
    }
}

impl<J: Journal> Domains<J> {
    pub(super) async fn list_instances(&self, user: Name, request: ListInstances) -> Result<Bytes, ApiError> {
        if let Some(domain) = &request.domain {
            let description = self.find(&user, domain)?.ask(Question::Describe).await?;
            let mut list = InstanceList::default();
            gather(&mut list, description)?;
            return bytes(&fitted(list));
        }
        self.all_are_here(&user)?;
        let mut list = InstanceList::default();
        let mut asked = self.ask_each(&user, &Question::Describe);
        while let Some((domain, answer)) = asked.next().await {
            match answer {
                Some(description) => gather(&mut list, description)?,
                None => list.unanswered.push(domain),
            }
            if list.instances.len() > GATHERED {
                list = fitted(list);
            }
        }
        bytes(&fitted(list))
    }

    pub(super) async fn describe_instance(&self, user: Name, request: OnInstance) -> Result<Bytes, ApiError> {
        let handle = match Named::parse(&request.instance)? {
            Named::Id(id) => self.domain_of(&user, &id)?,
            Named::Number { domain } => self.find_as("/instance", &user, domain)?,
        };
        bytes(&handle.ask(Question::Instance(request.instance)).await?)
    }

    pub(super) async fn kill_instance(&self, user: Name, request: KillInstance) -> Result<Bytes, ApiError> {
        let KillInstance { instance, reason, request_id } = request;
        let reason = reason.filter(|reason| !reason.trim().is_empty()).unwrap_or_else(|| NO_REASON.to_owned());
        self.on_instance(user, &instance, request_id, What::Kill { instance: instance.clone(), reason }).await
    }

    pub(super) async fn protect_instance(&self, user: Name, request: OnInstance, on: bool) -> Result<Bytes, ApiError> {
        let OnInstance { instance, request_id } = request;
        self.on_instance(user, &instance, request_id, What::Protect { instance: instance.clone(), on }).await
    }

    async fn on_instance(&self, user: Name, text: &str, request_id: Option<String>, what: What) -> Result<Bytes, ApiError> {
        match Named::parse(text)? {
            Named::Id(id) => {
                let handle = self.domain_of(&user, &id)?;
                bytes(&handle.command(Command { by: user, request: request_id, what }).await?)
            }
            Named::Number { domain } => {
                self.on_domain_as("/instance", user, OnDomain { domain: domain.to_owned(), request_id }, what).await
            }
        }
    }

    /// The domain of an instance. Another user's is not found, like one that is not there.
    fn domain_of(&self, user: &Name, id: &InstanceId) -> Result<Handle, ApiError> {
        if let Some(handle) = self.shared.router.instance(id).filter(|handle| handle.key.owner == *user) {
            return Ok(handle);
        }
        self.all_are_here(user)?;
        Err(ApiError::NotFound { what: instance_called(id.as_str()) })
    }
}

/// Adds the instances of a domain to a list, without their readings.
fn gather(list: &mut InstanceList, description: serde_json::Value) -> Result<(), ApiError> {
    let told: DomainDescription =
        serde_json::from_value(description).map_err(|error| ApiError::Unavailable { message: error.to_string() })?;
    list.left_out += told.instances_left_out;
    let (owner, domain) = (told.owner, told.summary.name);
    list.instances.extend(told.instances.into_iter().map(|mut instance| {
        instance.sensor_data.clear();
        InstanceOf { owner: owner.clone(), domain: domain.clone(), instance }
    }));
    Ok(())
}

/// As much of a list as one answer holds: the gone ones are left out first.
fn fitted(list: InstanceList) -> InstanceList {
    let (instances, left_out) = fitting(list.instances, MAX_ANSWER, |it| u8::from(it.instance.state.is_gone()));
    InstanceList { instances, unanswered: list.unanswered, left_out: list.left_out + left_out }
}

#[cfg(test)]
mod tests {
    use pilothouse_core::instance::State;
    use pilothouse_core::record::{Adopted, Change};
    use proptest::prelude::*;

    use super::*;
    use crate::driver::service::writer::Writer;

    #[tokio::test]
    async fn an_id_that_looks_like_a_number_is_not_taken_for_the_instance_of_that_number() {
        let mut writer = Writer::new().await;
        writer.launch("l1", &["i-a", "i-b"]).await;
        writer
            .change(Change::Adopted(Box::new(Adopted {
                id: "1".parse().expect("an id"),
                launch: "l0".parse().expect("an id"),
                deployable_type: "worker".to_owned(),
                site: "local".to_owned(),
                allocation: "small".to_owned(),
                state: State::Running,
                attributes: Default::default(),
            })))
            .await;
        let called = |text: &str| writer.state.instance_called(text).map(|it| it.id.as_str());
        assert_eq!([called("1"), called("web/1"), called("0"), called("web/2")], [Some("1"), Some("i-b"), Some("i-a"), Some("1")]);
        assert_eq!([called("web/3"), called("other/1"), called("web/"), called("")], [None; 4]);
    }

    #[test]
    fn an_instance_is_named_by_its_id_or_by_domain_and_number() {
        assert_eq!(Named::parse("i02a-abc"), Ok(Named::Id("i02a-abc".parse().expect("an id"))));
        assert_eq!(Named::parse("web/3"), Ok(Named::Number { domain: "web" }));
        for wrong in ["", "web/", "web/x", "web/1/2", "a.b", "web/-1", "ä"] {
            let refused = Named::parse(wrong).expect_err("it names nothing");
            assert!(matches!(&refused, ApiError::Invalid { problems } if problems[0].at == "/instance"), "{wrong}: {refused}");
        }
    }

    #[test]
    fn who_names_only_a_number_learns_what_goes_with_it() {
        assert_eq!(instance_called("3"), "instance 3 (a number goes with its domain: DOMAIN/3)");
        assert_eq!(instance_called("web/3"), "instance web/3");
        assert!(instance_called(&"x".repeat(9000)).len() < 200);
    }

    proptest! {
        #[test]
        fn no_name_of_an_instance_panics(text in ".*") {
            let _ = Named::parse(&text);
            let _ = instance_called(&text);
        }
    }
}
