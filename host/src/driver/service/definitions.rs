//! Operations on definitions.

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;
use serde_json::Value;

use crate::api::{ListDefinitions, OnDefinition, Operation, WriteDefinition};
use crate::driver::host::Domains;
use crate::store::Journal;

impl<J: Journal> Domains<J> {
    pub(super) async fn write_definition(&self, _operation: Operation, _user: Name, _request: WriteDefinition) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn list_definitions(&self, _request: ListDefinitions) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn describe_definition(&self, _request: OnDefinition) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn remove_definition(&self, _request: OnDefinition) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn made_from(&self, _definition: Option<&str>, config: Value) -> Result<Value, ApiError> {
        Ok(config)
    }
}
