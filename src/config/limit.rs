//! `limit: …` and `bandwidth: …` of sites and locations, and the `classes` of `limits`.

use super::Config;
use super::balance::CookieName;
use super::located::{At, Given, Node, Report};
use super::log::FieldName;
use super::problem::Complaint;
use super::read;
use super::shape::Shape;
use super::site::Site;
use super::units;
use super::walk::{By, Form, Section, Value, Walk};
use super::written::Written;
use crate::policy::limit::rate::LONGEST;
use crate::policy::limit::{self, Bandwidth, Limit, Rate};
use crate::route::Matcher;
use std::collections::HashSet;
use std::rc::Rc;

const EXAMPLE: &str = "(rate: \"20/s\", burst: 40, by: Client)";

/// Requests of a second, and of a burst, at the most.
const MOST: u32 = 100_000;

impl Section for Limit {
    const MEANT: Option<&'static str> = Some("rate");

    fn misplaced(key: &str) -> Option<Complaint> {
        let hint = match key {
            "key" | "zone" => {
                "it is called `by` here: Client, Subnet, Header(\"X-Api-Key\"), Cookie(\"sid\"), Path or All"
            }
            "nodelay" | "delay" => "a request waits for no rate: it is answered at once, or refused",
            "requests" | "limit" => "it is called `rate` here: rate: \"20/s\"",
            "connections" | "max" => {
                "it is called `concurrency` here; of a client's connections `limits: (connections_per_client: …)`"
            }
            "name" | "class" => "a class has its name in `limits: (classes: {\"name\": …})`",
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), hint))
    }

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("rate", &mut self.rate);
        keys.key("burst", &mut self.burst);
        keys.key("concurrency", &mut self.concurrency);
        keys.key("when", &mut self.when);
        keys.key("unless", &mut self.unless);
        keys.key("by", &mut self.by);
        keys.key("status", &mut By(&mut self.status, status));
        keys.key("dry_run", &mut self.dry_run);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if !given.has("rate") && !given.has("concurrency") {
            let hint = format!("for example {EXAMPLE}, or (concurrency: 2)");
            given.complain(report, Complaint::new("the limit says neither `rate` nor `concurrency`", hint));
        }
        if given.has("burst") && !given.has("rate") {
            let complaint = Complaint::new("`burst` without a `rate` that it may exceed", "remove it");
            report.add(&given.place_of("burst"), complaint);
        }
        for (key, number) in [("burst", self.burst), ("concurrency", self.concurrency)] {
            if number.is_some_and(|number| !(1..=MOST).contains(&number)) {
                let hint = match (key, number) {
                    ("concurrency", Some(0)) => {
                        "from 1; to answer none, write to: Respond(status: 503, body: \"…\")".to_owned()
                    }
                    _ => format!("from 1 to {MOST}"),
                };
                report.add(&given.place_of(key), Complaint::new(format!("`{key}` is out of range"), hint));
            }
        }
        let Some(rate) = self.rate.filter(|_| given.is_good("rate")) else { return };
        let burst = self.burst.unwrap_or(rate.count);
        if rate.per.saturating_mul(burst) / rate.count.max(1) > LONGEST {
            let what = format!("{burst} requests at once take more than 7 days to come back at this rate");
            report.add(&given.place_of("rate"), Complaint::new(what, "lower `burst`, or raise `rate`"));
        }
    }
}

fn status(node: &Node<'_>, report: &mut Report<'_>) -> Option<u16> {
    let fits = |status| [429, 503].contains(&status);
    read::status(node, "what a limit answers", fits, "429 or 503", report)
}

/// `"20/s"`, `"5/m"`, `"100/h"`, `"10/30s"`.
impl Form for Rate {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a rate such as \"20/s\"", rate)
    }

    fn write(&self) -> Written {
        let period = units::render_duration(self.per);
        Written::text(&format!(
            "{}/{}",
            self.count,
            period.strip_prefix('1').filter(|unit| is_unit(unit)).unwrap_or(&period)
        ))
    }
}

fn is_unit(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphabetic())
}

fn rate(text: &str) -> Result<Rate, Complaint> {
    let example = "write a count, a slash and a unit: \"20/s\", \"5/m\", \"100/h\", \"10/30s\"";
    let bad = || Complaint::new(format!("`{text}` is not a rate"), example);
    let (count, period) = text.split_once('/').ok_or_else(|| match () {
        _ if text.trim().parse::<u32>().is_ok() => {
            Complaint::new(format!("`{text}` has no unit"), format!("did you mean \"{}/s\"?", text.trim()))
        }
        _ => bad(),
    })?;
    let count = count.trim();
    // nginx writes 20r/s.
    let count: u32 = count.strip_suffix('r').unwrap_or(count).parse().map_err(|_| bad())?;
    let period = period.trim();
    let per = if is_unit(period) { units::duration(&format!("1{period}")) } else { units::duration(period) };
    let per = per.map_err(|_| bad())?;
    if count == 0 || per.is_zero() {
        return Err(Complaint::new(format!("`{text}` lets nothing through"), example));
    }
    if f64::from(count) / per.as_secs_f64() > f64::from(MOST) || count > MOST {
        let hint = format!("at most \"{MOST}/s\"; without a limit leave it out");
        return Err(Complaint::new(format!("`{text}` is too fast to be counted"), hint));
    }
    if per / count > LONGEST {
        return Err(Complaint::new(format!("`{text}` is too slow"), "at least one in 7 days"));
    }
    Ok(Rate { count, per })
}

