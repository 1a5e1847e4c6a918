//! Versions of an engine on a real host, as people see and steer them: held, rolled back, tried again, and compared beside the one in force.

use anyhow::{Context, Result, bail, ensure};
use pilothouse::api::{ApiClient, DecisionFigures, DomainDescription, EngineDescription, EngineShadow, HostFigures, Operation};
use pilothouse_core::domain::Happened;
use pilothouse_core::engine::Where;
use pilothouse_tests::guest::Guest;
use pilothouse_tests::processes::Program;
use pilothouse_tests::rig::{Rig, SOON, keep};
use pilothouse_tests::wait::{eventually, eventually_some};
use serde_json::{Value, json};

/// The program that has `serve`, `agent` and `provisioner local` as its first arguments.
const PROGRAM: &str = env!("CARGO_BIN_EXE_pilothouse-under-test");

/// An engine that wants nothing.
fn content() -> Guest {
    Guest::new("quiet")
}

/// One that traps in every decision.
fn never() -> Guest {
    content().with("(call $done (local.get $domain) (local.get $control)))", "unreachable)")
}

/// The same under another name or version.
fn called(guest: Guest, name: &str, version: &str) -> Guest {
    assert_eq!((name.len(), version.len()), (5, 5), "they are written over others");
    guest.with("guest\\00", &format!("{name}\\00")).with("1.0.0\\00", &format!("{version}\\00"))
}

/// A host that offers these engines.
fn host(rig: &Rig, engines: &[Guest]) -> Result<Program> {
    let mut command = rig.host_command("ship", &rig.nats.url());
    for (number, engine) in engines.iter().enumerate() {
        let file = rig.path(&format!("{number}.wasm"));
        std::fs::write(&file, engine.component())?;
        command.arg("--engine").arg(file);
    }
    rig.start("ship", command)
}

fn brisk(engine: &str) -> Value {
    json!({"general": {"engine": engine, "decide_interval": 0.2}, "health": {"monitor_health": false}})
}

/// Waits until the description of `web` says this.
async fn sees(rig: &Rig, what: &str, is_so: impl Fn(&DomainDescription) -> bool) -> Result<DomainDescription> {
    let seen = eventually_some(what, SOON, async || rig.describe().await.ok().filter(|it| is_so(it))).await;
    match seen {
        Ok(described) => Ok(described),
        Err(error) => Err(error.context(format!("{:#?}\n{}", rig.describe().await, rig.logs()))),
    }
}

async fn call(api: &ApiClient, operation: Operation, request: Value) -> Result<Value> {
    Ok(api.call(operation, &request).await?)
}

/// What a command answers, for people.
fn told(rig: &Rig, args: &[&str]) -> Result<String> {
    let output = rig.ledger.command(PROGRAM).args(args).args(["--nats", &rig.nats.url(), "--user", "default"]).output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    ensure!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    Ok(text(&output.stdout))
}

fn says(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "{part:?} is not in:\n{text}");
    }
    Ok(())
}

/// What `engine show` tells of where an engine runs beside another one, once that says this.
async fn shown_beside(rig: &Rig, engine: &str, is_so: impl Fn(&EngineShadow) -> bool) -> Result<EngineShadow> {
    let look = async || {
        let shown: EngineDescription = rig.api.call(Operation::EngineShow, &json!({"name": engine})).await.ok()?;
        shown.shadows.into_iter().next().filter(|it| is_so(it))
    };
    eventually_some("where it runs beside is shown", SOON, look).await.with_context(|| rig.logs())
}

/// The same as people see it: the row of `web` in the table, cell by cell.
async fn row_beside(rig: &Rig, engine: &str) -> Result<Vec<String>> {
    let look = async || {
        let text = told(rig, &["engine", "show", engine]).ok()?;
        let mut table = text.split_once("\nas a shadow\n")?.1.lines().take_while(|line| line.starts_with("  "));
        let cells = |line: &str| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).map(str::to_owned).collect::<Vec<_>>();
        let headings = ["DOMAIN", "VERSION", "COMPARED", "DIFFERED", "FAILED", "NEWEST DIFFERENCE"];
        (cells(table.next()?) == headings).then(|| table.map(cells).find(|row| row[0] == "web"))?
    };
    eventually_some("where it runs beside is shown to people", SOON, look).await.with_context(|| rig.logs())
}

/// How asking engines has been going, as the host tells whoever asks for its statistics.
async fn figures(rig: &Rig) -> Result<DecisionFigures> {
    let answer = rig.api.nats().request("$SRV.STATS.pilothouse", "".into()).await?;
    let statistics: Value = serde_json::from_slice(&answer.payload)?;
    let figures: HostFigures = serde_json::from_value(statistics["endpoints"][0]["data"].clone())?;
    Ok(figures.decisions)
}

