//! Operations on instances, and on the brake that holds their ends back.

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;

use crate::api::{KillInstance, ListInstances, OnDomain, OnInstance};
use crate::driver::host::Domains;
use crate::store::Journal;

impl<J: Journal> Domains<J> {
    pub(super) async fn show_brake(&self, _user: Name, _request: OnDomain) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn list_instances(&self, _user: Name, _request: ListInstances) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn describe_instance(&self, _user: Name, _request: OnInstance) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn kill_instance(&self, _user: Name, _request: KillInstance) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn protect_instance(&self, _user: Name, _request: OnInstance, _on: bool) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }
}