/// What stands in the parentheses of a variant.
fn inside<'a>(value: &Node<'a>) -> Node<'a> {
    value.only().unwrap_or_else(|| value.clone())
}

const KEYS: [&str; 6] = ["Client", "Subnet", "Header", "Cookie", "Path", "All"];
const KEY_EXAMPLE: &str = "write Client, Subnet, Header(\"X-Api-Key\"), Cookie(\"sid\"), Path or All";

impl Form for limit::By {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        match node.variant() {
            Some(("Client", None)) => Some(Self::Client),
            Some(("Subnet", None)) => Some(Self::Subnet),
            Some(("Path", None)) => Some(Self::Path),
            Some(("All", None)) => Some(Self::All),
            Some(("Header", Some(name))) => {
                FieldName::read(&inside(&name), report).map(|name| Self::Header(name.as_str().to_owned()))
            }
            Some(("Cookie", Some(name))) => {
                CookieName::read(&inside(&name), report).map(|name| Self::Cookie(name.as_str().to_owned()))
            }
            Some((name, _)) if !KEYS.contains(&name) => {
                node.refuse(report, Complaint::unknown("variant", name, &KEYS))
            }
            _ => node.refuse(
                report,
                Complaint::new(
                    "it does not say what requests have in common that are counted together",
                    KEY_EXAMPLE,
                ),
            ),
        }
    }

    fn write(&self) -> Written {
        let of = |name: &str, value: &String| {
            Written::Group(format!("{name}("), vec![(String::new(), Written::text(value))], ')')
        };
        match self {
            Self::Client => Written::plain(&"Client"),
            Self::Subnet => Written::plain(&"Subnet"),
            Self::Path => Written::plain(&"Path"),
            Self::All => Written::plain(&"All"),
            Self::Header(name) => of("Header", name),
            Self::Cookie(name) => of("Cookie", name),
        }
    }
}

/// `limit: …` of a place: a limit, a class, or a list of them. `None` there: none, whatever the site has.
pub(super) struct Limits<'v>(pub(super) &'v mut Option<Rc<Vec<Limit>>>);

impl Value for Limits<'_> {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        let before = report.problems.len();
        let limits = match node.shape() {
            Shape::List(_) => node.each(report, one),
            _ => one(node, report).map(|limit| vec![limit]),
        };
        let Some(limits) = limits.filter(|_| report.problems.len() == before) else { return false };
        if limits.len() > MOST_HERE {
            let hint = format!("{MOST_HERE} at most");
            node.complain(report, Complaint::new("so many limits that they cost more than they save", hint));
            return false;
        }
        *self.0 = Some(Rc::new(limits));
        true
    }

    fn clear(&mut self) {
        *self.0 = Some(Rc::default());
    }

    fn written(&self) -> Written {
        match self.0.as_ref().map(|limits| limits.as_slice()) {
            None => Written::Absent,
            Some([]) => Written::plain(&"None"),
            Some([only]) => written(only),
            Some(all) => Written::Group(
                "[".to_owned(),
                all.iter().map(|one| (String::new(), written(one))).collect(),
                ']',
            ),
        }
    }
}

/// Limits in one place.
const MOST_HERE: usize = 16;

fn written(limit: &Limit) -> Written {
    limit.class.as_ref().map_or_else(|| limit.write(), Written::text)
}

fn one(node: &Node<'_>, report: &mut Report<'_>) -> Option<Limit> {
    let Shape::Text(_) = node.shape() else { return Limit::read(node, report) };
    let name = String::read(node, report)?;
    if let Some((_, limit, used)) = report.classes.iter_mut().find(|(known, ..)| known.value == name) {
        *used = true;
        return Some(limit.clone());
    }
    let known: Vec<&str> = report.classes.iter().map(|(known, ..)| known.value.as_str()).collect();
    let mut complaint = Complaint::unknown("class", &name, &known);
    if rate(&name).is_ok() {
        complaint.hint = format!("write (rate: \"{name}\")");
    } else if known.is_empty() {
        complaint.hint = format!("define it: limits: (classes: {{ \"{name}\": (concurrency: 2) }})");
    }
    node.refuse(report, complaint)
}