#[tokio::test]
async fn an_engine_that_fails_again_and_again_is_held_until_somebody_does_something() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _host = host(&rig, &[called(never(), "never", "1.0.0")])?;
    rig.add_web(brisk("never")).await?;
    sees(&rig, "it is held", |it| it.summary.held.is_some()).await?;

    let why = told(&rig, &["why", "web"])?;
    ensure!(why.starts_with("Domain web gets NO DECISIONS: its engine is HELD since "), "{why}");
    let failed = "never 1.0.0 failed 3 times in a row, last with trap, and there is no version to go back to";
    says(
        &why,
        &[failed, "pilothouse domain retry web", "pilothouse engine push FILE", "trap in decide: ", "  it failed in ", "units of fuel"],
    )?;
    says(&told(&rig, &["domain", "list"])?, &["HELD", failed])?;
    says(&told(&rig, &["domain", "describe", "web"])?, &["\nHELD       since ", failed])?;
    says(&told(&rig, &["history", "web"])?, &[&format!("web: HELD: {failed}\n")])?;
    let holds = || rig.happened().iter().filter(|it| matches!(it.what, Happened::Held { .. })).count();
    ensure!(holds() == 1, "{:?}", rig.happened());

    // Twice with one id is once.
    let request = json!({"domain": "web", "request_id": "again"});
    let answer = call(&rig.api, Operation::DomainRetry, request.clone()).await?;
    eventually("it is asked again, and held again", SOON, async || holds() == 2).await.with_context(|| rig.logs())?;
    ensure!(call(&rig.api, Operation::DomainRetry, request).await? == answer);
    ensure!(rig.describe().await?.summary.held.is_some(), "a repetition does nothing");
    says(&told(&rig, &["domain", "retry", "web"])?, &["domain web gives its engine another chance\n"])?;

    told(&rig, &["domain", "reconfigure", "web", "--engine", "simplest", "--set", "engine_conf.preserve_n=0"])?;
    let mended = sees(&rig, "another engine decides", |it| it.summary.fault.is_none() && it.summary.engine.name == "simplest").await?;
    ensure!(mended.summary.held.is_none() && mended.rejected.is_empty(), "{mended:#?}");
    Ok(())
}

#[tokio::test]
async fn a_version_that_was_rolled_back_comes_back_only_when_somebody_wants_that() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let (good, bad) = (|| called(content(), "guest", "1.0.0"), || called(never(), "guest", "2.0.0"));
    let first = host(&rig, &[good()])?;
    rig.add_web(brisk("guest")).await?;
    eventually("it decides", SOON, async || rig.happened().iter().any(|it| matches!(it.what, Happened::Decided { .. }))).await?;
    drop(first);

    let _host = host(&rig, &[good(), bad()])?;
    let swapped = |back: bool| {
        let of_kind = |it: &&_| matches!(it, Happened::Swapped { rolled_back, .. } if *rolled_back == back);
        rig.happened().iter().map(|it| &it.what).filter(of_kind).count()
    };
    let back = sees(&rig, "it takes 2.0.0 up and goes back", |it| it.summary.rolled_back.is_some()).await?;
    ensure!(back.summary.engine.version == "1.0.0" && back.rejected.len() == 1 && back.summary.held.is_none(), "{back:#?}");
    ensure!((swapped(false), swapped(true)) == (1, 1), "{:#?}", rig.happened());

    let why = told(&rig, &["why", "web"])?;
    says(
        &why,
        &[
            "was ROLLED BACK ",
            "from guest 2.0.0 to guest 1.0.0: trap in decide: ",
            "guest 2.0.0 is not taken up again by itself, a newer version is",
            "pilothouse domain retry web",
            "decided by guest 2.0.0 from now on, which is newer",
            "ROLLED BACK to guest 1.0.0: the version before failed 3 times in a row, last with trap",
        ],
    )?;
    says(&told(&rig, &["domain", "list"])?, &["ROLLED BACK"])?;
    says(&told(&rig, &["domain", "describe", "web"])?, &["\nwent back  from guest 2.0.0 (", "not taken up again by itself"])?;

    // Neither does another configuration bring it back, as long as that asks for the same engine.
    let diff = told(&rig, &["domain", "diff", "web", "--set", "general.decide_interval=0.3", "--output", "json"])?;
    ensure!(serde_json::from_str::<Value>(&diff)?["new_engine"].is_null(), "{diff}");
    let answer = rig.reconfigure(json!({"general": {"decide_interval": 0.3}})).await?;
    ensure!(answer["engine"]["version"] == "1.0.0", "{answer}");
    ensure!(rig.describe().await?.summary.rolled_back.is_some());

    told(&rig, &["domain", "retry", "web"])?;
    eventually("it is taken up again, and fails again", SOON, async || (swapped(false), swapped(true)) == (2, 2))
        .await
        .with_context(|| format!("{:#?}\n{}", rig.happened(), rig.logs()))?;
    // Who asks for something else gets the newest of that.
    let answer = rig.reconfigure(json!({"general": {"engine": "guest@2"}})).await?;
    ensure!(answer["engine"]["version"] == "2.0.0", "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_version_that_would_not_take_the_configuration_waits_for_one_that_it_takes() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let old = || called(content(), "guest", "1.0.0");
    let schema = r#"{\22required\22:[\22x\22]}"#;
    let new = || {
        let demanding = called(content(), "guest", "2.0.0").with("docs\\00\\00\\00\\00{}", &format!("docs\\00\\00\\00\\00{schema}"));
        demanding.with("\\58\\00\\00\\00\\02\\00", "\\58\\00\\00\\00\\12\\00")
    };
    let first = host(&rig, &[old()])?;
    rig.add_web(brisk("guest")).await?;
    eventually("it decides", SOON, async || rig.happened().iter().any(|it| matches!(it.what, Happened::Decided { .. }))).await?;
    drop(first);

    let _host = host(&rig, &[old(), new()])?;
    let why = eventually_some("it is told", SOON, async || told(&rig, &["why", "web"]).ok().filter(|it| it.contains("NOT TAKE UP"))).await;
    says(&why.with_context(|| rig.logs())?, &["Domain web does NOT TAKE UP guest 2.0.0: ", "pilothouse domain reconfigure web"])?;
    // What it does not take the engine in force may take.
    let answer = rig.reconfigure(json!({"general": {"decide_interval": 0.3}})).await?;
    ensure!(answer["engine"]["version"] == "1.0.0", "{answer}");
    let answer = rig.reconfigure(json!({"engine_conf": {"x": 1}})).await?;
    ensure!(answer["engine"]["version"] == "2.0.0", "{answer}");
    ensure!(!told(&rig, &["why", "web"])?.contains("NOT TAKE UP"));
    Ok(())
}

