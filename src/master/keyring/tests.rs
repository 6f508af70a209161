//! Files of certificates, good and bad ones.

use super::*;
use crate::config::Site;
use crate::config::certificate::LOOKED;
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
        assert!(fault.to_string().contains(wanted), "{wanted}: {fault}");
        let refused = certificates(&config, Some((&config, &first.credentials))).unwrap_err();
        assert!(refused.contains(wanted) && refused.contains("hatchery.ron:1:"), "with its place: {refused}");
    };
    folder.write("a.key", &other.1);
    again("it is not the key of the certificate in `");
    folder.give(&old);
    again("the certificate has expired ");
    let mut early = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    early.not_before = rcgen::date_time_ymd(2027, 1, 1);
    let key = KeyPair::generate().unwrap();
    folder.give(&(early.self_signed(&key).unwrap().pem(), key.serialize_pem()));
    again("a.pem`: the certificate is not valid yet, but in ");
    fs::remove_file(folder.0.join("a.pem")).unwrap();
    again("a.pem`: no such file; create it");
    folder.give(&other);
    let renewed = read(&config, Some((&config, &first.credentials)), NOW).unwrap();
    assert!(renewed.faults.is_empty() && renewed.credentials != first.credentials);
    assert_eq!(changed(&config, &first.credentials, &renewed.credentials).as_deref(), Some("a.example"));
}

#[test]
fn one_that_has_expired_is_better_than_none() {
    let folder = Folder::new("expired");
    let config = folder.config(FILES);
    folder.give(&made(&["a.example"], 2020));
    let found = read(&config, None, NOW).unwrap();
    assert!(found.faults.is_empty() && found.credentials.certificates.len() == 1);
    let [doubt] = &found.doubts[..] else { panic!("{found:?}") };
    assert!(doubt.to_string().contains("a.pem`: the certificate has expired "), "{doubt}");
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
        ("a.pem", Vec::new(), "a.pem`: the file is empty; write it anew"),
        (
            "a.pem",
            vec![0x30, 0x82, 1, 2],
            "a.pem`: it is in DER, and PEM is read; openssl x509 -inform der -in ",
        ),
        (
            "a.pem",
            b"hello\n".to_vec(),
            "a.pem`: there is no certificate in it; it has lines -----BEGIN CERTIFICATE----- if it is the right one",
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
            "a.key`: this kind of key is of no use (the certificate is for ECDSA P-256); use ECDSA",
        ),
        ("a.key", authority.serialize_pem().into(), "a.key`: it is not the key of the certificate in `"),
    ];
    for (name, text, wanted) in cases {
        folder.give(&good);
        folder.write(name, text);
        let found = read(&config, None, NOW).unwrap();
        let [(_, fault)] = &found.faults[..] else { panic!("{wanted}: {found:?}") };
        let key = if *name == "a.pem" { "cert" } else { "key" };
        let fault = fault.to_string();
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
        assert!(
            found.doubts.iter().any(|doubt| doubt.to_string().contains(wanted)),
            "{wanted}\n{:?}",
            found.doubts
        );
    }
    folder.write("ca.pem", &own.1);
    let again = read(&config, Some((&config, &found.credentials)), NOW).unwrap();
    assert_eq!(again.credentials, found.credentials);
    assert_eq!(again.faults[0].1.key, "sites[0].tls.clients.ca");
}

/// In DER.
fn der(tag: u8, inside: &[&[u8]]) -> Vec<u8> {
    let inside = inside.concat();
    let length = inside.len() as u8;
    let head: &[u8] = if length < 128 { &[tag, length] } else { &[tag, 0x81, length] };
    [head, &inside].concat()
}

/// What an authority says of the certificate with that number.
fn said(serial: u8, status: u8, end: &str) -> Vec<u8> {
    let id = der(0x30, &[&der(0x30, &[]), &der(4, &[b"n"]), &der(4, &[b"k"]), &der(2, &[&[0, serial]])]);
    let time = der(0x18, &[b"20260101000000Z"]);
    let next = der(0xa0, &[&der(0x18, &[end.as_bytes()])]);
    let one = der(0x30, &[&id, &[status, 0], &time, &next]);
    let data = der(0x30, &[&der(0xa2, &[&der(4, &[b"r"])]), &time, &der(0x30, &[&one])]);
    let basic = der(0x30, &[&data]);
    let bytes = der(0x30, &[&der(6, &[&[0x2b]]), &der(4, &[&basic])]);
    der(0x30, &[&[10, 1, 0], &der(0xa0, &[&bytes])])
}

