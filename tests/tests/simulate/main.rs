//! `pilothouse simulate` as users meet it, and the guide to it.

mod guide;
mod told;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use pilothouse_tests::guest::shipped;
use pilothouse_tests::play::root;
use serde_json::{Value, json};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// One instance; its agent finds a full disk.
const STORY: &str = r#"
    title = "A full disk"
    engine = "simplest"
    engine_conf = { preserve_n = 1 }
    events = [
      { at = 0, tick = "decide" },
      { at = 1, report = { of = 0, state = "RUNNING" } },
      { at = 2, heartbeat = { of = 0, state = "MONITOR_ERROR", error = "disk full" } },
      { at = 3, tick = "decide" },
    ]
"#;

/// A folder with files.
struct Folder(TempDir);

impl Folder {
    fn with(files: &[(&str, &[u8])]) -> Result<Self> {
        let folder = Self(TempDir::with_prefix("pilothouse-simulate-")?);
        for (name, content) in files {
            std::fs::write(folder.0.path().join(name), content)?;
        }
        Ok(folder)
    }

    /// The program in this folder, with the arguments of a line.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(PROGRAM);
        command.args(line.split_whitespace()).current_dir(self.0.path());
        command
    }

    fn run(&self, line: &str) -> Result<Ran> {
        Ok(Ran { line: line.to_owned(), output: self.command(line).output()? })
    }

    /// The program, with something to read on standard input.
    fn pipe(&self, line: &str, input: &str) -> Result<Ran> {
        let mut child = self.command(line).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        child.stdin.take().context("its standard input")?.write_all(input.as_bytes())?;
        Ok(Ran { line: line.to_owned(), output: child.wait_with_output()? })
    }
}

/// A command that has ended.
#[derive(Debug)]
struct Ran {
    line: String,
    output: Output,
}

impl Ran {
    /// What it printed, when it succeeded and complained of nothing.
    fn printed(&self) -> Result<String> {
        let complaint = String::from_utf8_lossy(&self.output.stderr);
        ensure!(self.output.status.success() && complaint.is_empty(), "{}: {}: {complaint}", self.line, self.output.status);
        Ok(String::from_utf8(self.output.stdout.clone())?)
    }

    /// It printed so.
    fn says(&self, what: &str) -> Result<()> {
        let printed = self.printed()?;
        ensure!(printed.contains(what), "{}: {what:?} is not in\n{printed}", self.line);
        Ok(())
    }

    /// It printed nothing, ended so, and said why.
    fn fails(&self, code: i32, says: &str) -> Result<()> {
        let complaint = String::from_utf8_lossy(&self.output.stderr);
        ensure!(self.output.status.code() == Some(code), "{}: expected exit code {code}: {self:?}", self.line);
        ensure!(complaint.contains(says), "{}: {says:?} is not in {complaint:?}", self.line);
        ensure!(self.output.stdout.is_empty(), "{}: data beside a failure: {self:?}", self.line);
        Ok(())
    }

    /// The objects it printed, one a line.
    fn objects(&self) -> Result<Vec<Value>> {
        self.printed()?.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
    }
}

/// A transcript without the digest of the component, which is another one after every build.
fn without_digest(transcript: &str) -> String {
    let is_digest = |word: &str| word.len() == 16 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let end = transcript.find("), seed ").filter(|end| *end >= 16 && is_digest(&transcript[end - 16..*end]));
    end.map_or_else(|| transcript.to_owned(), |end| format!("{}digest{}", &transcript[..end - 16], &transcript[end..]))
}

fn tick<'v>(objects: &'v [Value], at: f64, kind: &str) -> Result<&'v Value> {
    let found = objects.iter().find(|it| it["type"] == "tick" && it["at"] == json!(at) && it["tick"] == kind);
    found.with_context(|| format!("no tick {kind} at {at}"))
}

#[test]
fn a_story_is_told_as_text() -> Result<()> {
    let printed = Folder::with(&[("story.toml", STORY.as_bytes())])?.run("simulate story.toml")?.printed()?;
    let expected = "\
A full disk
domain ann/web, engine simplest 0.1.0 (digest), seed 0

       0 s  DECIDE  pending: 0 of 1 healthy: launching 1
            figures healthy=0 launched=1 running=0 starting=0 target=1 terminated=0 unhealthy=0 valid=0
            launch  #0 at ec2-east
            now     #0 REQUESTING
       1 s  report #0 RUNNING
       2 s  heartbeat #0 MONITOR_ERROR \"disk full\"
       3 s  DECIDE  pending: 0 of 1 healthy: terminating 1 (monitor error: disk full); launching 1
            figures healthy=0 launched=1 running=0 starting=0 target=1 terminated=1 unhealthy=1 valid=1
            launch  #1 at ec2-east
            end     #0 at ec2-east
            notify  #0 RUNNING
            now     #0 TERMINATING, #1 REQUESTING
            errors  #0 [\"disk full\"]

       3 s  END  2 decisions, 0 faults, 6 records in the journal
            launched #0: epu_work_consumer at ec2-east, small, for ann
            launched #1: epu_work_consumer at ec2-east, small, for ann
            #0 TERMINATING UNKNOWN since 3 s, monitor error: disk full
            #1 REQUESTING UNKNOWN since 3 s
";
    ensure!(without_digest(&printed) == expected, "{printed}");
    Ok(())
}