#[tokio::test]
async fn what_runs_beside_is_compared_counted_and_never_carried_out() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let _site = rig.site("local").await?;
    // It asks for an instance in every decision.
    let greedy = called(Guest::new("ask"), "wants", "1.0.0").with("\"type\\00\\00\\00\\00site\"", "\"type\\00\\00\\00\\00none\"");
    let _host = host(&rig, &[greedy, called(never(), "never", "1.0.0")])?;
    rig.add_web(keep(0, "local")).await?;
    sees(&rig, "it is stable", |it| it.summary.reason.contains("healthy") || !it.summary.reason.is_empty()).await?;

    ensure!(figures(&rig).await?.shadows == 0);
    says(
        &told(&rig, &["domain", "shadow", "web", "--engine", "wants"])?,
        &["wants 1.0.0 runs beside the engine of domain web, as a shadow"],
    )?;
    let beside = sees(&rig, "it was compared", |it| it.shadow.as_ref().is_some_and(|it| it.shadow.tally.differed >= 3)).await?;
    let shadow = beside.shadow.context("a shadow")?.shadow;
    ensure!(shadow.engine.name == "wants" && shadow.reference == "wants" && shadow.by.as_str() == "default", "{shadow:#?}");
    ensure!(beside.instances.is_empty() && rig.ledger.starts().is_empty(), "{:?}", rig.ledger.starts());
    let why = told(&rig, &["why", "web"])?;
    says(
        &why,
        &[
            "  a shadow runs beside: wants 1.0.0 (",
            " DIFFERED\n",
            "    the newest difference, ",
            "it would launch ",
            "    it never comes into force by itself\n",
            "wants 1.0.0 runs beside, as a shadow by default",
        ],
    )?;
    ensure!(why.starts_with("Domain web is stable"), "{why}");
    says(&told(&rig, &["history", "web"])?, &["web: its shadow wants 1.0.0 differs: it would launch "])?;
    says(&told(&rig, &["domain", "describe", "web"])?, &["\nshadow     wants 1.0.0 (", " DIFFERED"])?;
    let shown = shown_beside(&rig, "wants", |it| it.shadow.shadow.tally.differed >= 3).await?;
    let tally = &shown.shadow.shadow.tally;
    let last = tally.last.as_ref().context("the newest difference")?;
    ensure!(shown.domain.as_str() == "web" && tally.compared >= tally.differed && tally.failed == 0, "{shown:#?}");
    ensure!(last.places == [Where::Launches, Where::Status] && last.words.starts_with("it would launch "), "{shown:#?}");
    ensure!(last.words.ends_with("it calls the domain pending, the engine in force stable"), "{shown:#?}");
    let row = row_beside(&rig, "wants").await?;
    let [domain, version, compared, differed, failed, newest] = &row[..] else { bail!("{row:?}") };
    let number = |cell: &String| cell.parse::<u64>().with_context(|| format!("{cell:?} in {row:?}"));
    ensure!([domain, version, failed] == ["web", "1.0.0", "0"], "{row:?}");
    ensure!(number(differed)? >= 3 && number(compared)? >= number(differed)?, "{row:?}");
    ensure!(newest.contains("Z: it would launch ") && newest.ends_with("the engine in force stable"), "{row:?}");
    let counted = figures(&rig).await?;
    ensure!(counted.shadows >= tally.compared && counted.asked >= counted.shadows, "{counted:#?}");

    // Another one takes its place, and fails. That is nobody else's trouble.
    told(&rig, &["domain", "shadow", "web", "--engine", "never", "--promote-after", "1s"])?;
    let failing = sees(&rig, "its shadow fails", |it| it.shadow.as_ref().is_some_and(|it| it.shadow.tally.failed >= 3)).await?;
    ensure!(failing.summary.fault.is_none() && failing.summary.engine.name == "simplest", "{failing:#?}");
    says(&told(&rig, &["why", "web"])?, &["no decision compared yet, ", " of it FAILED\n", "decide failed: trap: "])?;
    let shown = shown_beside(&rig, "never", |it| it.shadow.shadow.tally.failed >= 3).await?;
    let tally = &shown.shadow.shadow.tally;
    ensure!((tally.compared, tally.differed) == (0, 0), "{shown:#?}");
    ensure!(
        tally.last.as_ref().is_some_and(|it| it.places == [Where::Failed] && it.words.starts_with("decide failed: trap: ")),
        "{shown:#?}"
    );
    let row = row_beside(&rig, "never").await?;
    ensure!(row.len() == 6 && row[..4] == ["web", "1.0.0", "0", "0"] && row[5].contains("Z: decide failed: trap: "), "{row:?}");

    says(&told(&rig, &["domain", "shadow", "web", "--off"])?, &["no shadow runs beside the engine of domain web\n"])?;
    let end = figures(&rig).await?;
    ensure!(
        end.shadows >= counted.shadows + tally.failed && end.faults.is_empty() && end.swaps == 0,
        "none of that is its domain's: {end:#?}"
    );
    let goes_on = async || figures(&rig).await.is_ok_and(|it| it.asked >= end.asked + 3);
    eventually("the engine in force is asked on", SOON, goes_on).await.with_context(|| rig.logs())?;
    ensure!(figures(&rig).await?.shadows == end.shadows, "what runs beside no more is not asked");
    let shown: EngineDescription = rig.api.call(Operation::EngineShow, &json!({"name": "never"})).await?;
    ensure!(shown.shadows.is_empty() && !told(&rig, &["engine", "show", "never"])?.contains("as a shadow"), "{shown:#?}");
    ensure!(rig.describe().await?.shadow.is_none());
    // The engine that decides is no shadow.
    let refused = told(&rig, &["domain", "shadow", "web", "--engine", "simplest"]).map_err(|error| error.to_string());
    ensure!(refused.as_ref().is_err_and(|error| error.contains("decides domain web already")), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn what_ran_beside_and_wanted_the_same_for_long_enough_comes_into_force() -> Result<()> {
    let rig = Rig::new(PROGRAM).await?;
    let site = rig.site("local").await?;
    let _host = host(&rig, &[])?;
    rig.add_web(keep(1, "local")).await?;
    let before = rig.settles_at(1).await?;
    told(&rig, &["domain", "shadow", "web", "--engine", "npreserving", "--promote-after", "2s"])?;
    says(&told(&rig, &["why", "web"])?, &["  a shadow runs beside: npreserving ", "    it comes into force "])?;
    let promoted = sees(&rig, "it comes into force", |it| it.summary.engine.name == "npreserving" && it.shadow.is_none()).await?;
    ensure!(promoted.config["general"]["engine"] == "npreserving", "{:#}", promoted.config);
    says(
        &told(&rig, &["why", "web"])?,
        &["decided by npreserving ", "as a shadow it wanted the same for ", "and default had asked for that"],
    )?;
    let after = rig.settles_at(1).await?;
    ensure!(before[0].instance_id == after[0].instance_id && rig.ledger.starts().len() == 1, "{after:#?}");
    let story = told(&rig, &["why", "web", "0"])?;
    says(&story, &["decided by simplest ", ", which is not in force any more (npreserving "])?;
    drop(site);
    Ok(())
}
