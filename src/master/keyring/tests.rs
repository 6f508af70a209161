//! Files of certificates, good and bad ones.

use super::*;
use crate::config::{Disk, load};
use rcgen::{CertificateParams, KeyPair};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use std::fs;
use std::path::PathBuf;

const NOW: Wall = Wall { seconds: 1_790_000_000, nanos: 0 };

/// A directory with a configuration whose site has the certificate `a.pem` and `a.key`.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// PEM of a certificate and of its key.
fn made(names: &[&str], until: i32) -> (String, String) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = KeyPair::generate().unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

impl Folder {
    fn new(test: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("hatchery-keyring-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        use std::os::unix::fs::PermissionsExt as _;
        fs::write(self.0.join(name), text).unwrap();
        fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn give(&self, (certificate, key): &(String, String)) {
        self.write("a.pem", certificate);
        self.write("a.key", key);
    }

    fn config(&self, tls: &str) -> Config {
        let text = format!(
            "(sites: [(names: [\"a.example\"], tls: {tls}, locations: [(path: \"/\", to: Respond())])])"
        );
        self.write("hatchery.ron", text);
        load(&self.0.join("hatchery.ron"), &Disk).unwrap()
    }
}

const FILES: &str = "[(cert: \"a.pem\", key: \"a.key\")]";

#[test]
fn bad_files_leave_what_was_there() {
    let folder = Folder::new("bad");
    let config = folder.config(FILES);
    let (good, other, old) =
        (made(&["a.example"], 2100), made(&["a.example"], 2100), made(&["a.example"], 2020));
    folder.give(&good);
    let first = read(&config, None, NOW).unwrap();
    assert!(first.faults.is_empty() && first.doubts.is_empty(), "{first:?}");
    let again = |wanted: &str| {
        let again = read(&config, Some((&config, &first.credentials)), NOW).unwrap();
        assert_eq!(again.credentials, first.credentials, "{wanted}");
        let [(key, fault)] = &again.faults[..] else { panic!("{wanted}: {again:?}") };
        assert_eq!(key, "sites[0].tls.certificates[0]");
        assert!(fault.contains(wanted), "{wanted}: {fault}");
        assert!(certificates(&config, Some((&config, &first.credentials))).unwrap_err().contains(wanted));
    };
    folder.write("a.key", &other.1);
    again("it is not the key of the certificate in `");
    folder.give(&old);
    again("the certificate has expired ");
    fs::remove_file(folder.0.join("a.pem")).unwrap();
    again("a.pem`: no such file; create it");
    folder.give(&other);
    let renewed = read(&config, Some((&config, &first.credentials)), NOW).unwrap();
    assert!(renewed.faults.is_empty() && renewed.credentials != first.credentials);
    assert_eq!(changed(&config, &first.credentials, &renewed.credentials), "a.example");
}

#[test]
fn one_that_has_expired_is_better_than_none() {
    let folder = Folder::new("expired");
    let config = folder.config(FILES);
    folder.give(&made(&["a.example"], 2020));
    let found = read(&config, None, NOW).unwrap();
    assert!(found.faults.is_empty() && found.credentials.certificates.len() == 1);
    let [doubt] = &found.doubts[..] else { panic!("{found:?}") };
    assert!(doubt.starts_with("a.example: the certificate has expired "), "{doubt}");
    // It stays when it is read again.
    assert!(read(&config, Some((&config, &found.credentials)), NOW).unwrap().faults.is_empty());
}

/// What is told of files, each written in place of the good ones.
#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn each_mistake_of_a_file_has_its_sentence() {
    let folder = Folder::new("mistakes");
    let config = folder.config(FILES);
    let good = made(&["a.example"], 2100);
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = KeyPair::generate().unwrap();
    let ca = params.self_signed(&authority).unwrap().pem();
    let request = CertificateParams::new(vec!["a".to_owned()])
        .unwrap()
        .serialize_request(&authority)
        .unwrap()
        .pem()
        .unwrap();
    let cases: &[(&str, Vec<u8>, &str)] = &[
        ("a.pem", Vec::new(), "a.pem`: the file is empty; write it anew, in PEM"),
        (
            "a.pem",
            vec![0x30, 0x82, 1, 2],
            "a.pem`: it is in DER, and PEM is read; openssl x509 -inform der -in ",
        ),
        (
            "a.pem",
            b"hello\n".to_vec(),
            "a.pem`: there is no certificate in it; it begins with -----BEGIN CERTIFICATE-----",
        ),
        (
            "a.pem",
            good.1.clone().into(),
            "a.pem`: there is no certificate in it but a private key; are the two files mixed up?",
        ),
        (
            "a.pem",
            request.into(),
            "a.pem`: it is the request for a certificate; give the certificate that the authority",
        ),
        (
            "a.pem",
            ca.clone().into(),
            "a.pem`: there are only certificates of authorities in it (rcgen self signed cert)",
        ),
        (
            "a.pem",
            format!("{ca}{}", good.0).into(),
            "a.pem`: the first certificate in it is that of an authority",
        ),
        (
            "a.pem",
            b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n".to_vec(),
            "a.pem`: its PEM is damaged",
        ),
        (
            "a.pem",
            b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_vec(),
            "a.pem`: certificate 1 in it is damaged",
        ),
        ("a.key", Vec::new(), "a.key`: the file is empty"),
        (
            "a.key",
            vec![0x30, 0x82, 1, 2],
            "a.key`: it is in DER, and PEM is read; openssl pkey -inform der -in ",
        ),
        (
            "a.key",
            good.0.clone().into(),
            "a.key`: there is no private key in it but a certificate; are the two files mixed up?",
        ),
        (
            "a.key",
            b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n".to_vec(),
            "a.key`: the key needs a passphrase, and nobody is there to type it; write it without one: openssl pkey -in ",
        ),
        (
            "a.key",
            b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n".to_vec(),
            "a.key`: it is a key for SSH",
        ),
        (
            "a.key",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".to_vec(),
            "a.key`: this kind of key is of no use; use ECDSA",
        ),
        ("a.key", authority.serialize_pem().into(), "a.key`: it is not the key of the certificate in `"),
    ];
    for (name, text, wanted) in cases {
        folder.give(&good);
        folder.write(name, text);
        let found = read(&config, None, NOW).unwrap();
        let [(_, fault)] = &found.faults[..] else { panic!("{wanted}: {found:?}") };
        let key = if *name == "a.pem" { "cert" } else { "key" };
        assert!(fault.contains(&format!(": sites[0].tls.certificates[0].{key}: `")), "{fault}");
        assert!(fault.contains(wanted), "\n{wanted}\n{fault}");
    }
}

#[test]
fn what_is_doubtful_is_told_and_taken() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("doubts");
    let config = folder.config("(certificates: [(cert: \"a.pem\", key: \"a.key\")], clients: \"ca.pem\")");
    let (own, stray) = (made(&["b.example"], 2100), made(&["c.example"], 2100));
    folder.give(&own);
    folder.write("ca.pem", &stray.0);
    folder.write("a.pem", format!("{}{}", own.0, stray.0));
    fs::set_permissions(folder.0.join("a.key"), fs::Permissions::from_mode(0o644)).unwrap();
    let found = read(&config, None, NOW).unwrap();
    assert_eq!((found.credentials.certificates[0].chain.len(), found.credentials.authorities.len()), (2, 1));
    // rcgen's name for both is the same, and so is their signer's.
    for wanted in [
        "a.key`: every user can read the key (mode 0644), and so stand in for the site; chmod o= ",
        "sites[0].names[0]: no certificate of the site is for `a.example`, which browsers will refuse; there is b.example;",
    ] {
        assert!(found.doubts.iter().any(|doubt| doubt.contains(wanted)), "{wanted}\n{:?}", found.doubts);
    }
    folder.write("ca.pem", &own.1);
    let again = read(&config, Some((&config, &found.credentials)), NOW).unwrap();
    assert_eq!(again.credentials, found.credentials);
    assert!(again.faults[0].1.contains("sites[0].tls.clients.ca: `"), "{:?}", again.faults);
}

