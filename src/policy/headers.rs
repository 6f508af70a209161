//! The fields of responses that a place sets, adds and removes: of all that leave there, errors and what a rule answers
//! among them. The groups of a site come before those of its location; in each, fields are removed, then set, then
//! given where they are missing, then added.
//!
//! A value may have variables (`$host`), which are those of redirects; what a client wrote of them is percent-encoded. A
//! policy without them does the same to every response of a status, so that a head that is sent many times is made once.

use super::condition::{Facts, When};
use crate::http::location::{self, Parts};
use crate::http::serving::STRICT;
use crate::http::{Fields, Status};

/// What a place says of the fields of its responses.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Headers {
    /// What the site says, for a location that adds to it.
    inherited: Vec<Group>,
    own: Vec<Group>,
    /// `None`: what the site says does not hold here.
    clears: bool,
}

/// Changes that are made together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Group {
    /// It is [`secure`], which stands in one word.
    pub(crate) secure: bool,
    /// Each takes the place of all fields of its name.
    pub(crate) set: Vec<(String, Text)>,
    /// Each is there unless the response has one of its name.
    pub(crate) default: Vec<(String, Text)>,
    /// Each stands behind those of its name.
    pub(crate) add: Vec<(String, Text)>,
    /// Names.
    pub(crate) remove: Vec<String>,
    /// For responses of these only; none: for all.
    pub(crate) status: Vec<Statuses>,
    /// For requests only for which this holds, and that does not.
    pub(crate) when: Option<When>,
    pub(crate) unless: Option<When>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// As it was written.
    template: String,
    /// What it is for every request; `None` if it has variables.
    fixed: Option<Vec<u8>>,
}

/// Statuses that a group is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Statuses {
    /// This one.
    One(u16),
    /// Those of a class, `5xx`, by its digit.
    Class(u16),
}

/// What a request makes of a policy; the default: nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filled {
    /// What it fills in, in the order of the groups and of what stands in them.
    values: Vec<Vec<u8>>,
    /// Numbers of the groups that are not for it.
    off: Vec<usize>,
}

/// Fields that browsers take for a wish to be careful; each yields to what the app says. Strict-Transport-Security is not among
/// them: it is said over TLS alone, of the whole site, by `tls.hsts`, which is on where the site is `Secure`.
const SECURE: [(&str, &str); 3] = [
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "strict-origin-when-cross-origin"),
    ("X-Frame-Options", "SAMEORIGIN"),
];

/// `headers: Secure`.
pub(crate) fn secure() -> Group {
    let default = SECURE.map(|(name, value)| (name.to_owned(), Text::new(value)));
    Group { secure: true, default: default.into(), ..Group::default() }
}

impl Filled {
    /// The default.
    pub(crate) const NONE: Self = Self { values: Vec::new(), off: Vec::new() };
}

impl Text {
    /// A value that [`location::check_text`] has found good.
    pub(crate) fn new(template: &str) -> Self {
        let fixed =
            (!location::has_variables(template)).then(|| location::render_text(template, &Parts::default()));
        Self { template: template.to_owned(), fixed }
    }

    pub(crate) fn template(&self) -> &str {
        &self.template
    }

    /// What it is for a request; `next` is what that fills in.
    fn value<'a>(&'a self, filled: &mut impl Iterator<Item = &'a [u8]>) -> Option<&'a [u8]> {
        match &self.fixed {
            Some(fixed) => Some(fixed),
            None => filled.next(),
        }
    }
}

impl Statuses {
    fn has(self, status: Status) -> bool {
        match self {
            Self::One(one) => status.0 == one,
            Self::Class(digit) => status.0 / 100 == digit,
        }
    }
}

impl Group {
    /// Whether it does nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.default.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    fn is_for_request(&self, facts: &Facts<'_>) -> bool {
        self.when.is_none_or(|when| when.holds(facts))
            && !self.unless.is_some_and(|unless| unless.holds(facts))
    }

    fn is_for(&self, status: Status) -> bool {
        self.status.is_empty() || self.status.iter().any(|statuses| statuses.has(status))
    }

    fn texts(&self) -> impl Iterator<Item = &Text> {
        self.set.iter().chain(&self.default).chain(&self.add).map(|(_, text)| text)
    }

    fn apply<'a>(&'a self, fields: &mut Fields, filled: &mut impl Iterator<Item = &'a [u8]>) {
        let set = self.set.iter().map(|(name, _)| name);
        if !(self.remove.is_empty() && self.set.is_empty()) {
            let dropped: Vec<&String> = self.remove.iter().chain(set).collect();
            fields.retain(|name| !dropped.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes())));
        }
        for (name, text) in &self.set {
            text.value(filled).into_iter().for_each(|value| fields.add(name, value));
        }
        for (name, text) in &self.default {
            let value = text.value(filled);
            value
                .filter(|_| fields.get(name).is_none())
                .into_iter()
                .for_each(|value| fields.add(name, value));
        }
        for (name, text) in &self.add {
            text.value(filled).into_iter().for_each(|value| fields.add(name, value));
        }
    }
}

