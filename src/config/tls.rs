//! `tls: …` of a site: where it speaks HTTPS, and by which certificates.

use super::listen::Listen;
use super::located::{At, Given, Node, Report};
use super::problem::{Complaint, Place};
use super::shape::Shape;
use super::site::{parse_host, render_host};
use super::units::{self, render_duration};
use super::walk::{By, Form, Or, Section, Walk};
use super::written::Written;
use super::{Address, Source};
use crate::route::HostPattern;
use crate::sys::user;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How a site speaks HTTPS.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Tls {
    /// Where it does; never empty.
    pub(crate) listen: Vec<Listen>,
    /// Where its certificates come from.
    pub(crate) certificates: Certificates,
    /// Whoever asks by HTTP is sent to HTTPS.
    pub(crate) redirect_http: bool,
    /// What browsers are told to remember.
    pub(crate) hsts: Option<Hsts>,
    /// Whose certificates are asked of clients.
    pub(crate) clients: Option<Clients>,
}

/// Where the certificates of a site come from.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Certificates {
    /// Made by the master: for development.
    SelfSigned,
    /// Had from an authority, and renewed, by ACME (RFC 8555).
    Acme(Acme),
    /// Read from files; never empty.
    Files(Vec<Files>),
}

/// Files with a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    /// PEM: the certificate of the site, then those between it and its authority.
    pub(crate) cert: PathBuf,
    /// PEM.
    pub(crate) key: PathBuf,
    /// DER: a response of the authority to staple (RFC 6960).
    pub(crate) ocsp: Option<PathBuf>,
}

/// An authority that gives certificates by ACME.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Acme {
    /// Where the authority reaches whoever runs this server.
    pub(crate) email: Option<String>,
    /// URL of its directory.
    pub(crate) directory: String,
    /// PEM: who signs the certificate of the directory itself, where the system does not know.
    pub(crate) directory_ca: Option<PathBuf>,
    /// An account at the authority to which ours is bound.
    pub(crate) eab: Option<Eab>,
    /// Where account and certificates are kept.
    pub(crate) storage: PathBuf,
}

/// External account binding (RFC 8555 §7.3.4).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Eab {
    /// As the authority calls the account.
    pub(crate) key_id: String,
    /// File with the key that it gave, in base64url.
    pub(crate) key: PathBuf,
}

/// Strict-Transport-Security (RFC 6797).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hsts {
    /// In whole seconds; 0 has browsers forget.
    pub(crate) max_age: Duration,
    pub(crate) include_subdomains: bool,
    pub(crate) preload: bool,
}

/// Certificates of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clients {
    /// PEM: who signs them.
    pub(crate) ca: PathBuf,
    /// Who has none is refused.
    pub(crate) required: bool,
}

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The least that a server test wants for its best mark.
const HALF_A_YEAR: Hsts =
    Hsts { max_age: Duration::from_secs(180 * 86_400), include_subdomains: false, preload: false };

const YEAR: Duration = Duration::from_secs(365 * 86_400);

const EXAMPLE: &str = "[(cert: \"tls/shop.pem\", key: \"tls/shop.key\")]";

impl Default for Tls {
    fn default() -> Self {
        Self {
            listen: vec![Address::Any(443).into()],
            certificates: Certificates::SelfSigned,
            redirect_http: true,
            hsts: Some(HALF_A_YEAR),
            clients: None,
        }
    }
}

/// The same, with its place and those of its addresses.
#[derive(Clone, Default)]
pub(crate) struct Draft {
    pub(crate) place: Place,
    pub(crate) listen: Vec<At<Listen>>,
    tls: Tls,
    /// Nothing was said of `hsts`.
    is_hsts_open: bool,
}

impl Draft {
    pub(crate) fn of(tls: &Tls) -> Self {
        let listen = tls.listen.iter().cloned().map(At::nowhere).collect();
        Self { listen, tls: tls.clone(), ..Self::default() }
    }

    /// The site wants what is good for its security: if nothing else was said, that browsers keep to HTTPS, unless they would
    /// remember it of a certificate that is for trying something out.
    pub(crate) fn secure(&mut self) {
        if self.is_hsts_open && self.tls.certificates != Certificates::SelfSigned {
            self.tls.hsts = Some(HALF_A_YEAR);
        }
    }

