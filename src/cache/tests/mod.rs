//! The cases of the table, and what holds of all of them.

mod cases;
mod others;
mod properties;
mod validation;

use super::admit::{Admitted, Exchange, admit};
use super::asked::asked;
use super::fresh::Times;
use super::hash::Secret;
use super::key::{Key, Parts};
use super::reuse::{Use, judge, missing};
use super::serve::{Plan, plan, response};
use super::settings::Client;
use super::status::{Forward, Note};
use super::stored::Head;
use super::vary::Marker;
use super::{Millis, SECOND, Settings};
use crate::http::conditional::tests::head;
use crate::http::date::ImfDate;
use crate::http::{BodyLength, Fields, RequestHead, ResponseHead, Scheme};
use crate::timer::Wall;
use cases::{GROUPS, Row};

/// When the response of each case came.
const RECEIVED: i64 = 1_790_000_000;
const SECRET: Secret = Secret([1, 2]);
const LENGTH: u64 = 10;

/// As dates stand in the table.
fn dated(value: &str) -> String {
    match value.strip_prefix('@').and_then(|offset| offset.parse::<i64>().ok()) {
        Some(offset) if offset.abs() < 1_000_000_000 => ImfDate::new(RECEIVED + offset).to_string(),
        _ => value.to_owned(),
    }
}

/// The words of a line of the table: the first, and name and value of the others.
fn split(line: &str) -> (&str, Vec<(String, String)>) {
    let mut parts = line.split('|').map(str::trim);
    let first = parts.next().unwrap_or_default();
    let field = |part: &str| part.split_once(':').map(|(name, value)| (name.to_owned(), dated(value.trim())));
    (first, parts.filter_map(field).collect())
}

fn request_of(line: &str) -> RequestHead {
    let (method, fields) = split(line);
    let fields: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    head(if method.is_empty() { "GET" } else { method }, &fields)
}

fn response_of(line: &str) -> ResponseHead {
    let (status, fields) = split(line);
    let mut head = ResponseHead::new(status.parse().expect("a status"));
    fields.iter().for_each(|(name, value)| head.fields.add(name, value));
    head
}

/// Settings, and how long the response took.
fn settings_of(text: &str) -> (Settings, Millis) {
    let (mut settings, mut delay) = (Settings::default(), 0);
    for word in text.split_whitespace() {
        let (name, value) = word.split_once('=').expect("name=value");
        let length = || value.parse::<u64>().expect("seconds") * SECOND;
        match name.split_once('.').map_or(name, |(name, _)| name) {
            "client" => settings.client = Client::Honour,
            "ttl" => settings.ttl = Some(length()),
            "stale_while_revalidate" => settings.stale_while_revalidate = length(),
            "stale_if_error" => settings.stale_if_error = length(),
            "status" => {
                let status = name.rsplit('.').next().and_then(|status| status.parse().ok());
                settings.statuses.push((status.expect("a status"), length()));
            }
            "delay" => delay = length(),
            _ => panic!("{name}"),
        }
    }
    (settings, delay)
}

fn stored(said: &str, settings: &str) -> Head {
    admitted("", said, settings).expect("it is kept").head
}

/// So many seconds after the response came.
fn at(after: u64) -> Millis {
    (RECEIVED as u64 + after) * SECOND
}

fn values(fields: &Fields, name: &str) -> Vec<String> {
    let same = fields.iter().filter(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes()));
    same.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

fn key_of(request: &RequestHead) -> Key {
    let parts = Parts {
        site: "shop.example",
        when: "",
        unless: "",
        scheme: Scheme::Http,
        host: b"shop.example",
        port: None,
        path: b"/a",
        query: b"",
        rewritten: None,
        trusted: false,
    };
    Key::primary(&parts, request, &Settings::default().key, SECRET).expect("a key")
}

/// What comes of a request: a word, and the head of the answer, if the cache gives it.
#[derive(Debug)]
struct Came {
    word: String,
    head: Option<ResponseHead>,
    ttl: Option<i64>,
}

impl From<String> for Came {
    fn from(word: String) -> Self {
        Self { word, head: None, ttl: None }
    }
}

fn admitted(stored_by: &str, said: &str, settings: &str) -> Result<Admitted, super::admit::Refused> {
    let (settings, delay) = settings_of(settings);
    let received = at(0);
    let exchange = Exchange {
        request: &request_of(stored_by),
        response: &response_of(said),
        times: Times { requested: received - delay, received },
        authorized: false,
    };
    admit(&exchange, &settings, SECRET)
}

