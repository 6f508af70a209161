//! `limit`, `bandwidth` and the classes of `limits`.

use super::*;
use crate::policy::limit::{Bandwidth, By, Limit, Rate};

/// A file with these `limits`, what the site says, and locations.
fn site(limits: &str, site: &str, locations: &str) -> String {
    format!(
        "(limits: ({limits}), sites: [(names: [\"a\"], listen: [\":80\"], {site} locations: [{locations}])])"
    )
}

const TO: &str = "to: Respond(status: 200)";

fn labels(limits: Option<&Rc<Vec<Limit>>>) -> Vec<&str> {
    limits.into_iter().flat_map(|limits| limits.iter()).map(|limit| limit.label.as_str()).collect()
}

use std::rc::Rc;

#[test]
fn a_location_has_the_limits_of_its_site_or_its_own_and_classes_are_one() {
    let text = site(
        r#"table: "1MiB", classes: {"dear": (concurrency: 2, by: All, status: 503)}"#,
        r#"limit: (rate: "20/s", burst: 40), bandwidth: "1MiB/s","#,
        &format!(
            r#"(path: "/", {TO}), (path: "/x/", {TO}), (path: "/none/", {TO}, limit: None, bandwidth: None),
            (exact: "/own", {TO}, limit: [(rate: "5/m", by: Header("X-Key")), (rate: "10/30s", by: Cookie("sid")), "dear"]),
            (regex: "^/r", {TO}, limit: "dear", bandwidth: (rate: "64KiB/s", after: "2MiB"))"#
        ),
    );
    let config = load_text(&text).unwrap();
    let places = &config.sites[0].locations;
    let limits = |at: usize| places[at].policies.limits.as_ref();
    assert_eq!(labels(limits(0)), ["a"]);
    assert!(Rc::ptr_eq(limits(0).unwrap(), limits(1).unwrap()));
    assert!(Rc::ptr_eq(limits(0).unwrap(), config.sites[0].policies.limits.as_ref().unwrap()));
    assert!(labels(limits(2)).is_empty());
    assert_eq!(labels(limits(3)), ["a = /own", "a = /own (2)", "class dear"]);
    assert_eq!(labels(limits(4)), ["class dear"]);
    let first = &limits(0).unwrap()[0];
    assert_eq!((first.rate, first.burst), (Some(Rate { count: 20, per: Duration::from_secs(1) }), Some(40)));
    assert_eq!((&first.by, first.status, first.dry_run, first.concurrency), (&By::Client, 429, false, None));
    let own = limits(3).unwrap();
    assert_eq!(own[0].by, By::Header("X-Key".to_owned()));
    assert_eq!(own[1].rate, Some(Rate { count: 10, per: Duration::from_secs(30) }));
    assert_eq!((own[2].seed, own[2].concurrency, own[2].status), (limits(4).unwrap()[0].seed, Some(2), 503));
    assert_ne!(own[0].seed, own[1].seed);
    let speed = |at: usize| places[at].policies.bandwidth;
    assert_eq!(speed(0), Some(Bandwidth { rate: 1 << 20, after: 0 }));
    assert_eq!(speed(2), Some(Bandwidth::default()));
    assert_eq!(speed(4), Some(Bandwidth { rate: 64 << 10, after: 2 << 20 }));
    assert_eq!(config.limits.table, 1 << 20);
    // As it is written for an upgrade it is the same, and places that share a limit share it.
    let again = load_text(&to_ron(&config)).unwrap();
    let places = &again.sites[0].locations;
    let shared = [0, 1].map(|at| places[at].policies.limits.clone().unwrap());
    assert!(Rc::ptr_eq(&shared[0], &shared[1]));
    assert_eq!(again.sites, config.sites);
    assert_eq!(again.limits, config.limits);
    let mut all: Vec<_> = config.limit_labels().collect();
    all.sort_unstable();
    all.dedup();
    assert_eq!(all, ["a", "a = /own", "a = /own (2)", "class dear"]);
}