#[test]
fn a_scenario_is_read_from_standard_input_as_toml_or_json() -> Result<()> {
    let folder = Folder::with(&[("story.toml", STORY.as_bytes())])?;
    let from_file = folder.run("simulate story.toml")?.printed()?;
    ensure!(folder.pipe("simulate -", STORY)?.printed()? == from_file);
    let as_json = serde_json::to_string(&toml::from_str::<Value>(STORY)?)?;
    ensure!(folder.pipe("simulate -", &as_json)?.printed()? == from_file);
    Ok(())
}

#[test]
fn the_seed_decides_on_ids_and_nothing_else_here() -> Result<()> {
    let folder = Folder::with(&[("story.toml", STORY.as_bytes())])?;
    let ids = |line: &str| anyhow::Ok(folder.run(line)?.objects()?[1]["provisions"]["new"][0]["ids"].clone());
    let usual = ids("simulate story.toml --output json")?;
    ensure!(usual == ids("simulate story.toml --output json --seed 0")?);
    ensure!(usual != ids("simulate story.toml --output json --seed 1")?);
    let text = |seed| anyhow::Ok(without_digest(&folder.run(&format!("simulate story.toml --seed {seed}"))?.printed()?));
    ensure!(text(5)?.replace("seed 5", "seed 0") == text(0)?);
    Ok(())
}

#[test]
fn a_component_of_ones_own_takes_the_place_of_the_engine() -> Result<()> {
    let own = shipped("simplest");
    let by_path = STORY.replace("\"simplest\"", "\"own.wasm\"");
    let folder = Folder::with(&[("own.wasm", &own), ("story.toml", STORY.as_bytes()), ("path.toml", by_path.as_bytes())])?;
    let usual = folder.run("simulate story.toml")?.printed()?;
    ensure!(folder.run("simulate story.toml --engine own.wasm")?.printed()? == usual);
    ensure!(folder.run("simulate path.toml")?.printed()? == usual, "seen from the file's folder");
    folder.run("simulate path.toml --engine npreserving")?.says("engine npreserving 0.1.0")
}

#[test]
fn what_makes_no_sense_is_refused_with_its_place() -> Result<()> {
    let own = shipped("simplest");
    let folder = Folder::with(&[
        ("story.toml", STORY.as_bytes()),
        ("text.wasm", b"#!/bin/sh\n"),
        ("half.wasm", &own[..own.len() / 2]),
        ("broken.toml", b"engine = \"simplest\"\nevents = [\n"),
        ("broken.json", b"{\"engine\": "),
    ])?;
    for (line, says) in [
        ("simulate missing.toml", "missing.toml"),
        ("simulate", "<SCENARIO>"),
        ("simulate story.toml --seed many", "many"),
        ("simulate broken.toml", "broken.toml: TOML parse error at line"),
        ("simulate broken.json", "broken.json: EOF"),
        ("simulate story.toml --engine missing.wasm", "--engine: missing.wasm"),
        ("simulate story.toml --engine nosuch", "--engine: no engine \"nosuch\"; there are simplest@"),
        ("simulate story.toml --engine text.wasm", "text.wasm: it is no WebAssembly component"),
        ("simulate story.toml --engine half.wasm", "half.wasm: it is damaged"),
        ("simulate story.toml --engine sensor", "/engine_conf: \"maximum_vms\" is a required property"),
    ] {
        folder.run(line)?.fails(2, says)?;
    }
    let events = |events: &str| format!("engine = \"simplest\"\nengine_conf = {{ preserve_n = 1 }}\nevents = [{events}]");
    for (story, says) in [
        ("colour = 1".to_owned(), "colour"),
        ("engine = \"nosuch\"".to_owned(), "-: /engine: no engine \"nosuch\"; there are simplest@"),
        ("engine = \"here/own.wasm\"".to_owned(), "-: /engine: here/own.wasm"),
        ("engine = \"simplest\"".to_owned(), "/engine_conf: \"preserve_n\" is a required property"),
        ("engine = \"simplest\"\nhealth = { boot_timout = 1 }".to_owned(), "/health/boot_timout: unknown field"),
        ("engine = \"simplest\"\ngeneral = { engine = \"sensor\" }".to_owned(), "/general/engine: the engine is named at the top"),
        ("engine = \"simplest\"\nstart = \"noon\"".to_owned(), "/start: \"noon\" is no time"),
        ("engine = \"simplest\"\ndomain = { owner = \"a.b\", name = \"c\" }".to_owned(), "/domain/owner"),
        ("engine = \"simplest\"\nguards = { brakes = false }".to_owned(), "/guards/brakes: unknown field"),
        (events("{ at = 0, tick = \"decide\" }, { at = 1, heartbeat = { of = 0 } }"), "/events/1/heartbeat: missing field `state`"),
        (events("{ at = 0, heartbeat = { of = true, state = \"OK\" } }"), "/events/0/heartbeat/of: expected whom"),
        (events("{ at = 0, unknown = { state = \"RUNING\" } }"), "/events/0: of: state \"RUNING\" is not known"),
        (events("{ at = 0, tick = \"sleep\" }"), "/events/0/tick: expected decide, health or reap"),
        (events("{ at = 0 }"), "/events/0: says when and not what"),
        (events("{ at = 0, restart = true, remove = true }"), "/events/0: says several things (restart, remove)"),
        (events("{ at = -1, restart = true }"), "/events/0: at: expected seconds"),
        (events("{ at = 0, every = 1, tick = \"reap\" }"), "/events/0: every and until go together"),
        (events("{ at = 0, every = 0.001, until = 1e6, tick = \"reap\" }"), "a scenario may have 200000 steps"),
        (
            events("{ at = 0, reconfigure = { general = { engine = \"nosuch\" } } }"),
            "-: /events: no engine \"nosuch\"; there are simplest@",
        ),
        (events("{ at = 0, swap = { version = \"2\" } }"), "/events/0: version: \"2\" is none: expected one like 1.2.3"),
        (events("{ at = 0, shadow = { promote_after = 0 } }"), "/events/0: promote_after: expected a number of seconds, at least 1"),
        (events("{ at = 0, fail = { kind = \"sulk\" } }"), "/events/0/fail/kind: unknown variant `sulk`"),
    ] {
        folder.pipe("simulate -", &story)?.fails(2, says).with_context(|| story.clone())?;
    }
    let told = folder.pipe("simulate - --output json", &events("{ at = 0 }"))?;
    told.fails(2, "")?;
    let told: Value = serde_json::from_slice(&told.output.stderr)?;
    ensure!(told["error"] == "invalid" && told["problems"][0]["at"] == "/events/0", "{told}");
    Ok(())
}