    pub(crate) fn tls(self) -> Tls {
        Tls { listen: self.listen.into_iter().map(|listen| listen.value).collect(), ..self.tls }
    }

    /// What is left open takes its value from where the certificates come from; `is_given` says what is not.
    fn resolve(&mut self, place: &Place, is_given: impl Fn(&str) -> bool) {
        self.place = place.clone();
        if !is_given("listen") {
            let own = |value| At { value, place: place.clone() };
            self.listen = Tls::default().listen.into_iter().map(own).collect();
        }
        // Browsers remember both for long, which is nothing for trying something out.
        let of = &mut self.tls;
        if !is_given("redirect_http") {
            of.redirect_http = of.certificates != Certificates::SelfSigned;
        }
        self.is_hsts_open = !is_given("hsts");
        if self.is_hsts_open {
            of.hsts = Some(HALF_A_YEAR).filter(|_| of.redirect_http);
        }
    }

    /// The authority that is asked for a certificate.
    pub(crate) fn acme(&self) -> Option<&Acme> {
        match &self.tls.certificates {
            Certificates::Acme(acme) => Some(acme),
            _ => None,
        }
    }

    /// Whoever comes by HTTP would not be asked for the certificate without which nobody is served; `place` is of where the site
    /// listens for that.
    pub(crate) fn check_required(&self, place: &Place, report: &mut Report<'_>) {
        let is_required = self.tls.clients.as_ref().is_some_and(|clients| clients.required);
        if is_required && !self.tls.redirect_http {
            let what = "nobody is served here: `clients` requires a certificate, which nobody shows by HTTP";
            report.add(place, Complaint::new(what, "set `redirect_http: true`, or remove this address"));
        }
    }

    /// What an authority cannot be asked for by ACME.
    pub(crate) fn check_names(&self, names: &[At<HostPattern>], report: &mut Report<'_>) {
        let Some(acme) = self.acme() else { return };
        if names.is_empty() {
            let hint = "give the site `names`, or a certificate by file";
            report.add(&self.place, Complaint::new("`Acme` needs names to get a certificate for", hint));
        }
        for At { value, place } in names {
            let complaint = match value {
                HostPattern::Suffix(suffix) => Complaint::new(
                    format!(
                        "`*{suffix}` cannot be had by `Acme`: for a wildcard an authority wants to see a record in DNS, which this server does not write"
                    ),
                    "name the hosts one by one, or give a certificate by file",
                ),
                HostPattern::Prefix(_) | HostPattern::Regex(_) => Complaint::new(
                    format!(
                        "`{}` cannot be had by `Acme`: no certificate is for a pattern",
                        render_host(value)
                    ),
                    "name the hosts one by one, or give certificates by file",
                ),
                HostPattern::Exact(name) if is_address(name) => Complaint::new(
                    format!("`{name}` is an address, and `Acme` gets certificates for names only"),
                    "take it out, or give a certificate by file",
                ),
                HostPattern::Exact(name) => {
                    if acme.directory_ca.is_none() && is_local(name) {
                        let what = format!("no public authority gives a certificate for `{name}`");
                        report.warn(place, Complaint::new(what, "for development take `SelfSigned`"));
                    }
                    continue;
                }
            };
            report.add(place, complaint);
        }
    }
}

/// It means something else in each network (RFC 6761, 6762, 8375).
fn is_local(name: &str) -> bool {
    let last = name.rsplit('.').next().unwrap_or(name);
    !name.contains('.')
        || ["local", "localhost", "internal", "test"].contains(&last)
        || name.ends_with(".home.arpa")
}

/// `127.0.0.1`, `[::1]`.
fn is_address(name: &str) -> bool {
    name.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok()
}

