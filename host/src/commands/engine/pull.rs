//! `pilothouse engine pull`: a component from somewhere else, checked against its digest, then pushed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Client, Response, StatusCode, Url, redirect};
use rustls::RootCertStore;

use super::component::{MAX_BYTES, STANDARD, must_be_wasm, read, said_by_name};
use super::push::{PushHow, push};
use super::sum;
use crate::commands::caller::CallerArgs;
use crate::driver::registry::digest_of;
use crate::failure::Failure;
use crate::output::clean;

/// How long a server may take to be reached.
const REACHED: Duration = Duration::from_secs(10);

/// How long it may say nothing.
const SILENT: Duration = Duration::from_secs(30);

/// How long all of it may take.
const WHOLE: Duration = Duration::from_secs(600);

/// How often a server may send us elsewhere.
const MAX_REDIRECTS: usize = 5;

/// Fetches a component from an address or a file, checks its digest, and pushes it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pilothouse engine pull https://example.org/engines/keep@1.2.0.wasm
  pilothouse engine pull /srv/engines/keep.wasm --digest sha256:5df6e0e2761359d30a8275058e299fcc0381534545f55cf43e41983f5d4c9456
  ssh vault cat keep.wasm | pilothouse engine pull - --expect keep@1.2.0

Without --digest it looks for a file of the same name with .sha256 at its end, in the format of sha256sum. When the digest is another one,
nothing is pushed. When there is none, that is said, and the component is pushed as it is.")]
pub(super) struct PullArgs {
    /// Where it is: an address (http or https) or a file; `-` for standard input
    #[arg(value_name = "URL|FILE")]
    from: String,
    /// SHA-256 that it must have
    #[arg(long, value_name = "DIGEST", value_parser = digest)]
    digest: Option<String>,
    #[command(flatten)]
    how: PushHow,
    #[command(flatten)]
    pub(super) client: CallerArgs,
}

fn digest(text: &str) -> Result<String, String> {
    sum::digest(text).ok_or_else(|| "expected SHA-256 as 64 hexadecimal digits".to_owned())
}

/// Fetches, checks and pushes it.
pub(super) async fn run(args: PullArgs) -> anyhow::Result<()> {
    let PullArgs { from, digest, mut how, client } = args;
    let (component, beside) = match url(&from)? {
        Some(url) => fetched(&url, digest.is_none()).await?,
        None => from_file(Path::new(&from), digest.is_none())?,
    };
    let shown = clean(&from);
    must_be_wasm(&shown, &component)?;
    match digest.or(beside) {
        Some(expected) => {
            let found = digest_of(&component);
            if found != expected {
                let wrong = format!("{shown} has the digest {found}, not {expected}: nothing was pushed");
                return Err(Failure::Checks(wrong).into());
            }
        }
        None => eprintln!("pilothouse: {shown}: no digest to check it against: --digest, or a file beside it that ends in .sha256"),
    }
    how.expect = how.expect.or_else(|| said_by_name(Path::new(from.split(['?', '#']).next().unwrap_or_default())));
    let caller = client.connect().await?;
    push(&caller, &client, &shown, &component, &how).await
}

/// The address, if it is one and no file.
fn url(from: &str) -> anyhow::Result<Option<Url>> {
    if !from.contains("://") {
        return Ok(None);
    }
    let url: Url = from.parse().map_err(|error| Failure::Invalid(format!("{from:?} is no address: {error}")))?;
    match url.scheme() {
        "http" | "https" => Ok(Some(url)),
        scheme => Err(Failure::Invalid(format!("{from:?}: expected http or https, not {scheme}")).into()),
    }
}

