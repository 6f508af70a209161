//! Whether a chain is what was ordered: it comes from strangers, or from a disk.

use crate::config::certificate::{Facts, Unfit, fits};
use crate::control::digits::base64url;
use crate::http::date;
use crate::renewal::Validity;
use crate::secret::Secret;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// So many seconds the clock of an authority may be before ours.
const SLACK: i64 = 3600;

/// Certificates of a longer chain are not looked at.
const LONGEST: usize = 10;

/// The certificates of a text in PEM.
///
/// # Errors
/// It is none; for the operator.
pub(super) fn read(pem: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(LONGEST).collect();
    let chain = chain.map_err(|error| format!("it is no PEM: {error}"))?;
    Ok(chain.into_iter().map(|certificate| certificate.to_vec()).collect())
}

/// The key in such a text.
pub(super) fn read_key(pem: &[u8]) -> Option<Secret> {
    let key = PrivateKeyDer::from_pem_slice(pem).ok()?;
    Some(Secret(key.secret_der().to_vec()))
}

/// When the chain is good, if it is for all these names and for this key, and its time has come.
///
/// # Errors
/// Why it is not used.
pub(super) fn check(chain: &[Vec<u8>], key: &Secret, names: &[String], now: i64) -> Result<Validity, String> {
    let first = chain.first().ok_or("there is no certificate in it")?;
    let facts = Facts::of(first).ok_or("it is no certificate")?;
    if let Some(missing) = names.iter().find(|name| !facts.covers(name)) {
        return Err(format!("it is not for {missing}, but for {}", facts.names.join(", ")));
    }
    if facts.is_ca {
        return Err("it is the certificate of an authority (CA:TRUE)".to_owned());
    }
    if facts.not_before > now.saturating_add(SLACK) {
        return Err(format!(
            "it is not good before {}: is the clock of this machine right?",
            date::iso(facts.not_before)
        ));
    }
    if facts.not_after <= facts.not_before {
        return Err("it ends before it begins".to_owned());
    }
    let mut before = facts.clone();
    for (number, der) in chain.iter().enumerate().skip(1) {
        let next = Facts::of(der).filter(|next| before.is_signed_by(next));
        before =
            next.ok_or_else(|| format!("certificate {} in it is not who signed the one before", number + 1))?;
    }
    fits(chain, key).map_err(|unfit| match unfit {
        Unfit::Key => "its key is of no use",
        Unfit::Other => "it is for another key",
    })?;
    Ok(Validity { from: facts.not_before, until: facts.not_after })
}

/// By what its authority knows the first certificate (RFC 9773 §4.1).
pub(super) fn id(chain: &[Vec<u8>]) -> Option<String> {
    let facts = Facts::of(chain.first()?)?;
    Some(format!("{}.{}", base64url(&facts.authority_key?), base64url(&facts.serial)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints as Basic, CertificateParams, IsCa, KeyPair, SerialNumber};

    const NOW: i64 = 1_800_000_000;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// A certificate with its key.
    fn made(change: impl Fn(&mut CertificateParams)) -> (Vec<Vec<u8>>, Secret) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names(&["shop.example", "WWW.shop.example"])).unwrap();
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        change(&mut params);
        (vec![params.self_signed(&key).unwrap().der().to_vec()], Secret(key.serialize_der()))
    }

    #[test]
    fn a_chain_is_used_only_if_it_is_what_was_ordered() {
        let (chain, key) = made(|_| {});
        let wanted = names(&["www.shop.example", "shop.example"]);
        let validity = check(&chain, &key, &wanted, NOW).unwrap();
        assert_eq!(validity.until, 3_786_912_000);
        let (_, other) = made(|_| {});
        let (authority, its_key) = made(|params| {
            params.is_ca = IsCa::Ca(Basic::Unconstrained);
            params.distinguished_name.push(rcgen::DnType::CommonName, "an authority");
        });
        let (early, early_key) = made(|params| params.not_before = rcgen::date_time_ymd(2060, 1, 1));
        let followed = |next: &[u8]| vec![chain[0].clone(), next.to_vec()];
        for (chain, key, wanted, why) in [
            (&early, &early_key, &wanted, "not good before 2060-01-01"),
            (&followed(b"\x00\x00\x00"), &key, &wanted, "certificate 2 in it is not who signed"),
            (&followed(&authority[0]), &key, &wanted, "certificate 2 in it is not who signed"),
            (&chain, &other, &wanted, "for another key"),
            (&authority, &its_key, &wanted, "CA:TRUE"),
            (&chain, &key, &names(&["blog.example"]), "not for blog.example, but for shop.example"),
            (&Vec::new(), &key, &wanted, "no certificate in it"),
            (&vec![b"garbage".to_vec()], &key, &wanted, "no certificate"),
            (&chain, &Secret(b"garbage".to_vec()), &wanted, "of no use"),
        ] {
            let said = check(chain, key, wanted, NOW).unwrap_err();
            assert!(said.contains(why), "{why}: {said}");
        }
    }

    /// The example of RFC 9773 §4.1: key 69:88:5B:6B:87:46:40:41:E1:B3:7B:84:7B:A0:AE:2C:DE:01:C8:D4, serial 87:65:43:21.
    #[test]
    fn a_certificate_is_named_by_the_key_of_its_issuer_and_its_serial_number() {
        let (chain, _) = made(|params| {
            let issuer = b"\x30\x16\x80\x14\x69\x88\x5b\x6b\x87\x46\x40\x41\xe1\xb3\x7b\x84\x7b\xa0\xae\x2c\xde\x01\xc8\xd4";
            let extension = rcgen::CustomExtension::from_oid_content(&[2, 5, 29, 35], issuer.to_vec());
            params.custom_extensions.push(extension);
            params.serial_number = Some(SerialNumber::from_slice(b"\x87\x65\x43\x21"));
        });
        assert_eq!(id(&chain).as_deref(), Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"));
        assert_eq!(id(&made(|_| {}).0), None, "nobody issued it");
    }
}
