//! Why TLS with a client has failed, in words for the log: those of the library name its own parts.

use rustls::{AlertDescription as Alert, CertificateError, Error, PeerIncompatible, PeerMisbehaved};
use rustls::{InvalidMessage, OtherError};
use std::fmt::Debug;

/// What the library says, told to an operator.
pub(super) fn why(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => alerted(*alert),
        Error::NoCertificatesPresented => "the client has shown no certificate".to_owned(),
        Error::InvalidCertificate(error) => format!("the client's certificate {}", certificate(error)),
        Error::PeerIncompatible(error) => incompatible(error).to_owned(),
        Error::PeerMisbehaved(error) => misbehaved(error),
        Error::InvalidMessage(error) => malformed(error),
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            "the client has sent a message that is of no use here".to_owned()
        }
        Error::NoApplicationProtocol => {
            "the client offers only protocols that are not spoken here (ALPN)".to_owned()
        }
        Error::DecryptError => "a record was changed on its way, or sealed by another key".to_owned(),
        Error::PeerSentOversizedRecord => "the client has sent a record that is too long".to_owned(),
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

/// Of the certificate of a client.
fn certificate(error: &CertificateError) -> String {
    use CertificateError as Error;
    let what = match error {
        Error::Expired | Error::ExpiredContext { .. } => "has expired",
        Error::NotValidYet | Error::NotValidYetContext { .. } => "is not valid yet",
        Error::UnknownIssuer => "is not signed by an authority in `clients.ca`",
        Error::BadSignature => "is not signed by the authority that it names, or not the client's",
        Error::InvalidPurpose | Error::InvalidPurposeContext { .. } => {
            "is not for clients: the extension for its use lacks `clientAuth`"
        }
        Error::Other(other) if is_authority(other) => {
            "is that of an authority (CA:TRUE); have an authority sign one for the client"
        }
        error => return format!("is of no use: {}", spelled(error)),
    };
    what.to_owned()
}

/// The verifier is not named: it is another library's.
fn is_authority(error: &OtherError) -> bool {
    format!("{error:?}").contains("CaUsedAsEndEntity")
}

fn incompatible(error: &PeerIncompatible) -> &'static str {
    use PeerIncompatible as Error;
    match error {
        Error::NoCipherSuitesInCommon => "the client knows none of the ciphers, or not the kind of the key",
        Error::NoSignatureSchemesInCommon => "the client cannot check signatures of the kind of the key",
        Error::NoKxGroupsInCommon | Error::NamedGroupsExtensionRequired => {
            "the client knows none of the groups to agree on keys: X25519, P-256, P-384"
        }
        // The others are of what everybody says who speaks TLS 1.2 as it should be.
        _ => "the client speaks a TLS that is too old; it must be 1.2 or 1.3",
    }
}

fn misbehaved(error: &PeerMisbehaved) -> String {
    use PeerMisbehaved as Error;
    match error {
        Error::TooManyEmptyFragments
        | Error::TooManyKeyUpdateRequests
        | Error::TooManyRenegotiationRequests
        | Error::TooManyWarningAlertsReceived => "the client sends too much that is of no use".to_owned(),
        error => format!("the client breaks the rules of TLS: {}", spelled(error)),
    }
}

fn malformed(error: &InvalidMessage) -> String {
    use InvalidMessage as Error;
    match error {
        Error::MessageTooLarge | Error::HandshakePayloadTooLarge | Error::CertificatePayloadTooLarge => {
            "the client has sent a message that is too long".to_owned()
        }
        Error::InvalidContentType | Error::UnknownProtocolVersion | Error::InvalidEmptyPayload => {
            "what the client has sent is no TLS".to_owned()
        }
        error => format!("the client has sent a malformed message: {}", spelled(error)),
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
            assert_eq!(why(&error), expected);
        }
    }
}
