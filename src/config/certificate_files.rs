//! The files of `tls`: certificates, keys, authorities of clients. What is wrong with one has its sentence, and no message
//! quotes a key.

use super::certificate::{Facts, Unfit, fits};
use super::certificate_ocsp::{self, Said};
use super::certificate_upstreams;
use super::credentials::{Authorities, Certificate, Credentials};
use super::problem::{Complaint, Place, Problem};
use super::site::{Site, render_host};
use super::tls::{Clients, Files};
use super::{Certificates, Config};
use crate::control::digits::unbase64;
use crate::control::text::about;
use crate::secret::{Hidden, Secret};
use crate::sys::file::read_at;
use crate::sys::place::Place as PlaceOnDisk;
use crate::sys::trust::Stranger;
use crate::sys::user;
use crate::timer::Wall;
use nix::fcntl::OFlag;
use rustls::RootCertStore;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::{PemObject as _, SectionKind};
use std::fs::File;
use std::io::ErrorKind;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// More is no certificate.
const MOST: u64 = 1 << 20;

/// Bytes of what is known of an authority by file.
const MOST_OF_DIRECTORY: usize = 128 << 10;

/// Sooner than this an end is worth a warning.
pub(crate) const SOON: i64 = 14 * DAY;

pub(crate) const DAY: i64 = 86_400;

/// A certificate that was found in files.
pub(crate) struct Found {
    pub(crate) certificate: Certificate,
    pub(crate) doubts: Vec<Problem>,
    /// Its time is over, or has not come.
    pub(crate) untimely: Option<Problem>,
}

/// Where a file is named: the configuration, and the key in it.
#[derive(Clone, Copy)]
pub(super) struct Named<'a> {
    pub(super) origin: &'a str,
    pub(super) key: &'a str,
    pub(super) path: &'a Path,
}

impl Named<'_> {
    fn problem(&self, complaint: Complaint) -> Problem {
        let what = format!("`{}`: {}", self.path.display(), complaint.what);
        Place::named(self.origin, self.key).problem(Complaint { what, ..complaint })
    }

    /// The same with what is wrong and what to do.
    pub(super) fn wrong(&self, what: impl Into<String>, hint: impl Into<String>) -> Problem {
        self.problem(Complaint::new(what, hint))
    }
}

/// The certificates that a site has by file, each with its key in the configuration.
pub(crate) fn of_site(index: usize, site: &Site) -> impl Iterator<Item = (String, &Files)> {
    let files = match site.tls.as_ref().map(|tls| &tls.certificates) {
        Some(Certificates::Files(files)) => files.as_slice(),
        _ => &[],
    };
    let named = files.iter().enumerate();
    named.map(move |(number, files)| (format!("sites[{index}].tls.certificates[{number}]"), files))
}

/// Everything that is read for TLS.
pub(crate) fn paths(config: &Config) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for (index, site) in config.sites.iter().enumerate() {
        for (_, Files { cert, key, ocsp }) in of_site(index, site) {
            paths.extend([cert, key].into_iter().chain(ocsp).cloned());
        }
        paths.extend(site.clients().map(|clients| clients.ca.clone()));
    }
    paths.extend(certificate_upstreams::paths(config));
    paths.sort();
    paths.dedup();
    paths
}

/// Reads a certificate with its key, for the site at this index.
///
/// # Errors
/// Which file is of no use, and why.
pub(crate) fn read(origin: &str, key: &str, files: &Files, site: usize, now: Wall) -> Result<Found, Problem> {
    let keys = ["cert", "key", "ocsp"].map(|part| format!("{key}.{part}"));
    let [cert, private, ocsp] = &keys;
    let cert = Named { origin, key: cert, path: &files.cert };
    let private = Named { origin, key: private, path: &files.key };
    let mut doubts = Vec::new();
    let (chain, facts) = chain(&cert, &mut doubts)?;
    let key = private_key(&private, "stand in for the site", &mut doubts)?;
    fits(&chain, &key).map_err(|unfit| match unfit {
        Unfit::Key => private.wrong(
            format!("this kind of key is of no use (the certificate is for {})", facts.key),
            "use ECDSA (P-256 or P-384), Ed25519, or RSA of 2048 bits or more",
        ),
        Unfit::Other => private.wrong(
            format!("it is not the key of the certificate in `{}`", files.cert.display()),
            "both are made together: give the key that the certificate was requested with",
        ),
    })?;
    let ocsp = Named { origin, key: ocsp, path: files.ocsp.as_deref().unwrap_or(Path::new("")) };
    let has_ocsp = files.ocsp.is_some();
    let ocsp = has_ocsp.then(|| response(&ocsp, &facts, now, &mut doubts)).transpose()?.flatten();
    let hint = if facts.not_before > now.seconds { "use another one until then" } else { "renew it" };
    let mut untimely = expiry(&facts, now).map(|what| cert.wrong(what, hint));
    doubts.extend(untimely.take_if(|_| facts.is_valid(now.seconds)));
    Ok(Found { certificate: Certificate { site, chain, key, ocsp }, doubts, untimely })
}

