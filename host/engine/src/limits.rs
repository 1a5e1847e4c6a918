//! What an engine may use up: the ceilings of a host, and what an engine's own limits leave of them.

use std::ops::RangeInclusive;
use std::time::Duration;

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::cycle::{Bounds, limits};
use pilothouse_core::engine::Limits;

use crate::runner;

/// How often the clock that cuts calls short ticks. Deadlines are as exact as that; a hundred wake-ups a second cost nothing to speak of.
pub(crate) const TICK: Duration = Duration::from_millis(10);

/// What each call of an engine may use up. Of a [`Sandbox`](crate::Sandbox): the ceilings, which hold for every engine. Of a
/// [`LoadedEngine`](crate::LoadedEngine): what its own limits leave of them.
///
/// Fuel is the limit that is meant to be met: it counts the same everywhere, so that a decision which fails on one host fails on all.
/// Deadline and time-out are for machines that are busy, and for instructions that take many times as long as others; they must lie well above
/// what the fuel takes of usual work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineLimits {
    /// Units of fuel for a call: about one for each instruction, and one for each byte that crosses the border. Over it: a fuel fault.
    ///
    /// The default of 1 000 000 000 is a third of a second to a second of work. The engines that ship with the host use a few ten
    /// thousand on small domains, and interpreters that were compiled to components a few million.
    pub fuel: u64,
    /// How long a call may run by the clock on the wall, to 10 ms. Over it: a processor fault if the call had the processor all that time,
    /// since then it is not the machine that was slow; and else a deadline fault, which does not speak against the engine.
    ///
    /// The default of 3 s is several times what the fuel takes. Where all processors are busy with other things all that time, a call of more
    /// than some 50 ms does not come to its end, and the first of more than 10 ms does not either: what computes for long has what others
    /// leave, see [`Runner`](crate::Runner).
    pub deadline: Duration,
    /// How long whoever waits for a call should wait before it gives the call up. The same for all engines. Not enforced here, since a
    /// blocking call can't give itself up: see [`Runner`](crate::Runner). The default of 10 s leaves time for queueing behind calls that
    /// run into their deadline.
    pub time_out: Duration,
    /// Bytes of linear memory of a call, all its memories together, up to 4 GiB. A guest that grows beyond is told no; if it traps for
    /// that, it is a memory fault.
    ///
    /// The default of 64 MiB is a dozen times what a Python engine uses. Every call that runs at the same time may use as much.
    pub memory_bytes: usize,
    /// Elements of all tables of a call together. The default of 65 536 is enough for the functions of an interpreter. A component whose element
    /// segments have more than four times the ceiling, over all its instances, is not loaded.
    pub table_elements: usize,
    /// Bytes of stack for a guest's calls; deeper recursion traps. The same for all engines: it belongs to the configuration that all of them
    /// run in. The calling thread needs as much and 256 KiB more. The default is 512 KiB.
    pub stack_bytes: usize,
    /// Bytes of a component. Over it, it is not even looked at. The same for all engines. The default of 64 MiB is three times the size of a
    /// Python engine.
    pub component_bytes: usize,
    /// Bytes of the memory that is kept from one call to the next. Over it: an output fault. The default of 64 KiB is the most that the
    /// journal carries.
    pub blob_bytes: usize,
    /// Requests of one decision. What is over it is refused as invalid. The default of 2000 is the most that the journal carries.
    pub requests: usize,
    /// Log lines of one decision. What is over it is dropped, and the record says how many. The default of 64 is the most that a record holds.
    pub log_lines: usize,
    /// Bytes of one log line, which is cut there. The default of 1024 is the most that a record holds.
    pub log_bytes: usize,
    /// The most that one guest call to the host, or one return, may hand over, in bytes as the host holds them. Over it: an output fault. It
    /// keeps a guest from making the host copy the same text a million times.
    ///
    /// The default is 4 MiB. A decision that names twenty thousand instances needs one.
    pub answer_bytes: usize,
    /// Calls of one component at the same time; others wait for their turn, see [`LoadedEngine::place`](crate::LoadedEngine::place). By
    /// default half of the threads that a [`Runner`](crate::Runner) has by default: so no engine, however slow and in however many
    /// domains, ever takes all of them.
    pub calls: usize,
}

impl Default for EngineLimits {
    fn default() -> Self {
        Self {
            fuel: 1_000_000_000,
            deadline: Duration::from_secs(3),
            time_out: Duration::from_secs(10),
            memory_bytes: 64 << 20,
            table_elements: 65_536,
            stack_bytes: 512 << 10,
            component_bytes: 64 << 20,
            blob_bytes: limits::MEMORY_BYTES,
            requests: limits::REQUESTS,
            log_lines: limits::LOG_LINES,
            log_bytes: limits::LOG_BYTES,
            answer_bytes: 4 << 20,
            calls: Self::calls_of(runner::default_threads()),
        }
    }
}

