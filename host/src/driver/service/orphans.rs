//! What provisioners run and no domain knows, and the reverse.

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;

use crate::api::{ChooseOrphans, ListOrphans};
use crate::driver::host::Domains;
use crate::store::Journal;

impl<J: Journal> Domains<J> {
    pub(super) async fn list_orphans(&self, _request: ListOrphans) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn adopt_orphans(&self, _user: Name, _request: ChooseOrphans) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }

    pub(super) async fn terminate_orphans(&self, _user: Name, _request: ChooseOrphans) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }
}
