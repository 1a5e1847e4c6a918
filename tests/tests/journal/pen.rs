//! A writer of one domain, as simple as can be: it remembers what to expect, and its records are words.

use anyhow::{Result, bail, ensure};
use pilothouse::store::{Append, Appended, Entry, Foreign, Journal, Scope, Tip};
use pilothouse_core::name::DomainKey;

#[derive(Clone)]
pub(crate) struct Pen<J> {
    pub(crate) journal: J,
    pub(crate) key: DomainKey,
    pub(crate) tip: Tip,
}

/// The key of `owner/name`.
pub(crate) fn key(text: &str) -> DomainKey {
    let (owner, name) = text.split_once('/').expect("an owner and a name");
    DomainKey { owner: owner.parse().expect("a name"), name: name.parse().expect("a name") }
}

pub(crate) fn words(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| String::from_utf8_lossy(&entry.bytes).into_owned()).collect()
}

impl<J: Journal> Pen<J> {
    /// For a domain that was never written, or is believed to be so.
    pub(crate) fn fresh(journal: &J, domain: &str) -> Self {
        Self { journal: journal.clone(), key: key(domain), tip: Tip::default() }
    }

    /// For a domain as the journal has it.
    pub(crate) async fn loaded(journal: &J, domain: &str) -> Result<Self> {
        let mut pen = Self::fresh(journal, domain);
        pen.tip = journal.last(&pen.key).await?.map(|last| last.tip()).unwrap_or_default();
        Ok(pen)
    }

    /// Appends once, and learns from the outcome only if it is a success.
    pub(crate) async fn attempt(&mut self, word: impl Into<Vec<u8>>) -> Result<Appended> {
        self.append(word.into(), false).await
    }

    /// Appends, and gives back the sequence.
    pub(crate) async fn write(&mut self, word: impl Into<Vec<u8>>) -> Result<u64> {
        let appended = self.append(word.into(), false).await?;
        ensure!(matches!(appended, Appended::Committed { .. }), "expected to be committed: {appended:?}");
        Ok(self.tip.sequence)
    }

    pub(crate) async fn write_snapshot(&mut self, word: impl Into<Vec<u8>>) -> Result<u64> {
        let appended = self.append(word.into(), true).await?;
        ensure!(matches!(appended, Appended::Committed { .. }), "expected to be committed: {appended:?}");
        Ok(self.tip.sequence)
    }

    async fn append(&mut self, bytes: Vec<u8>, is_snapshot: bool) -> Result<Appended> {
        let appended = self.journal.append(&self.key, Append { after: self.tip, is_snapshot, bytes: bytes.into() }).await?;
        if let Appended::Committed { tip } = appended {
            self.tip = tip;
        }
        Ok(appended)
    }

    pub(crate) async fn is_fenced(&mut self, word: &str) -> Result<Foreign> {
        match self.attempt(word).await? {
            Appended::Fenced { by } => Ok(by),
            other => bail!("expected to be fenced: {other:?}"),
        }
    }

    /// The records that a load of this domain finds.
    pub(crate) async fn load(&self) -> Result<Vec<Entry>> {
        Ok(self.journal.load(&Scope::Domain(self.key.clone())).await?.take(&self.key)?)
    }
}
