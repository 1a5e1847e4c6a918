//! Operations on the journal as a whole.

use bytes::Bytes;
use pilothouse_core::command::ApiError;

use crate::api::ReloadJournal;
use crate::driver::host::Domains;
use crate::store::Journal;

impl<J: Journal> Domains<J> {
    pub(super) async fn reload_journal(&self, _request: ReloadJournal) -> Result<Bytes, ApiError> {
        Err(ApiError::Unavailable { message: "unfinished".to_owned() })
    }
}
