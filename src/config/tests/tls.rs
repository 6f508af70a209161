//! `tls` of a site: what is understood, and each mistake with its message.

use super::super::tls::{Acme, Clients, Eab, Files, Hsts, Tls};
use super::mistakes::each_has_its_message;
use super::*;
use crate::http::Scheme;

/// A site with a name and this `tls`, which begins at line 1, column 36.
fn site(tls: &str) -> String {
    format!(
        "(sites: [(names: [\"a.example\"], tls: {tls}, listen: [\":80\"], locations: [(path: \"/\", to: Respond())])])"
    )
}

fn tls(text: &str) -> Tls {
    let config = load_text(&site(text)).unwrap();
    let written = to_ron(&config);
    assert_eq!(load_text(&written).as_ref(), Ok(&config), "{written}");
    config.sites[0].tls.clone().unwrap()
}

const FILES: &str = "[(cert: \"a.pem\", key: \"/k/a.key\")]";

fn files() -> Vec<Files> {
    vec![Files { cert: "/etc/hatchery/a.pem".into(), key: "/k/a.key".into(), ocsp: None }]
}

const DAY: u64 = 86_400;

#[test]
fn the_short_form_is_the_long_one_with_its_defaults() {
    let of_files = Tls { certificates: Certificates::Files(files()), ..Tls::default() };
    assert_eq!(of_files.listen, [Address::Any(443).into()]);
    assert_eq!(tls(FILES), of_files);
    assert_eq!(tls(&format!("(certificates: {FILES})")), of_files);
    assert_eq!(of_files.hsts.unwrap().field(), "max-age=15552000");
    let own = Tls { redirect_http: false, hsts: None, ..Tls::default() };
    assert_eq!(tls("SelfSigned"), own, "what is tried out is forgotten soon");
    let listen = vec![Address::Any(8443).into()];
    assert_eq!(tls("(listen: [\":8443\"], certificates: SelfSigned)"), Tls { listen, ..own });
    let open = Tls { redirect_http: false, hsts: None, ..of_files.clone() };
    assert_eq!(tls(&format!("(certificates: {FILES}, redirect_http: false)")), open);
    for off in ["Off", "None"] {
        let silent = Tls { hsts: None, ..of_files.clone() };
        assert_eq!(tls(&format!("(certificates: {FILES}, hsts: {off})")), silent);
    }
}