/// Reads who may sign certificates of clients, for the site at this index.
///
/// # Errors
/// The file is of no use, and why.
pub(crate) fn read_clients(
    origin: &str,
    clients: &Clients,
    site: usize,
    doubts: &mut Vec<Problem>,
) -> Result<Authorities, Problem> {
    let key = format!("sites[{site}].tls.clients.ca");
    let (_, certificates) =
        authorities(&Named { origin, key: &key, path: &clients.ca }, "the clients' ones", doubts)?;
    Ok(Authorities { site, certificates })
}

/// Reads who may have signed the certificate of a directory: its text.
///
/// # Errors
/// The file is of no use, and why.
pub(crate) fn read_directory_ca(
    origin: &str,
    key: &str,
    path: &Path,
    doubts: &mut Vec<Problem>,
) -> Result<String, Problem> {
    let named = Named { origin, key, path };
    let (mut text, _) = authorities(&named, "that of the directory", doubts)?;
    let text = String::from_utf8(std::mem::take(&mut text.0)).ok();
    // It goes to the helper in one message.
    text.filter(|text| text.len() <= MOST_OF_DIRECTORY).ok_or_else(|| {
        let what = format!("it is no text, or has more than {} KiB", MOST_OF_DIRECTORY >> 10);
        named.wrong(what, "it holds the certificates of those who sign that of the directory, and no others")
    })
}

/// Reads the key of an account at an authority (`eab`).
///
/// # Errors
/// The file is of no use, and why.
pub(crate) fn read_eab(
    origin: &str,
    key: &str,
    path: &Path,
    doubts: &mut Vec<Problem>,
) -> Result<Hidden, Problem> {
    let named = Named { origin, key, path };
    let (text, mode) = contents(&named, doubts)?;
    doubts.extend(readable(&named, mode, "order in your name"));
    let text = std::str::from_utf8(&text.0).unwrap_or_default().trim();
    match unbase64(text).map(Secret) {
        Some(_) => Ok(Hidden(text.to_owned())),
        None => {
            Err(named
                .wrong("there is no key in base64url in it", "write it exactly as the authority shows it"))
        }
    }
}

/// The certificates of those who sign others, and the text in which they stand.
pub(super) fn authorities(
    named: &Named<'_>,
    signed: &str,
    doubts: &mut Vec<Problem>,
) -> Result<(Secret, Vec<Vec<u8>>), Problem> {
    let (text, _) = contents(named, doubts)?;
    let certificates = certificates(named, &text.0)?;
    let mut store = RootCertStore::empty();
    for (number, der) in certificates.iter().enumerate() {
        if store.add(CertificateDer::from(der.as_slice())).is_err() {
            let what = format!("certificate {} in it is none of an authority", number + 1);
            return Err(named.wrong(what, format!("it holds the certificates of those who sign {signed}")));
        }
    }
    Ok((text, certificates))
}

/// What time makes of a certificate. Not an error: one that has expired still proves that a server is there.
pub(crate) fn expiry(facts: &Facts, now: Wall) -> Option<String> {
    let until = facts.not_before.saturating_sub(now.seconds);
    let left = facts.not_after.saturating_sub(now.seconds);
    match left {
        ..0 => Some(format!("the certificate has expired {} ago", about(left.unsigned_abs()))),
        _ if until > 0 => {
            Some(format!("the certificate is not valid yet, but in {}", about(until.unsigned_abs())))
        }
        0..SOON => Some(format!("the certificate expires in {}", about(left.unsigned_abs()))),
        _ => None,
    }
}

