//! What a worker answers handshakes with: for each site its certificates and terms, made from what the master gives. A new
//! one takes the place of the old for handshakes that begin then; connections go on.
//!
//! | a client asks for | it gets |
//! |---|---|
//! | a name of a site here | that site: a certificate that covers the name, if several, and that the client can read |
//! | another name | what `default_site` says: that site, or the alert `unrecognized_name` |
//! | no name | the site that is named as the listener's address, else the default one, else the only one here |
//! | `acme-tls/1` for a name with an open challenge | the answer to that, and the end |

use super::records::{Failure, RECORD};
use super::tickets::{self, Tickets};
use super::trust::{self, ToServer, Trusted};
use crate::config::credentials::{Authorities, Certificate, Challenge, Credentials};
use crate::config::{Clients, Config, Site};
use crate::http::target::ipv6_name;
use crate::secret::Secret;
use crate::worker::context::{Context, ListenerInfo};
use ::ring::digest::{SHA256, digest};
use rustls::client::verify_server_name;
use rustls::crypto::CryptoProvider;
use rustls::crypto::ring::{self, cipher_suite as suite};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoClientAuth, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert,
};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{Error, RootCertStore, SupportedCipherSuite};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// RFC 8737.
const ACME: &[u8] = b"acme-tls/1";

/// Protocols, the better first.
pub(super) const HTTP2: &[u8] = b"h2";
pub(super) const HTTP1: &[u8] = b"http/1.1";

/// See the module.
#[derive(Default)]
pub(in crate::worker) struct Keyring {
    serial: u64,
    /// By index of the site.
    sites: HashMap<usize, Arc<ServerConfig>>,
    /// By name.
    challenges: HashMap<String, Arc<ServerConfig>>,
    /// Those in use, by a digest of what they were made from: that takes long for some.
    keys: HashMap<[u8; 32], Arc<CertifiedKey>>,
    upstreams: Trusted,
    incoming: Buffer,
    outgoing: Buffer,
}

/// What is sealed with, the better first: all are strong, and the first costs least where processors know AES.
const SUITES: &[SupportedCipherSuite] = &[
    suite::TLS13_AES_128_GCM_SHA256,
    suite::TLS13_AES_256_GCM_SHA384,
    suite::TLS13_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
    suite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
    suite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
    suite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
];

/// What a handshake is for.
pub(super) struct Terms {
    pub(super) site: usize,
    pub(super) is_challenge: bool,
}

/// Bytes for the connections of a worker in turn, from the beginning of a page: ciphers are faster there.
#[derive(Default)]
pub(super) struct Buffer {
    data: Vec<u8>,
    start: usize,
}

const PAGE: usize = 4096;

impl Buffer {
    fn new(size: usize) -> Self {
        let mut data = vec![0; size.saturating_add(PAGE)];
        let start = data.as_ptr().align_offset(PAGE).min(PAGE);
        data.truncate(start.saturating_add(size));
        Self { data, start }
    }

    pub(super) fn bytes(&mut self) -> &mut [u8] {
        self.data.get_mut(self.start..).unwrap_or_default()
    }
}

impl Keyring {
    /// Takes what the master gives, unless it is older than what it has; whether it is not.
    pub(in crate::worker) fn renew(&mut self, credentials: &Credentials, config: &Config) -> bool {
        if credentials.serial < self.serial {
            return false;
        }
        self.serial = credentials.serial;
        self.upstreams.renew(credentials, config);
        if credentials.certificates.is_empty() && self.sites.is_empty() && self.upstreams.is_empty() {
            return true;
        }
        if self.incoming.data.is_empty() {
            // What is read is opened into the scratch buffer of the worker, which has the same size.
            self.incoming = Buffer::new(4 * RECORD);
            self.outgoing = Buffer::new(5 * RECORD);
        }
        let provider = provider();
        let old = std::mem::take(&mut self.keys);
        let mut certificates: HashMap<usize, Vec<Arc<CertifiedKey>>> = HashMap::new();
        for certificate in &credentials.certificates {
            let digest = digest_of(certificate);
            let known = old.get(&digest).map(Arc::clone).map(Ok);
            match known.unwrap_or_else(|| of_site(certificate, &provider).map(Arc::new)) {
                Ok(key) => {
                    certificates.entry(certificate.site).or_default().push(Arc::clone(&key));
                    self.keys.insert(digest, key);
                }
                Err(error) => {
                    let site = config.sites.get(certificate.site).map_or("", |site| &site.label);
                    log::error!("worker: a certificate of {site} cannot be used: {error}");
                }
            }
        }
        let ticket_keys = tickets::keys(&credentials.tickets);
        let made = certificates.into_iter().filter_map(|(site, certificates)| {
            let authorities = credentials.authorities.iter().find(|authorities| authorities.site == site);
            let clients = authorities.zip(config.sites.get(site).and_then(Site::clients));
            match site_config(&provider, certificates, clients, &ticket_keys) {
                Ok(mut made) => {
                    if config.limits.http2.streams > 0 {
                        made.alpn_protocols.insert(0, HTTP2.to_vec());
                    }
                    Some((site, Arc::new(made)))
                }
                Err(error) => {
                    let site = config.sites.get(site).map_or("", |site| &site.label);
                    log::error!("worker: {site} cannot be served by TLS: {error}");
                    None
                }
            }
        });
        self.sites = made.collect();
        self.challenges = credentials.challenges.iter().filter_map(|open| answer(open, &provider)).collect();
        true
    }

