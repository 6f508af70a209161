//! What a worker shakes hands with the servers of upstreams by, made from what the master gives: whom it trusts, what it
//! shows. Each server has its sessions for itself, to be taken up again.

use super::keyring::{certified, provider};
use crate::config::credentials::{Credentials, Trust};
use crate::config::{Config, Upstream, UpstreamTls};
use crate::control::digits::hex;
use crate::gateway::Protocol;
use ring::digest::{Context as Digest, SHA256};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::collections::HashMap;
use std::sync::Arc;

/// Sessions of a server that are kept: as many tickets as the library keeps of one name.
const SESSIONS: usize = 8;

/// How the servers of upstreams are spoken to, by index of the upstream.
#[derive(Default)]
pub(super) struct Trusted(HashMap<usize, Known>);

struct Known {
    /// Of what it was made from: sessions go on as long as that is the same.
    digest: String,
    /// By index; `None`: there is no name for it.
    servers: Vec<Option<ToServer>>,
}

/// How a handshake with a server is made.
pub(in crate::worker) struct ToServer {
    pub(super) terms: Terms,
    pub(super) name: ServerName<'static>,
}

/// Whom a server is trusted as, and what it is shown.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) config: Arc<ClientConfig>,
    /// Indices of the upstream, and of the server.
    place: (usize, usize),
}

impl Trusted {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, upstream: usize, server: usize) -> Option<&ToServer> {
        self.0.get(&upstream)?.servers.get(server)?.as_ref()
    }

    /// Whether these are the terms of today.
    pub(super) fn hold(&self, terms: &Terms) -> bool {
        let now = self.get(terms.place.0, terms.place.1);
        now.is_some_and(|now| Arc::ptr_eq(&now.terms.config, &terms.config))
    }

    /// Takes what the master gives.
    pub(super) fn renew(&mut self, credentials: &Credentials, config: &Config) {
        let mut before = std::mem::take(&mut self.0);
        for trust in &credentials.upstreams {
            let Some(upstream) = config.upstreams.get(trust.upstream) else { continue };
            let Some(tls) = &upstream.tls else { continue };
            let authorities = trust.authorities.as_ref().unwrap_or(&credentials.roots);
            let digest = digest_of(trust, authorities);
            let kept = before.remove(&trust.upstream).filter(|known| known.digest == digest);
            let known =
                kept.map_or_else(|| servers(upstream, tls, trust, authorities), |known| Ok(known.servers));
            match known {
                Ok(servers) => {
                    self.0.insert(trust.upstream, Known { digest, servers });
                }
                Err(error) => {
                    log::error!("worker: upstream {} cannot be spoken to by TLS: {error}", upstream.name);
                }
            }
        }
    }
}

fn servers(
    upstream: &Upstream,
    tls: &UpstreamTls,
    trust: &Trust,
    authorities: &[Vec<u8>],
) -> Result<Vec<Option<ToServer>>, String> {
    let provider = provider();
    let config =
        client(&provider, upstream.protocol, tls, trust, authorities).map_err(|error| error.to_string())?;
    let to_server = |(index, server)| {
        let name = ServerName::try_from(tls.name_of(server)?).ok()?;
        let mut config = config.clone();
        config.resumption = Resumption::in_memory_sessions(SESSIONS);
        Some(ToServer { terms: Terms { config: Arc::new(config), place: (trust.upstream, index) }, name })
    };
    Ok(upstream.servers.iter().enumerate().map(to_server).collect())
}

fn client(
    provider: &Arc<CryptoProvider>,
    protocol: Protocol,
    tls: &UpstreamTls,
    trust: &Trust,
    authorities: &[Vec<u8>],
) -> Result<ClientConfig, Error> {
    let verifier: Arc<dyn ServerCertVerifier> = if tls.verify {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(authorities.iter().map(|der| CertificateDer::from(der.as_slice())));
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| Error::General(format!("whom it trusts: {error}")))?
    } else {
        Arc::new(Anyone(Arc::clone(provider)))
    };
    let builder =
        ClientConfig::builder_with_provider(Arc::clone(provider)).with_safe_default_protocol_versions()?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match &trust.certificate {
        Some(shown) => {
            let key = certified(&shown.chain, &shown.key, provider)?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)))
        }
        None => builder.with_no_client_auth(),
    };
    if protocol == Protocol::Http {
        config.alpn_protocols = vec![super::keyring::HTTP1.to_vec()];
    }
    Ok(config)
}

fn digest_of(trust: &Trust, authorities: &[Vec<u8>]) -> String {
    let mut digest = Digest::new(&SHA256);
    let mut add = |part: &[u8]| {
        digest.update(&part.len().to_le_bytes());
        digest.update(part);
    };
    authorities.iter().for_each(|der| add(der));
    if let Some(shown) = &trust.certificate {
        shown.chain.iter().for_each(|der| add(der));
        add(&shown.key.0);
    }
    hex(digest.finish().as_ref())
}

/// Believes whoever answers (`verify: false`), as long as the key is that of the certificate.
#[derive(Debug)]
struct Anyone(Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
