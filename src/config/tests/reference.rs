//! `conf/reference.ron` against what there is: the walks of all sections, as a loaded configuration is written.

use super::super::load::written;
use super::super::located::{File, Node};
use super::super::shape::Shape;
use super::super::written::Written;
use super::*;
use std::collections::BTreeSet;

const REFERENCE: &str = include_str!("../../../conf/reference.ron");

/// Everything that there is, with no more than must be given, as the reference gives it.
const DEFAULTS: &str = r#"(
    log: (access: ()),
    sites: [(listen: [":80"], log: (access: ()), cors: "*", compress: (), locations: [
        (path: "/static/", to: Files(root: "static")),
        (exact: "/robots.txt", to: Respond()),
        (path: "/old/", to: Redirect(location: "/new$rest")),
        (path: "/api/", to: Proxy("api")),
        (path: "/cgi-bin/", to: Cgi("cgi-bin")),
        (path: "/", to: App("blog")),
    ]), (
        names: ["news.example", "www.news.example"], compress: (),
        tls: (certificates: Acme(eab: (key_id: "kid-1", key: "tls/eab.key")), clients: (ca: "tls/clients.pem")),
        locations: [(path: "/", to: App("blog"))],
    ), (
        names: ["shop.example", "*.shop.example"], compress: (), tls: [(cert: "tls/shop.pem", key: "tls/shop.key")], locations: [(path: "/", to: App("blog"))],
    )],
    apps: {"blog": (module: "config.wsgi:application", ready: (path: "/healthz")), "chat": (command: ["uvicorn", "--fd", "3", "chat:app"])},
    upstreams: {"api": (servers: [(address: "unix:/run/api.sock")]), "partner": (servers: [(address: "unix:/run/api.sock")], tls: (name: "api.partner.example"))},
    daemons: {"celery": (command: ["celery", "-A", "shop", "worker"])},
    cron: [(name: "clearsessions", at: "17 3 * * *", command: ["python", "manage.py", "clearsessions"])],
)"#;

/// Keys whose defaults the reference has in words only, as they depend on something or another value is the example.
const IN_WORDS: [&str; 16] = [
    ".sites[].cors.origins",
    ".resolver.servers",
    ".sites[].listen",
    ".sites[].tls.certificatesAcme.storage",
    ".sites[].compress.types",
    ".sites[].log.access.path",
    ".sites[].locations[].compress.types",
    ".sites[].locations[].over_regex",
    ".apps{}.chdir",
    ".apps{}.python",
    ".apps{}.ready.host",
    ".apps{}.ready.scheme",
    ".upstreams{}.servers[].backup",
    ".upstreams{}.servers[].weight",
    ".daemons{}.chdir",
    SHORT,
];

/// Written in its short form, and explained beside it.
const SHORT: &str = ".sites[].locations[].toProxy.name";

/// The keys that sections have, also those that are not given, each with its value.
type Keys = BTreeMap<String, String>;

/// Where each key stands, as in `.apps{shop}.timeout`.
fn keys_of(value: &Written, section: &str, config: &Config, keys: &mut Keys) {
    let Written::Group(open, items, close) = value else { return };
    let section = format!("{section}{}", open.trim_end_matches(['(', '[', '{']));
    for (index, (before, value)) in items.iter().enumerate() {
        let name = before.trim_end_matches(": ").trim_matches('"');
        let key = match close {
            ')' => format!("{section}.{name}"),
            ']' => format!("{section}[{index}]"),
            _ => format!("{section}{{{name}}}"),
        };
        keys_of(value, &key, config, keys);
        // What stands between parentheses without a key is no key.
        if *close == ')' && !name.is_empty() {
            keys.insert(key, value.render(0, config));
        }
    }
}

/// The keys that stand in a file.
fn keys_in(node: &Node<'_>, section: &str, keys: &mut BTreeSet<String>) {
    match node.shape() {
        Shape::Struct(all) => {
            for (name, _) in all {
                let key = format!("{section}.{name}");
                keys_in(&node.field(name).unwrap(), &key, keys);
                keys.insert(key);
            }
        }
        Shape::List(_) => {
            for (index, item) in node.items().ok().unwrap().iter().enumerate() {
                keys_in(item, &format!("{section}[{index}]"), keys);
            }
        }
        Shape::Map(_) => {
            let mut report = located::Report::new(&Disk);
            for (name, value) in node.map(&mut report).unwrap() {
                keys_in(&value, &format!("{section}{{{}}}", name.value), keys);
            }
        }
        Shape::Variant(..) => {
            let (name, inside) = node.variant().unwrap();
            inside.iter().for_each(|inside| keys_in(inside, &format!("{section}{name}"), keys));
        }
        _ => {}
    }
}

