//! The Prometheus servers that a host may ask: the section `[prometheus.NAME]` of its configuration file.
//!
//! Domains name a source, and the operator of the host says here what stands behind the name. What is secret is in files of its own, read
//! when a question is asked: a token that was changed is used from the next question on, and none is in any configuration.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pilothouse_core::config::ConfigProblem;
use pilothouse_core::name::Name;
use pilothouse_core::pointer::escaped;
use reqwest::Url;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The largest file with a token or a password, in bytes.
const MAX_SECRET: u64 = 64 * 1024;

/// One server with the HTTP API of Prometheus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrometheusSource {
    /// The base of its HTTP API, such as `http://localhost:9090`; `/api/v1/query` is added to it. Nothing is asked anywhere else: redirects are
    /// not followed.
    pub url: String,
    /// A file with a token that is sent as `Authorization: Bearer`, seen from the folder of this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bearer_token_file: Option<PathBuf>,
    /// The user of HTTP Basic authentication; goes with `password_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file with the password of that user, seen from the folder of this file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

/// What a host shows to a source, with its secret.
pub(crate) enum Credentials {
    /// Nothing.
    None,
    /// A bearer token.
    Token(String),
    /// A user and a password.
    Basic(String, String),
}

impl PrometheusSource {
    /// Judges what is written, without looking at files. `at` is where it is written.
    pub(crate) fn judge(&self, at: &str, problems: &mut Vec<ConfigProblem>) {
        let mut problem = |key: &str, message: &str| problems.push(ConfigProblem::new(format!("{at}/{key}"), message));
        if let Err(message) = self.query_url() {
            problem("url", message);
        }
        if self.bearer_token_file.is_some() && (self.username.is_some() || self.password_file.is_some()) {
            problem("bearer_token_file", "a token or a user with a password, not both");
        }
        match (&self.username, &self.password_file) {
            (Some(_), None) => problem("username", "goes with password_file, which is not given"),
            (None, Some(_)) => problem("password_file", "goes with username, which is not given"),
            (Some(username), _) if username.contains(':') => problem("username", "has a colon, which HTTP does not allow in it"),
            _ => {}
        }
    }

    /// Where questions go.
    ///
    /// # Errors
    /// What is wrong with `url`, in words that never repeat it: there may be a password in it.
    pub(crate) fn query_url(&self) -> Result<Url, &'static str> {
        let mut url = Url::parse(&self.url).map_err(|_| "expected an address such as http://localhost:9090")?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err("expected an address that begins with http:// or https://");
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("a password in an address would be shown; use username and password_file");
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err("expected an address without ? and #");
        }
        let path = format!("{}/api/v1/query", url.path().trim_end_matches('/'));
        url.set_path(&path);
        Ok(url)
    }

    /// Relative paths are seen from this folder from now on.
    pub(crate) fn seen_from(&mut self, folder: &Path) {
        for path in [&mut self.bearer_token_file, &mut self.password_file].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }

    /// What is wrong with its files. Reads them.
    pub(crate) fn judge_files(&self, at: &str, problems: &mut Vec<ConfigProblem>) {
        for (key, path) in [("bearer_token_file", &self.bearer_token_file), ("password_file", &self.password_file)] {
            if let Some(Err(error)) = path.as_deref().map(secret) {
                problems.push(ConfigProblem::new(format!("{at}/{key}"), error));
            }
        }
    }

    /// What is shown to it now. Reads a file: not for the threads of the runtime.
    ///
    /// # Errors
    /// When the file can't be read, with its path: for the log, not for users.
    pub(crate) fn credentials(&self) -> Result<Credentials, String> {
        Ok(match (&self.bearer_token_file, &self.username, &self.password_file) {
            (Some(path), ..) => Credentials::Token(secret(path)?),
            (None, Some(username), Some(path)) => Credentials::Basic(username.clone(), secret(path)?),
            _ => Credentials::None,
        })
    }
}

