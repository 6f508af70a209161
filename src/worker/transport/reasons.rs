//! Why TLS with a client or a server has failed, in words for the log: those of the library name its own parts.

use rustls::{AlertDescription as Alert, CertificateError, Error, PeerIncompatible, PeerMisbehaved};
use rustls::{InvalidMessage, OtherError};
use std::fmt::Debug;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    /// Of a site.
    Client,
    /// Of an upstream.
    Server,
}

/// What the library says, told to an operator.
pub(super) fn why(error: &Error, peer: Peer) -> String {
    let whose = match peer {
        Peer::Client => "the client",
        Peer::Server => "the server",
    };
    let said = |what: &str| format!("{whose} {what}");
    match error {
        Error::AlertReceived(alert) => match peer {
            Peer::Client => alerted(*alert),
            Peer::Server => alerted_by_server(*alert),
        },
        Error::NoCertificatesPresented => said("has shown no certificate"),
        Error::InvalidCertificate(error) => format!("{whose}'s certificate {}", certificate(error, peer)),
        Error::PeerIncompatible(error) => said(incompatible(error)),
        Error::PeerMisbehaved(error) => said(&misbehaved(error)),
        Error::InvalidMessage(error) => malformed(error, whose),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            said("has sent a message that is of no use here")
        }
        Error::NoApplicationProtocol => said("offers only protocols that are not spoken here (ALPN)"),
        Error::DecryptError => "a record was changed on its way, or sealed by another key".to_owned(),
        Error::PeerSentOversizedRecord => said("has sent a record that is too long"),
        error => error.to_string(),
    }
}

fn alerted(alert: Alert) -> String {
    let what = match alert {
        Alert::UnknownCA
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateExpired
        | Alert::CertificateRevoked
        | Alert::UnsupportedCertificate => "does not trust the certificate of the site",
        _ => "ended it",
    };
    format!("the client {what}: {}", spelled(&alert))
}

/// Who demands a certificate says so in different words.
fn alerted_by_server(alert: Alert) -> String {
    let what = match alert {
        Alert::CertificateRequired => "wants a certificate; give `certificate` and `key` in `tls`",
        Alert::UnknownCA
        | Alert::BadCertificate
        | Alert::CertificateUnknown
        | Alert::CertificateExpired
        | Alert::CertificateRevoked
        | Alert::AccessDenied
        | Alert::UnsupportedCertificate => {
            "does not take the `certificate` that `tls` has for it, or wants one and `tls` has none"
        }
        Alert::HandshakeFailure => {
            "ended it: it knows none of the ciphers, or wants a `certificate` that `tls` does not have"
        }
        Alert::UnrecognisedName => "does not know the host; give the `name` in `tls` that it goes by",
        Alert::NoApplicationProtocol => "speaks no HTTP/1.1 there (ALPN)",
        _ => "ended it",
    };
    format!("the server {what}: {}", spelled(&alert))
}

fn certificate(error: &CertificateError, peer: Peer) -> String {
    use CertificateError as Error;
    let is_server = peer == Peer::Server;
    let what = match error {
        Error::Expired | Error::ExpiredContext { .. } if is_server => "has expired; have it renewed there",
        Error::Expired | Error::ExpiredContext { .. } => "has expired",
        Error::NotValidYet | Error::NotValidYetContext { .. } => "is not valid yet",
        Error::UnknownIssuer if is_server => {
            "is not signed by an authority that is trusted; name the file with that of the server in `tls: (ca: \"…\")`"
        }
        Error::UnknownIssuer => "is not signed by an authority in `clients.ca`",
        Error::BadSignature if is_server => {
            "is signed by another authority than the one of that name that is trusted; name its file in `tls: (ca: \"…\")`"
        }
        Error::BadSignature => "is not signed by the authority that it names, or not the client's",
        Error::NotValidForName if is_server => {
            "is for another name; give the one that it has in `tls: (name: \"…\")`"
        }
        Error::NotValidForNameContext { presented, .. } if is_server && presented.is_empty() => {
            "is for no host: it has no subjectAltName; have one made that has"
        }
        Error::NotValidForNameContext { expected, presented } if is_server => {
            let expected = expected.to_str();
            return format!(
                "is not for `{expected}` but for {}; give the name that it has in `tls: (name: \"…\")`",
                names(presented)
            );
        }
        Error::InvalidPurpose | Error::InvalidPurposeContext { .. } if is_server => {
            "is not for servers: the extension for its use lacks `serverAuth`"
        }
        Error::InvalidPurpose | Error::InvalidPurposeContext { .. } => {
            "is not for clients: the extension for its use lacks `clientAuth`"
        }
        Error::Other(other) if is_authority(other) => {
            "is that of an authority (CA:TRUE); have an authority sign one for it"
        }
        error => return format!("is of no use: {}", spelled(error)),
    };
    what.to_owned()
}

/// `DnsName("a")` as it is known; a stranger wrote them.
fn names(presented: &[String]) -> String {
    let name = |text: &String| {
        let inside = text.split_once('(').map_or(text.as_str(), |(_, inside)| inside);
        let name: String = inside.trim_matches(|char| matches!(char, ')' | '"')).chars().take(100).collect();
        format!("`{}`", name.escape_debug())
    };
    presented.iter().take(5).map(name).collect::<Vec<_>>().join(", ")
}