/// A limit: how it is called, what it may be, and where it is.
struct Limit {
    key: &'static str,
    /// What a host may have as its ceiling. An engine's own may be as small.
    range: RangeInclusive<u64>,
    of: fn(&EngineLimits) -> u64,
    /// How an engine's own is taken; nothing where there is one for all of them.
    own: Option<Own>,
}

struct Own {
    is: fn(&mut Limits) -> &mut Option<u64>,
    set: fn(&mut EngineLimits, u64),
}

macro_rules! limit {
    ($key:ident, $range:expr) => {
        Limit {
            own: Some(Own { is: |own| &mut own.$key, set: |limits, value| limits.$key = usize::try_from(value).unwrap_or(usize::MAX) }),
            ..limit!($key, $range, |limits| limits.$key as u64)
        }
    };
    ($key:ident, $range:expr, $of:expr) => {
        Limit { key: stringify!($key), range: $range, of: $of, own: None }
    };
}

const LIMITS: [Limit; 13] = [
    Limit {
        own: Some(Own { is: |own| &mut own.fuel, set: |limits, value| limits.fuel = value }),
        ..limit!(fuel, 1..=u64::MAX, |limits| limits.fuel)
    },
    Limit {
        own: Some(Own { is: |own| &mut own.deadline_ms, set: |limits, value| limits.deadline = Duration::from_millis(value) }),
        ..limit!(deadline_ms, 10..=3_600_000, |limits| millis(limits.deadline))
    },
    limit!(time_out_ms, 10..=7_200_000, |limits| millis(limits.time_out)),
    limit!(memory_bytes, 65_536..=4 << 30),
    limit!(table_elements, 1..=10_000_000),
    limit!(stack_bytes, 64 << 10..=1 << 20, |limits| limits.stack_bytes as u64),
    limit!(component_bytes, 1..=1 << 30, |limits| limits.component_bytes as u64),
    limit!(blob_bytes, 0..=limits::MEMORY_BYTES as u64),
    limit!(requests, 0..=limits::REQUESTS as u64),
    limit!(log_lines, 0..=limits::LOG_LINES as u64),
    limit!(log_bytes, 0..=limits::LOG_BYTES as u64),
    limit!(answer_bytes, 4096..=256 << 20),
    limit!(calls, 1..=1000),
];

impl EngineLimits {
    /// How many calls of one component there may be at the same time on so many threads, unless it is said.
    pub fn calls_of(threads: usize) -> usize {
        (threads / 2).max(1)
    }

    /// What is wrong with them as the ceilings of a host, each with its key.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems: Vec<_> = LIMITS.iter().filter_map(|limit| limit.problem((limit.of)(self))).collect();
        if self.time_out < self.deadline {
            problems.push(ConfigProblem::new("/time_out_ms", format!("expected at least deadline_ms, which is {}", millis(self.deadline))));
        }
        problems
    }

    /// What is wrong with an engine's own limits, each with its key. More than a host allows is none.
    pub fn problems_of(own: &Limits) -> Vec<ConfigProblem> {
        let mut own = *own;
        let too_small = |limit: &Limit| {
            let value = (*(limit.own.as_ref()?.is)(&mut own))?;
            (value < *limit.range.start()).then(|| ConfigProblem::new(format!("/{}", limit.key), limit.expected_at_least()))
        };
        LIMITS.iter().filter_map(too_small).collect()
    }

    /// What an engine's own limits leave of these: each at most what it is here, and at least what makes sense.
    #[must_use]
    pub fn cut(&self, own: &Limits) -> Self {
        let (mut own, mut left) = (*own, self.clone());
        for Limit { range, of, own: limit, .. } in &LIMITS {
            if let Some(Own { is, set }) = limit
                && let Some(value) = *is(&mut own)
            {
                set(&mut left, value.max(*range.start()).min(of(self)));
            }
        }
        left
    }

    /// Which of an engine's own limits are above these, and so have no effect here: each with its key.
    pub fn above(&self, own: &Limits) -> Vec<ConfigProblem> {
        let mut own = *own;
        let above = |limit: &Limit| {
            let (value, ceiling) = ((*(limit.own.as_ref()?.is)(&mut own))?, (limit.of)(self));
            let told = || ConfigProblem::new(format!("/{}", limit.key), format!("{value} is cut to the host's ceiling of {ceiling}"));
            (value > ceiling).then(told)
        };
        LIMITS.iter().filter_map(above).collect()
    }

    /// As an engine's own limits are written, all of them.
    pub fn as_own(&self) -> Limits {
        let mut own = Limits::default();
        for Limit { of, own: limit, .. } in &LIMITS {
            if let Some(Own { is, .. }) = limit {
                *is(&mut own) = Some(of(self));
            }
        }
        own
    }

    /// What the core holds an engine to.
    pub(crate) fn bounds(&self) -> Bounds {
        let Self { blob_bytes, requests, log_lines, log_bytes, .. } = *self;
        Bounds { memory_bytes: blob_bytes, requests, log_lines, log_bytes }
    }

    /// The deadline in ticks of the clock, after the first one in a call: that may come at once.
    pub(crate) fn ticks(&self) -> u64 {
        u64::try_from(self.deadline.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX >> 1)
    }
}

