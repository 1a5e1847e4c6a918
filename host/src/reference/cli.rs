//! `cli.md`: every command, from the parser itself.
//!
//! Written here instead of taken from the help texts, which follow the width of the terminal and show what the environment says just now.

use clap::{Arg, ArgAction, Command};

use super::head;
use super::markdown::cell;

/// The page of a program.
pub(super) fn page(program: &Command) -> String {
    let mut text = head("Command line");
    text +=
        "Options of a group hold for all commands in it, and may also be given after them. Every command has `--help` and `--version`.\n\n";
    let mut all = Vec::new();
    // Before it is built for a parse: then every command would have a copy of what holds for its group.
    collect(program, "", &mut all);
    for (path, _) in &all {
        let depth = path.matches(' ').count();
        text += &format!("{}- [`{path}`](#{})\n", "  ".repeat(depth), path.replace(' ', "-"));
    }
    for (path, command) in &all {
        text += &format!("\n## {path}\n\n{}", section(path, command));
    }
    text
}

fn collect<'c>(command: &'c Command, above: &str, all: &mut Vec<(String, &'c Command)>) {
    let path = format!("{above} {}", command.get_name()).trim().to_owned();
    all.push((path.clone(), command));
    command.get_subcommands().filter(|it| it.get_name() != "help" && !it.is_hide_set()).for_each(|it| collect(it, &path, all));
}

fn section(path: &str, command: &Command) -> String {
    let mut text = format!("{}\n\n", command.get_long_about().or_else(|| command.get_about()).map(ToString::to_string).unwrap_or_default());
    text += &format!("```text\n{}\n```\n", usage(path, command));
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    let (positional, options): (Vec<&Arg>, Vec<&Arg>) = shown.partition(|arg| arg.is_positional());
    for (title, args) in [("argument", positional), ("option", options)] {
        if !args.is_empty() {
            text += &format!("\n| {title} | default | environment | meaning |\n|---|---|---|---|\n");
            args.into_iter().for_each(|arg| text += &row(arg));
        }
    }
    if let Some(after) = command.get_after_long_help().or_else(|| command.get_after_help()) {
        text += &format!("\n```text\n{}\n```\n", after.to_string().trim_end());
    }
    text
}

fn usage(path: &str, command: &Command) -> String {
    let mut words = path.to_owned();
    if command.get_opts().any(|arg| !arg.is_hide_set()) {
        words += " [OPTIONS]";
    }
    for arg in command.get_positionals().filter(|arg| !arg.is_hide_set()) {
        let many = if matches!(arg.get_action(), ArgAction::Append) { "..." } else { "" };
        let name = value_names(arg);
        words += &if arg.is_required_set() { format!(" <{name}>{many}") } else { format!(" [{name}]{many}") };
    }
    if command.has_subcommands() {
        words += " <COMMAND>";
    }
    words
}

fn value_names(arg: &Arg) -> String {
    let names: Vec<_> = arg.get_value_names().unwrap_or_default().iter().map(ToString::to_string).collect();
    if names.is_empty() { arg.get_id().as_str().to_uppercase() } else { names.join(" ") }
}

fn row(arg: &Arg) -> String {
    let long = arg.get_long().map(|name| format!("--{name}"));
    let short = arg.get_short().map(|name| format!("-{name}"));
    let flags = [short, long].into_iter().flatten().collect::<Vec<_>>().join(", ");
    let value = if arg.get_action().takes_values() { value_names(arg) } else { String::new() };
    let name = format!("{flags} {value}").trim().to_owned();
    let mut meaning = arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
    let (said_default, said_env) = (take_out(&mut meaning, "default"), take_out(&mut meaning, "env"));
    let code = |text: String| format!("`{text}`");
    let has_default = arg.get_action().takes_values() && !arg.is_hide_default_value_set() && !arg.get_default_values().is_empty();
    let default = if has_default {
        arg.get_default_values().iter().map(|value| code(value.to_string_lossy().into_owned())).collect::<Vec<_>>().join(" ")
    } else {
        said_default.unwrap_or_default()
    };
    let env = arg.get_env().map(|name| name.to_string_lossy().into_owned()).or(said_env).map(code).unwrap_or_default();
    let words: Vec<_> = arg.get_possible_values().iter().filter(|it| !it.is_hide_set()).map(|it| format!("`{}`", it.get_name())).collect();
    if arg.get_action().takes_values() && !words.is_empty() {
        meaning += &format!(". One of {}", words.join(", "));
    }
    if arg.is_required_set() {
        meaning += " (required)";
    }
    format!("| `{}` | {} | {env} | {} |\n", cell(&name), cell(&default), cell(&meaning))
}

/// Takes a remark like `[default: random]` out of a help text: what is not a plain value is said there, and has a column here.
fn take_out(text: &mut String, what: &str) -> Option<String> {
    let begin = text.find(&format!("[{what}: "))?;
    let end = begin + text[begin..].find(']')?;
    let said = text[begin..end].split_once(": ")?.1.to_owned();
    *text = format!("{}{}", text[..begin].trim_end(), &text[end + 1..]);
    Some(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remarks_in_a_help_text_have_columns_of_their_own() {
        let arg = Arg::new("nats").long("nats").value_name("A|B").help("Where [env: PILOTHOUSE_NATS] [default: random]");
        assert_eq!(row(&arg), "| `--nats A\\|B` | random | `PILOTHOUSE_NATS` | Where |\n");
    }

    #[test]
    fn every_command_and_every_argument_is_told() {
        let page = page(&crate::cli::command());
        let program = crate::cli::command();
        let mut all = Vec::new();
        collect(&program, "", &mut all);
        assert!(all.len() > 15, "{}", all.len());
        for (path, command) in all {
            assert!(page.contains(&format!("\n## {path}\n")), "{path}");
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                if let Some(long) = arg.get_long().filter(|long| !["help", "version"].contains(long)) {
                    assert!(page.contains(&format!("--{long}")), "{path} --{long}");
                }
            }
        }
    }
}