/// The verifier is not named: it is another library's.
fn is_authority(error: &OtherError) -> bool {
    format!("{error:?}").contains("CaUsedAsEndEntity")
}

fn incompatible(error: &PeerIncompatible) -> &'static str {
    use PeerIncompatible as Error;
    match error {
        Error::NoCipherSuitesInCommon => "knows none of the ciphers, or not the kind of the key",
        Error::NoSignatureSchemesInCommon => "cannot check signatures of the kind of the key",
        Error::NoKxGroupsInCommon | Error::NamedGroupsExtensionRequired => {
            "knows none of the groups to agree on keys: X25519, P-256, P-384"
        }
        // The others are of what everybody says who speaks TLS 1.2 as it should be.
        _ => "speaks a TLS that is too old; it must be 1.2 or 1.3",
    }
}

fn misbehaved(error: &PeerMisbehaved) -> String {
    use PeerMisbehaved as Error;
    match error {
        Error::TooManyEmptyFragments
        | Error::TooManyKeyUpdateRequests
        | Error::TooManyRenegotiationRequests
        | Error::TooManyWarningAlertsReceived => "sends too much that is of no use".to_owned(),
        error => format!("breaks the rules of TLS: {}", spelled(error)),
    }
}

fn malformed(error: &InvalidMessage, whose: &str) -> String {
    use InvalidMessage as Error;
    match error {
        Error::MessageTooLarge | Error::HandshakePayloadTooLarge | Error::CertificatePayloadTooLarge => {
            format!("{whose} has sent a message that is too long")
        }
        Error::InvalidContentType | Error::UnknownProtocolVersion | Error::InvalidEmptyPayload => {
            format!("what {whose} has sent is no TLS")
        }
        error => format!("{whose} has sent a malformed message: {}", spelled(error)),
    }
}

/// `UnknownCA` as `unknown ca`.
fn spelled(variant: &impl Debug) -> String {
    let mut words = String::new();
    let mut after_small = false;
    for char in format!("{variant:?}").chars().filter(|char| *char != '"') {
        if char == '(' || (after_small && char.is_uppercase()) {
            words.push(' ');
        }
        after_small = char.is_lowercase();
        words.push(char.to_ascii_lowercase());
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;

    #[test]
    fn what_the_library_says_is_told_in_words() {
        for (error, expected) in [
            (
                Error::AlertReceived(Alert::UnknownCA),
                "the client does not trust the certificate of the site: unknown ca",
            ),
            (Error::AlertReceived(Alert::HandshakeFailure), "the client ended it: handshake failure"),
            (
                PeerIncompatible::SignatureAlgorithmsExtensionRequired.into(),
                "the client speaks a TLS that is too old; it must be 1.2 or 1.3",
            ),
            (
                PeerMisbehaved::DuplicateClientHelloExtensions.into(),
                "the client breaks the rules of TLS: duplicate client hello extensions",
            ),
            (
                InvalidMessage::MissingData("ClientHello").into(),
                "the client has sent a malformed message: missing data (client hello)",
            ),
            (
                InvalidMessage::HandshakePayloadTooLarge.into(),
                "the client has sent a message that is too long",
            ),
            (CertificateError::Expired.into(), "the client's certificate has expired"),
            (
                CertificateError::UnhandledCriticalExtension.into(),
                "the client's certificate is of no use: unhandled critical extension",
            ),
        ] {
            assert_eq!(why(&error, Peer::Client), expected);
        }
    }

    #[test]
    fn of_a_server_it_is_told_what_to_do() {
        for (error, expected) in [
            (
                Error::AlertReceived(Alert::CertificateRequired),
                "the server wants a certificate; give `certificate` and `key` in `tls`: certificate required",
            ),
            (
                CertificateError::UnknownIssuer.into(),
                "the server's certificate is not signed by an authority that is trusted; name the file with that of the server in `tls: (ca: \"…\")`",
            ),
            (
                CertificateError::NotValidForNameContext {
                    expected: ServerName::try_from("a.example").unwrap(),
                    presented: vec!["DnsName(\"b.example\")".to_owned(), "IpAddress(10.0.0.1)".to_owned()],
                }
                .into(),
                "the server's certificate is not for `a.example` but for `b.example`, `10.0.0.1`; give the name that it has in `tls: (name: \"…\")`",
            ),
            (
                CertificateError::NotValidForNameContext {
                    expected: ServerName::try_from("a.example").unwrap(),
                    presented: Vec::new(),
                }
                .into(),
                "the server's certificate is for no host: it has no subjectAltName; have one made that has",
            ),
            (InvalidMessage::InvalidContentType.into(), "what the server has sent is no TLS"),
            (
                PeerIncompatible::ServerDoesNotSupportTls12Or13.into(),
                "the server speaks a TLS that is too old; it must be 1.2 or 1.3",
            ),
        ] {
            assert_eq!(why(&error, Peer::Server), expected);
        }
    }
}