/// Names of a site that none of its certificates is for.
pub(crate) fn uncovered(origin: &str, index: usize, site: &Site, found: &[Certificate]) -> Vec<Problem> {
    let facts: Vec<Facts> =
        found.iter().filter_map(|certificate| Facts::of(certificate.chain.first()?)).collect();
    let names: Vec<String> = facts.iter().flat_map(|facts| facts.names.iter().cloned()).collect();
    let mut doubts = Vec::new();
    for (number, pattern) in site.names.iter().enumerate().filter(|_| !facts.is_empty()) {
        // Whether there is one for all that a pattern takes, nobody knows.
        let Some(host) = pattern.in_certificate() else { continue };
        if !facts.iter().any(|facts| facts.covers(&host)) {
            let what = format!(
                "no certificate of the site is for `{}`, which browsers will refuse",
                render_host(pattern)
            );
            let hint = format!("there is {}; get one for this name, too", names.join(", "));
            let place = Place::named(origin, format!("sites[{index}].names[{number}]"));
            doubts.push(place.problem(Complaint::new(what, hint)));
        }
    }
    doubts
}

/// What is wrong with the files, and what is doubtful about them: for `hatchery check`.
pub(crate) fn judge(config: &Config, now: Wall) -> (Vec<Problem>, Vec<Problem>) {
    let (mut problems, mut doubts) = (Vec::new(), Vec::new());
    for (index, site) in config.sites.iter().enumerate() {
        let mut own = Vec::new();
        for (key, files) in of_site(index, site) {
            match read(&config.origin, &key, files, index, now) {
                Ok(found) => {
                    doubts.extend(found.doubts);
                    problems.extend(found.untimely);
                    own.push(found.certificate);
                }
                Err(problem) => problems.push(problem),
            }
        }
        doubts.extend(uncovered(&config.origin, index, site, &own));
        if let Some(clients) = site.clients() {
            problems.extend(read_clients(&config.origin, clients, index, &mut doubts).err());
        }
    }
    let unused = &mut Credentials::default();
    problems.extend(certificate_upstreams::read(config, None, unused, now, &mut doubts));
    (problems, doubts)
}

/// What a file is to be, for what is said of one that is something else.
pub(super) struct Expected {
    /// Bytes at most.
    pub(super) most: u64,
    pub(super) of_what: &'static str,
    /// What somebody can do who can write it.
    pub(super) by_writing: &'static str,
    pub(super) may_be_empty: bool,
}

const OF_TLS: Expected = Expected {
    most: MOST,
    of_what: "one of the files of TLS",
    by_writing: "stand in for the site",
    may_be_empty: false,
};

/// The bytes of a file of TLS, and its mode.
pub(super) fn contents(named: &Named<'_>, doubts: &mut Vec<Problem>) -> Result<(Secret, u32), Problem> {
    contents_of(named, &OF_TLS, doubts)
}

/// The bytes of a file, and its mode.
pub(super) fn contents_of(
    named: &Named<'_>,
    expected: &Expected,
    doubts: &mut Vec<Problem>,
) -> Result<(Secret, u32), Problem> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => named.wrong("no such file", "create it, or correct the path"),
        // It says what to do.
        _ if error.get_ref().is_some() => named.wrong(error.to_string(), ""),
        ErrorKind::PermissionDenied => {
            named.wrong("permission denied", "it must be readable for the user who starts the server")
        }
        _ => named.wrong(error.to_string(), ""),
    };
    let place = PlaceOnDisk::through_links(named.path).map_err(failed)?;
    let file = File::from(place.open(OFlag::O_RDONLY).map_err(failed)?);
    let found = file.metadata().map_err(failed)?;
    if !found.is_file() {
        let what = "it is no file but a directory, a pipe, a socket or a device";
        return Err(named.wrong(what, "correct the path"));
    }
    let mode = found.mode() & 0o7777;
    if mode & 0o002 != 0 {
        let what = format!("every user can write it (mode {mode:04o}), and so {}", expected.by_writing);
        let problem = named.wrong(what, Stranger::Anybody.remedy(named.path));
        if user::is_root() {
            return Err(problem);
        }
        doubts.push(problem);
    }
    if found.len() == 0 && !expected.may_be_empty {
        return Err(named.wrong("the file is empty", "write it anew"));
    }
    if found.len() > expected.most {
        let what = format!("it has more than {} MiB, which is not {}", expected.most >> 20, expected.of_what);
        return Err(named.wrong(what, "correct the path"));
    }
    let length = usize::try_from(found.len()).unwrap_or(0);
    Ok((Secret(read_at(file.as_fd(), 0, length).map_err(failed)?), mode))
}

