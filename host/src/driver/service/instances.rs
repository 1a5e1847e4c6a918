//! Operations on instances: by id alone, wherever its domain is, or by domain and number.

use bytes::Bytes;
use futures::StreamExt;
use pilothouse_core::command::{ApiError, Command, What};
use pilothouse_core::id::InstanceId;
use pilothouse_core::name::Name;
use pilothouse_core::problem::Problem;
use serde::Serialize;

use super::fitting::{fitting, size};
use super::{MAX_ANSWER, bytes, unavailable};
use crate::api::{DomainDescription, InstanceDescription, InstanceList, InstanceOf, KillInstance, ListInstances, OnDomain, OnInstance};
use crate::driver::host::Domains;
use crate::driver::router::{Handle, Question};
use crate::store::Journal;

/// The reason of whoever gives none.
const NO_REASON: &str = "an operator asked for it";

/// Instances that are gathered before those that won't fit are dropped: more than one answer holds.
const GATHERED: usize = 8192;

/// How much is told of a problem where there are too many for one answer, in bytes.
const IN_BRIEF: usize = 256;

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
    let told: DomainDescription = serde_json::from_value(description).map_err(unavailable)?;
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
    let (instances, left_out) = fitted_instances(list.instances, MAX_ANSWER, |it| &mut it.instance, |it| &it.instance);
    InstanceList { instances, unanswered: list.unanswered, left_out: list.left_out + left_out }
}

/// As much of a description as one answer holds: the gone instances are left out first.
pub(super) fn fitted_description(mut told: DomainDescription) -> DomainDescription {
    let instances = std::mem::take(&mut told.instances);
    let room = MAX_ANSWER.saturating_sub(size(&told));
    let (instances, left_out) = fitted_instances(instances, room, |it| it, |it| it);
    DomainDescription { instances, instances_left_out: told.instances_left_out + left_out, ..told }
}

/// As many instances as there is room for, with the problems of all in brief when that makes room for more.
fn fitted_instances<T: Serialize>(
    mut instances: Vec<T>,
    room: usize,
    change: impl Fn(&mut T) -> &mut InstanceDescription,
    look: impl Fn(&T) -> &InstanceDescription,
) -> (Vec<T>, usize) {
    if size(&instances) > room {
        for problem in instances.iter_mut().flat_map(|it| &mut change(it).errors) {
            shorten(problem);
        }
    }
    fitting(instances, room, |it| u8::from(look(it).state.is_gone()))
}

/// Leaves the end of a long problem, where it usually says what it is. All of it is in the description of the instance.
fn shorten(problem: &mut Problem) {
    let text = match problem {
        Problem::Text(text) => Some(text),
        Problem::Process(process) => {
            process.more.clear();
            process.stderr.as_mut()
        }
    };
    if let Some(text) = text.filter(|text| text.len() > IN_BRIEF) {
        let from = text.ceil_char_boundary(text.len() - IN_BRIEF);
        text.replace_range(..from, "… ");
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_core::instance::State;
    use pilothouse_core::record::{Adopted, Change};
    use pilothouse_core::state::Counts;
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
                extra_vars: Vec::new(),
            })))
            .await;
        let called = |text: &str| writer.state.instance_called(text).map(|it| it.id.as_str());
        assert_eq!([called("1"), called("web/1"), called("0"), called("web/2")], [Some("1"), Some("i-b"), Some("i-a"), Some("1")]);
        assert_eq!([called("web/3"), called("other/1"), called("web/"), called("")], [None; 4]);
    }

    /// A description of a domain with instances, every third of them gone, each with a stack trace.
    fn described(count: u64) -> DomainDescription {
        let instance = |n: u64| {
            serde_json::json!({
                "instance_id": format!("i{n}"), "ordinal": n, "launch_id": "l", "state_time": 0, "health": "UNKNOWN", "deployable_type": "worker",
                "state": if n.is_multiple_of(3) { "TERMINATED" } else { "RUNNING" }, "site": "local", "allocation": "small", "attributes": {},
                "errors": [{"name": "work", "stderr": format!("{}äß: the cause", "x".repeat(4000)), "host": "h"}, "short"],
            })
        };
        let instances: Vec<_> = (0..count).map(instance).collect();
        let domain = serde_json::json!({
            "name": "web", "life": "active", "engine": {"name": "simplest", "version": "0.1.0", "digest": "00"}, "status": "stable",
            "reason": "", "paused": false, "dry_run": false, "counts": Counts::default(), "owner": "ann", "config": {"engine_conf": {"text": "x".repeat(200_000)}},
            "config_revision": 1, "host": "one", "epoch": 1, "deciding": true, "subjects": {"sensor": "s", "events": "e"}, "subscribers": [],
            "sensor_data": {}, "instances": instances,
        });
        serde_json::from_value(domain).expect("a description")
    }

    #[test]
    fn a_description_fits_one_answer_however_much_its_instances_tell() {
        let few = described(9);
        assert_eq!(fitted_description(few.clone()), few, "what fits is told whole");

        let told = fitted_description(described(300));
        assert!(size(&told) <= MAX_ANSWER && told.instances.len() == 300, "in brief there is room for all");
        let Problem::Process(work) = &told.instances[0].errors[0] else { panic!("a process") };
        let text = work.stderr.as_deref().expect("its end");
        assert!(text.starts_with("… ") && text.ends_with("äß: the cause") && text.len() <= IN_BRIEF + 4, "{text}");
        assert_eq!(told.instances[0].errors[1], Problem::Text("short".to_owned()));

        let told = fitted_description(described(3000));
        assert!(size(&told) <= MAX_ANSWER, "{}", size(&told));
        assert!(told.instances_left_out > 0 && told.instances_left_out + told.instances.len() == 3000);
        assert!(told.instances.iter().filter(|it| !it.state.is_gone()).count() > 1000);
        assert!(told.instances.is_sorted_by_key(|it| it.ordinal));
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
