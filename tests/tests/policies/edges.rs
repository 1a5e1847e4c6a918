//! Where lives came: a boundary that nobody reached is not tested.

use std::collections::BTreeMap;
use std::fmt;

/// How often each boundary was reached, by its name.
#[derive(Debug, Default)]
pub(crate) struct Edges(BTreeMap<&'static str, u64>);

impl Edges {
    /// One was reached, if it was.
    pub(crate) fn reach(&mut self, edge: &'static str, is_there: bool) {
        *self.0.entry(edge).or_default() += u64::from(is_there);
    }

    /// How often one was reached.
    pub(crate) fn count(&self, edge: &str) -> u64 {
        self.0.get(edge).copied().unwrap_or_default()
    }
}

impl fmt::Display for Edges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(edge, count)| writeln!(f, "{count:>7} {edge}"))
    }
}