impl Section for Draft {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("listen", &mut self.listen);
        keys.need("certificates", EXAMPLE, &mut self.tls.certificates);
        keys.key("redirect_http", &mut self.tls.redirect_http);
        keys.key("hsts", &mut Or(&mut self.tls.hsts, "Off"));
        keys.key("clients", &mut self.tls.clients);
    }

    fn misplaced(key: &str) -> Option<Complaint> {
        let hint = match key {
            "cert" | "key" | "ocsp" => format!("it goes into `certificates: {EXAMPLE}`"),
            "email" | "directory" | "storage" => "it goes into `certificates: Acme( … )`".to_owned(),
            "ca" => "it goes into `clients: (ca: \"ca.pem\")`".to_owned(),
            "http2" | "alpn" => "HTTP/2 is there as long as `limits.streams` is not 0".to_owned(),
            "protocols" | "ciphers" | "ssl_protocols" | "ssl_ciphers" => {
                "TLS 1.2 and 1.3 with the ciphers of today are all there is; remove it".to_owned()
            }
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), hint))
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if given.is_empty_list("listen") {
            let complaint = Complaint::new("it listens nowhere", "for example listen: [\":443\"]");
            report.add(&given.place_of("listen"), complaint);
        }
        for listen in self.listen.iter().filter(|listen| listen.value.is_for_fronts()) {
            let what = format!(
                "`{}` is for HTTPS, and the uwsgi protocol is spoken in the clear",
                listen.value.address
            );
            report.add(&listen.place, Complaint::new(what, "write it in `listen` of the site"));
        }
        self.resolve(&given.node.place(), |key| given.has(key) || (key == "hsts" && given.is_none(key)));
    }
}

/// `tls: (…)`, or what its `certificates` would be: all else as it is by default.
pub(crate) fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Option<Draft>> {
    let draft = match node.shape() {
        Shape::Variant(..) | Shape::List(_) => {
            let mut draft = Draft::default();
            draft.tls.certificates = Certificates::read(node, report)?;
            draft.resolve(&node.place(), |_| false);
            draft
        }
        other @ (Shape::Text(_) | Shape::Bool(_) | Shape::Integer(_)) => {
            let expected = format!("{EXAMPLE}, SelfSigned, Acme or ( key: value, … )");
            return node.wrong(report, &expected, &other);
        }
        _ => Draft::read(node, report)?,
    };
    Some(Some(draft))
}

impl Form for Certificates {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.shape() {
            Shape::List(list) if list.is_empty() => {
                let hint = format!("for example {EXAMPLE}, SelfSigned or Acme");
                node.refuse(report, Complaint::new("there is no certificate", hint))
            }
            Shape::List(_) => Vec::read(node, report).map(Self::Files),
            Shape::Variant("Acme", Some(_)) => {
                let (_, inside) = node.variant()?;
                Acme::read(&inside?, report).map(Self::Acme)
            }
            Shape::Variant(..) => {
                let acme = Self::Acme(Acme::of(report.source));
                node.choice(report, &[("SelfSigned", Self::SelfSigned), ("Acme", acme)], &[])
            }
            Shape::Struct(_) => {
                let hint = format!("put it in brackets: {EXAMPLE}");
                node.refuse(report, Complaint::new("expected a list of certificates, found one", hint))
            }
            other => node.wrong(report, &format!("{EXAMPLE}, SelfSigned or Acme"), &other),
        }
    }

    fn write(&self) -> Written {
        match self {
            Self::SelfSigned => Written::plain(&"SelfSigned"),
            Self::Acme(acme) => acme.write().named("Acme"),
            Self::Files(files) => files.write(),
        }
    }
}

impl Section for Files {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("cert", "\"tls/shop.pem\"", &mut self.cert);
        keys.need("key", "\"tls/shop.key\"", &mut self.key);
        keys.key("ocsp", &mut self.ocsp);
    }
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            email: None,
            directory: LETS_ENCRYPT.to_owned(),
            directory_ca: None,
            eab: None,
            storage: PathBuf::from("/var/lib/hatchery/acme"),
        }
    }
}

impl Section for Acme {
    fn start(_node: &Node<'_>, report: &Report<'_>) -> Self {
        Self::of(report.source)
    }

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("email", &mut By(&mut self.email, email));
        keys.key("directory", &mut By(&mut self.directory, directory));
        keys.key("directory_ca", &mut self.directory_ca);
        keys.key("eab", &mut self.eab);
        keys.key("storage", &mut self.storage);
    }
}