/// `classes: { "name": ( … ) }`. They are read before all places that name them.
pub(super) fn classes(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<(String, Limit)>> {
    let mut classes = Vec::new();
    for (name, value) in node.map(report)? {
        let At { value: text, place } = &name;
        if text.is_empty() || text.contains(|char: char| char.is_control() || char.is_whitespace()) {
            report.add(place, Complaint::new("a name is one word", "for example \"expensive\""));
        }
        let Some(limit) = Limit::read(&value, report) else { continue };
        let mut limit = Limit { class: Some(text.clone()), ..limit };
        limit.named(format!("class {text}"));
        classes.push((text.clone(), limit.clone()));
        report.classes.push((name, limit, false));
    }
    classes.sort_by(|(one, _), (two, _)| one.cmp(two));
    Some(classes)
}

/// Warns of classes that nothing names.
pub(super) fn warn_unused(report: &mut Report<'_>) {
    for (name, _, used) in std::mem::take(&mut report.classes) {
        if !used {
            let what = format!("the class `{}` is never used", name.value);
            report.warn(&name.place, Complaint::new(what, "no site or location has it as its `limit`"));
        }
    }
}

/// `bandwidth: …` of a place. `None` there: as fast as it can, whatever the site says.
pub(super) struct Bandwidths<'v>(pub(super) &'v mut Option<Bandwidth>);

impl Value for Bandwidths<'_> {
    fn take(&mut self, node: &Node<'_>, report: &mut Report<'_>) -> bool {
        Value::take(self.0, node, report)
    }

    fn clear(&mut self) {
        *self.0 = Some(Bandwidth::default());
    }

    fn written(&self) -> Written {
        if *self.0 == Some(Bandwidth::default()) { Written::plain(&"None") } else { self.0.write() }
    }
}

impl Section for Bandwidth {
    const SHORT: Option<&'static str> = Some("rate");

    fn misplaced(key: &str) -> Option<Complaint> {
        let hint = match key {
            "limit" => "it is called `rate` here",
            "burst" => "it is called `after` here: so much leaves as fast as it can before",
            _ => return None,
        };
        Some(Complaint::new(format!("unknown key `{key}`"), hint))
    }

    fn walk(&mut self, keys: &mut dyn Walk) {
        let mut speed = Speed(self.rate);
        keys.need("rate", "\"1MiB/s\"", &mut speed);
        self.rate = speed.0;
        keys.key("after", &mut self.after);
    }
}

/// Bytes a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Speed(u64);

impl Form for Speed {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        node.parse(report, "a speed such as \"1MiB/s\"", |text| {
            let size = text.trim().strip_suffix("/s").map_or_else(
                || {
                    let hint = format!("write \"{}/s\"", text.trim());
                    Err(Complaint::new(format!("`{text}` is no speed"), hint))
                },
                |size| units::size(size.trim()),
            )?;
            if size < SLOWEST {
                let hint = "at least \"1KiB/s\"; to send nothing, write another handler";
                return Err(Complaint::new(format!("`{text}` is too slow"), hint));
            }
            Ok(Self(size))
        })
    }

    fn write(&self) -> Written {
        Written::text(&format!("{}/s", units::render_size(self.0)))
    }
}

/// What is slower holds a connection for nothing.
const SLOWEST: u64 = 1024;

/// Gives each limit of a site and its locations its label.
pub(super) fn label(sites: &mut [Site]) {
    for site in sites {
        let mut taken = HashSet::new();
        let before = site.policies.limits.clone();
        name_all(&mut site.policies.limits, &site.label, &mut taken);
        for location in &mut site.locations {
            let own = &mut location.policies.limits;
            let is_inherited =
                own.as_ref().zip(before.as_ref()).is_some_and(|(one, two)| Rc::ptr_eq(one, two));
            if is_inherited {
                own.clone_from(&site.policies.limits);
            } else {
                let place = match &location.matcher {
                    Matcher::Exact(path) => format!("{} = {path}", site.label),
                    Matcher::Prefix { path, .. } => format!("{} {path}", site.label),
                    Matcher::Regex(regex) => format!("{} ~ {regex}", site.label),
                };
                name_all(own, &place, &mut taken);
            }
        }
    }
}

fn name_all(limits: &mut Option<Rc<Vec<Limit>>>, place: &str, taken: &mut HashSet<String>) {
    let Some(limits) = limits else { return };
    for limit in Rc::make_mut(limits).iter_mut().filter(|limit| limit.class.is_none()) {
        let mut label = place.to_owned();
        let mut number = 1;
        while !taken.insert(label.clone()) {
            number += 1;
            label = format!("{place} ({number})");
        }
        limit.named(label);
    }
}

impl Config {
    /// All limits, those that several places have more than once.
    pub(crate) fn limits(&self) -> impl Iterator<Item = &Limit> {
        let places = self.sites.iter().flat_map(|site| {
            std::iter::once(&site.policies).chain(site.locations.iter().map(|location| &location.policies))
        });
        let own = places.filter_map(|policies| policies.limits.as_deref()).flatten();
        self.limits.classes.iter().map(|(_, class)| class).chain(own)
    }

    /// Under what it is told how often they were exceeded.
    pub(crate) fn limit_labels(&self) -> impl Iterator<Item = &str> {
        let connections = (self.limits.connections_per_client > 0).then_some(limit::CONNECTIONS);
        connections.into_iter().chain(self.limits().map(|limit| limit.label.as_str()))
    }
}