impl Headers {
    /// What a place says itself.
    pub(crate) fn new(own: Vec<Group>) -> Self {
        Self { own, ..Self::default() }
    }

    /// `None` of a place.
    pub(crate) fn none() -> Self {
        Self { clears: true, ..Self::default() }
    }

    /// What it says itself; `None`: that the site's do not hold.
    pub(crate) fn said(&self) -> Option<&[Group]> {
        (!self.clears).then_some(&self.own)
    }

    /// What holds for a location that says this, if anything, in a site that says that; `None`: nothing is said.
    pub(crate) fn inherit(own: Option<&Self>, site: Option<&Self>) -> Option<Self> {
        match (own, site) {
            (None, None) => None,
            (Some(own), None) => Some(own.clone()),
            (Some(own), Some(_)) if own.clears => Some(own.clone()),
            (own, Some(site)) => {
                let own = own.map_or(&[][..], |own| &own.own);
                Some(Self { inherited: site.groups().cloned().collect(), own: own.to_vec(), clears: false })
            }
        }
    }

    fn groups(&self) -> impl Iterator<Item = &Group> {
        self.inherited.iter().chain(&self.own)
    }

    /// Whether [`secure`] is among it.
    pub(crate) fn is_secure(&self) -> bool {
        self.groups().any(|group| group.secure)
    }

