//! `pilothouse engine list`: a line for each engine.

use super::show::{file_words, sources_words};
use crate::api::{EngineList, EngineState, EngineSummary, ListEngines, Operation};
use crate::commands::caller::CallerArgs;
use crate::output::{clean, count, table};

/// Lists the engines that there are, and how far hosts are with them
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine list
  pilothouse engine list --output json | jq -r '.engines[] | select(.pinned) | .name'

IN EFFECT is the version of a domain that asks for nothing but the name; READY, on how many of the hosts that answer it can be used at once.")]
pub(super) struct ListArgs {
    #[command(flatten)]
    pub(super) client: CallerArgs,
}

/// Asks and shows the answer.
pub(super) async fn run(args: ListArgs) -> anyhow::Result<()> {
    let list: EngineList = args.client.connect().await?.call(Operation::EngineList, &ListEngines {}).await?;
    Ok(args.client.output.print(&list, text)?)
}

fn text(list: &EngineList) -> String {
    let rows: Vec<_> = list.engines.iter().map(row).collect();
    let mut text = if rows.is_empty() {
        "no engines\n".to_owned()
    } else {
        table(["NAME", "IN EFFECT", "DIGEST", "VERSIONS", "FROM", "READY", "DOMAINS"], &rows)
    };
    for file in &list.files {
        text += &file_words(file);
    }
    for name in &list.unreadable {
        text += &format!("{name}: what the registry says of it can't be read by this version; domains go on with what they have\n");
    }
    if list.left_out > 0 {
        text += &format!("and {} that did not fit\n", count(list.left_out, "engine"));
    }
    text
}

fn row(engine: &EngineSummary) -> [String; 7] {
    let EngineSummary { name, in_effect, digest, pinned, versions, sources, ready, used_by } = engine;
    let in_effect = in_effect.as_deref().map_or_else(|| "none".to_owned(), clean);
    let pinned = if *pinned { ", pinned" } else { "" };
    let is = |is: fn(&EngineState) -> bool| ready.iter().filter(|host| is(&host.state)).count();
    let refused = match is(|state| matches!(state, EngineState::Refused { .. })) {
        0 => String::new(),
        refused => format!(", REFUSED by {refused}"),
    };
    let able = is(|state| matches!(state, EngineState::Ready { .. }));
    [
        name.to_string(),
        format!("{in_effect}{pinned}"),
        digest.iter().flat_map(|digest| digest.chars().take(12)).collect(),
        versions.to_string(),
        sources_words(sources),
        format!("{able}/{}{refused}", ready.len()),
        used_by.map_or_else(|| "?".to_owned(), |used_by| used_by.to_string()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{EngineOnHost, EngineSource};

    #[test]
    fn a_table_of_engines() {
        let on = |host: &str, state| EngineOnHost { host: host.parse().expect("a name"), state };
        let ready = || EngineState::Ready { compile_ms: 3, from_cache: true };
        let engine = |name: &str, sources, ready| EngineSummary {
            name: name.parse().expect("a name"),
            in_effect: Some("1.2.0".to_owned()),
            digest: Some("0123456789abcdef".to_owned()),
            pinned: false,
            versions: 3,
            sources,
            ready,
            used_by: Some(12),
        };
        let mut own = engine("simplest", vec![EngineSource::BuiltIn], vec![on("a", ready()), on("b", ready())]);
        (own.in_effect, own.digest, own.used_by) = (None, None, None);
        let refused = EngineState::Refused { reason: "no".to_owned() };
        let mut keep = engine("keep", vec![EngineSource::Folder, EngineSource::Pushed], vec![on("a", ready()), on("b", refused)]);
        keep.pinned = true;
        let list =
            EngineList { engines: vec![keep, own], unreadable: vec!["odd".parse().expect("a name")], left_out: 2, ..EngineList::default() };
        assert_eq!(
            text(&list),
            "NAME      IN EFFECT      DIGEST        VERSIONS  FROM            READY              DOMAINS\n\
             keep      1.2.0, pinned  0123456789ab  3         folder, pushed  1/2, REFUSED by 1  12\n\
             simplest  none                         3         built in        2/2                ?\n\
             odd: what the registry says of it can't be read by this version; domains go on with what they have\n\
             and 2 engines that did not fit\n"
        );
        assert_eq!(text(&EngineList::default()), "no engines\n");
    }
}
