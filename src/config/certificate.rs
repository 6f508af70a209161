//! What a certificate says (RFC 5280), and whether a key is its own.

use crate::control::digits::hex;
use crate::secret::Secret;
use ring::digest::{SHA256, digest};
use rustls::crypto::ring::default_provider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::net::IpAddr;
use std::time::Duration;
use x509_cert::Certificate;
use x509_cert::der::asn1::AnyRef;
use x509_cert::der::{Decode as _, Encode as _, Reader as _, SliceReader};
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};
use x509_cert::ext::pkix::{AuthorityKeyIdentifier, BasicConstraints, SubjectAltName};
use x509_cert::name::Name;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// What is asked of one certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// Hosts that it is for, in lower case, and addresses.
    pub(crate) names: Vec<String>,
    /// Whom it is for, and who has signed it, in the few words that people know them by.
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// The same as they stand in it.
    subject_der: Vec<u8>,
    issuer_der: Vec<u8>,
    /// Seconds since the epoch.
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
    /// It may sign others.
    pub(crate) is_ca: bool,
    /// `ECDSA P-256`.
    pub(crate) key: String,
    /// Big-endian.
    pub(crate) serial: Vec<u8>,
    /// By which its authority calls the key that has signed it.
    pub(crate) authority_key: Option<Vec<u8>>,
}

#[cfg(test)]
thread_local! {
    /// How often something was asked of a certificate.
    pub(crate) static LOOKED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

impl Facts {
    /// `None`: it is no certificate.
    pub(crate) fn of(der: &[u8]) -> Option<Self> {
        #[cfg(test)]
        LOOKED.set(LOOKED.get() + 1);
        let certificate = Certificate::from_der(der).ok()?;
        let of = certificate.tbs_certificate();
        let names = of.get_extension::<SubjectAltName>().ok()?;
        let names = names.map(|(_, names)| names.0).unwrap_or_default();
        let constraints = of.get_extension::<BasicConstraints>().ok()?;
        let authority = of.get_extension::<AuthorityKeyIdentifier>().ok()?;
        let seconds = |since: Duration| i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        Some(Self {
            names: names.iter().filter_map(name).collect(),
            subject: known_as(of.subject()),
            issuer: known_as(of.issuer()),
            subject_der: of.subject().to_der().ok()?,
            issuer_der: of.issuer().to_der().ok()?,
            not_before: seconds(of.validity().not_before.to_unix_duration()),
            not_after: seconds(of.validity().not_after.to_unix_duration()),
            is_ca: constraints.is_some_and(|(_, constraints)| constraints.ca),
            key: kind(of.subject_public_key_info()),
            serial: of.serial_number().as_bytes().to_vec(),
            authority_key: authority.and_then(|(_, id)| Some(id.key_identifier?.as_bytes().to_vec())),
        })
    }

    /// Whether it is for this host; one of `*.shop.example` has one part in the place of the star.
    pub(crate) fn covers(&self, host: &str) -> bool {
        #[cfg(test)]
        LOOKED.set(LOOKED.get() + 1);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let below = host.split_once('.').map(|(_, below)| below);
        self.names.iter().any(|name| match name.strip_prefix("*.") {
            Some(parent) => below == Some(parent) || host == name,
            None => name == host,
        })
    }

    /// Its time has begun, and is not over.
    pub(crate) fn is_valid(&self, now: i64) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// It names the other one as who has signed it.
    pub(crate) fn is_signed_by(&self, other: &Self) -> bool {
        self.issuer_der == other.subject_der
    }

    /// It names itself as who has signed it.
    pub(crate) fn is_self_signed(&self) -> bool {
        self.is_signed_by(self)
    }
}

/// Kind and size of a key, as they are known.
fn kind(key: &SubjectPublicKeyInfoOwned) -> String {
    let curve = key.algorithm.parameters.as_ref().map(|curve| curve.value());
    match (key.algorithm.oid.to_string().as_str(), curve) {
        ("1.2.840.113549.1.1.1", _) => {
            format!("RSA {}", bits(key.subject_public_key.raw_bytes()).unwrap_or_default())
        }
        ("1.3.101.112", _) => "Ed25519".to_owned(),
        (_, Some([0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7])) => "ECDSA P-256".to_owned(),
        (_, Some([0x2b, 0x81, 4, 0, 0x22])) => "ECDSA P-384".to_owned(),
        (_, Some([0x2b, 0x81, 4, 0, 0x23])) => "ECDSA P-521".to_owned(),
        (other, _) => other.to_owned(),
    }
}

/// Of the modulus of a key of RSA.
fn bits(key: &[u8]) -> Option<usize> {
    let key = parts(AnyRef::from_der(key).ok()?.value())?;
    let modulus = key.first()?.value();
    let zeros = modulus.iter().take_while(|byte| **byte == 0).count();
    let first = modulus.get(zeros)?;
    Some((modulus.len() - zeros) * 8 - first.leading_zeros() as usize)
}

/// What stands one behind the other in DER.
pub(super) fn parts(der: &[u8]) -> Option<Vec<AnyRef<'_>>> {
    let mut reader = SliceReader::new(der).ok()?;
    let mut parts = Vec::new();
    while !reader.is_finished() {
        parts.push(AnyRef::decode(&mut reader).ok()?);
    }
    Some(parts)
}

fn name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(plain(name.as_str()).to_ascii_lowercase()),
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let four = || <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from);
            let address = <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from).or_else(four)?;
            Some(address.to_string())
        }
        _ => None,
    }
}

/// `R11 (Let's Encrypt)`, else all of it.
fn known_as(name: &Name) -> String {
    let text = |text: Option<DirectoryString>| text.map(|text| plain(&text.value()));
    let common = text(name.common_name().ok().flatten());
    let organization = text(name.organization().ok().flatten());
    match (common, organization) {
        (Some(common), Some(organization)) => format!("{common} ({organization})"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => plain(&name.to_string()),
    }
}

/// It is shown on terminals.
fn plain(text: &str) -> String {
    text.chars().filter(|char| !char.is_control()).take(256).collect()
}

/// By which people compare certificates.
pub(crate) fn fingerprint(der: &[u8]) -> String {
    hex(digest(&SHA256, der).as_ref())
}

/// Why a key is of no use with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It is no key, or of a kind or size that is not used any more.
    Key,
    /// It is the key of another certificate.
    Other,
}

/// Whether the key is that of the first certificate, and can sign.
pub(crate) fn fits(chain: &[Vec<u8>], key: &Secret) -> Result<(), Unfit> {
    let key = PrivateKeyDer::try_from(key.0.as_slice()).map_err(|_| Unfit::Key)?;
    let signer = default_provider().key_provider.load_private_key(key.clone_key()).map_err(|_| Unfit::Key)?;
    let chain = chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    CertifiedKey::new(chain, signer).keys_match().map_err(|_| Unfit::Other)
}
