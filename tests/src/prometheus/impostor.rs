//! Servers that are asked like Prometheus and don't answer like it.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rcgen::CertifiedKey;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_util::task::AbortOnDropHandle;

/// How one answers.
#[derive(Clone, Debug)]
pub enum Manner {
    /// Takes the question and never answers.
    Silent,
    /// Answers without an end.
    Endless,
    /// Sends whoever asks somewhere else.
    Elsewhere(String),
    /// Answers with a status and a body.
    Says(&'static str, String),
}

/// A server that notes whatever it is asked, word for word.
#[derive(Debug)]
pub struct Impostor {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    /// That it shows, if it speaks TLS.
    certificate: Option<String>,
    _serving: AbortOnDropHandle<()>,
}

impl Impostor {
    /// Starts one.
    ///
    /// # Errors
    /// When there is no port for it.
    pub async fn start(manner: Manner) -> Result<Self> {
        Self::serve(manner, None).await
    }

    /// Starts one that speaks TLS, with a certificate of its own that nobody knows.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with_tls(manner: Manner) -> Result<Self> {
        let CertifiedKey { cert, signing_key } = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(signing_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider())).with_safe_default_protocol_versions()?;
        let config = config.with_no_client_auth().with_single_cert(vec![cert.der().clone()], key)?;
        Self::serve(manner, Some((TlsAcceptor::from(Arc::new(config)), cert.pem()))).await
    }

    async fn serve(manner: Manner, tls: Option<(TlsAcceptor, String)>) -> Result<Self> {
        let (tls, certificate) = tls.unzip();
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&asked);
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (manner, noted, tls) = (manner.clone(), Arc::clone(&noted), tls.clone());
                // Whoever hangs up has had enough.
                tokio::spawn(async move {
                    match tls {
                        Some(tls) => drop(serve(tls.accept(stream).await?, &manner, &noted).await),
                        None => drop(serve(stream, &manner, &noted).await),
                    }
                    anyhow::Ok(())
                });
            }
        });
        Ok(Self { address, asked, certificate, _serving: AbortOnDropHandle::new(serving) })
    }

    /// The base of its HTTP API.
    pub fn url(&self) -> String {
        match self.certificate {
            Some(_) => format!("https://localhost:{}", self.address.port()),
            None => format!("http://{}", self.address),
        }
    }

    /// The certificate that it shows, as PEM; nothing without TLS.
    pub fn certificate(&self) -> &str {
        self.certificate.as_deref().unwrap_or_default()
    }

    /// Every request so far, head and body.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, manner: &Manner, noted: &Mutex<Vec<String>>) -> Result<()> {
    let request = request(&mut stream).await?;
    noted.lock().unwrap_or_else(PoisonError::into_inner).push(request);
    match manner {
        // Until the other side hangs up.
        Manner::Silent => drop(stream.read_u8().await),
        Manner::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n").await?;
            let much = vec![b' '; 64 * 1024];
            loop {
                stream.write_all(&much).await?;
            }
        }
        Manner::Elsewhere(url) => {
            let head = format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: {url}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await?;
        }
        Manner::Says(status, body) => {
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
            stream.write_all(head.as_bytes()).await?;
        }
    }
    Ok(stream.shutdown().await?)
}

/// A whole request: its head, and as much body as the head announces.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head)?;
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    let mut body = vec![0; length.context("a request with a length")?.trim().parse()?];
    stream.read_exact(&mut body).await?;
    Ok(head + &String::from_utf8(body)?)
}