#[test]
fn each_mistake_of_a_limit_is_told_with_the_way_out() {
    for (limit, what, hint) in [
        (r#""20/s""#, "unknown class `20/s`", "write (rate: \"20/s\")"),
        (r#""dea""#, "unknown class `dea`", "did you mean `dear`?"),
        (
            "()",
            "the limit says neither `rate` nor `concurrency`",
            "for example (rate: \"20/s\", burst: 40, by: Client), or (concurrency: 2)",
        ),
        (r#"(rate: "20")"#, "`20` has no unit", "did you mean \"20/s\"?"),
        (r#"(rate: "0/s")"#, "`0/s` lets nothing through", ""),
        (r#"(rate: "x/s")"#, "`x/s` is not a rate", ""),
        (r#"(rate: "5/parsec")"#, "`5/parsec` is not a rate", ""),
        (r#"(rate: "5/")"#, "`5/` is not a rate", ""),
        (r#"(rate: "200000/s")"#, "`200000/s` is too fast to be counted", ""),
        (r#"(rate: "1/8d")"#, "`1/8d` is too slow", ""),
        (
            r#"(rate: "1/d", burst: 8)"#,
            "8 requests at once take more than 7 days to come back at this rate",
            "",
        ),
        (r#"(rate: "1/s", burst: 0)"#, "`burst` is out of range", "from 1 to 100000"),
        ("(burst: 3, concurrency: 1)", "`burst` without a `rate` that it may exceed", "remove it"),
        ("(concurrency: 0)", "`concurrency` is out of range", ""),
        (r#"(rate: "1/s", by: Address)"#, "unknown variant `Address`", ""),
        (
            r#"(rate: "1/s", by: Header)"#,
            "it does not say what requests have in common that are counted together",
            "",
        ),
        (
            r#"(rate: "1/s", by: (header: "x"))"#,
            "it does not say what requests have in common that are counted together",
            "",
        ),
        (r#"(rate: "1/s", status: 404)"#, "404 is not what a limit answers", "429 or 503"),
        (r#"(rate: "1/s", zone: "x")"#, "unknown key `zone`", ""),
        ("5", "expected ( key: value, … ), found the number 5", "write (rate: 5)"),
    ] {
        let classes = r#"classes: {"dear": (concurrency: 2)}"#;
        let locations = format!(r#"(path: "/", {TO}, limit: {limit}), (path: "/x", {TO}, limit: "dear")"#);
        let problems = load_text(&site(classes, "", &locations)).unwrap_err();
        let found = problems.iter().find(|problem| problem.what.contains(what));
        let found = found.unwrap_or_else(|| panic!("{limit}: {problems:#?}"));
        assert!(found.hint.contains(hint), "{limit}: {found:?}");
        assert!(found.line > 0, "{found:?}");
    }
    for (bandwidth, what) in [
        (r#""1MiB""#, "`1MiB` is no speed"),
        (r#""1B/s""#, "`1B/s` is too slow"),
        (r#"(after: "1MiB")"#, "missing key `rate`"),
        (r#"(rate: "1MiB/s", burst: "1MiB")"#, "unknown key `burst`"),
    ] {
        let text = site("", "", &format!(r#"(path: "/", {TO}, bandwidth: {bandwidth})"#));
        let problems = load_text(&text).unwrap_err();
        assert!(problems.iter().any(|problem| problem.what.contains(what)), "{bandwidth}: {problems:#?}");
    }
    let problems = load_text(&site(r#"table: "1KiB""#, "", &format!(r#"(path: "/", {TO})"#))).unwrap_err();
    assert!(problems[0].what.contains("`table` is out of range"), "{problems:#?}");
}

#[test]
fn a_class_that_nothing_names_is_told_of() {
    let text = site(r#"classes: {"dear": (concurrency: 2)}"#, "", &format!(r#"(path: "/", {TO})"#));
    let memory = Memory::default().with("hatchery.ron", &text);
    let (_, warnings) = load_with_warnings(Path::new("hatchery.ron"), &memory).unwrap();
    assert!(warnings.iter().any(|one| one.what == "the class `dear` is never used"), "{warnings:#?}");
}