/// The site's own certificate, then the others, as they are sent; and what the first one says.
fn chain(named: &Named<'_>, doubts: &mut Vec<Problem>) -> Result<(Vec<Vec<u8>>, Facts), Problem> {
    let (text, _) = contents(named, doubts)?;
    let chain = certificates(named, &text.0)?;
    let mut facts = Vec::new();
    for (number, der) in chain.iter().enumerate() {
        let Some(of) = Facts::of(der) else {
            let what = format!("certificate {} in it is damaged", number + 1);
            return Err(named.wrong(what, "get it anew from the authority"));
        };
        facts.push(of);
    }
    let is_authority = |facts: &Facts| facts.is_ca && facts.names.is_empty();
    if let Some(first) = facts.first().filter(|first| is_authority(first)) {
        let subject = &first.subject;
        return Err(if facts.iter().all(is_authority) {
            named.wrong(
                format!("there are only certificates of authorities in it ({subject})"),
                "the certificate of the site comes first, then those",
            )
        } else {
            named.wrong(
                format!("the first certificate in it is that of an authority ({subject})"),
                "the certificate of the site comes first, then the one that signed it, and so on",
            )
        });
    }
    let links = facts.iter().zip(facts.iter().skip(1)).enumerate();
    if let Some((number, (one, next))) = links.into_iter().find(|(_, (one, next))| !one.is_signed_by(next)) {
        let what = format!(
            "certificate {} in it ({}) did not sign the one before ({}, signed by {})",
            number + 2,
            next.subject,
            one.subject,
            one.issuer
        );
        doubts.push(named.wrong(
            what,
            "some clients will refuse it: put them in order, and leave out what does not belong there",
        ));
    }
    if let [alone] = &facts[..]
        && !alone.is_self_signed()
    {
        let what = format!(
            "there is no other certificate in it, and clients that do not know `{}`, which signed it, will refuse it",
            alone.issuer
        );
        let hint = "add those between it and its authority (certbot's fullchain.pem has them)";
        doubts.push(named.wrong(what, hint));
    }
    Ok((chain, facts.swap_remove(0)))
}

/// The certificates in a PEM text.
pub(super) fn certificates(named: &Named<'_>, text: &[u8]) -> Result<Vec<Vec<u8>>, Problem> {
    let sections = sections(named, text, "x509")?;
    let kind = |kind| sections.iter().any(|(other, _)| *other == kind);
    let is_key = [SectionKind::PrivateKey, SectionKind::RsaPrivateKey, SectionKind::EcPrivateKey];
    let hint = "it has lines -----BEGIN CERTIFICATE----- if it is the right one";
    if !kind(SectionKind::Certificate) {
        return Err(if is_key.into_iter().any(kind) {
            named.wrong("there is no certificate in it but a private key", "are the two files mixed up?")
        } else if kind(SectionKind::Csr) {
            named.wrong(
                "it is the request for a certificate",
                "give the certificate that the authority made of it",
            )
        } else {
            named.wrong("there is no certificate in it", hint)
        });
    }
    let certificates = sections.into_iter().filter(|(kind, _)| *kind == SectionKind::Certificate);
    Ok(certificates.map(|(_, der)| std::mem::take(&mut { der }.0)).collect())
}

