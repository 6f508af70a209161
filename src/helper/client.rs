//! Requests to an authority, bounded in time and size: it is a stranger. What it says about when to come back is kept, which
//! instant-acme does not.

use super::words::Failure;
use crate::control::helper::Directory;
use crate::http::date;
use crate::sys::clock;
use ::http::uri::Scheme;
use ::http::{Request, Response, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::Value;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// One request with its answer.
const LONGEST: Duration = Duration::from_secs(30);
/// Of an answer; chains of certificates are the longest.
const LARGEST: usize = 128 * 1024;

/// See the module.
#[derive(Clone)]
pub(super) struct Client {
    directory: Uri,
    inner: Hyper<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>,
    /// Seconds for which the authority wants no more requests, as its last error said.
    again: Arc<Mutex<Option<u64>>>,
}

impl Client {
    /// For one authority.
    pub(super) fn new(directory: &Directory) -> Result<Self, Failure> {
        let config = ClientConfig::builder();
        let config = match &directory.authorities {
            Some(pem) => config.with_root_certificates(roots(pem)?),
            None => config.with_native_roots().map_err(|_| {
                Failure::new(
                    "this machine trusts nobody: it has no certificates of authorities; install the package \
                     `ca-certificates`, or give `directory_ca`",
                )
            })?,
        };
        let config = config.with_no_client_auth();
        let connector =
            HttpsConnectorBuilder::new().with_tls_config(config).https_only().enable_http1().build();
        let inner = Hyper::builder(TokioExecutor::new()).build(connector);
        // instant-acme takes for granted that it is one.
        let Some(directory) = address(&directory.url) else {
            return Err(Failure::new(format!("`directory`: {} is no address of https", directory.url)));
        };
        Ok(Self { directory, inner, again: Arc::default() })
    }

    /// What its last error said.
    pub(super) fn again(&self) -> Option<u64> {
        *self.again.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads what is at an address.
    pub(super) async fn get(&self, url: &str) -> Result<Response<Bytes>, Error> {
        let request = Request::get(url).body(BodyWrapper::default())?;
        self.clone().ask(request).await
    }

    async fn ask(self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, Error> {
        let url = request.uri().clone();
        if !is_address(&url) {
            return Err(nowhere(&url.to_string()));
        }
        let host = request.uri().authority().map_or_else(String::new, ToString::to_string);
        let answer = async {
            let (head, body) = self.inner.request(request).await.map_err(other)?.into_parts();
            let body = Limited::new(body, LARGEST).collect().await.map_err(Error::Other)?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let answer: Result<Response<Bytes>, Error> = match tokio::time::timeout(LONGEST, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(other(std::io::Error::other(format!("no answer within {} s", LONGEST.as_secs())))),
        };
        let answer = answer.map_err(|error| match error {
            Error::Other(error) => other(Unreached { host, error }),
            error => error,
        })?;
        let again = if answer.status().is_success() { None } else { retry_after(answer.headers()) };
        *self.again.lock().unwrap_or_else(PoisonError::into_inner) = again;
        // Not as text: the file may leave out a path, or end with a fragment.
        if url == self.directory {
            check_directory(answer.body())?;
        }
        Ok(answer)
    }
}

/// The addresses in a directory are some: of others instant-acme makes a panic. What is no directory is told elsewhere.
fn check_directory(body: &[u8]) -> Result<(), Error> {
    let Ok(Value::Object(directory)) = serde_json::from_slice(body) else { return Ok(()) };
    let named = ["newNonce", "newAccount", "newOrder", "renewalInfo"].into_iter();
    let addresses = named.filter_map(|name| directory.get(name)?.as_str());
    addresses.into_iter().find(|url| address(url).is_none()).map_or(Ok(()), |url| Err(nowhere(url)))
}

fn address(url: &str) -> Option<Uri> {
    url.parse().ok().filter(is_address)
}

fn is_address(uri: &Uri) -> bool {
    uri.scheme() == Some(&Scheme::HTTPS) && uri.host().is_some()
}

/// Where the authority says that something is.
fn nowhere(url: &str) -> Error {
    let url: String = url.chars().take(100).collect();
    other(std::io::Error::other(format!("it sends us to {url}, which is no address of https")))
}

/// An authority that cannot be asked.
#[derive(Debug)]
struct Unreached {
    host: String,
    error: Box<dyn std::error::Error + Send + Sync>,
}

impl std::fmt::Display for Unreached {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} cannot be asked", self.host)
    }
}

impl std::error::Error for Unreached {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.error)
    }
}

fn other(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}

fn roots(pem: &str) -> Result<RootCertStore, Failure> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let added = certificate.map_err(|error| error.to_string());
        let added = added.and_then(|one| roots.add(one).map_err(|error| error.to_string()));
        added.map_err(|error| Failure::new(format!("`directory_ca`: {error}")))?;
    }
    if roots.is_empty() { Err(Failure::new("`directory_ca` holds no certificate")) } else { Ok(roots) }
}

/// Seconds until it may be asked again (RFC 9110 §10.2.3).
pub(super) fn retry_after(fields: &::http::HeaderMap) -> Option<u64> {
    let value = fields.get(::http::header::RETRY_AFTER)?.to_str().ok()?.trim();
    let until = || {
        let now = clock::wall();
        u64::try_from(date::parse(value.as_bytes(), now)?.saturating_sub(now.seconds)).ok()
    };
    value.parse().ok().or_else(until)
}

impl HttpClient for Client {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = self.clone().ask(request);
        Box::pin(async move { Ok(BytesResponse::from(answer.await?.map(Full::new))) })
    }
}
