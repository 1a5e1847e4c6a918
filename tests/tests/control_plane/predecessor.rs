//! What the tests of EPU management check, the system before this one, each by the same intent: asked over a real nats-server, of a host that
//! does not look after the domains. The table in `tests/README.md` maps theirs to ours.

mod engines;
mod instances;
mod operations;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// How many tests of EPU management there are.
const THEIRS: usize = 20;

#[test]
fn the_table_names_what_is_there() -> Result<()> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = fs::read_to_string(tests.join("README.md"))?;
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| line.starts_with("| `test_")).map(|line| line.split('|').map(str::trim).collect()).collect();
    ensure!(rows.len() == THEIRS, "{} rows", rows.len());
    for row in rows {
        let name = row[1].trim_matches('`').replacen("test_", "predecessor_", 1);
        let is_there = tests.join("scenarios/control").join(&name).with_extension("toml").exists();
        let expected = if is_there { format!("`{name}`") } else { "–".to_owned() };
        ensure!(row[2] == expected, "{} instead of {expected}", row[2]);
        let (module, test) = row[3].trim_matches('`').rsplit_once("::").with_context(|| format!("{row:?} names no test"))?;
        let file = match module {
            "leadership" => tests.join("tests/leadership.rs"),
            module => tests.join("tests/control_plane/predecessor").join(module).with_extension("rs"),
        };
        let source = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        ensure!(source.contains(&format!("async fn {test}()")), "{} has no {test}", file.display());
    }
    Ok(())
}
