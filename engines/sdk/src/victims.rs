//! Who goes first when there are too many.
//!
//! Whoever is not running yet does no work, so it goes before all others; then the unhealthy; then the newest, because the oldest have
//! proven themselves. The order is the same for the same domain, so a decision can be run again. Chance is there for those who ask for it.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Domain;
use crate::instance::{Columns, Filter, Health, Instance, InstanceId, InstanceState, is_unhealthy};

/// How victims are chosen: the value of the key `victims`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Victims {
    /// Who is not running yet, then the unhealthy, then the newest.
    #[default]
    Newest,
    /// Anyone, with the same chance.
    Random,
}

/// The rows of `columns` in the order in which they should go.
#[must_use]
pub fn order(columns: &Columns, victims: Victims, mut random: impl FnMut() -> u64) -> Vec<u32> {
    match victims {
        Victims::Newest => {
            let class = |at: &usize| Class::of(columns.states[*at], columns.healths[*at]);
            let newest_first = || (0..columns.rows.len()).rev();
            // Three walks are cheaper than a sort, and a good deal smaller.
            let of = |wanted| newest_first().filter(move |at| class(at) == wanted).map(|at| columns.rows[at]);
            of(Class::NotYetRunning).chain(of(Class::Unhealthy)).chain(of(Class::Well)).collect()
        }
        Victims::Random => {
            let mut rows = columns.rows.clone();
            for at in (1..rows.len()).rev() {
                rows.swap(at, below(random(), at + 1));
            }
            rows
        }
    }
}

/// Who goes before whom.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    NotYetRunning,
    Unhealthy,
    Well,
}

impl Class {
    fn of(state: InstanceState, health: Health) -> Self {
        if state < InstanceState::Running {
            Self::NotYetRunning
        } else if is_unhealthy(state, health) {
            Self::Unhealthy
        } else {
            Self::Well
        }
    }
}

/// A number below `bound` out of 64 random bits.
fn below(bits: u64, bound: usize) -> usize {
    let product = u128::from(bits) * bound as u128;
    usize::try_from(product >> 64).unwrap_or(0)
}

/// `count` valid instances in the order in which they should go, without those to `spare` and those that an operator protects.
#[must_use]
pub fn choose(domain: &Domain<'_>, victims: Victims, count: u32, spare: impl Fn(&str) -> bool) -> Vec<InstanceId> {
    choose_after(domain, victims, &[], count, spare)
}

/// The same, but those named in `first` go before all others, in the order in which they are named.
#[must_use]
pub fn choose_after(
    domain: &Domain<'_>,
    victims: Victims,
    first: &[InstanceId],
    count: u32,
    spare: impl Fn(&str) -> bool,
) -> Vec<InstanceId> {
    let can_go = |instance: &Instance| instance.is_valid() && !instance.protected && !spare(&instance.id);
    let mut known = BTreeSet::new();
    let named = first.iter().filter(|id| known.insert(id.as_str())).filter_map(|id| domain.instance(id)).filter(can_go);
    let mut chosen: Vec<InstanceId> = named.map(|instance| instance.id).take(count as usize).collect();
    let left = count as usize - chosen.len();
    if left > 0 {
        let others = order(&domain.columns(&Filter::valid()), victims, || domain.random()).into_iter();
        let others = others.filter_map(|row| domain.instance_at(row)).filter(can_go);
        chosen.extend(others.map(|instance| instance.id).filter(|id| !known.contains(id.as_str())).take(left));
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Timestamp;

    fn columns(instances: &[(InstanceState, Health)]) -> Columns {
        Columns {
            rows: (0..).map(|n| n * 10).take(instances.len()).collect(),
            states: instances.iter().map(|(state, _)| *state).collect(),
            healths: instances.iter().map(|(_, health)| *health).collect(),
            state_since: vec![Timestamp::default(); instances.len()],
        }
    }

    fn no_chance() -> u64 {
        panic!("chance was not asked for")
    }

    #[test]
    fn those_not_yet_running_go_first_then_the_unhealthy_then_the_newest() {
        let columns = columns(&[
            (InstanceState::Running, Health::Ok),
            (InstanceState::Pending, Health::Unknown),
            (InstanceState::Running, Health::Missing),
            (InstanceState::Requesting, Health::Unknown),
            (InstanceState::Running, Health::Unknown),
            (InstanceState::RunningFailed, Health::Unknown),
        ]);
        assert_eq!(order(&columns, Victims::Newest, no_chance), [30, 10, 50, 20, 40, 0]);
    }

    #[test]
    fn an_instance_out_of_contact_counts_as_healthy() {
        let columns = columns(&[(InstanceState::Running, Health::OutOfContact), (InstanceState::Running, Health::Ok)]);
        assert_eq!(order(&columns, Victims::Newest, no_chance), [10, 0]);
    }

    #[test]
    fn random_order_follows_the_numbers_drawn_and_loses_nobody() {
        let columns = columns(&[(InstanceState::Running, Health::Ok); 5]);
        assert_eq!(order(&columns, Victims::Random, || u64::MAX), [0, 10, 20, 30, 40]);
        let mut rows = order(&columns, Victims::Random, || 0);
        assert_ne!(rows, [0, 10, 20, 30, 40]);
        rows.sort_unstable();
        assert_eq!(rows, [0, 10, 20, 30, 40]);
    }

    #[test]
    fn a_number_below_a_bound_is_below_it() {
        assert_eq!(below(0, 3), 0);
        assert_eq!(below(u64::MAX, 3), 2);
        assert_eq!(below(1 << 63, 4), 2);
    }
}