/// What is in a file, without the new line that editors add. An error never tells any of it.
fn secret(path: &Path) -> Result<String, String> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let metadata = std::fs::metadata(path).map_err(|error| told(&error))?;
    // A pipe would keep the host waiting.
    if !metadata.is_file() || metadata.len() > MAX_SECRET {
        return Err(told(&format_args!("expected a file of at most {MAX_SECRET} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| told(&error))?;
    let text = text.strip_suffix('\n').map_or(&*text, |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(told(&"expected one line of text"));
    }
    Ok(text.to_owned())
}

/// Judges sources by their names, as far as that is possible without looking at files.
pub(crate) fn judge(sources: &BTreeMap<String, PrometheusSource>, problems: &mut Vec<ConfigProblem>) {
    for (name, source) in sources {
        let at = place(name);
        if let Err(error) = name.parse::<Name>() {
            problems.push(ConfigProblem::new(&*at, error.to_string()));
        }
        source.judge(&at, problems);
    }
}

/// Judges the files that sources name.
pub(crate) fn judge_files(sources: &BTreeMap<String, PrometheusSource>, problems: &mut Vec<ConfigProblem>) {
    for (name, source) in sources {
        source.judge_files(&place(name), problems);
    }
}

fn place(name: &str) -> String {
    format!("/prometheus/{}", escaped(name))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn problems(source: Value) -> Vec<String> {
        let sources = [("main".to_owned(), serde_json::from_value(source).expect("the keys are right"))].into();
        let mut problems = Vec::new();
        judge(&sources, &mut problems);
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn questions_go_below_the_base() {
        for (url, query) in [
            ("http://localhost:9090", "http://localhost:9090/api/v1/query"),
            ("https://a.example/prom/", "https://a.example/prom/api/v1/query"),
        ] {
            let source: PrometheusSource = serde_json::from_value(json!({"url": url})).expect("good");
            assert_eq!(source.query_url().map(String::from), Ok(query.to_owned()));
        }
    }

    #[test]
    fn whatever_is_wrong_is_named_by_its_key_and_no_password_is_repeated() {
        assert_eq!(problems(json!({"url": "http://localhost:9090"})), Vec::<String>::new());
        for (wrong, named) in [
            (json!({"url": "localhost"}), "/prometheus/main/url: expected an address such as"),
            (json!({"url": "ftp://localhost/"}), "/prometheus/main/url: expected an address that begins"),
            (json!({"url": "file:///etc/passwd"}), "/prometheus/main/url: expected an address that begins"),
            (json!({"url": "http://ann:hunter2@localhost"}), "/prometheus/main/url: a password in an address"),
            (json!({"url": "http://localhost/?token=hunter2"}), "/prometheus/main/url: expected an address without"),
            (json!({"url": "http://a", "username": "ann"}), "/prometheus/main/username: goes with password_file"),
            (json!({"url": "http://a", "password_file": "p"}), "/prometheus/main/password_file: goes with username"),
            (json!({"url": "http://a", "username": "a:b", "password_file": "p"}), "/prometheus/main/username: has a colon"),
            (
                json!({"url": "http://a", "username": "ann", "password_file": "p", "bearer_token_file": "t"}),
                "/prometheus/main/bearer_token_file: a token or a user",
            ),
        ] {
            let found = problems(wrong);
            assert!(found.len() == 1 && found[0].starts_with(named) && !found[0].contains("hunter2"), "{named} is not in {found:?}");
        }
        let mut found = Vec::new();
        judge(&[("a/b".to_owned(), serde_json::from_value(json!({"url": "http://a"})).expect("good"))].into(), &mut found);
        assert!(found.len() == 1 && found[0].at == "/prometheus/a~1b", "{found:?}");
    }

    #[test]
    fn secrets_are_read_when_they_are_used() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut source: PrometheusSource = serde_json::from_value(json!({"url": "http://a", "bearer_token_file": "token"})).expect("good");
        source.seen_from(folder.path());
        let found = |source: &PrometheusSource| {
            let mut problems = Vec::new();
            source.judge_files("/prometheus/main", &mut problems);
            problems.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert!(found(&source)[0].starts_with("/prometheus/main/bearer_token_file: "), "{:?}", found(&source));
        for (text, token) in [("one\n", Some("one")), ("two", Some("two")), ("", None), ("a\nb\n", None)] {
            std::fs::write(folder.path().join("token"), text).expect("written");
            assert_eq!(found(&source).is_empty(), token.is_some(), "{text:?}");
            let shown = source.credentials().ok();
            assert_eq!(shown.map(|it| matches!(it, Credentials::Token(shown) if Some(&*shown) == token)), token.map(|_| true));
        }
    }
}
