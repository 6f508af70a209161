//! What a handshake has settled, without the words of the library.

use super::keyring::HTTP2;
use crate::control::digits::hex;
use crate::http::secure::{Certificate, Secure};
use rustls::server::UnbufferedServerConnection;
use rustls::{HandshakeKind, ProtocolVersion};
use x509_cert::der::Decode as _;

/// See the module.
#[derive(Debug)]
pub(in crate::worker) struct Session {
    /// For applications and the log.
    pub(in crate::worker) secure: Secure,
    /// The site whose certificate was shown: it has said whether clients show theirs.
    pub(in crate::worker) site: usize,
    /// HTTP/2 follows.
    pub(in crate::worker) speaks_h2: bool,
}

impl Session {
    /// That of a handshake for a site that is over.
    pub(super) fn of(connection: &UnbufferedServerConnection, site: usize) -> Self {
        let version = match connection.protocol_version() {
            Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        };
        let suite = connection.negotiated_cipher_suite();
        let cipher = suite.map(|suite| format!("{:?}", suite.suite()).replace("TLS13_", "TLS_"));
        let shown = connection.peer_certificates().and_then(<[_]>::first);
        let secure = Secure {
            version,
            cipher: cipher.unwrap_or_default(),
            client: shown.map(|certificate| describe(certificate)),
        };
        log::debug!(
            "worker: {version} {}, {}",
            secure.cipher,
            if connection.handshake_kind() == Some(HandshakeKind::Resumed) { "resumed" } else { "full" }
        );
        Self { secure, site, speaks_h2: connection.alpn_protocol() == Some(HTTP2) }
    }
}

/// A certificate that was verified; one that cannot be read again has no names.
fn describe(certificate: &[u8]) -> Certificate {
    let hex = |bytes: &[u8]| hex(bytes).to_ascii_uppercase();
    let fingerprint = hex(ring::digest::digest(&ring::digest::SHA256, certificate).as_ref());
    let read = x509_cert::Certificate::from_der(certificate).ok();
    let of = read.as_ref().map(x509_cert::Certificate::tbs_certificate);
    let name =
        |name: Option<&x509_cert::name::Name>| printable(&name.map(ToString::to_string).unwrap_or_default());
    Certificate {
        subject: name(of.map(|of| of.subject())),
        issuer: name(of.map(|of| of.issuer())),
        serial: of.map(|of| hex(of.serial_number().as_bytes())).unwrap_or_default(),
        fingerprint,
    }
}

/// Without what could end a line of a head.
fn printable(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for char in name.chars() {
        if char.is_control() {
            text.push_str(&format!("\\{:02X}", char as u32));
        } else {
            text.push(char);
        }
    }
    text
}
