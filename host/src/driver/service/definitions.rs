//! Operations on definitions, and what a domain is made from.
//!
//! Every host serves these. A definition is judged when it is written, as far as that is possible: its own section may be incomplete for the
//! engine, since a domain brings the rest.

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::config::{DomainConfig, folded};
use pilothouse_core::name::Name;
use pilothouse_engine_host::LoadedEngine;
use serde_json::Value;

use super::{MAX_ANSWER, bytes, name};
use crate::api::{DefinitionDescription, DefinitionList, DefinitionSummary, ListDefinitions, OnDefinition, Operation, WriteDefinition};
use crate::driver::definitions::{Kept, Wish, Written};
use crate::driver::host::Domains;
use crate::driver::service::fitting::fitting;
use crate::store::Journal;

/// The largest definition, as JSON in bytes: with the documentation and the schema of its engine it must fit one answer.
const MAX_DEFINITION: usize = 64 << 10;

impl<J: Journal> Domains<J> {
    /// Adds a definition, or replaces one.
    ///
    /// # Errors
    /// `invalid` with everything that is wrong with it, `conflict` when it is there already, `not_found` when it is not, `unavailable`
    /// when the definitions can't be reached.
    pub(in crate::driver) async fn write_definition(
        &self,
        operation: Operation,
        user: Name,
        request: WriteDefinition,
    ) -> Result<Bytes, ApiError> {
        let WriteDefinition { name: called, definition, request_id } = request;
        let called = name("/name", &called)?;
        super::check_request_id(request_id.as_deref())?;
        let judged = self.judged(definition).await;
        let (definition, engine) = match judged {
            Ok(judged) => judged,
            // A repetition is not judged again.
            Err(problem) => match self.shared.definitions.answered(&called, request_id.as_deref()).await {
                Some(answer) => return bytes(&answer),
                None => return Err(problem),
            },
        };
        let written = Written { definition, engine, by: user, at: self.shared.clock.now() };
        let wish = if operation == Operation::DefinitionAdd { Wish::Add(written) } else { Wish::Update(written) };
        bytes(&self.shared.definitions.change(&called, &wish, request_id.as_deref()).await?)
    }

    pub(super) async fn remove_definition(&self, request: OnDefinition) -> Result<Bytes, ApiError> {
        let called = name("/name", &request.name)?;
        super::check_request_id(request.request_id.as_deref())?;
        bytes(&self.shared.definitions.change(&called, &Wish::Remove, request.request_id.as_deref()).await?)
    }

    pub(super) async fn list_definitions(&self, ListDefinitions {}: ListDefinitions) -> Result<Bytes, ApiError> {
        let (mut definitions, mut unreadable) = (Vec::new(), Vec::new());
        for (name, entry) in self.shared.definitions.all().await? {
            match entry.kept {
                Kept::Nothing => {}
                Kept::Definition(written) => {
                    definitions.push(DefinitionSummary { name, engine: written.engine, revision: entry.revision });
                }
                Kept::Unreadable(_) => unreadable.push(name),
            }
        }
        let (definitions, left_out) = fitting(definitions, MAX_ANSWER, |_| 0);
        bytes(&DefinitionList { definitions, unreadable, left_out })
    }

    pub(super) async fn describe_definition(&self, request: OnDefinition) -> Result<Bytes, ApiError> {
        let name = name("/name", &request.name)?;
        let (revision, Written { definition, engine, by, at }) = self.shared.definitions.get(&name).await?;
        // Another host wrote it, perhaps one that has an engine more.
        let engine = engine.parse().ok().and_then(|wanted| self.newest_of(&wanted));
        // What is not ready here has not said anything yet.
        let loaded = engine.as_ref().and_then(|engine| self.shared.engines.get(&engine.digest));
        let description = loaded.as_ref().map(LoadedEngine::description);
        bytes(&DefinitionDescription {
            name,
            definition,
            revision,
            written_by: Some(by),
            written_at: Some(at),
            engine,
            documentation: description.map(|it| it.documentation.clone()),
            config_schema: description.map(|it| Value::Object(it.config_schema.clone())),
        })
    }