#[test]
fn a_response_of_the_authority_is_for_the_certificate() {
    let folder = Folder::new("ocsp");
    let config = folder.config("[(cert: \"a.pem\", key: \"a.key\", ocsp: \"a.ocsp\")]");
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.serial_number = Some(vec![0xa7].into());
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let key = KeyPair::generate().unwrap();
    let own = params.self_signed(&key).unwrap();
    folder.give(&(own.pem(), key.serialize_pem()));
    let good = said(0xa7, 0x80, "20270101000000Z");
    let cases: [(&[u8], bool, &str); 8] = [
        (&good, true, ""),
        (&said(0xa7, 0xa1, "20270101000000Z"), true, "says in it that the certificate is revoked"),
        (
            &said(0xa7, 0x80, "20260901000000Z"),
            true,
            "it is out of date since 20d, and is not sent; openssl ocsp",
        ),
        (
            &said(0xa8, 0x80, "20270101000000Z"),
            false,
            "the response (OCSP) for another certificate; openssl ocsp",
        ),
        (own.der(), false, "it is no response (OCSP) of an authority in DER"),
        (&good[..good.len() - 1], false, "it is no response (OCSP) of an authority in DER"),
        (&der(0x30, &[&[10, 1, 6]]), false, "it is no response (OCSP) of an authority in DER"),
        (b"", false, "the file is empty; write it anew"),
    ];
    for (text, is_taken, wanted) in cases {
        folder.write("a.ocsp", text);
        let found = read(&config, None, NOW).unwrap();
        let certificates = &found.credentials.certificates;
        assert_eq!(certificates.len(), usize::from(is_taken), "{wanted}: {found:?}");
        let stapled = certificates.iter().any(|certificate| certificate.ocsp.is_some());
        assert_eq!(stapled, is_taken && !wanted.contains("out of date"), "{wanted}");
        let all: Vec<_> =
            found.doubts.into_iter().chain(found.faults.into_iter().map(|(_, fault)| fault)).collect();
        assert_eq!(all.len(), usize::from(!wanted.is_empty()), "{wanted}: {all:?}");
        assert!(all.iter().all(|one| one.to_string().contains(wanted)), "{wanted}: {all:?}");
        // The list stands for the section.
        let located = located(&config.origin, &Disk, all);
        let place = |one: &Problem| (one.column, one.key.clone());
        let at = (75, "sites[0].tls[0].ocsp".to_owned());
        assert!(located.iter().all(|one| place(one) == at), "{located:?}");
    }
}

#[test]
fn the_ends_of_a_certificate_and_of_its_response_are_known() {
    let folder = Folder::new("ends");
    let config = folder.config("[(cert: \"a.pem\", key: \"a.key\", ocsp: \"a.ocsp\")]");
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.serial_number = Some(vec![0xa7].into());
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let key = KeyPair::generate().unwrap();
    folder.give(&(params.self_signed(&key).unwrap().pem(), key.serialize_pem()));
    folder.write("a.ocsp", said(0xa7, 0x80, "20270101000000Z"));
    let found = read(&config, None, NOW).unwrap().credentials;
    let ends: Vec<i64> = certificate_files::ends(&found.certificates[0]).collect();
    assert_eq!(ends, [4_102_444_800, 1_798_761_600]);
    // What goes out of date while it is served is left out, by the same reading.
    let later = Wall { seconds: ends[1] + 1, ..NOW };
    let again = read(&config, Some((&config, &found)), later).unwrap();
    assert_eq!((again.credentials.certificates[0].ocsp.as_ref(), again.faults.len()), (None, 0));
    assert!(again.doubts.iter().any(|doubt| doubt.what.contains("out of date since 1s")), "{again:?}");
}

#[test]
fn what_is_kept_serves_until_there_is_one_for_exactly_the_names() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new("stored");
    let config = folder.config("Acme(storage: \"store\")");
    fs::create_dir(folder.0.join("store")).unwrap();
    fs::set_permissions(folder.0.join("store"), fs::Permissions::from_mode(0o700)).unwrap();
    let keep = |name: &str, names: &[&str], until| {
        let (certificate, key) = made(names, until);
        folder.write(&format!("store/{name}.pem"), format!("{key}{certificate}"));
    };
    let names = || {
        let found = read(&config, None, NOW).unwrap();
        let facts = Facts::of(&found.credentials.certificates[0].chain[0]).unwrap();
        let told: Vec<String> = found.doubts.iter().map(ToString::to_string).collect();
        (facts.names.join(" "), facts.not_after, told.join("\n"))
    };
    folder.write("store/garbage.pem", "garbage");
    let (better, of_another) = (made(&["a.example"], 2099), made(&["a.example"], 2099));
    folder.write("store/odd.pem", better.0 + &of_another.1);
    keep("other", &["b.example"], 2100);
    assert_eq!(names().0, "a.example", "made here, whatever is there for others");
    keep("old", &["a.example"], 2020);
    let (_, end, told) = names();
    assert!(end < NOW.seconds, "it shows who is there");
    assert!(told.contains("sites[0].tls.certificates: the certificate has expired "), "{told}");
    assert!(told.contains("; it serves until there is another one, which is ordered"), "{told}");
    keep("more", &["a.example", "b.example"], 2100);
    let (more, _, told) = names();
    assert_eq!((more.as_str(), told.as_str()), ("a.example b.example", ""));
    keep("own", &["a.example"], 2090);
    assert_eq!(names().0, "a.example");
    let two = folder.config("Acme(storage: \"store\")");
    let two = Config {
        sites: vec![Site { names: vec![host("a.example"), host("c.example")], ..two.sites[0].clone() }],
        ..two
    };
    let found = read(&two, None, NOW).unwrap();
    assert!(
        found.doubts[0].to_string().contains("the certificate is not for c.example, which browsers"),
        "{found:?}"
    );
}

