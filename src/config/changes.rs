//! `(set: {…}, add: {…}, remove: […])`, or the map of `set` alone: fields that are changed on the way of a request or response.

use super::located::{Given, Node, Reading, Report};
use super::problem::Complaint;
use super::walk::{By, Section, Walk};
use crate::gateway::HOP_BY_HOP;
use crate::http::{Changes, fields};

/// Fields by which servers know each other or ask for something, besides those of one connection: the server writes them itself.
const OURS: [&str; 5] = ["date", "expect", "server", "via", "x-accel-buffering"];

impl Section for Changes {
    const SHORT: Option<&'static str> = Some("set");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("set", &mut By(&mut self.set, entries));
        keys.key("add", &mut By(&mut self.add, entries));
        keys.key("remove", &mut By(&mut self.remove, names));
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        let is_set = |name: &&String| self.set.iter().any(|(set, _)| set.eq_ignore_ascii_case(name));
        if let Some(name) = self.remove.iter().find(is_set) {
            let what = format!("`{name}` is set, too");
            report.add(
                &given.place_of("remove"),
                Complaint::new(what, "setting a field replaces it: remove it here"),
            );
        }
    }
}

/// Names, each once whatever its case, and values.
fn entries(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<(String, String)>> {
    entries_by(node, report, check_name, value)
}

/// The same, of names and values that are judged in other ways.
pub(super) fn entries_by<T>(
    node: &Node<'_>,
    report: &mut Report<'_>,
    check: fn(&str) -> Result<(), Complaint>,
    value: Reading<T>,
) -> Option<Vec<(String, T)>> {
    let mut entries: Vec<(String, T)> = Vec::new();
    for (name, node) in node.map(report)? {
        if let Err(complaint) = check(&name.value).and_then(|()| check_underscore(&name.value)) {
            report.add(&name.place, complaint);
            continue;
        }
        if entries.iter().any(|(known, _)| known.eq_ignore_ascii_case(&name.value)) {
            report.add(
                &name.place,
                Complaint::new("given twice", "the case of a name means nothing: keep one"),
            );
            continue;
        }
        entries.extend(value(&node, report).map(|value| (name.value, value)));
    }
    Some(entries)
}

fn names(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<String>> {
    node.each(report, |node, report| {
        node.parse(report, "the name of a header field in quotes", |text| {
            check_name(text).map(|()| text.to_owned())
        })
    })
}

/// The value of a field, without white space around it.
pub(super) fn check_value(text: &str) -> Result<&str, Complaint> {
    match text.trim() {
        "" => Err(Complaint::new("an empty value", "to drop the field write its name into `remove`")),
        value if !fields::is_value(value.as_bytes()) => {
            Err(Complaint::new("a control character in a header field", "a value is one line of text"))
        }
        value => Ok(value),
    }
}

fn value(node: &Node<'_>, report: &mut Report<'_>) -> Option<String> {
    let text = node.parse(report, "the value of a header field in quotes", |text| {
        check_value(text).map(str::to_owned)
    })?;
    if text.split('$').skip(1).any(|after| after.starts_with(|char: char| char.is_ascii_lowercase())) {
        let what = format!("`{text}` is sent as it stands here: the value of a field has no variables");
        let hint = "the client is told in X-Forwarded-For, scheme and host in X-Forwarded-Proto and X-Forwarded-Host";
        report.warn(&node.place(), Complaint::new(what, hint));
    }
    Some(text)
}

fn check_name(name: &str) -> Result<(), Complaint> {
    let is = |other: &&str| name.eq_ignore_ascii_case(other);
    if !fields::is_name(name.as_bytes()) {
        let hint = "a name is one word, for example \"X-Robots-Tag\"";
        return Err(Complaint::new(format!("{name:?} is no name of a field"), hint));
    }
    if is(&"host") {
        return Err(Complaint::new("`Host` is no field like others", "write host: \"…\" into `Proxy`"));
    }
    if is(&"proxy") {
        let hint = "many programs take it for their setting HTTP_PROXY; choose another name";
        return Err(Complaint::new("`Proxy` is never sent", hint));
    }
    if OURS.iter().any(is) || HOP_BY_HOP.has(name.as_bytes()) {
        let hint = "it is of one connection, or says how a message is sent: remove it";
        return Err(Complaint::new(format!("`{name}` is written by the server itself"), hint));
    }
    Ok(())
}

/// A field with one may be there to be removed.
fn check_underscore(name: &str) -> Result<(), Complaint> {
    if name.contains('_') {
        let hint = format!("servers drop it, or take it for `{0}`: write \"{0}\"", name.replace('_', "-"));
        return Err(Complaint::new(format!("`{name}` has a `_` in it"), hint));
    }
    Ok(())
}
