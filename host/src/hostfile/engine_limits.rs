//! The section `[engine_limits]` of a host's configuration file: what this host allows any engine, and all of them together.

use std::time::Duration;

use pilothouse_core::config::ConfigProblem;
use pilothouse_engine_host::{EngineLimits, RunnerConfig, SandboxConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is left to a call when it has waited for its turn as long as it may run: by default, between the two.
const QUEUEING: Duration = Duration::from_secs(7);

/// Ceilings for every engine on this host, and what all of them may use together. An engine's own limits may be lower, and what it has as a
/// limit that is higher is cut to the ceiling. What is not said is as the host has it by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EngineCeilings {
    /// Units of fuel for a call: about one an instruction, and one a byte that crosses the border. By default 1000000000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub fuel: Option<u64>,
    /// Milliseconds that a call may run by the clock on the wall. By default 3000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 3_600_000))]
    pub deadline_ms: Option<u64>,
    /// Milliseconds after which a domain gives a call up, waiting for its turn included. By default 7 s more than the deadline.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10, max = 7_200_000))]
    pub time_out_ms: Option<u64>,
    /// Bytes of linear memory of a call. By default 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536, max = 4_294_967_296_u64))]
    pub memory_bytes: Option<u64>,
    /// Elements of all tables of a call. By default 65536.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub table_elements: Option<u64>,
    /// Bytes of stack of a call. The same for all engines. By default 512 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536, max = 1_048_576))]
    pub stack_bytes: Option<u64>,
    /// Bytes of a component. The same for all engines. By default 64 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_073_741_824))]
    pub component_bytes: Option<u64>,
    /// Bytes of the memory that is kept from one call to the next. By default 64 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 65_536))]
    pub blob_bytes: Option<u64>,
    /// Requests of one decision, launches and terminations together. By default 2000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 2000))]
    pub requests: Option<u64>,
    /// Log lines of one decision. By default 64.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 64))]
    pub log_lines: Option<u64>,
    /// Bytes of one log line. By default 1024.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1024))]
    pub log_bytes: Option<u64>,
    /// Bytes that one call to the host, or one return, may hand over. By default 4 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 4096, max = 268_435_456))]
    pub answer_bytes: Option<u64>,
    /// Calls of one component at the same time. By default half of the threads, and at least one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub calls: Option<u64>,
    /// Threads for engines: as many calls run at the same time. Calls that are long, from some ten milliseconds on, go on with what
    /// nobody else wants of the processors, on threads of their own, at most twice as many. `--engine-threads` wins over it. By default two a core, and at least four.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 996))]
    pub threads: Option<u64>,
    /// Bytes of memory that all calls that run at the same time may hold together. By default as much as each of them may, one by one, but
    /// no more than half of the machine's memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536))]
    pub memory_together_bytes: Option<u64>,
}

impl EngineCeilings {
    /// How many threads there are to be for engines.
    pub fn threads(&self) -> usize {
        self.threads.map_or_else(|| RunnerConfig::default().threads, amount)
    }

    /// The sandbox that these make.
    pub fn sandbox(&self) -> SandboxConfig {
        let given = |to: &mut usize, from: Option<u64>| {
            if let Some(from) = from {
                *to = amount(from);
            }
        };
        let mut config = SandboxConfig::of_threads(self.threads());
        let limits = &mut config.limits;
        if let Some(fuel) = self.fuel {
            limits.fuel = fuel;
        }
        if let Some(millis) = self.deadline_ms {
            limits.deadline = Duration::from_millis(millis);
            limits.time_out = limits.deadline + QUEUEING;
        }
        if let Some(millis) = self.time_out_ms {
            limits.time_out = Duration::from_millis(millis);
        }
        let EngineLimits {
            memory_bytes,
            table_elements,
            stack_bytes,
            component_bytes,
            blob_bytes,
            requests,
            log_lines,
            log_bytes,
            answer_bytes,
            calls,
            ..
        } = limits;
        given(memory_bytes, self.memory_bytes);
        given(table_elements, self.table_elements);
        given(stack_bytes, self.stack_bytes);
        given(component_bytes, self.component_bytes);
        given(blob_bytes, self.blob_bytes);
        given(requests, self.requests);
        given(log_lines, self.log_lines);
        given(log_bytes, self.log_bytes);
        given(answer_bytes, self.answer_bytes);
        given(calls, self.calls);
        config.memory_together = self.memory_together_bytes.map(amount);
        config
    }

