//! `cache_responses` and `cache`.

use super::*;
use crate::cache::settings::{Client, Query};

const BEHIND: &str = "upstreams: {\"api\": (servers: [\"127.0.0.1:9000\"])},\n";

/// A file whose site has these keys, and a location that of `to: Proxy(…)` with these.
fn file(site: &str, location: &str) -> String {
    format!(
        "({BEHIND}sites: [(listen: [\":8000\"], {site} locations: [(path: \"/\", to: Proxy(\"api\"), {location})])])"
    )
}

fn settings(site: &str, location: &str) -> Option<crate::cache::Settings> {
    let text = file(site, location);
    let config = load_text(&text).unwrap_or_else(|problems| panic!("{text}: {problems:#?}"));
    // What is written is read as the same.
    let written = super::super::load::written(&config).render(0, &config);
    let again = load_text(&written).unwrap_or_else(|problems| panic!("{written}: {problems:#?}"));
    assert_eq!(again.sites, config.sites, "{written}");
    config.sites[0].locations[0].caching.on().map(|how| how.settings.clone())
}

#[test]
fn a_place_says_what_is_kept_of_its_responses() {
    assert_eq!(settings("", ""), None);
    assert_eq!(settings("", "cache_responses: true").unwrap(), crate::cache::Settings::default());
    let micro = settings("", "cache_responses: (ttl: \"1s\")").unwrap();
    assert_eq!((micro.ttl, micro.stale_if_error, micro.client), (Some(1000), 0, Client::Ignore));
    let full = settings(
        "",
        r#"cache_responses: (ttl: "1500ms", statuses: {404: "10s", 301: "1h"}, stale_while_revalidate: "30s", stale_if_error: "1h",
            client_directives: Honour, tags: false, lock_timeout: "2s", purge: (allow: ["127.0.0.1", "10.0.0.0/8"]),
            key: (query: (ignore: ["utm_*"]), headers: ["Accept-Language"], cookies: ["theme"]))"#,
    )
    .unwrap();
    assert_eq!((full.ttl, full.stale_while_revalidate, full.stale_if_error), (Some(1500), 30_000, 3_600_000));
    assert_eq!(full.statuses, [(301, 3_600_000), (404, 10_000)]);
    assert_eq!((full.client, full.tags), (Client::Honour, false));
    assert_eq!(full.key.query, Query::Ignore(vec!["utm_*".to_owned()]));
    assert_eq!(
        (&*full.key.headers, &*full.key.cookies),
        (&["accept-language".to_owned()][..], &["theme".to_owned()][..])
    );
    for (query, wanted) in [
        ("All", Query::All),
        ("None", Query::None),
        ("(only: [\"page\"])", Query::Only(vec!["page".to_owned()])),
    ] {
        let keyed = settings("", &format!("cache_responses: (key: (query: {query}))")).unwrap();
        assert_eq!(keyed.key.query, wanted);
    }
}

#[test]
fn a_location_has_what_its_site_says_unless_it_says_otherwise() {
    let site = "cache_responses: (ttl: \"1m\"),";
    assert_eq!(settings(site, "").unwrap().ttl, Some(60_000));
    assert_eq!(settings(site, "cache_responses: true").unwrap().ttl, None);
    assert_eq!(settings(site, "cache_responses: false"), None);
    assert_eq!(settings(site, "cache_responses: None"), None);
}

#[test]
fn mistakes_are_told_with_the_way_out() {
    for (text, want) in [
        (
            file("", "cache_responses: \"1s\""),
            "expected true, false or ( key: value, … ); for a second each: (ttl: \"1s\")",
        ),
        (
            file("", "cache_responses: (memory: \"1MiB\")"),
            "unknown key `memory`; it goes into `cache: ( … )` at the top level",
        ),
        (file("", "cache_responses: (query: None)"), "unknown key `query`; it goes into key: ( … )"),
        (
            file("", "cache_responses: (statuses: {206: \"1s\"})"),
            "206 is not the status of a response that can be kept; from 200 to 599, without 206 and 304",
        ),
        (
            file("", "cache_responses: (key: (headers: [\"Cookie\"]))"),
            "`Cookie` differs from client to client; single cookies stand in `cookies`; what needs a login is kept for nobody",
        ),
        (
            file("", "cache_responses: (key: (query: (ignore: [], only: [])))"),
            "either `ignore` or `only`; for example (ignore: [\"utm_*\"]), or (only: [\"page\"])",
        ),
        (
            location("path: \"/\", to: Files(\"x\"), cache_responses: true"),
            "`cache_responses` keeps what apps and upstreams answer, and nobody of them answers here; remove it; how long browsers keep a file says Files(cache: \"1h\")",
        ),
        (
            main("cache: (disk: \"1GiB\")"),
            "`disk` has no `path`; name a directory for it, path: \"/var/cache/hatchery\"",
        ),
        (main("cache: (memory: \"1KiB\")"), "`memory` is out of range; from \"1MiB\" to \"1TiB\""),
    ] {
        let line = one(&text);
        assert!(line.ends_with(want), "{text}\n{line}\n{want}");
    }
    // Of a site it is for those of its locations that can do something with it.
    let mixed = "(sites: [(listen: [\":8000\"], cache_responses: true, locations: [(path: \"/\", to: Files(\"x\"))])])";
    assert!(load_text(mixed).is_ok());
}

#[test]
fn the_id_of_a_request_is_of_one_exchange_whatever_its_name_is() {
    let omitted = |log: &str| {
        let text = file("cache_responses: true,", "").replacen('(', &format!("({log}"), 1);
        let config = load_text(&text).unwrap_or_else(|problems| panic!("{text}: {problems:#?}"));
        config.sites[0].locations[0].caching.on().unwrap().settings.omit.clone()
    };
    assert_eq!(omitted(""), ["X-Request-Id"]);
    assert_eq!(omitted("log: (request_id: \"X-Trace\"),"), ["X-Trace"]);
    assert!(omitted("log: (request_id: Off),").is_empty());
}