    /// How a server of an upstream is spoken to by TLS.
    pub(in crate::worker) fn to_server(&self, upstream: usize, server: usize) -> Option<&ToServer> {
        self.upstreams.get(upstream, server)
    }

    /// Whether a server would still be spoken to on these terms.
    pub(super) fn holds(&self, terms: &trust::Terms) -> bool {
        self.upstreams.hold(terms)
    }

    /// The buffer for what comes, to be given back.
    pub(super) fn take_incoming(&mut self) -> Buffer {
        std::mem::take(&mut self.incoming)
    }

    pub(super) fn give_back(&mut self, buffer: Buffer) {
        self.incoming = buffer;
    }

    /// The buffer for what leaves.
    pub(super) fn outgoing(&mut self) -> &mut [u8] {
        self.outgoing.bytes()
    }
}

impl Context {
    /// What a client is answered that begins so.
    pub(super) fn terms(
        &self,
        hello: &ClientHello<'_>,
        listener: u16,
    ) -> Result<(Arc<ServerConfig>, Terms), Failure> {
        // In lower case: the library has seen to it that it is a name.
        let name = hello.server_name().map(str::to_ascii_lowercase);
        let is_acme = hello.alpn().is_some_and(|mut alpn| alpn.any(|protocol| protocol == ACME));
        if let Some(config) =
            name.as_ref().filter(|_| is_acme).and_then(|name| self.keyring.challenges.get(name))
        {
            let terms = Terms { site: usize::MAX, is_challenge: true };
            return Ok((Arc::clone(config), terms));
        }
        let listener = self.listeners.get(usize::from(listener));
        let site = listener.and_then(|listener| match &name {
            Some(name) => self.config.default_site.of(self.table.site(&listener.sites, name.as_bytes())),
            None => self.site_without_name(listener),
        });
        let found = site.and_then(|site| Some((self.keyring.sites.get(&site)?, site)));
        let (config, site) = found.ok_or_else(|| Failure::unknown_name(name.as_deref()))?;
        Ok((Arc::clone(config), Terms { site, is_challenge: false }))
    }

    fn site_without_name(&self, listener: &ListenerInfo) -> Option<usize> {
        let address = listener.local.map(|local| match local.ip() {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => ipv6_name(address),
        });
        let site = address.and_then(|address| self.table.site(&listener.sites, address.as_bytes()));
        self.config.default_site.of(site).or(match listener.sites.as_slice() {
            [only] => Some(*only),
            _ => None,
        })
    }
}

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { cipher_suites: SUITES.to_vec(), ..ring::default_provider() })
}

/// A certificate with its key, in the words of the library.
pub(super) fn certified(
    chain: &[Vec<u8>],
    key: &Secret,
    provider: &CryptoProvider,
) -> Result<CertifiedKey, Error> {
    let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::try_from(key.0.as_slice()).map_err(|why| Error::General(why.to_owned()))?;
    let key = provider.key_provider.load_private_key(key.clone_key())?;
    Ok(CertifiedKey::new(chain, key))
}

fn of_site(certificate: &Certificate, provider: &CryptoProvider) -> Result<CertifiedKey, Error> {
    let mut made = certified(&certificate.chain, &certificate.key, provider)?;
    made.ocsp.clone_from(&certificate.ocsp);
    Ok(made)
}