    /// What is wrong with them, by the keys of the file.
    pub(super) fn judge(&self, problems: &mut Vec<ConfigProblem>) {
        let mut wrong = |at: &str, message: String| problems.push(ConfigProblem::new(format!("/engine_limits{at}"), message));
        let limits = self.sandbox().limits;
        for problem in limits.problems() {
            wrong(&problem.at, problem.message);
        }
        if self.threads.is_some_and(|threads| !(1..=SandboxConfig::MAX_THREADS as u64).contains(&threads)) {
            wrong("/threads", format!("expected 1 to {}", SandboxConfig::MAX_THREADS));
        }
        if self.memory_together_bytes.is_some_and(|bytes| amount(bytes) < limits.memory_bytes) {
            wrong("/memory_together_bytes", format!("expected at least memory_bytes, which is {}", limits.memory_bytes));
        }
    }
}

/// What is more than this machine can count is more than it has.
fn amount(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use pilothouse_core::engine::Limits;
    use serde_json::{Value, json};

    use super::*;
    use crate::hostfile::HostFile;

    fn judge(toml: &str) -> Result<EngineCeilings, Vec<String>> {
        let judged = HostFile::judge(toml::from_str(toml).expect("TOML"));
        judged.map(|file| file.engine_limits).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_not_said_is_as_it_is_by_default() {
        let (here, default) = (judge("").expect("good").sandbox(), SandboxConfig::default());
        assert_eq!((here.limits, here.concurrent_calls, here.memory_together), (default.limits, default.concurrent_calls, None));
    }

    #[test]
    fn every_key_has_effect() {
        let least = |schema: &Value| schema["minimum"].as_u64().unwrap_or_default();
        let schema = serde_json::to_value(schemars::schema_for!(EngineCeilings)).expect("JSON");
        let keys = schema["properties"].as_object().expect("an object");
        assert_eq!(keys.len(), 15);
        for (key, schema) in keys {
            let ceilings: EngineCeilings = serde_json::from_value(json!({ key: least(schema) + 77 })).expect("a number");
            let (changed, default) = (ceilings.sandbox(), SandboxConfig::default());
            let same = changed.limits == default.limits
                && changed.concurrent_calls == default.concurrent_calls
                && changed.memory_together == default.memory_together;
            assert!(!same, "{key}");
        }
        let file = judge("[engine_limits]\nthreads = 3\ndeadline_ms = 9000\nmemory_together_bytes = 67108864").expect("good");
        let SandboxConfig { limits, concurrent_calls, memory_together, .. } = file.sandbox();
        assert_eq!((file.threads(), limits.calls, concurrent_calls, memory_together), (3, 1, 13, Some(64 << 20)));
        assert_eq!((limits.deadline, limits.time_out), (Duration::from_secs(9), Duration::from_secs(16)));
    }

    #[test]
    fn the_schema_has_the_bounds_that_the_host_has() {
        let schema = serde_json::to_value(schemars::schema_for!(EngineCeilings)).expect("JSON");
        let own = serde_json::to_value(schemars::schema_for!(Limits)).expect("JSON");
        let wrong = |key: &str, value: u64| {
            let ceilings: EngineCeilings = serde_json::from_value(json!({ key: value })).expect("a number");
            let mut problems = Vec::new();
            ceilings.judge(&mut problems);
            problems.iter().any(|problem| problem.at == format!("/engine_limits/{key}"))
        };
        for (key, schema) in schema["properties"].as_object().expect("an object") {
            let (least, most) = (schema["minimum"].as_u64().unwrap_or_default(), schema["maximum"].as_u64());
            // These have others that they must not be below, too.
            if !["time_out_ms", "memory_together_bytes"].contains(&key.as_str()) {
                assert!(!wrong(key, least), "{key}: {least} is good");
            }
            assert!(least == 0 || wrong(key, least - 1), "{key}: {} is wrong", least.saturating_sub(1));
            if let Some(most) = most {
                assert!(!wrong(key, most) && wrong(key, most + 1), "{key}: {most} is the most");
            }
            let Some(own) = own["properties"].get(key) else { continue };
            assert_eq!(own["minimum"].as_u64().unwrap_or_default(), least, "{key}: the least of an engine's own");
        }
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let problems = judge(
            "[engine_limits]
             fuel = 0
             deadline_ms = 5000
             time_out_ms = 4000
             stack_bytes = 'much'
             memory_together_bytes = 65536
             threads = 0
             colour = 3",
        )
        .expect_err("wrong");
        for at in [
            "/engine_limits/fuel: expected at least 1",
            "/engine_limits/time_out_ms: expected at least deadline_ms, which is 5000",
            "/engine_limits/stack_bytes: invalid type",
            "/engine_limits/memory_together_bytes: expected at least memory_bytes, which is 67108864",
            "/engine_limits/threads: expected 1 to 996",
            "/engine_limits/colour: unknown field",
        ] {
            assert!(problems.iter().any(|problem| problem.starts_with(at)), "{at} is not in {problems:#?}");
        }
        assert_eq!(problems.len(), 6, "{problems:#?}");
    }
}
