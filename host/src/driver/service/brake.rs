//! How the brake of a domain is, for people.

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::guard::Brake;
use pilothouse_core::name::Name;
use pilothouse_core::state::DomainState;
use pilothouse_core::time::Timestamp;

use super::bytes;
use crate::api::{BrakeDescription, OnDomain};
use crate::driver::host::Domains;
use crate::driver::router::Question;
use crate::store::Journal;

impl<J: Journal> Domains<J> {
    pub(super) async fn show_brake(&self, user: Name, request: OnDomain) -> Result<Bytes, ApiError> {
        bytes(&self.find(&user, &request.domain)?.ask(Question::Brake).await?)
    }
}

/// The brake of a domain: that of the domain as a whole, or else that of the first site where one is on.
pub(in crate::driver) fn brake_of(state: &DomainState, now: Timestamp) -> BrakeDescription {
    let sites = || state.sites.keys().find_map(|site| Brake::on(state, now, Some(site)));
    let brake = Brake::on(state, now, None).or_else(sites);
    let unhealthy = state.unhealthy().filter(|instance| instance.state.is_valid()).count();
    BrakeDescription {
        domain: state.key.name.clone(),
        on: brake.is_some(),
        reason: brake.map(|brake| brake.to_string()),
        unhealthy: u32::try_from(unhealthy).unwrap_or(u32::MAX),
        valid: state.counts().valid,
        released: state.brake_released,
        dripped: state.brake_dripped,
        config: state.config.general.brake.clone(),
    }
}

#[cfg(test)]
mod tests {
    use pilothouse_core::config::DomainConfig;
    use pilothouse_core::instance::{Health, State};
    use pilothouse_core::name::{DomainKey, Slot};
    use pilothouse_core::record::{Change, Configured, DecidedLaunch, Decision, EngineInForce, Event, Judged, Judgement, Record, Reported};
    use serde_json::{Value, json};

    use super::*;

    /// A domain with four running instances, half of them at each site.
    struct Fleet(DomainState);

    impl Fleet {
        fn new(brake: Value) -> Self {
            let key = DomainKey { owner: "ann".parse().expect("a name"), name: "web".parse().expect("a name") };
            let mut fleet = Self(DomainState::absent(key, Slot(0)));
            let config = DomainConfig::from_json(json!({"general": {"brake": brake}})).expect("good");
            fleet.change(Change::Added { config, engine: EngineInForce::default() });
            let launch = |site: &str, ids: [&str; 2]| DecidedLaunch {
                launch: format!("l-{site}").parse().expect("an id"),
                deployable_type: "worker".to_owned(),
                site: site.to_owned(),
                allocation: "small".to_owned(),
                extra_vars: vec![],
                replaces: None,
                asked: 2,
                instances: ids.map(|id| id.parse().expect("an id")).to_vec(),
                refused: None,
                rulings: vec![],
            };
            let launches = vec![launch("north", ["n1", "n2"]), launch("south", ["s1", "s2"])];
            fleet.write(Event::Decided(Box::new(Decision { launches, ..Decision::default() })));
            for id in ["n1", "n2", "s1", "s2"] {
                let (id, state) = (id.parse().expect("an id"), Some(State::Running));
                fleet.write(Event::Reported(Reported {
                    id,
                    state,
                    update_counter: None,
                    attributes: Default::default(),
                    reason: None,
                    undead: None,
                }));
            }
            fleet
        }

        fn write(&mut self, event: Event) {
            let sequence = self.0.sequence + 1;
            self.0.apply(sequence, &Record::new(Timestamp::from_secs(100 + sequence), 1, vec![event]));
        }

        fn change(&mut self, change: Change) {
            let by = "ann".parse().expect("a name");
            self.write(Event::Configured(Configured { by, request: None, answer: Value::Null, change }));
        }

        fn turns_unhealthy(&mut self, id: &str) {
            let verdict = Judgement::Health { health: Health::Missing, well: false, problems: vec![], error_time: None, heartbeats: 0 };
            self.write(Event::Judged(Judged { id: id.parse().expect("an id"), verdict }));
        }

        fn brake(&self) -> BrakeDescription {
            brake_of(&self.0, self.0.now)
        }
    }

    #[test]
    fn a_brake_that_is_on_says_why_and_one_that_was_released_since_when() {
        let mut fleet = Fleet::new(json!({"floor": 2, "share": 0.5}));
        fleet.turns_unhealthy("n1");
        let off = fleet.brake();
        assert!(!off.on && off.reason.is_none() && (off.unhealthy, off.valid) == (1, 4), "{off:?}");
        fleet.turns_unhealthy("s1");
        let on = fleet.brake();
        assert!(on.on && on.reason.is_some_and(|why| why.contains("2 of 4 instances turned unhealthy")) && on.released.is_none());
        fleet.change(Change::BrakeReleased);
        let released = fleet.brake();
        assert_eq!((released.on, released.unhealthy, released.released), (false, 2, Some(fleet.0.now)));
    }

    #[test]
    fn the_brake_of_a_single_site_is_told_too() {
        let mut fleet = Fleet::new(json!({"floor": 2, "share": 0.8}));
        fleet.turns_unhealthy("s1");
        fleet.turns_unhealthy("s2");
        let brake = fleet.brake();
        assert!(brake.on && brake.reason.is_some_and(|why| why.contains("2 of 2 instances at south")), "half of the domain, all of a site");
    }
}
