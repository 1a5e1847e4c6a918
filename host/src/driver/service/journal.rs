//! Operations on the journal as a whole.

use std::sync::Arc;

use bytes::Bytes;
use pilothouse_core::command::ApiError;

use super::bytes;
use crate::api::{ReloadJournal, Reloaded};
use crate::driver::host::Domains;
use crate::store::Journal;

impl<J: Journal> Domains<J> {
    pub(super) async fn reload_journal(self: &Arc<Self>, request: ReloadJournal) -> Result<Bytes, ApiError> {
        super::check_request_id(request.request_id.as_deref())?;
        let domains = self.take_restored().await.map_err(|message| ApiError::Unavailable { message })?;
        tracing::info!(domains = domains.len(), "the journal was looked through for domains that nobody looked after");
        bytes(&Reloaded { domains })
    }
}
