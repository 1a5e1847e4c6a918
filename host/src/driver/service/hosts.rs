//! Operations on hosts.

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;

use crate::api::{ListHosts, OnHost};
use crate::driver::host::Domains;
use crate::store::Journal;

impl<J: Journal> Domains<J> {
    pub(super) async fn list_hosts(&self, _request: ListHosts) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn switch_host(&self, _user: Name, _request: OnHost, _enabled: bool) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }
}