/// A component, and the digest that lies beside it.
fn from_file(path: &Path, look_beside: bool) -> anyhow::Result<(Vec<u8>, Option<String>)> {
    let component = read(path)?;
    if path == Path::new(STANDARD) || !look_beside {
        return Ok((component, None));
    }
    let beside: PathBuf = sum::beside(path);
    match std::fs::read_to_string(&beside) {
        Ok(text) => Ok((component, Some(must_be_sum(&beside.display().to_string(), &text)?))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok((component, None)),
        Err(error) => Err(Failure::Invalid(format!("reading {}: {error}", beside.display())).into()),
    }
}

/// The same from a server.
async fn fetched(url: &Url, look_beside: bool) -> anyhow::Result<(Vec<u8>, Option<String>)> {
    let client = http(url.scheme() == "https")?;
    let all = async {
        let beside = if look_beside { sum_from(&client, &sum::beside_url(url)).await? } else { None };
        Ok((body(answer(&client, url).await?, MAX_BYTES).await?, beside))
    };
    tokio::time::timeout(WHOLE, all).await.map_err(|_| Failure::Unavailable(format!("{url}: not whole within {} s", WHOLE.as_secs())))?
}

/// The digest at an address; nothing when the server has none there.
async fn sum_from(client: &Client, url: &Url) -> anyhow::Result<Option<String>> {
    let response = client.get(url.clone()).send().await.map_err(|error| unreachable(url, &error))?;
    if matches!(response.status(), StatusCode::NOT_FOUND | StatusCode::GONE | StatusCode::FORBIDDEN) {
        return Ok(None);
    }
    let text = body(good(url, response)?, sum::MAX_BYTES).await?;
    must_be_sum(url.as_str(), &String::from_utf8_lossy(&text)).map(Some)
}

fn must_be_sum(name: &str, text: &str) -> anyhow::Result<String> {
    Ok(sum::read(text)
        .ok_or_else(|| Failure::Checks(format!("{}: there is no digest in it; --digest says what is expected", clean(name))))?)
}

async fn answer(client: &Client, url: &Url) -> anyhow::Result<Response> {
    let response = client.get(url.clone()).send().await.map_err(|error| unreachable(url, &error))?;
    good(url, response)
}

fn good(url: &Url, response: Response) -> anyhow::Result<Response> {
    match response.status() {
        status if status.is_success() => Ok(response),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(Failure::NotFound(format!("{url}: the server has nothing there")).into()),
        status => Err(Failure::Unavailable(format!("{url}: the server answers {status}")).into()),
    }
}

/// The content of an answer, as far as it is taken.
async fn body(mut response: Response, most: usize) -> anyhow::Result<Vec<u8>> {
    let url = response.url().clone();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(&url, &error))? {
        if body.len() + chunk.len() > most {
            return Err(Failure::Invalid(format!("{url}: more than {most} bytes, which are not taken")).into());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The innermost cause tells most.
fn unreachable(url: &Url, error: &reqwest::Error) -> anyhow::Error {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    let what = if error.is_redirect() { "it sends us elsewhere again and again" } else { "it can't be had" };
    Failure::Unavailable(format!("{url}: {what}: {cause}")).into()
}

/// A client that trusts whom this machine trusts. Proxies are as the environment says.
fn http(secure: bool) -> anyhow::Result<Client> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if secure && roots.is_empty() {
        let advice = "this machine trusts no certificates; install them (on Debian: ca-certificates), or set SSL_CERT_FILE";
        return Err(Failure::Unavailable(advice.to_owned()).into());
    }
    let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("a client for HTTP")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Client::builder()
        .tls_backend_preconfigured(tls)
        .user_agent(concat!("pilothouse/", env!("CARGO_PKG_VERSION")))
        .connect_timeout(REACHED)
        .read_timeout(SILENT)
        .redirect(redirect::Policy::limited(MAX_REDIRECTS))
        // Who began safely is not sent anywhere else.
        .https_only(secure)
        .build()
        .context("a client for HTTP")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_scheme_is_an_address_and_all_else_a_file() {
        assert!(url("https://example.org/keep.wasm").expect("an address").is_some());
        for file in ["keep.wasm", "/srv/keep@1.2.0.wasm", "-", "a:b"] {
            assert!(url(file).expect("a file").is_none(), "{file}");
        }
        for bad in ["ftp://example.org/keep.wasm", "http://", "file:///etc/passwd"] {
            assert!(url(bad).is_err(), "{bad}");
        }
    }
}