fn host(name: &str) -> crate::route::HostPattern {
    crate::route::HostPattern::Exact(name.to_owned())
}

/// How often certificates are looked at to have those of so many sites again.
fn looks(count: usize) -> usize {
    let folder = Folder::new("linear");
    let [made_here, had] = ["SelfSigned", "Acme(storage: \"none\")"].map(|tls| folder.config(tls));
    let sites = (0..count).map(|number| {
        let source = if number % 2 == 0 { &made_here } else { &had };
        Site { names: vec![host(&format!("{number}.example"))], ..source.sites[0].clone() }
    });
    let config = Config { sites: sites.collect(), ..made_here.clone() };
    let mut first = read(&config, None, NOW).unwrap().credentials;
    // Every fourth is an authority's.
    for known in first.certificates.iter_mut().filter(|known| known.site % 4 == 1) {
        let der = made(&[&format!("{}.example", known.site)], 2100).0;
        known.chain = vec![CertificateDer::from_pem_slice(der.as_bytes()).unwrap().to_vec()];
    }
    let before = LOOKED.get();
    let again = read(&config, Some((&config, &first)), NOW).unwrap();
    assert_eq!(again.credentials, first);
    LOOKED.get() - before
}

#[test]
fn twice_the_sites_are_twice_the_looks_at_certificates() {
    let (once, twice) = (looks(40), looks(80));
    assert!(once >= 40 && twice < once * 21 / 10, "{once} looks for 40 sites, {twice} for 80");
}

#[test]
fn a_certificate_without_those_that_signed_it_is_told_of() {
    let folder = Folder::new("alone");
    let config = folder.config(FILES);
    let signer = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(rcgen::DnType::CommonName, "R1");
    let signer = rcgen::CertifiedIssuer::self_signed(params, signer).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(2100, 1, 1);
    let own = params.signed_by(&key, &signer).unwrap();
    for (chain, doubts) in [(own.pem(), 1), (own.pem() + &signer.pem(), 0)] {
        folder.give(&(chain, key.serialize_pem()));
        let found = read(&config, None, NOW).unwrap();
        assert_eq!((found.faults.len(), found.doubts.len()), (0, doubts), "{found:?}");
        let is_it = |doubt: &Problem| {
            doubt.what.contains("clients that do not know `R1") && doubt.hint.contains("fullchain")
        };
        assert!(found.doubts.iter().all(is_it), "{found:?}");
    }
}

#[test]
fn kinds_of_keys_have_their_names() {
    let of = |key: KeyPair| {
        let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        Facts::of(params.self_signed(&key).unwrap().der()).unwrap().key
    };
    for (algorithm, name) in [
        (&rcgen::PKCS_ECDSA_P256_SHA256, "ECDSA P-256"),
        (&rcgen::PKCS_ECDSA_P384_SHA384, "ECDSA P-384"),
        (&rcgen::PKCS_ED25519, "Ed25519"),
    ] {
        assert_eq!(of(KeyPair::generate_for(algorithm).unwrap()), name);
    }
}

fn is_made_here(certificate: &Certificate) -> bool {
    self_signed::is_ours(&Facts::of(&certificate.chain[0]).unwrap())
}

#[test]
fn one_that_was_made_here_or_issued_stays_and_takes_the_place_of_the_other() {
    let folder = Folder::new("own");
    let config = folder.config("Acme");
    let first = read(&config, None, NOW).unwrap().credentials;
    assert!(is_made_here(&first.certificates[0]));
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
    // The third of them in a day meets the look at certificates, and is handed out all the same.
    let mut daily = Keyring::default();
    daily.follow(&config, now);
    for count in 1..=3 {
        let due = daily.due(now.after(ROTATION * count));
        assert_eq!((due.rotated, due.looks, due.ends, due.is_changed), (true, count == 3, false, false));
    }
    let state = serde_json::to_string(&keyring).unwrap();
    let again: Keyring = serde_json::from_str(&state).unwrap();
    assert_eq!((&again.own, again.rotation), (&keyring.own, keyring.rotation), "over an upgrade");
    keyring.follow(&config, now);
    assert_eq!(keyring.own.tickets, again.own.tickets, "over a reload");
    keyring.follow(&plain, now);
    assert!(keyring.own.tickets.is_empty() && keyring.deadline().is_none());
}