fn play((_, stored_by, said, asked_by, after, _): Row, settings: &str) -> Came {
    let Admitted { head: stored, vary } = match admitted(stored_by, said, settings) {
        Ok(admitted) => admitted,
        Err(refused) => return Came::from(format!("refused {}", refused.word())),
    };
    // Everything goes through the bytes that are kept.
    let stored = Head::decode(&stored.encode()).expect("it can be read again");
    let (settings, _) = settings_of(settings);
    let now = at(after);
    let request = request_of(asked_by);
    let asked = match asked(&request, BodyLength::None, &settings) {
        Ok(asked) => asked,
        Err(forward) => return Came::from(format!("fwd={}", forward.word())),
    };
    let selected = |request: &RequestHead| {
        let marker = (!vary.is_empty()).then(|| Marker::new(vary.clone(), 7));
        let key = key_of(request);
        match marker.map(|marker| Marker::decode(&marker.encode()).expect("it can be read again")) {
            Some(marker) => key.variant(&marker, request, SECRET).expect("a key"),
            None => key,
        }
    };
    let used = if selected(&request_of(stored_by)) == selected(&request) {
        judge(&asked, &stored.life, now)
    } else {
        missing(&asked, Forward::VaryMiss)
    };
    let ttl = Some(stored.life.ttl(now));
    let word = match used {
        Use::Fresh => "hit",
        Use::Stale { refresh: true } => "stale refresh",
        Use::Stale { refresh: false } => "stale",
        Use::Forward(forward) => return Came { ttl, ..format!("fwd={}", forward.word()).into() },
        Use::Refuse => return "504".to_owned().into(),
    };
    let wall = Wall { seconds: RECEIVED + after as i64, nanos: 0 };
    let planned = plan(&request, &stored, LENGTH, wall);
    let head = response(stored, &planned, LENGTH, &Note { ttl, ..Note::default() }, now);
    let word = match &planned {
        Plan::Whole => word.to_owned(),
        Plan::NotModified => "304".to_owned(),
        Plan::Unsatisfiable => "416".to_owned(),
        Plan::Part(part) => format!("206 {}-{}", part.first, part.last),
        Plan::Parts(parts) => {
            let parts: Vec<_> = parts.iter().map(|part| format!("{}-{}", part.first, part.last)).collect();
            format!("206 {}", parts.join(" "))
        }
    };
    Came { word, head: Some(head), ttl }
}

/// What is wrong with what came, if anything.
fn complaint(came: &Came, wanted: &str) -> Option<String> {
    // Words that stand alone, then those with a sign before them, whose values may have spaces.
    let mut checks: Vec<String> = Vec::new();
    for word in wanted.split(' ') {
        let begins = ["+", "-", "ttl=", "once="].iter().any(|start| word.starts_with(start));
        match checks.last_mut().filter(|_| !begins) {
            Some(last) => *last = format!("{last} {word}"),
            None => checks.push(word.to_owned()),
        }
    }
    let values = |name| came.head.as_ref().map_or_else(Vec::new, |head| values(&head.fields, name));
    for check in &checks {
        let holds = match check.split_at(1) {
            ("+", field) => {
                let (name, value) = field.split_once(": ").expect("Name: value");
                values(name).iter().any(|have| have == value)
            }
            ("-", name) => came.head.is_some() && values(name).is_empty(),
            _ => match check.split_once('=') {
                Some(("ttl", ttl)) => came.ttl == ttl.parse().ok(),
                Some(("once", name)) => values(name).len() == 1,
                _ => came.word == *check,
            },
        };
        if !holds {
            return Some(format!("wanted {check}, came {came:?}"));
        }
    }
    None
}

#[test]
fn each_case_comes_out_as_the_rfc_says() {
    let groups = GROUPS.iter().flat_map(|groups| groups.iter());
    let mut wrong = Vec::new();
    let mut count = 0;
    for group in groups {
        for row in group.rows {
            count += 1;
            if let Some(complaint) = complaint(&play(*row, group.settings), row.5) {
                wrong.push(format!("{}: {}: {row:?}: {complaint}", group.section, row.0));
            }
        }
    }
    assert!(count >= 250, "only {count} cases");
    assert!(wrong.is_empty(), "{} of {count} cases:\n{}", wrong.len(), wrong.join("\n"));
}

/// A table that agrees with everything says nothing.
#[test]
fn a_case_that_says_something_else_is_found() {
    let row: Row = ("", "", "200 | Cache-Control: max-age=60", "", 5, "");
    let came = play(row, "");
    assert_eq!(complaint(&came, "hit +Age: 5 ttl=55 -X-A once=Age"), None);
    for wrong in
        ["stale", "fwd=stale", "hit +Age: 6", "hit ttl=54", "hit -Age", "hit once=X-A", "hit +X-A: 1"]
    {
        assert!(complaint(&came, wrong).is_some(), "{wrong}");
    }
    assert!(complaint(&play(("", "", "200", "", 0, ""), ""), "refused no-store").is_some());
}