#[test]
fn one_that_was_made_here_or_issued_stays_and_takes_the_place_of_the_other() {
    let folder = Folder::new("own");
    let config = folder.config("Acme");
    let first = read(&config, None, NOW).unwrap().credentials;
    assert!(self_signed::is_one(&first.certificates[0]));
    let known = Some((&config, &first));
    assert_eq!(read(&config, known, NOW).unwrap().credentials, first);
    let chain = |names: &[&str]| {
        let der = CertificateDer::from_pem_slice(made(names, 2100).0.as_bytes()).unwrap();
        vec![der.to_vec()]
    };
    let issued = Certificate { chain: chain(&["a.example"]), ..first.certificates[0].clone() };
    let second = Credentials { certificates: vec![issued.clone()], ..Credentials::default() };
    assert_eq!(read(&config, Some((&config, &second)), NOW).unwrap().credentials, second);
    // The site may change, but for its names and where its certificate comes from.
    let listens = folder.config("(listen: [\":8443\"], certificates: Acme)");
    assert_eq!(read(&listens, Some((&config, &second)), NOW).unwrap().credentials, second);
    let own = folder.config("SelfSigned");
    assert_ne!(read(&own, Some((&config, &second)), NOW).unwrap().credentials, second);
    // One for other names serves until there is a better one, but none for strangers.
    for (names, stays) in [(&["a.example", "b.example"][..], true), (&["b.example"], false)] {
        let other = Certificate { chain: chain(names), ..issued.clone() };
        let other = Credentials { certificates: vec![other], ..Credentials::default() };
        assert_eq!(read(&config, Some((&config, &other)), NOW).unwrap().credentials == other, stays);
        let both = Credentials {
            certificates: [other.certificates, vec![issued.clone()]].concat(),
            ..Credentials::default()
        };
        assert_eq!(read(&config, Some((&config, &both)), NOW).unwrap().credentials, second);
    }
}

#[test]
fn keys_of_tickets_come_and_go_and_a_server_without_tls_has_none() {
    let folder = Folder::new("tickets");
    let (plain, config) = (folder.config("None, listen: [\":80\"]"), folder.config("SelfSigned"));
    let mut keyring = Keyring::default();
    let mut now = Time(1_000_000_000);
    keyring.follow(&plain, now);
    assert!(keyring.own.tickets.is_empty() && keyring.deadline().is_none());
    let mut names = Vec::new();
    for count in 1..=5 {
        if count == 1 {
            keyring.follow(&config, now);
        } else {
            keyring.rotate(now);
        }
        let tickets = &keyring.own.tickets;
        names.insert(0, tickets[0].name);
        assert_eq!(tickets.iter().map(|key| key.name).collect::<Vec<_>>(), names[..count.min(3)]);
        assert!(keyring.own.serial == count as u64 && tickets[0].key.0 != [0; 32]);
        now = now.after(ROTATION);
    }
    let state = serde_json::to_string(&keyring).unwrap();
    let again: Keyring = serde_json::from_str(&state).unwrap();
    assert_eq!((&again.own, again.rotation), (&keyring.own, keyring.rotation), "over an upgrade");
    keyring.follow(&config, now);
    assert_eq!(keyring.own.tickets, again.own.tickets, "over a reload");
    keyring.follow(&plain, now);
    assert!(keyring.own.tickets.is_empty() && keyring.deadline().is_none());
}
