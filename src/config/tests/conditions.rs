//! `conditions`, and what refers to them.

use super::*;
use crate::policy::condition::{Condition, When};
use crate::route::Guard;

/// A good file with these conditions, each of which its one location depends on by `unless: "last"`.
fn with(conditions: &str) -> String {
    format!(
        "(conditions: {{{conditions}}},\n{}",
        &location("path: \"/\", unless: \"last\", to: Respond()")[1..]
    )
}

fn conditions(text: &str) -> Vec<(String, Condition)> {
    load_text(&with(text)).unwrap_or_else(|problems| panic!("{problems:#?}")).conditions
}

#[test]
fn they_are_found_by_name_wherever_they_stand() {
    let main = r#"(
        sites: [(listen: [":80"], locations: [
            (path: "/", when: "b", unless: "a", methods: "POST", to: Respond()),
            (path: "/", to: Respond()),
        ])],
        conditions: {"b": (not: "a")}, include: ["more.ron"])"#;
    let more = r#"(conditions: {"a": (cookie: "x")})"#;
    let source = Memory::default().with("hatchery.ron", main).with("more.ron", more);
    let config = load(Path::new("hatchery.ron"), &source).unwrap();
    let names: Vec<&str> = config.conditions.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let guard = Guard { methods: vec!["POST".to_owned()], when: Some(1), unless: Some(0) };
    assert_eq!(config.sites[0].locations[0].guard, guard);
    assert!(config.sites[0].locations[1].guard.is_open());
    assert_eq!(
        *config.conditions[1].1.terms().next().unwrap(),
        crate::policy::condition::Term::Named(When(0))
    );
}

#[test]
fn what_is_written_loads_to_the_same() {
    let text = r#"
        "last": (any: ["m", "h", (all: ["c", (not: (scheme: "https"))])], not: "q"),
        "m": (method: ["GET", "PURGE"]), "n": (method: "GET"), "h": (header: ("User-Agent", ["~*bot|crawl", "x"])), "h2": (header: "X-A"),
        "c": (cookie: ("a", "~^1")), "q": (query: ("b", "")), "cl": (client: ["10.0.0.0/8", "unix:"]), "cl2": (client: "::1"),
        "p": (path: ["/a", "~\\.php$"], host: ["Shop.Example.", "~^www\\."]), "all": (all: ["n", "h2", "cl", "cl2", "p"])"#;
    let file = with(text).replace("unless", "when: \"all\", unless");
    let config = load_text(&file).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let written = to_ron(&config);
    assert_eq!(from_resolved(&written, &config.origin), Ok(config), "{written}");
    assert!(written.contains("\"~(?i)bot|crawl\"") && written.contains("\"shop.example\""), "{written}");
}