    /// The configuration of a new domain: that of the definition, with `config` over it.
    ///
    /// # Errors
    /// `not_found` without such a definition, `invalid` when its name is none or it can't be read, `unavailable` when the definitions can't
    /// be reached.
    pub(super) async fn made_from(&self, definition: Option<&str>, config: Value) -> Result<Value, ApiError> {
        let config = if config.is_null() { Value::Object(Default::default()) } else { config };
        let Some(definition) = definition else { return Ok(config) };
        let name = name("/definition", definition)?;
        let (_, written) = self.shared.definitions.get(&name).await.map_err(|error| match error {
            // It is not the new domain that is in conflict with anything.
            ApiError::Conflict { message } => ApiError::invalid("/definition", message),
            other => other,
        })?;
        Ok(folded(written.definition, &config))
    }

    /// A definition that can be kept, and the engine that it names.
    async fn judged(&self, definition: Value) -> Result<(Value, String), ApiError> {
        let definition = if definition.is_null() { Value::Object(Default::default()) } else { definition };
        let length = definition.to_string().len();
        if length > MAX_DEFINITION {
            return Err(ApiError::invalid("", format!("a definition of {length} bytes; at most {MAX_DEFINITION} are kept")));
        }
        let config = DomainConfig::from_json(definition.clone()).map_err(|problems| ApiError::Invalid { problems })?;
        self.must_be_there("/general/engine", &config.general.engine).await?;
        Ok((definition, config.general.engine))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_configuration_goes_key_by_key_over_its_definition() {
        let definition = json!({"general": {"engine": "npreserving"}, "engine_conf": {"preserve_n": 1, "site": "a"}});
        let config = json!({"engine_conf": {"preserve_n": 4}, "health": {"boot_timeout": 9}});
        let whole = json!({
            "general": {"engine": "npreserving"},
            "engine_conf": {"preserve_n": 4, "site": "a"},
            "health": {"boot_timeout": 9},
        });
        assert_eq!(folded(definition.clone(), &config), whole);
    }

    #[test]
    fn a_nested_value_is_replaced_whole() {
        let definition = json!({"general": {"brake": {"floor": 9, "share": 0.9}}, "engine_conf": {"list": [1, 2], "map": {"a": 1}}});
        let config = json!({"general": {"brake": {"floor": 2}}, "engine_conf": {"list": [3], "map": null}});
        assert_eq!(
            folded(definition.clone(), &config),
            json!({"general": {"brake": {"floor": 2}}, "engine_conf": {"list": [3], "map": null}})
        );
    }

    #[test]
    fn a_second_domain_of_a_definition_does_not_see_what_the_first_one_changed() {
        let definition = json!({"engine_conf": {"preserve_n": 1}});
        let first = folded(definition.clone(), &json!({"engine_conf": {"preserve_n": 7, "site": "b"}}));
        assert_eq!(first["engine_conf"]["preserve_n"], 7);
        assert_eq!(folded(definition.clone(), &json!({})), json!({"engine_conf": {"preserve_n": 1}}));
    }

    #[test]
    fn what_is_no_section_is_left_for_the_judge_to_name() {
        let definition = json!({"health": {"boot_timeout": 9}});
        for (config, at) in [(json!({"health": 3}), "/health"), (json!({"colour": {}}), "/colour"), (json!([1]), ""), (json!("x"), "")] {
            let problems = DomainConfig::from_json(folded(definition.clone(), &config)).expect_err("something is wrong");
            assert_eq!(problems.iter().map(|it| it.at.as_str()).collect::<Vec<_>>(), [at]);
        }
    }

    fn section() -> impl Strategy<Value = Value> {
        prop_oneof![prop::collection::btree_map("[a-d]", 0..9_i32, 0..4).prop_map(|keys| json!(keys)), Just(json!(null)), Just(json!(3)),]
    }

    fn config() -> impl Strategy<Value = Value> {
        prop::collection::btree_map("general|health|engine_conf|other", section(), 0..4).prop_map(|sections| json!(sections))
    }

    proptest! {
        #[test]
        fn each_key_is_that_of_the_configuration_or_else_of_the_definition(under in config(), over in config()) {
            let whole = folded(under.clone(), &over);
            for section in ["general", "health", "engine_conf", "other"] {
                match (over.get(section), under.get(section)) {
                    (Some(new), Some(old)) if new.is_object() && old.is_object() => for key in ["a", "b", "c", "d"] {
                        prop_assert_eq!(whole[section].get(key), new.get(key).or_else(|| old.get(key)));
                    },
                    (new, old) => prop_assert_eq!(whole.get(section), new.or(old)),
                }
            }
        }
    }
}