#[test]
fn a_reader_that_has_had_enough_is_no_failure() -> Result<()> {
    let long = "engine = \"simplest\"\nengine_conf = { preserve_n = 0 }\nevents = [{ at = 0, every = 1, until = 9999, tick = \"decide\" }]";
    let folder = Folder::with(&[("long.toml", long.as_bytes())])?;
    for line in ["simulate long.toml", "simulate long.toml --output json"] {
        let mut child = folder.command(line).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("its standard output")?);
        let mut first = String::new();
        stdout.read_line(&mut first)?;
        ensure!(!first.is_empty(), "{line}");
        // It has more to say than a pipe holds, so it finds out.
        drop(stdout);
        let status = child.wait()?;
        let mut complaint = String::new();
        child.stderr.take().context("its standard error")?.read_to_string(&mut complaint)?;
        ensure!(status.success() && complaint.is_empty(), "{line}: {status}: {complaint}");
    }
    Ok(())
}

#[test]
fn what_others_wrote_can_not_command_the_terminal() -> Result<()> {
    let story = STORY.replace("state = \"RUNNING\"", "state = \"RUNNING\", hostname = \"\\u001b[2Jevil\", reason = \"a\\nb\"");
    let printed = Folder::with(&[])?.pipe("simulate -", &story)?.printed()?;
    ensure!(printed.contains("evil") && !printed.contains('\u{1b}'), "{printed}");
    Ok(())
}

#[test]
fn a_picture_is_drawn_beside_the_transcript() -> Result<()> {
    let folder = Folder::with(&[("story.toml", STORY.as_bytes())])?;
    let usual = folder.run("simulate story.toml")?.printed()?;
    ensure!(folder.run("simulate story.toml --plot story.svg")?.printed()? == usual);
    let picture = std::fs::read_to_string(folder.0.path().join("story.svg"))?;
    ensure!(picture.starts_with("<svg") && picture.contains("A full disk"), "{picture}");
    Ok(())
}

#[test]
fn help_shows_examples() -> Result<()> {
    let help = Folder::with(&[])?.run("simulate --help")?;
    help.says("Examples:\n  pilothouse simulate examples/scenarios/a_worker_dies.toml")?;
    ensure!(root().join("examples/scenarios/a_worker_dies.toml").exists());
    let help = help.printed()?;
    let (_, shown) = help.split_once("A scenario in a few lines:\n").context("a scenario")?;
    let (shown, _) = shown.split_once("\n\n").context("an end of it")?;
    Folder::with(&[])?.pipe("simulate -", shown)?.says("terminating 1 (monitor error: disk full)")
}