#[test]
fn a_site_that_is_secure_is_remembered_unless_it_says_otherwise() {
    let strict = |tls: &str, headers: &str| {
        let locations = r#"[(path: "/", to: Respond(), headers: Secure)]"#;
        let text = format!(r#"(sites: [(tls: {tls}, headers: {headers}, locations: {locations})])"#);
        let config = load_text(&text).unwrap();
        let written = to_ron(&config);
        assert_eq!(load_text(&written).as_ref(), Ok(&config), "{written}");
        config.sites[0].tls.as_ref().unwrap().hsts.map(|hsts| hsts.field())
    };
    let with = |more: &str| format!("(certificates: {FILES}, redirect_http: false{more})");
    let half_a_year = Some("max-age=15552000".to_owned());
    assert_eq!(strict(&with(""), "Secure"), half_a_year);
    assert_eq!(strict(&with(""), r#"[Secure, (set: {"X-A": "b"})]"#), half_a_year);
    assert_eq!(strict(&with(""), r#"{"X-A": "b"}"#), None, "a location does not speak for the host");
    assert_eq!(strict(&with(", hsts: Off"), "Secure"), None);
    assert_eq!(strict(&with(", hsts: None"), "Secure"), None);
    assert_eq!(strict(&with(", hsts: \"1d\""), "Secure"), Some("max-age=86400".to_owned()));
    assert_eq!(strict("SelfSigned", "Secure"), None);
}

#[test]
fn what_browsers_remember() {
    let of = |text: &str| tls(&format!("(certificates: {FILES}, hsts: {text})")).hsts.unwrap();
    let year = Duration::from_secs(365 * DAY);
    assert_eq!(of("\"365d\""), Hsts { max_age: year, include_subdomains: false, preload: false });
    assert_eq!(of("\"0s\"").field(), "max-age=0");
    let all = of("(max_age: \"365d\", include_subdomains: true, preload: true)");
    assert_eq!(all.field(), "max-age=31536000; includeSubDomains; preload");
}

#[test]
fn clients_and_authorities() {
    let of = |text: &str| tls(&format!("(certificates: {FILES}, clients: {text})")).clients;
    assert_eq!(of("\"ca.pem\""), Some(Clients { ca: "/etc/hatchery/ca.pem".into(), required: false }));
    assert_eq!(of("(ca: \"/ca\", required: true)"), Some(Clients { ca: "/ca".into(), required: true }));
    let of = |text: &str| match tls(text).certificates {
        Certificates::Acme(acme) => acme,
        other => panic!("{other:?}"),
    };
    let default = Acme::of(&Memory::default());
    assert!(default.directory.starts_with("https://acme-v02.api.letsencrypt.org/"));
    for text in ["Acme", "Acme()", "(certificates: Acme)"] {
        assert_eq!(of(text), default, "{text}");
    }
    let own = "Acme(email: \"mailto:x@a.example\", directory: \"https://localhost:14000/dir\", directory_ca: \"m.pem\", \
               eab: (key_id: \"k\", key: \"e\"), storage: \"s\")";
    let want = Acme {
        email: Some("x@a.example".to_owned()),
        directory: "https://localhost:14000/dir".to_owned(),
        directory_ca: Some("/etc/hatchery/m.pem".into()),
        eab: Some(Eab { key_id: "k".to_owned(), key: "/etc/hatchery/e".into() }),
        storage: "/etc/hatchery/s".into(),
    };
    assert_eq!(of(own), want);
    for directories in ["/var/lib/x", "/var/lib/x:/var/lib/y"] {
        let service = Memory::default().env("STATE_DIRECTORY", directories);
        assert_eq!(Acme::of(&service).storage, Path::new("/var/lib/x/acme"), "{directories}");
    }
}

#[test]
fn the_ready_request_comes_as_the_site_is_reached() {
    let scheme = |site: &str, ready: &str| {
        let text = format!(
            "(apps: {{\"s\": (module: \"s\", ready: (path: \"/\"{ready}))}}, sites: [({site}, locations: [(path: \"/\", to: App(\"s\"))])])"
        );
        load_text(&text).unwrap().apps[0].ready.clone().unwrap().question.scheme
    };
    let plain = "names: [\"a\"], listen: [\":80\"]";
    assert_eq!(scheme(plain, ""), Scheme::Http);
    assert_eq!(scheme("names: [\"a\"], tls: SelfSigned", ""), Scheme::Https);
    assert_eq!(scheme("names: [\"a\"], tls: SelfSigned", ", scheme: \"http\""), Scheme::Http);
    assert_eq!(scheme("tls: SelfSigned", ""), Scheme::Https, "a site without a name");
}

#[test]
fn sites_share_an_address_of_tls_and_may_listen_nowhere_else() {
    let one = |name: &str| {
        format!("(names: [\"{name}\"], tls: {FILES}, locations: [(path: \"/\", to: Respond())])")
    };
    let config = load_text(&format!("(sites: [{}, {}])", one("a"), one("b"))).unwrap();
    assert!(config.sites.iter().all(|site| site.listen.is_empty()));
    let keys: Vec<_> = config.sites[1].addresses().map(|(key, _, is_tls)| (key, is_tls)).collect();
    assert_eq!(keys, [("tls.listen[0]".to_owned(), true)]);
}

#[test]
fn names_that_no_public_authority_knows_are_told_of() {
    let warned = |tls: &str, name: &str| {
        let text = site(tls).replace("a.example", name);
        let (_, warnings) =
            load_with_warnings(Path::new("hatchery.ron"), &Memory::default().with("hatchery.ron", &text))
                .unwrap();
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for name in ["shop", "localhost", "shop.local", "shop.lan.internal", "x.home.arpa"] {
        let [told] = &warned("Acme", name)[..] else { panic!("{name}") };
        let wanted = format!(
            "hatchery.ron:1:19: sites[0].names[0]: no public authority gives a certificate for `{name}`; for "
        );
        assert!(told.starts_with(&wanted), "{told}");
        assert!(warned("Acme(directory: \"https://ca/dir\", directory_ca: \"ca.pem\")", name).is_empty());
        assert!(warned("SelfSigned", name).is_empty());
    }
    assert!(warned("Acme", "a.example").is_empty());
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn each_mistake_has_its_message() {
    let names = |names: &str| site("Acme").replace("\"a.example\"", names);
    let two = |one: &str, other: &str| {
        let site = |names: &str, port: u16, acme: &str| {
            format!(
                "(names: [{names}], tls: (certificates: Acme({acme}), listen: [\":{port}\"]), locations: [(path: \"/\", to: \
                 Respond())])"
            )
        };
        let [one, other] = [
            site("\"a.example\", \"b.example\"", 443, one),
            site("\"b.example\", \"a.example\"", 8443, other),
        ];
        format!("(sites: [{one}, {other}])")
    };
    let with = |keys: &str| site(&format!("(certificates: SelfSigned, {keys})"));
    let cases = [
        (
            site("()"),
            "1:38: sites[0].tls: missing key `certificates`; for example certificates: [(cert: \"tls/shop.pem\"",
        ),
        (site("[]"), "1:38: sites[0].tls: there is no certificate; for example [(cert: "),
        (
            with("listen: [(address: \":443\", protocol: Uwsgi)]"),
            "1:74: sites[0].tls.listen[0]: `:443` is for HTTPS, and the uwsgi protocol is spoken in the clear; write it in `listen` of the site",
        ),
        (site("SelfSined"), "1:38: sites[0].tls: unknown variant `SelfSined`; did you mean `SelfSigned`?"),
        (site("SelfSigned()"), "1:38: sites[0].tls: `SelfSigned` takes nothing in parentheses"),
        (
            site("\"x.pem\""),
            "1:38: sites[0].tls: expected [(cert: \"tls/shop.pem\", key: \"tls/shop.key\")], SelfSigned, Acme or ( key: value, … ), found",
        ),
        (
            site("(certificates: (cert: \"a\", key: \"b\"))"),
            "1:53: sites[0].tls.certificates: expected a list of certificates, found one; put it in brackets: [(cert: ",
        ),
        (
            site("(certificates: \"x.pem\")"),
            "1:53: sites[0].tls.certificates: expected [(cert: \"tls/shop.pem\", key: \"tls/shop.key\")], SelfSigned or Acme, found",
        ),
        (
            site("[(cert: \"a\")]"),
            "1:39: sites[0].tls[0]: missing key `key`; for example key: \"tls/shop.key\"",
        ),
        (
            site("(cert: \"a\", certificates: SelfSigned)"),
            "1:39: sites[0].tls.cert: unknown key `cert`; it goes into `certificates: [(cert: ",
        ),
        (
            with("ciphers: \"HIGH\""),
            "1:65: sites[0].tls.ciphers: unknown key `ciphers`; TLS 1.2 and 1.3 with the ciphers of today are all there is",
        ),
        (with("listen: []"), "1:73: sites[0].tls.listen: it listens nowhere; for example listen: [\":443\"]"),
        (
            with("hsts: (max_age: \"180d\", preload: true)"),
            "1:98: sites[0].tls.hsts.preload: browsers preload a site only with all below it, and for a year at least; write",
        ),
        (with("hsts: \"Off\""), "1:71: sites[0].tls.hsts: `Off` stands without quotes here"),
        (
            with("clients: ()"),
            "1:74: sites[0].tls.clients: missing key `ca`; for example ca: \"tls/clients.pem\"",
        ),
        (site("Acme(email: \"admin\")"), "1:50: sites[0].tls.email: `admin` is not an address of mail"),
        (
            site("Acme(directory: \"http://x\")"),
            "1:54: sites[0].tls.directory: `http://x` is not the https:// URL of a directory; the authority names it",
        ),
        (
            site("Acme(directory: \"https://ca.lan:99999/dir\")"),
            "1:54: sites[0].tls.directory: `https://ca.lan:99999/dir` is not the https:// URL of a directory",
        ),
        (
            site("Acme(directory: \"https:///dir\")"),
            "1:54: sites[0].tls.directory: `https:///dir` is not the",
        ),
        (
            site("Acme(eab: (key_id: \"x\"))"),
            "1:48: sites[0].tls.eab: missing key `key`; for example key: \"tls/eab.key\"",
        ),
        (
            names("\"a.example\", \"*.a.example\""),
            "1:32: sites[0].names[1]: `*.a.example` cannot be had by `Acme`: for a wildcard an authority wants to see a record in \
             DNS, which this server does not write; name the hosts one by one, or give a certificate by file",
        ),
        (
            names("\"127.0.0.1\""),
            "1:19: sites[0].names[0]: `127.0.0.1` is an address, and `Acme` gets certificates for names only; take it out",
        ),
        (names("\"[::1]\""), "1:19: sites[0].names[0]: `[::1]` is an address"),
        (
            names(""),
            "1:27: sites[0].tls: `Acme` needs names to get a certificate for; give the site `names`, or a certificate by file",
        ),
        (
            site("(listen: [\":80\"], certificates: SelfSigned)"),
            "1:48: sites[0].tls.listen[0]: `:80` is for HTTPS here and for HTTP at sites[0].listen[0] (hatchery.ron:1:92); one \
             address speaks one of the two",
        ),
        (
            site("(listen: [\":8443\", \":8443\"], certificates: SelfSigned)"),
            "1:57: sites[0].tls.listen[1]: `:8443` is given twice; keep one",
        ),
        (
            site("(listen: [\"127.0.0.1:80\"], certificates: SelfSigned)"),
            "1:48: sites[0].tls.listen[0]: `127.0.0.1:80` and `:80` of sites[0].listen[0] (hatchery.ron:1:101) cannot both be bound",
        ),
        (
            site(&format!(
                "(certificates: {FILES}, redirect_http: false, clients: (ca: \"c\", required: true))"
            )),
            "1:157: sites[0].listen[0]: nobody is served here: `clients` requires a certificate, which nobody shows by HTTP; \
             set `redirect_http: true`, or remove this address",
        ),
        (
            two("email: \"a@a.example\"", "email: \"b@a.example\""),
            "1:196: sites[1].tls: `Acme` says something else than sites[0].tls (hatchery.ron:1:51), for the same names at the \
             same authority; it is one certificate: write the same `email`, `storage`, `directory_ca` and `eab` in both",
        ),
        (
            format!("(tls: SelfSigned, {}", &site("SelfSigned")[1..]),
            "1:2: tls: unknown key `tls`; it goes into sites: [( … )]",
        ),
    ];
    each_has_its_message(&cases);
}
