//! What happened in a domain, by time.

use bytes::Bytes;
use pilothouse_core::command::ApiError;
use pilothouse_core::name::Name;

use crate::api::HistoryOf;
use crate::driver::host::Domains;
use crate::store::Journal;

impl<J: Journal> Domains<J> {
    pub(super) async fn tell_history(&self, _user: Name, _request: HistoryOf) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }
}