/// The same key of any item, `.apps{}.timeout`. The limits of all programs are as those of apps, conditions within others as
/// those that have a name, and rewrites of sites as those of locations.
fn of_any(key: &str) -> String {
    let mut any = String::new();
    let mut inside = false;
    for char in key.chars() {
        inside &= !matches!(char, ']' | '}');
        any.extend((!inside).then_some(char));
        inside |= matches!(char, '[' | '{');
    }
    if let Some((_, inner)) = any.split_once(".conditions{}.").and_then(|(_, key)| key.split_once("[].")) {
        return format!(".conditions{{}}.{inner}");
    }
    if let Some(key) = any.strip_prefix(".sites[].rewrite.") {
        return format!(".sites[].locations[].rewrite.{key}");
    }
    // Policies of a location are as those of its site, one group of fields as several.
    let any = any.replace(".locations[].cors.", ".cors.").replace(".locations[].headers.", ".headers.");
    let any = any.replace(".locations[].access.", ".access.");
    // An upstream that is asked who may enter is named as any.
    let any = any.replace(".auth.request.toProxy", ".toProxy");
    let any = any.replace(".headers.", ".headers[].");
    let programs = [".workers", ".daemons{}", ".cron[]"];
    let limit = any.split_once(".limits.").filter(|(program, _)| programs.contains(program));
    limit.map_or_else(|| any.clone(), |(_, limit)| format!(".apps{{}}.limits.{limit}"))
}

fn keys(text: &str) -> Keys {
    let config = load_text(text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let mut keys = Keys::new();
    keys_of(&written(&config), "", &config, &mut keys);
    keys
}

/// The keys that stand in the reference.
fn given() -> BTreeSet<String> {
    let file =
        File::new("reference.ron".to_owned(), PathBuf::from("/reference.ron"), PathBuf::from("/"), REFERENCE);
    let mut given = BTreeSet::new();
    keys_in(&file.top().unwrap(), "", &mut given);
    given
}

#[test]
fn the_reference_has_every_key() {
    for (handler, ..) in handler::HANDLERS {
        assert!(REFERENCE.contains(&format!("to: {handler}(")), "no location goes to {handler}");
    }
    let given: BTreeSet<String> = given().iter().map(|key| of_any(key)).collect();
    let there: BTreeSet<String> = keys(REFERENCE).keys().map(|key| of_any(key)).collect();
    assert!(there.len() > 100, "{there:#?}");
    let missing: Vec<_> = there.difference(&given).filter(|key| *key != SHORT).collect();
    assert!(missing.is_empty(), "not in conf/reference.ron: {missing:#?}");
    assert!(REFERENCE.contains("(min: 0, max: 4)") && REFERENCE.contains("Proxy(name: \"api\")"));
}

#[test]
fn the_reference_has_every_default() {
    let given = given();
    let mut shown: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (key, value) in keys(REFERENCE).into_iter().filter(|(key, _)| given.contains(key)) {
        shown.entry(of_any(&key)).or_default().push(value);
    }
    let says_nothing = |value: &str| ["", "[]", "{}", "\"\""].contains(&value);
    let mut wrong = Vec::new();
    let mut compared = 0;
    for (key, value) in keys(DEFAULTS) {
        let any = of_any(&key);
        // Sections are compared key by key.
        if says_nothing(&value) || value.contains(['(', '\n']) || IN_WORDS.contains(&any.as_str()) {
            continue;
        }
        compared += 1;
        let there = shown.get(&any);
        if !there.is_some_and(|there| there.contains(&value)) {
            wrong.push(format!("{key} is {value}, there stands {there:?}"));
        }
    }
    assert!(wrong.is_empty(), "conf/reference.ron: {wrong:#?}");
    assert!(compared > 70, "{compared}");
}
