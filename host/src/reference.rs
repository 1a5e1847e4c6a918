//! The reference in `docs/reference`: written from the code, so that it can't say anything else.
//!
//! [`pages`] makes every page from what the program itself uses: the parser of the command line, the types of messages and configurations,
//! the table of operations, and the one place that builds subjects. A test compares them with the folder; `cargo xtask reference` writes them
//! anew. Nothing here is read by a running host except [`endpoint_metadata`], which is what discovery shows of an operation.

mod asyncapi;
mod cli;
mod config;
mod endpoint;
mod examples;
mod markdown;
mod messages;
mod metrics;
mod subjects;
mod traffic;

pub(crate) use endpoint::endpoint_metadata;

/// How the reference is written anew.
pub const RECIPE: &str = "cargo xtask reference";

/// One file of the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// Its name in `docs/reference`.
    pub name: &'static str,
    /// What is in it.
    pub text: String,
}

/// Every file of the reference, the same whatever machine, terminal or environment it is made in.
pub fn pages() -> Vec<Page> {
    let traffic = traffic::Traffic::all();
    let page = |name, text| Page { name, text };
    vec![
        page("README.md", index()),
        page("cli.md", cli::page(&crate::cli::command())),
        page("config.md", config::page()),
        page("domain-config.schema.json", markdown::json(&config::domain_schema())),
        page("api.asyncapi.json", markdown::json(&asyncapi::document(&traffic))),
        page("subjects.md", subjects::page(&traffic)),
        page("messages.md", messages::page(&traffic)),
        page("metrics.md", metrics::page()),
    ]
}

/// What every page begins with.
fn head(title: &str) -> String {
    format!("<!-- Written by `{RECIPE}` from the code. Changes made here are lost. -->\n\n# {title}\n\n")
}

fn index() -> String {
    head("Reference")
        + "Written from the code, and compared with it by a test.\n\n\
           | page | what it tells |\n|---|---|\n\
           | [cli.md](cli.md) | every command of `pilothouse`, its arguments, defaults and environment variables |\n\
           | [config.md](config.md) | every key of every file: domains, hosts, `pilothouse up`, deployable types, agents |\n\
           | [domain-config.schema.json](domain-config.schema.json) | the configuration of a domain as JSON Schema |\n\
           | [subjects.md](subjects.md) | every NATS subject: who speaks to whom, and with which message |\n\
           | [messages.md](messages.md) | every message, field by field, with examples |\n\
           | [api.asyncapi.json](api.asyncapi.json) | subjects and messages as AsyncAPI 3.0, for tools |\n\
           | [metrics.md](metrics.md) | the figures that hosts tell, and how to ask for them |\n"
}