impl Limit {
    fn problem(&self, value: u64) -> Option<ConfigProblem> {
        let expected = match *self.range.end() {
            _ if self.range.contains(&value) => return None,
            u64::MAX => self.expected_at_least(),
            most => format!("expected {} to {most}", self.range.start()),
        };
        Some(ConfigProblem::new(format!("/{}", self.key), expected))
    }

    fn expected_at_least(&self) -> String {
        format!("expected at least {}", self.range.start())
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(problems: &[ConfigProblem]) -> Vec<String> {
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_default_limits_make_sense() {
        assert_eq!(EngineLimits::default().problems(), []);
        assert_eq!(EngineLimits::default().bounds(), Bounds::default());
    }

    #[test]
    fn everything_that_makes_no_sense_is_named_at_once() {
        let problems = EngineLimits { fuel: 0, time_out: Duration::from_millis(20), memory_bytes: 1, calls: 0, ..EngineLimits::default() };
        let expected = [
            "/fuel: expected at least 1",
            "/memory_bytes: expected 65536 to 4294967296",
            "/calls: expected 1 to 1000",
            "/time_out_ms: expected at least deadline_ms, which is 3000",
        ];
        assert_eq!(told(&problems.problems()), expected);
        let own = Limits { fuel: Some(0), deadline_ms: Some(9), answer_bytes: Some(4095), requests: Some(0), ..Limits::default() };
        let expected = ["/fuel: expected at least 1", "/deadline_ms: expected at least 10", "/answer_bytes: expected at least 4096"];
        assert_eq!(told(&EngineLimits::problems_of(&own)), expected);
    }

    #[test]
    fn a_limit_of_an_engine_is_cut_to_the_ceiling_and_that_is_told() {
        let ceilings = EngineLimits::default();
        let own = Limits { fuel: Some(5), memory_bytes: Some(1 << 30), log_lines: Some(64), requests: Some(3000), ..Limits::default() };
        let left = ceilings.cut(&own);
        assert_eq!(left, EngineLimits { fuel: 5, ..ceilings.clone() });
        let expected =
            ["/memory_bytes: 1073741824 is cut to the host's ceiling of 67108864", "/requests: 3000 is cut to the host's ceiling of 2000"];
        assert_eq!(told(&ceilings.above(&own)), expected);
        assert_eq!(ceilings.cut(&Limits { calls: Some(0), ..Limits::default() }).calls, 1, "less than makes sense is the least that does");
    }

    #[test]
    fn every_limit_of_an_engine_has_effect_and_is_shown() {
        let ceilings = EngineLimits::default();
        let shown = ceilings.as_own();
        assert_eq!(ceilings.cut(&shown), ceilings, "what is shown is what holds");
        assert_eq!(ceilings.above(&shown), []);
        let Limits { fuel, deadline_ms, memory_bytes, table_elements, blob_bytes, requests, log_lines, log_bytes, answer_bytes, calls } =
            shown;
        let all = [fuel, deadline_ms, memory_bytes, table_elements, blob_bytes, requests, log_lines, log_bytes, answer_bytes, calls];
        assert!(all.iter().all(Option::is_some), "{shown:?}");
        assert_eq!(LIMITS.iter().filter(|limit| limit.own.is_some()).count(), all.len());
        for limit in LIMITS.iter().filter(|limit| limit.own.is_some()) {
            let mut own = Limits::default();
            let Some(Own { is, .. }) = &limit.own else { continue };
            *is(&mut own) = Some(limit.range.start().max(&1).to_owned());
            let left = ceilings.cut(&own);
            assert_eq!((limit.of)(&left), *limit.range.start().max(&1), "{}", limit.key);
            assert_eq!(
                LIMITS.iter().filter(|other| (other.of)(&left) != (other.of)(&ceilings)).count(),
                1,
                "{} and nothing else",
                limit.key
            );
        }
    }

    #[test]
    fn a_deadline_is_never_early() {
        let ticks = |millis| EngineLimits { deadline: Duration::from_millis(millis), ..EngineLimits::default() }.ticks();
        assert_eq!((ticks(10), ticks(11), ticks(3000)), (1, 2, 300));
    }
}