fn digest_of(certificate: &Certificate) -> [u8; 32] {
    let list = certificate.chain.iter().chain([&certificate.key.0]).chain(certificate.ocsp.iter());
    let digests: Vec<u8> = list.flat_map(|bytes| digest(&SHA256, bytes).as_ref().to_vec()).collect();
    digest(&SHA256, &digests).as_ref().try_into().unwrap_or_default()
}

/// How handshakes with one site are answered.
fn site_config(
    provider: &Arc<CryptoProvider>,
    certificates: Vec<Arc<CertifiedKey>>,
    clients: Option<(&Authorities, &Clients)>,
    ticket_keys: &tickets::Keys,
) -> Result<ServerConfig, String> {
    let verifier = match clients {
        Some((authorities, clients)) => verifier(provider, authorities, clients.required)?,
        None => Arc::new(NoClientAuth),
    };
    let choice = Choice { certificates, provider: Arc::clone(provider) };
    let mut config = base(provider, verifier, Arc::new(choice)).map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![HTTP1.to_vec()];
    // A certificate of a client that is taken up again would not be looked at again: whether it has ended, who has signed it.
    if clients.is_none() {
        config.send_tls13_tickets = 2;
        config.ticketer = Arc::new(Tickets { keys: Arc::clone(ticket_keys) });
    }
    Ok(config)
}

fn base(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<dyn ClientCertVerifier>,
    resolver: Arc<dyn ResolvesServerCert>,
) -> Result<ServerConfig, Error> {
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    let mut config = builder.with_client_cert_verifier(verifier).with_cert_resolver(resolver);
    config.ignore_client_order = true;
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(config)
}

/// What clients must show.
fn verifier(
    provider: &Arc<CryptoProvider>,
    authorities: &Authorities,
    required: bool,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(
        authorities.certificates.iter().map(|der| CertificateDer::from(der.as_slice())),
    );
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    let builder = if required { builder } else { builder.allow_unauthenticated() };
    builder.build().map_err(|error| format!("the authorities of its clients: {error}"))
}

/// The answer to a challenge by ALPN.
fn answer(challenge: &Challenge, provider: &Arc<CryptoProvider>) -> Option<(String, Arc<ServerConfig>)> {
    let Challenge::Alpn { name, certificate, key } = challenge else { return None };
    let certificates = vec![Arc::new(certified(std::slice::from_ref(certificate), key, provider).ok()?)];
    let choice = Choice { certificates, provider: Arc::clone(provider) };
    let mut config = base(provider, Arc::new(NoClientAuth), Arc::new(choice)).ok()?;
    config.alpn_protocols = vec![ACME.to_vec()];
    Some((name.clone(), Arc::new(config)))
}

/// The certificates of a site, in the order of the file.
#[derive(Debug)]
struct Choice {
    certificates: Vec<Arc<CertifiedKey>>,
    provider: Arc<CryptoProvider>,
}

impl ResolvesServerCert for Choice {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if let [only] = self.certificates.as_slice() {
            return Some(Arc::clone(only));
        }
        let readable = || self.certificates.iter().filter(|key| self.is_readable(key, &hello));
        let name = hello.server_name().and_then(|name| ServerName::try_from(name).ok());
        let fits = |key: &&Arc<CertifiedKey>| name.as_ref().is_some_and(|name| covers(key, name));
        let chosen = readable().find(fits).or_else(|| readable().next());
        chosen.or(self.certificates.first()).map(Arc::clone)
    }
}

impl Choice {
    /// Whether a client knows the algorithms of a certificate.
    fn is_readable(&self, key: &CertifiedKey, hello: &ClientHello<'_>) -> bool {
        let algorithm = key.key.algorithm();
        let suites = hello.cipher_suites();
        let mut usable = self.provider.cipher_suites.iter();
        key.key.choose_scheme(hello.signature_schemes()).is_some()
            && usable.any(|suite| {
                suite.usable_for_signature_algorithm(algorithm) && suites.contains(&suite.suite())
            })
    }
}

fn covers(key: &CertifiedKey, name: &ServerName<'_>) -> bool {
    let certificate = key.cert.first().and_then(|der| ParsedCertificate::try_from(der).ok());
    certificate.is_some_and(|certificate| verify_server_name(&certificate, name).is_ok())
}