pub(super) fn private_key(
    named: &Named<'_>,
    by_that: &str,
    doubts: &mut Vec<Problem>,
) -> Result<Secret, Problem> {
    let (text, mode) = contents(named, doubts)?;
    let has = |words: &str| text.0.windows(words.len()).any(|part| part == words.as_bytes());
    if has("ENCRYPTED") {
        let hint = format!("write it without one: openssl pkey -in {0} -out {0}.plain", named.path.display());
        return Err(named.wrong("the key needs a passphrase, and nobody is there to type it", hint));
    }
    if has("OPENSSH PRIVATE KEY") {
        return Err(
            named.wrong("it is a key for SSH", "give the one that the certificate was requested with")
        );
    }
    let sections = sections(named, &text.0, "pkey")?;
    let is_key = |kind: &SectionKind| {
        matches!(kind, SectionKind::PrivateKey | SectionKind::RsaPrivateKey | SectionKind::EcPrivateKey)
    };
    let is_certificate = sections.iter().any(|(kind, _)| *kind == SectionKind::Certificate);
    let Some((_, key)) = sections.into_iter().find(|(kind, _)| is_key(kind)) else {
        return Err(if is_certificate {
            named.wrong("there is no private key in it but a certificate", "are the two files mixed up?")
        } else {
            named.wrong(
                "there is no private key in it",
                "it has a line -----BEGIN PRIVATE KEY----- if it is the right one",
            )
        });
    };
    doubts.extend(readable(named, mode, by_that));
    Ok(key)
}

/// A key that everybody can read.
fn readable(named: &Named<'_>, mode: u32, by_that: &str) -> Option<Problem> {
    let what = format!("every user can read the key (mode {mode:04o}), and so {by_that}");
    (mode & 0o004 != 0).then(|| named.wrong(what, format!("chmod o= {}", named.path.display())))
}

/// The sections of a PEM text that are known; `tool` of openssl turns DER into it.
fn sections(named: &Named<'_>, text: &[u8], tool: &str) -> Result<Vec<(SectionKind, Secret)>, Problem> {
    // DER of what is meant here is a SEQUENCE.
    if text.first() == Some(&0x30) && !text.starts_with(b"0-") {
        let path = named.path.display();
        let hint = format!("openssl {tool} -inform der -in {path} -out {path}.pem");
        return Err(named.wrong("it is in DER, and PEM is read", hint));
    }
    let all = <(SectionKind, Vec<u8>)>::pem_slice_iter(text).map(|section| match section {
        Ok((kind, der)) => Ok((kind, Secret(der))),
        Err(_) => Err(named.wrong("its PEM is damaged", "write it anew")),
    });
    all.collect()
}

/// Of numbers in DER the first byte may be a zero.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let [one, other] = [one, other].map(|number| number.iter().skip_while(|byte| **byte == 0));
    one.eq(other)
}

/// The response of the authority about that certificate; `None`: its time is over, and clients would refuse it.
fn response(
    named: &Named<'_>,
    of: &Facts,
    now: Wall,
    doubts: &mut Vec<Problem>,
) -> Result<Option<Vec<u8>>, Problem> {
    let (mut bytes, _) = contents(named, doubts)?;
    let hint = "openssl ocsp -respout FILE writes one";
    let Some(said) = certificate_ocsp::said(&bytes.0) else {
        return Err(named.wrong("it is no response (OCSP) of an authority in DER", hint));
    };
    let Some(said) = said.into_iter().find(|said| is_same(&said.serial, &of.serial)) else {
        return Err(named.wrong("it is the response (OCSP) for another certificate", hint));
    };
    if !said.is_good {
        let what = "the authority says in it that the certificate is revoked, or that it does not know it";
        doubts.push(named.wrong(what, "get another certificate"));
    }
    if let Some(end) = said.end.filter(|end| *end < now.seconds) {
        let since = about(now.seconds.saturating_sub(end).unsigned_abs());
        doubts.push(named.wrong(format!("it is out of date since {since}, and is not sent"), hint));
        return Ok(None);
    }
    Ok(Some(std::mem::take(&mut bytes.0)))
}

/// When a certificate ends, and what is stapled to it, in seconds of the Unix epoch.
pub(crate) fn ends(certificate: &Certificate) -> impl Iterator<Item = i64> {
    let facts = certificate.chain.first().and_then(|der| Facts::of(der));
    let said = certificate.ocsp.as_deref().and_then(certificate_ocsp::said).unwrap_or_default();
    let is_own = |said: &Said| facts.as_ref().is_some_and(|facts| is_same(&said.serial, &facts.serial));
    let stapled = said.into_iter().find(is_own).and_then(|said| said.end);
    facts.map(|facts| facts.not_after).into_iter().chain(stapled)
}
