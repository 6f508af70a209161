//! Each thing that a condition can ask, and what they make together.

use super::*;
use crate::http::conditional::tests::head_for;
use crate::http::target;
use crate::http::{Method, Scheme};

struct Asked {
    head: RequestHead,
    target: Target,
}

fn asked(method: &str, raw: &str, fields: &[(&str, &str)]) -> Asked {
    let target = target::parse(Method::from_bytes(method.as_bytes()), raw.as_bytes()).unwrap();
    Asked { head: head_for(method, raw, fields), target }
}

impl Asked {
    fn facts<'a>(&'a self, conditions: &'a [(String, Condition)]) -> Facts<'a> {
        Facts {
            host: b"shop.example",
            client: Some([192, 0, 2, 7].into()),
            scheme: Scheme::Https,
            conditions,
            ..Facts::of(&self.head, &self.target)
        }
    }
}

fn is(text: &str) -> Text {
    Text::Is(text.to_owned())
}

fn has(pattern: &str) -> Text {
    Text::Has(Regex::new(pattern).unwrap())
}

fn pair(name: &str, values: &[Text]) -> Option<Pair> {
    Some(Pair { name: name.to_owned(), values: values.to_vec() })
}

fn holds(condition: Condition, asked: &Asked) -> bool {
    let conditions = [("x".to_owned(), condition)];
    When(0).holds(&asked.facts(&conditions))
}

#[test]
fn a_condition_that_says_nothing_holds_and_one_that_is_not_there_does_not() {
    let request = asked("GET", "/", &[]);
    assert!(holds(Condition::default(), &request));
    assert!(!When(0).holds(&request.facts(&[])));
}

#[test]
fn methods() {
    let only = |methods: &[&str]| Condition {
        method: methods.iter().map(ToString::to_string).collect(),
        ..Condition::default()
    };
    for (methods, method, wanted) in [
        (&["POST", "PUT"][..], "PUT", true),
        (&["POST", "PUT"], "GET", false),
        (&["GET"], "HEAD", true),
        (&["HEAD"], "GET", false),
        (&["PURGE"], "PURGE", true),
        (&["PURGE"], "purge", false),
    ] {
        assert_eq!(holds(only(methods), &asked(method, "/", &[])), wanted, "{methods:?} {method}");
    }
}

#[test]
fn fields_by_each_of_their_lines() {
    let header = |values: &[Text]| Condition { header: pair("X-Kind", values), ..Condition::default() };
    let request = asked("GET", "/", &[("x-kind", "one"), ("X-KIND", "a bot")]);
    for (values, wanted) in [
        (&[][..], true),
        (&[is("one")], true),
        (&[is("One")], false),
        (&[is("on")], false),
        (&[is("two"), has("bot$")], true),
        (&[has("^bot")], false),
    ] {
        assert_eq!(holds(header(values), &request), wanted, "{values:?}");
    }
    assert!(!holds(header(&[]), &asked("GET", "/", &[("X-Kinds", "one")])));
}

#[test]
fn parameters_are_decoded_and_may_stand_several_times() {
    let query = |name: &str, values: &[Text]| Condition { query: pair(name, values), ..Condition::default() };
    for (raw, name, values, wanted) in [
        ("/?beta=1", "beta", &[is("1")][..], true),
        ("/?beta=10", "beta", &[is("1")], false),
        ("/?a=2&beta=0&beta=1", "beta", &[is("1")], true),
        ("/?beta", "beta", &[], true),
        ("/?beta", "beta", &[is("")], true),
        ("/?alphabeta=1", "beta", &[], false),
        ("/?%62eta=%31", "beta", &[is("1")], true),
        ("/?q=a+b%2B", "q", &[is("a b+")], true),
        ("/?q=%ff", "q", &[has("^\u{fffd}$")], true),
        ("/?q=%zz", "q", &[is("%zz")], true),
        ("/?&&=", "", &[], true),
        ("/", "beta", &[], false),
        ("/?", "", &[], false),
        ("http://shop.example/?beta=1", "beta", &[is("1")], true),
    ] {
        assert_eq!(holds(query(name, values), &asked("GET", raw, &[])), wanted, "{raw} {name} {values:?}");
    }
}