    /// Whether it does nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.groups().all(Group::is_empty)
    }

    /// Whether it does the same for every request.
    pub(crate) fn is_fixed(&self) -> bool {
        let asks = |group: &Group| group.when.is_some() || group.unless.is_some();
        !self.groups().any(asks) && self.groups().flat_map(Group::texts).all(|text| text.fixed.is_some())
    }

    /// Whether it takes the server's own word of HSTS out of responses of this status.
    pub(crate) fn drops_hsts(&self, status: Status, filled: &Filled) -> bool {
        let drops = |group: &Group| group.remove.iter().any(|name| name.eq_ignore_ascii_case(STRICT));
        let groups = self.groups().enumerate().filter(|(number, _)| !filled.off.contains(number));
        groups.map(|(_, group)| group).any(|group| group.is_for(status) && drops(group))
    }

    /// What a request makes of it.
    pub(crate) fn fill(&self, parts: &Parts<'_>, facts: &Facts<'_>) -> Filled {
        let varying = self.groups().flat_map(Group::texts).filter(|text| text.fixed.is_none());
        let values = varying.map(|text| location::render_text(&text.template, parts)).collect();
        let off = self.groups().enumerate().filter(|(_, group)| !group.is_for_request(facts));
        Filled { values, off: off.map(|(number, _)| number).collect() }
    }

    /// Changes the fields of a response.
    pub(crate) fn apply(&self, status: Status, fields: &mut Fields, filled: &Filled) {
        let mut values = filled.values.iter().map(Vec::as_slice);
        for (number, group) in self.groups().enumerate() {
            if group.is_for(status) && !filled.off.contains(&number) {
                group.apply(fields, &mut values);
            } else {
                // What was filled in for it is passed over.
                let passed = group.texts().filter(|text| text.fixed.is_none()).count();
                values.by_ref().take(passed).for_each(|_| {});
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::conditional::tests::head as asked;
    use crate::http::{Method, target};
    use crate::policy::condition::Condition;

    fn texts(entries: &[(&str, &str)]) -> Vec<(String, Text)> {
        entries.iter().map(|(name, value)| ((*name).to_owned(), Text::new(value))).collect()
    }

    fn fields(entries: &[(&str, &str)]) -> Fields {
        let mut fields = Fields::new();
        entries.iter().for_each(|(name, value)| fields.add(name, value));
        fields
    }

    fn parts() -> Parts<'static> {
        Parts { path: b"/a\r\nb", host: b"shop.example", scheme: "https", ..Parts::default() }
    }

    /// What leaves of a response of that status with these fields.
    fn left(headers: &Headers, status: u16, has: &[(&str, &str)]) -> Vec<String> {
        let mut fields = fields(has);
        let request = asked("POST", &[]);
        let target = target::parse(Method::Post, b"/").unwrap();
        let posted = Condition { method: vec!["POST".to_owned()], ..Condition::default() };
        let conditions = [("posted".to_owned(), posted)];
        let facts = Facts { conditions: &conditions, ..Facts::of(&request, &target) };
        headers.apply(Status(status), &mut fields, &headers.fill(&parts(), &facts));
        let line = |(name, value): (&[u8], &[u8])| {
            String::from_utf8([name, b": ", value].concat()).unwrap_or_default()
        };
        fields.iter().map(line).collect()
    }

    #[test]
    fn fields_are_removed_set_given_where_missing_and_added() {
        let group = Group {
            set: texts(&[("X-A", "1")]),
            default: texts(&[("X-B", "2"), ("X-C", "3")]),
            add: texts(&[("Vary", "Cookie")]),
            remove: vec!["x-powered-by".to_owned()],
            ..Group::default()
        };
        let headers = Headers::new(vec![group]);
        let has = [("X-Powered-By", "PHP"), ("x-a", "0"), ("x-b", "own"), ("Vary", "Accept"), ("X-A", "9")];
        let want = ["x-b: own", "Vary: Accept", "X-A: 1", "X-C: 3", "Vary: Cookie"];
        assert_eq!(left(&headers, 200, &has), want);
        assert!(headers.is_fixed() && !headers.is_empty());
    }

    #[test]
    fn a_group_is_for_its_statuses_and_values_stay_with_their_fields() {
        let group = |name: &str, value: &str, status: &[Statuses]| Group {
            set: texts(&[(name, value)]),
            status: status.to_vec(),
            ..Group::default()
        };
        let headers = Headers::new(vec![
            group("X-Gone", "$host", &[Statuses::One(404), Statuses::One(410)]),
            group("X-Broken", "$scheme", &[Statuses::Class(5)]),
            group("X-All", "$path", &[]),
        ]);
        assert!(!headers.is_fixed());
        assert_eq!(left(&headers, 200, &[]), ["X-All: /a%0D%0Ab"]);
        assert_eq!(left(&headers, 410, &[]), ["X-Gone: shop.example", "X-All: /a%0D%0Ab"]);
        assert_eq!(left(&headers, 503, &[]), ["X-Broken: https", "X-All: /a%0D%0Ab"]);
    }

    #[test]
    fn a_group_is_for_requests_for_which_a_condition_holds() {
        let group = |value: &str, when: Option<usize>, unless: Option<usize>| Group {
            add: texts(&[("X-A", value)]),
            when: when.map(When),
            unless: unless.map(When),
            ..Group::default()
        };
        // The condition at 0 holds, what is not there does not.
        let headers = Headers::new(vec![
            group("no $host", Some(1), None),
            group("yes $host", Some(0), None),
            group("never", None, Some(0)),
            group("but", None, Some(1)),
        ]);
        assert!(!Headers::new(vec![group("1", Some(0), None)]).is_fixed());
        assert_eq!(left(&headers, 200, &[]), ["X-A: yes shop.example", "X-A: but"]);
    }

    #[test]
    fn secure_yields_to_what_is_said() {
        let headers = Headers::new(vec![secure()]);
        assert!(headers.is_fixed());
        assert_eq!(
            left(&headers, 200, &[("x-frame-options", "DENY")]),
            [
                "x-frame-options: DENY",
                "X-Content-Type-Options: nosniff",
                "Referrer-Policy: strict-origin-when-cross-origin"
            ]
        );
    }

    #[test]
    fn a_location_adds_to_its_site_or_has_none_of_it() {
        let own = |name: &str| Headers::new(vec![Group { set: texts(&[(name, "1")]), ..Group::default() }]);
        let (site, location) = (own("X-Site"), own("X-Location"));
        let both = Headers::inherit(Some(&location), Some(&site)).unwrap_or_default();
        assert_eq!(left(&both, 200, &[]), ["X-Site: 1", "X-Location: 1"]);
        assert_eq!(both.said(), location.said(), "what is written is its own");
        let only = Headers::inherit(None, Some(&site)).unwrap_or_default();
        assert_eq!(left(&only, 200, &[]), ["X-Site: 1"]);
        assert_eq!(only.said(), Some(&[][..]));
        let none = Headers::inherit(Some(&Headers::none()), Some(&site)).unwrap_or_default();
        assert!(none.is_empty() && none.said().is_none());
        assert_eq!(Headers::inherit(Some(&location), None), Some(location));
        assert_eq!(Headers::inherit(None, None), None);
    }

    #[test]
    fn a_place_can_take_back_what_the_server_says_of_hsts() {
        let group = Group {
            remove: vec!["strict-transport-security".to_owned()],
            status: vec![Statuses::Class(4)],
            ..Group::default()
        };
        let headers = Headers::new(vec![secure(), group]);
        let none = Filled::default();
        assert!(headers.drops_hsts(Status(404), &none) && !headers.drops_hsts(Status(200), &none));
        assert!(!headers.drops_hsts(Status(404), &Filled { off: vec![1], ..none }));
    }
}