#[test]
fn each_mistake_is_told_with_the_way_out() {
    for (text, wanted) in [
        ("\"last\": ()", "conditions.last: the condition says nothing; for example (method: \"POST\")"),
        ("\"last\": \"x\"", "expected ( key: value, … ), found the string \"x\"; write (header: \"x\")"),
        ("\"last\": (methods: \"GET\")", "unknown key `methods`; did you mean `method`?"),
        ("\"last\": (or: [\"x\"])", "unknown key `or`; it is called `any` here"),
        (
            "\"last\": (method: \"post\")",
            "conditions.last.method: `post`: methods are written in capitals; did you mean \"POST\"?",
        ),
        ("\"last\": (method: \"P ST\")", "`P ST` is no method"),
        ("\"last\": (method: [])", "an empty list; name one, or leave the key out"),
        ("\"last\": (header: (\"A b\", \"x\"))", "\"A b\" is no name for that"),
        ("\"last\": (header: (\"A\", \"x\", \"y\"))", "expected \"name\" or (\"name\", \"value\")"),
        ("\"last\": (header: (\"A\", \"~(\"))", "`(` is not a regular expression"),
        ("\"last\": (client: \"office\")", "conditions.last.client: `office` is not a network"),
        ("\"last\": (host: \"*.shop.example\")", "`*.shop.example` is no host; write a regular expression"),
        (
            "\"last\": (host: \"shop.example:80\")",
            "`shop.example:80` is no host; a name alone, without a port",
        ),
        ("\"last\": (path: \"api\")", "conditions.last.path: "),
        ("\"last\": (not: \"lost\")", "conditions.last.not: unknown condition `lost`; did you mean `last`?"),
        ("\"last\": (any: [\"last\"])", "conditions.last: the condition leads back to itself: last → last"),
        (
            "\"last\": (not: \"a\"), \"a\": (any: [(cookie: \"x\"), (all: [\"b\"])]), \"b\": (not: \"a\")",
            "conditions.a: the condition leads back to itself: a → b → a; take one of these references out",
        ),
        ("\"last\": (cookie: \"x\"), \"la st\": (not: \"last\")", "a name is one word"),
    ] {
        let lines = lines(&Memory::default().with("hatchery.ron", &with(text)));
        assert!(lines[0].contains(wanted), "{text}\n{lines:#?}\n{wanted}");
    }
    let inline = one(&location("path: \"/\", when: (cookie: \"x\"), to: Respond()"));
    assert!(inline.contains("when: expected the name of a condition, found one; give it a name"), "{inline}");
    let none = one(&location("path: \"/\", when: \"x\", to: Respond()"));
    assert!(none.contains("unknown condition `x`; define it: conditions: { \"x\": ( … ) }"), "{none}");
}

#[test]
fn a_request_does_not_pay_for_conditions_that_multiply() {
    let doubled = |count: usize| {
        let each = (1..count).map(|at| format!("\"c{at}\": (all: [\"c{0}\", \"c{0}\"])", at - 1));
        let all: Vec<String> = each.collect();
        format!("\"c0\": (cookie: \"x\"), {}, \"last\": (not: \"c{}\")", all.join(", "), count - 1)
    };
    assert_eq!(conditions(&doubled(6)).len(), 7);
    let line = one(&with(&doubled(40)));
    assert!(line.contains("the condition consists of") && line.contains("more than 256"), "{line}");
}

#[test]
fn doubtful_ones_are_warned_of() {
    let warnings = |text: &str| {
        let source = Memory::default().with("hatchery.ron", text);
        let (_, warnings) = load_with_warnings(Path::new("hatchery.ron"), &source).unwrap();
        warnings.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    };
    let unused = warnings(&with("\"last\": (cookie: \"x\"), \"more\": (cookie: \"y\")"));
    assert!(unused.contains("the condition `more` is never used"), "{unused}");
    let plain = warnings(&with("\"last\": (header: (\"User-Agent\", \"(?i)bot\"))"));
    assert!(plain.contains("a regular expression begins with `~`: \"~(?i)bot\""), "{plain}");
    assert_eq!(warnings(&with("\"last\": (header: (\"Accept\", \"text/*\"))")), "");
}

#[test]
fn of_locations_with_one_path_the_last_takes_every_request() {
    let two = |first: &str, second: &str| {
        format!(
            "(conditions: {{\"c\": (cookie: \"x\")}}, sites: [(listen: [\":8000\"], locations: [\n({first}, to: Respond()),\n({second}, to: Respond()),\n(exact: \"/c\", when: \"c\", to: Respond())])])"
        )
    };
    for good in [
        two("path: \"/\", methods: [\"POST\"]", "path: \"/\""),
        two("path: \"/\", when: \"c\"", "path: \"/\", unless: \"c\""),
        two("path: \"/\", when: \"c\"", "path: \"/\", over_regex: true"),
    ] {
        assert!(load_text(&good).is_ok(), "{good}");
    }
    let first = one(&two("path: \"/\"", "path: \"/\", when: \"c\""));
    assert!(
        first.contains("sites[0].locations[0].path (hatchery.ron:2:8) has the same path and takes every request for it; the first that takes a request has it: put this one before it"),
        "{first}"
    );
    let same = one(&two("path: \"/\", when: \"c\"", "path: \"/\", when: \"c\""));
    assert!(same.contains("the same path as sites[0].locations[0].path"), "{same}");
}