#[test]
fn cookies_in_one_line_or_several() {
    let cookie =
        |name: &str, values: &[Text]| Condition { cookie: pair(name, values), ..Condition::default() };
    let fields = [("Cookie", "a=1; sessionid=x=y;b"), ("cookie", " c = 3 ;;")];
    let request = asked("GET", "/", &fields);
    for (name, values, wanted) in [
        ("sessionid", &[][..], true),
        ("sessionid", &[is("x=y")], true),
        ("session", &[], false),
        ("SessionId", &[], false),
        ("b", &[is("")], true),
        ("c", &[is("3")], true),
        ("d", &[], false),
    ] {
        assert_eq!(holds(cookie(name, values), &request), wanted, "{name} {values:?}");
    }
}

#[test]
fn who_has_come_how_and_for_what() {
    let request = asked("GET", "/api/%61", &[]);
    let network = |base: [u8; 4], bits| Network::Block { base: base.into(), bits };
    for (condition, wanted) in [
        (Condition { client: vec![network([192, 0, 2, 0], 24)], ..Condition::default() }, true),
        (Condition { client: vec![network([10, 0, 0, 0], 8), Network::Unix], ..Condition::default() }, false),
        (Condition { host: vec![is("shop.example")], ..Condition::default() }, true),
        (Condition { host: vec![is("example"), has("^www\\.")], ..Condition::default() }, false),
        (Condition { scheme: Some(Scheme::Https), ..Condition::default() }, true),
        (Condition { scheme: Some(Scheme::Http), ..Condition::default() }, false),
        (Condition { path: vec![has("^/api/a$")], ..Condition::default() }, true),
        (Condition { path: vec![is("/api/")], ..Condition::default() }, false),
    ] {
        assert_eq!(holds(condition.clone(), &request), wanted, "{condition:?}");
    }
    let unix = Condition { client: vec![Network::Unix], ..Condition::default() };
    assert!(unix.holds(&Facts { client: None, ..request.facts(&[]) }));
}

#[test]
fn several_things_hold_together() {
    let path = |text: &str| Condition { path: vec![is(text)], ..Condition::default() };
    let conditions = [
        ("a".to_owned(), path("/a")),
        ("b".to_owned(), path("/b")),
        (
            "either".to_owned(),
            Condition { any: vec![Term::Named(When(0)), Term::Named(When(1))], ..Condition::default() },
        ),
        (
            "both".to_owned(),
            Condition { all: vec![Term::Named(When(0)), Term::Named(When(1))], ..Condition::default() },
        ),
        (
            "neither".to_owned(),
            Condition { not: Some(Box::new(Term::Named(When(2)))), ..Condition::default() },
        ),
        (
            "posted to a".to_owned(),
            Condition {
                method: vec!["POST".to_owned()],
                all: vec![Term::Named(When(2)), Term::Own(Box::new(path("/a")))],
                ..Condition::default()
            },
        ),
    ];
    for (method, raw, wanted) in [
        ("GET", "/a", [true, false, true, false, false, false]),
        ("POST", "/b", [false, true, true, false, false, false]),
        ("POST", "/a", [true, false, true, false, false, true]),
        ("GET", "/c", [false, false, false, false, true, false]),
    ] {
        let request = asked(method, raw, &[]);
        let facts = request.facts(&conditions);
        let found: Vec<bool> = (0..conditions.len()).map(|index| When(index).holds(&facts)).collect();
        assert_eq!(found, wanted, "{method} {raw}");
    }
    assert!((0..6).all(|index| When(index).sees_path(&conditions)));
    let plain = [("get".to_owned(), Condition { method: vec!["GET".to_owned()], ..Condition::default() })];
    assert!(!When(0).sees_path(&plain) && !When(1).sees_path(&plain));
}
