//! The operations, each in one line: its name, what it takes and answers, who serves it and who may ask for it.

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::*;

/// Who serves an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServedBy {
    /// Whichever host receives it.
    Any,
    /// The owner of the domains; other hosts forward it.
    Owner,
}

/// Who may ask for an operation, on a server that was set up with `pilothouse auth`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Audience {
    /// Every user, in their own name.
    Users,
    /// Operators, in anybody's name.
    Operators,
}

macro_rules! operations {
    ($($(#[doc = $about:literal])+ $id:ident $name:literal: $request:ty => $answer:ty, $by:ident, $audience:ident, $changes:literal;)+) => {
        /// An operation: the last tokens of its subject.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Operation {
            $($(#[doc = $about])+ $id,)+
        }

        impl Operation {
            /// Every operation.
            pub const ALL: &[Self] = &[$(Self::$id),+];

            /// Its name: the last tokens of its subject.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$id => $name,)+ }
            }

            /// What it does, for people.
            pub const fn about(self) -> &'static str {
                match self { $(Self::$id => concat!($($about),+).trim_ascii(),)+ }
            }

            /// Who serves it.
            pub const fn served_by(self) -> ServedBy {
                match self { $(Self::$id => ServedBy::$by,)+ }
            }

            /// Who may ask for it.
            pub const fn audience(self) -> Audience {
                match self { $(Self::$id => Audience::$audience,)+ }
            }

            /// Whether it changes something, so that its request carries an id.
            pub const fn changes(self) -> bool {
                match self { $(Self::$id => $changes,)+ }
            }

            /// The schemas of its request and of its answer.
            pub fn schemas(self, generator: &mut SchemaGenerator) -> (Schema, Schema) {
                fn both<Q: JsonSchema, A: JsonSchema>(generator: &mut SchemaGenerator) -> (Schema, Schema) {
                    (generator.subschema_for::<Q>(), generator.subschema_for::<A>())
                }
                match self { $(Self::$id => both::<$request, $answer>(generator),)+ }
            }
        }
    };
}

operations! {
    /// Adds a definition: a template of configurations.
    DefinitionAdd "definition.add": WriteDefinition => DefinitionSummary, Any, Operators, true;
    /// Lists the definitions.
    DefinitionList "definition.list": ListDefinitions => DefinitionList, Any, Users, false;
    /// Tells all about one definition, with the documentation and the configuration schema of its engine.
    DefinitionDescribe "definition.describe": OnDefinition => DefinitionDescription, Any, Users, false;
    /// Replaces a definition whole. Domains that were made from it stay as they are.
    DefinitionUpdate "definition.update": WriteDefinition => DefinitionSummary, Any, Operators, true;
    /// Removes a definition. Domains that were made from it stay as they are.
    DefinitionRemove "definition.remove": OnDefinition => DefinitionSummary, Any, Operators, true;

    /// Adds a domain, from a definition, a configuration, or the one over the other.
    DomainAdd "domain.add": AddDomain => Done, Owner, Users, true;
    /// Lists the caller's domains.
    DomainList "domain.list": ListDomains => DomainList, Owner, Users, false;
    /// Tells all about one domain.
    DomainDescribe "domain.describe": OnDomain => DomainDescription, Owner, Users, false;
    /// Tells what a change of the configuration would change, and what is wrong with it.
    DomainDiff "domain.diff": DiffDomain => DomainDiff, Owner, Users, false;
    /// Tells what the schedule of a domain says now, and what it will change.
    DomainSchedule "domain.schedule": AskSchedule => DomainSchedule, Owner, Users, false;
    /// Changes the configuration of a domain, between two decisions.
    DomainReconfigure "domain.reconfigure": ReconfigureDomain => Done, Owner, Users, true;
    /// Ends a domain: first its instances, then itself.
    DomainRemove "domain.remove": RemoveDomain => Done, Owner, Users, true;
    /// From now on the engine may ask for nothing.
    DomainPause "domain.pause": OnDomain => Done, Owner, Users, true;
    /// From now on the engine may ask again.
    DomainResume "domain.resume": OnDomain => Done, Owner, Users, true;
    /// Has what the engine asks for recorded only, or carried out again.
    DomainDryRun "domain.dry-run": DryRun => Done, Owner, Users, true;
    /// Has another engine run beside that of a domain and compares them, or none any more.
    DomainShadow "domain.shadow": ShadowDomain => Done, Owner, Users, true;
    /// Gives an engine that is held, and versions that the domain went back from, another chance; one whose calls fail is asked at once.
    DomainRetry "domain.retry": OnDomain => Done, Owner, Users, true;
    /// Has somebody told when an instance runs, fails or ends.
    DomainSubscribe "domain.subscribe": SubscribeDomain => Done, Owner, Users, true;
    /// Has somebody told no more.
    DomainUnsubscribe "domain.unsubscribe": UnsubscribeDomain => Done, Owner, Users, true;
    /// Tells what happened in a domain, by time.
    DomainHistory "domain.history": HistoryOf => History, Owner, Users, false;
    /// Tells why a domain, or one of its instances, did what it did.
    Why "why": Ask => Explanation, Owner, Users, false;

    /// Tells how the brake of a domain is.
    BrakeShow "brake.show": OnDomain => BrakeDescription, Owner, Users, false;
    /// Whatever turned unhealthy so far is believed.
    BrakeRelease "brake.release": OnDomain => Done, Owner, Users, true;

    /// Lists the instances of one domain of the caller, or of all.
    InstanceList "instance.list": ListInstances => InstanceList, Owner, Users, false;
    /// Tells all about one instance.
    InstanceDescribe "instance.describe": OnInstance => InstanceOf, Owner, Users, false;
    /// Ends one instance. Its engine will probably replace it.
    InstanceKill "instance.kill": KillInstance => Done, Owner, Users, true;
    /// Keeps an instance from being ended by its engine or by people. Its host still ends a launch that stalls twice.
    InstanceProtect "instance.protect": OnInstance => Done, Owner, Users, true;
    /// Takes the protection of an instance back.
    InstanceUnprotect "instance.unprotect": OnInstance => Done, Owner, Users, true;

    /// Lists the hosts that answer.
    HostList "host.list": ListHosts => HostList, Any, Operators, false;
    /// A host's engines are asked no more; another host takes the domains over, if there is one.
    HostDisable "host.disable": OnHost => HostSwitched, Any, Operators, true;
    /// A host's engines are asked again.
    HostEnable "host.enable": OnHost => HostSwitched, Any, Operators, true;

    /// Compares what provisioners run with what the domains know.
    OrphanList "orphan.list": ListOrphans => Orphans, Owner, Operators, false;
    /// Takes what provisioners run and no domain knows into the domains that it was started for.
    OrphanAdopt "orphan.adopt": ChooseOrphans => OrphansDone, Owner, Operators, true;
    /// Ends what provisioners run and no domain knows.
    OrphanTerminate "orphan.terminate": ChooseOrphans => OrphansDone, Owner, Operators, true;

    /// Enters a component into the registry, as the version that it says it is.
    EnginePush "engine.push": PushEngine => EngineChanged, Any, Operators, true;
    /// Lists the engines.
    EngineList "engine.list": ListEngines => EngineList, Any, Users, false;
    /// Tells all about one engine: its versions on all hosts, and the caller's domains that it decides.
    EngineShow "engine.show": EngineVersionRef => EngineDescription, Any, Users, false;
    /// Takes a version out of the registry that no domain needs.
    EngineRemove "engine.remove": RemoveEngine => EngineChanged, Owner, Operators, true;
    /// Has every domain that it fits decided by one version of an engine.
    EnginePin "engine.pin": PinEngine => EngineChanged, Owner, Operators, true;
    /// Lets domains follow the versions of an engine again.
    EngineUnpin "engine.unpin": UnpinEngine => EngineChanged, Owner, Operators, true;
    /// Pins an engine to an older version than the one in effect.
    EngineRollBack "engine.roll-back": RollBackEngine => EngineChanged, Owner, Operators, true;
    /// Changes what all versions of an engine may use up.
    EngineLimit "engine.limit": LimitEngine => EngineChanged, Any, Operators, true;
    /// Tells how engines failed since the host took the domains, the newest first.
    EngineFaults "engine.faults": AskEngineFaults => EngineFaults, Owner, Operators, false;

    /// Has the owner look after domains that were put into the journal behind its back.
    JournalReload "journal.reload": ReloadJournal => Reloaded, Owner, Operators, true;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_tokens_of_a_subject_and_each_is_one_operation() {
        let mut names: Vec<_> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Operation::ALL.len());
        assert!(names.iter().all(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'.' || b == b'-')), "{names:?}");
    }

    #[test]
    fn every_operation_has_schemas_and_a_line_for_people() {
        let mut generator = SchemaGenerator::default();
        for operation in Operation::ALL {
            let _ = operation.schemas(&mut generator);
            assert!(operation.about().ends_with('.'), "{operation:?}");
        }
    }
}