impl Acme {
    /// As it is by default on this machine: in the directory that a service has for its state, the system's or the user's.
    pub(crate) fn of(source: &dyn Source) -> Self {
        let is_whole = |path: &&str| path.starts_with('/');
        let given = |name| source.env(name).as_deref().filter(is_whole).map(PathBuf::from);
        let of_system = || user::is_root().then(|| PathBuf::from("/var/lib/hatchery"));
        let of_user = || {
            let state = given("XDG_STATE_HOME").or_else(|| Some(given("HOME")?.join(".local/state")));
            state.map(|state| state.join("hatchery"))
        };
        // systemd gives a list: as many as stand in StateDirectory=.
        let all = source.env("STATE_DIRECTORY").unwrap_or_default();
        let of_service = all.split(':').next().filter(is_whole).map(PathBuf::from);
        let state = of_service.or_else(of_system).or_else(of_user);
        let storage = state.map(|state| state.join("acme"));
        Self { storage: storage.unwrap_or_else(|| Self::default().storage), ..Self::default() }
    }
}

fn email(node: &Node<'_>, report: &mut Report<'_>) -> Option<Option<String>> {
    node.parse(report, "an address such as \"admin@shop.example\"", |text| parse_email(text).map(Some))
}

/// `admin@shop.example`, also with `mailto:`.
pub(crate) fn parse_email(text: &str) -> Result<String, Complaint> {
    let parts = text.trim_start_matches("mailto:").split_once('@');
    let good = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_graphic());
    match parts {
        Some((name, host)) if good(name) && good(host) && !host.contains('@') => Ok(format!("{name}@{host}")),
        _ => Err(Complaint::new(
            format!("`{text}` is not an address of mail"),
            "for example \"admin@shop.example\"",
        )),
    }
}

fn directory(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    node.parse(report, "the URL of a directory", |text| {
        if text.strip_prefix("https://").is_some_and(is_on_host) {
            return Ok(text.to_owned());
        }
        let hint = format!("the authority names it; for example \"{LETS_ENCRYPT}\"");
        Err(Complaint::new(format!("`{text}` is not the https:// URL of a directory"), hint))
    })
}

/// `ca.lan:9000/dir`
fn is_on_host(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    matches!(parse_host(host), Ok(HostPattern::Exact(_))) && rest.bytes().all(|byte| byte.is_ascii_graphic())
}

impl Section for Eab {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("key_id", "\"kid-1\"", &mut self.key_id);
        keys.need("key", "\"tls/eab.key\"", &mut self.key);
    }
}

impl Section for Hsts {
    const SHORT: Option<&'static str> = Some("max_age");

    fn walk(&mut self, keys: &mut dyn Walk) {
        let mut max_age = Age(self.max_age);
        keys.need("max_age", "\"180d\"", &mut max_age);
        self.max_age = max_age.0;
        keys.key("include_subdomains", &mut self.include_subdomains);
        keys.key("preload", &mut self.preload);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if self.preload && given.is_good("max_age") && !(self.include_subdomains && self.max_age >= YEAR) {
            let hint =
                "write (max_age: \"365d\", include_subdomains: true, preload: true), or leave `preload` out";
            let what = "browsers preload a site only with all below it, and for a year at least";
            report.add(&given.place_of("preload"), Complaint::new(what, hint));
        }
    }
}

impl Hsts {
    /// Value of the field.
    pub(crate) fn field(&self) -> String {
        let subdomains = if self.include_subdomains { "; includeSubDomains" } else { "" };
        let preload = if self.preload { "; preload" } else { "" };
        format!("max-age={}{subdomains}{preload}", self.max_age.as_secs())
    }
}

/// A duration that may be nothing.
struct Age(Duration);

impl Form for Age {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a duration such as \"180d\"", units::duration).map(Self)
    }

    fn write(&self) -> Written {
        Written::text(&render_duration(self.0))
    }
}

impl Section for Clients {
    const SHORT: Option<&'static str> = Some("ca");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("ca", "\"tls/clients.pem\"", &mut self.ca);
        keys.key("required", &mut self.required);
    }
}
