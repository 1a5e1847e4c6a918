//! From the save of a component into a folder that a host watches to the first decision that it made, and where the time goes.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use pilothouse_core::time::Millis;
use tempfile::TempDir;

use crate::Settings;
use crate::followed::{Followed, NAME};
use crate::measure::Samples;
use crate::report::{Figure, Outcome, Target, Unit};

/// Who tries something out wants to see it soon.
const INTERVAL: Millis = Millis::new(200);

/// How long a host lets pass between two looks at its folder. Saves are spread over that time: none of them knows when the next look is.
const LOOK: Duration = Duration::from_millis(125);

/// What came of all saves, in seconds.
#[derive(Default)]
struct Steps {
    whole: Vec<f64>,
    swapped: Vec<f64>,
    decided: Vec<f64>,
    /// As the host says.
    compiling: Vec<f64>,
    /// The same by itself.
    alone: Vec<f64>,
}

pub(crate) fn measure(settings: &Settings) -> Result<Outcome> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting a runtime")?;
    let steps = runtime.block_on(run(settings.rounds(20)))?;
    let Steps { whole, swapped, decided, compiling, alone } = steps;
    let [whole, swapped, decided, compiling, alone] = [whole, swapped, decided, compiling, alone].map(Samples::of);
    let figure = |what: &str, samples: &Samples| Figure::new(what, Unit::Seconds, samples);
    let part = |what: &str, part: &Samples| figure(what, part).beside("the whole", part, &whole);
    Ok(Outcome {
        figures: vec![
            figure("from the save to the first decision", &whole)
                .beside("compiling it by itself", &whole, &alone)
                .target(Target::AtMost(1.0)),
            figure("the slowest of them", &Samples::of([whole.quantile(1.0)])),
            part("  seen twice, compiled, stored, its judgement asked, swapped: on record", &swapped),
            part("  decided by it: on record", &decided),
            part("of that, compiling it, as the host says", &compiling),
            part("of that, the rest up to the swap: most of it waits for two looks", &swapped.minus(&compiling)),
            part("by itself: compiling it in a process, at a low priority", &alone),
        ],
        notes: vec![
            "a component of `npreserving` under a new version each time, written beside and renamed into the folder of `pilothouse serve --engines-dir`, \
             on a nats-server with `sync_interval: always`; timed from the rename; one host, whose domain follows the newest version and is decided \
             every 0.2 s"
                .to_owned(),
            "the lines that are indented follow one another, and are the whole".to_owned(),
        ],
    })
}

async fn run(rounds: usize) -> Result<Steps> {
    let dir = TempDir::with_prefix("pilothouse-bench-")?;
    let mut followed = Followed::start(INTERVAL, &[OsStr::new("--engines-dir"), dir.path().as_os_str()]).await?;
    let mut steps = Steps::default();
    // The first is to warm up.
    for round in 0..=rounds {
        let newer = followed.newer(round + 1)?;
        tokio::time::sleep(LOOK.mul_f64(round as f64 / rounds as f64)).await;
        let saved = save(dir.path(), &newer.component)?;
        let [swapped, decided] = followed.takes_up(&newer.engine).await?.map(|at| at - saved);
        let (compiling, from_cache) = followed.loaded(&newer.engine).await?;
        ensure!(!from_cache, "{} is new, and is compiled", newer.engine.version);
        let [alone, _] = followed.alone(&newer).await?;
        if round > 0 {
            steps.whole.push(decided.as_secs_f64());
            steps.swapped.push(swapped.as_secs_f64());
            steps.decided.push((decided - swapped).as_secs_f64());
            steps.compiling.push(compiling);
            steps.alone.push(alone);
        }
    }
    followed.end()?;
    Ok(steps)
}

/// Saves a component whole, as build tools do: written beside, where nobody looks for one, and renamed. Says when it was renamed.
fn save(dir: &Path, component: &[u8]) -> Result<Instant> {
    let beside = dir.join("new");
    fs::write(&beside, component).with_context(|| format!("writing {}", beside.display()))?;
    let saved = Instant::now();
    fs::rename(&beside, dir.join(format!("{NAME}.wasm"))).with_context(|| format!("renaming {}", beside.display()))?;
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_save_leaves_one_whole_file_and_replaces_the_one_before() -> Result<()> {
        let dir = TempDir::new()?;
        save(dir.path(), b"one")?;
        save(dir.path(), b"another")?;
        let names: Vec<_> = fs::read_dir(dir.path())?.map(|entry| Ok(entry?.file_name())).collect::<Result<_>>()?;
        assert_eq!(names, ["npreserving.wasm"]);
        assert_eq!(fs::read(dir.path().join(&names[0]))?, b"another");
        Ok(())
    }
}
