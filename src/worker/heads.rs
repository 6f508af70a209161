//! What the place of a request says of the heads of its responses, and heads that are sent many times, encoded once for each
//! place that says something else.

use crate::h1::Prepared;
use crate::http::serving::Common;
use crate::http::{BodyLength, RequestHead, ResponseHead, Status};
use crate::policy::cors::Cors;
use crate::policy::headers::{Filled, Headers};
use std::cell::RefCell;
use std::rc::Rc;

/// What is done to the head of the one response of a request, where its place says something of heads.
#[derive(Clone, Debug)]
pub(super) struct HeadPolicy {
    said: Said,
    /// What the request fills in; `None` if the same is done for all.
    filled: Option<Box<Filled>>,
    /// The origin of the request, if the response is for its scripts alone.
    origin: Option<Box<[u8]>>,
}

/// What a place says of heads.
#[derive(Clone, Debug)]
struct Said {
    headers: Option<Rc<Headers>>,
    cors: Option<Rc<Cors>>,
}

/// A head that is sent many times.
#[derive(Debug)]
pub(crate) struct SharedHead {
    plain: Prepared,
    /// As the places have it that say something of heads.
    changed: RefCell<Vec<(Said, Rc<Prepared>)>>,
}

/// So many places have a changed head that is kept; beyond them the oldest one leaves.
const PLACES: usize = 32;

impl Said {
    /// Whether it is of the same place, or of one that says the same because its site does.
    fn is(&self, other: &Self) -> bool {
        fn same<T>(one: Option<&Rc<T>>, two: Option<&Rc<T>>) -> bool {
            one.map(Rc::as_ptr) == two.map(Rc::as_ptr)
        }
        same(self.headers.as_ref(), other.headers.as_ref()) && same(self.cors.as_ref(), other.cors.as_ref())
    }
}

impl HeadPolicy {
    /// `fill` has what the request fills in, if something is.
    pub(super) fn new(headers: Option<&Rc<Headers>>, fill: impl FnOnce(&Headers) -> Filled) -> Self {
        let filled = headers.filter(|headers| !headers.is_fixed()).map(|headers| Box::new(fill(headers)));
        Self { said: Said { headers: headers.cloned(), cors: None }, filled, origin: None }
    }

    /// With what is said of other origins to that request.
    pub(super) fn with_cors(mut self, cors: &Rc<Cors>, head: &RequestHead) -> Self {
        self.origin = cors.allowed(head).map(Box::from);
        self.said.cors = Some(Rc::clone(cors));
        self
    }

    /// Nothing is said of other origins.
    pub(super) fn drop_cors(&mut self) {
        (self.said.cors, self.origin) = (None, None);
    }

    fn filled(&self) -> &Filled {
        const NONE: &Filled = &Filled::NONE;
        self.filled.as_deref().unwrap_or(NONE)
    }

    /// The head as it leaves.
    pub(super) fn apply(&self, head: &ResponseHead) -> ResponseHead {
        let mut head = head.clone();
        if let Some(headers) = &self.said.headers {
            headers.apply(head.status, &mut head.fields, self.filled());
        }
        if let Some(cors) = &self.said.cors {
            cors.apply(&mut head.fields, self.origin.as_deref());
        }
        head
    }

    /// The same of a head that is sent many times; `None`: it is another one for each request.
    pub(super) fn prepared(&self, head: &SharedHead) -> Option<Rc<Prepared>> {
        if self.filled.is_some() || self.origin.is_some() {
            return None;
        }
        let mut changed = head.changed.borrow_mut();
        if let Some((_, known)) = changed.iter().find(|(said, _)| said.is(&self.said)) {
            return Some(Rc::clone(known));
        }
        let made = Rc::new(Prepared::new(&self.apply(&head.plain.unprepared()), head.plain.length()));
        if changed.len() >= PLACES {
            changed.remove(0);
        }
        changed.push((self.said.clone(), Rc::clone(&made)));
        Some(made)
    }

    /// What the connection says besides.
    pub(super) fn common<'a>(&self, common: Common<'a>, status: Status) -> Common<'a> {
        let Some(headers) = &self.said.headers else { return common };
        let strict = common.strict.filter(|_| !headers.drops_hsts(status, self.filled()));
        Common { strict, ..common }
    }
}

impl SharedHead {
    /// Of a response with a body of `length` bytes.
    pub(crate) fn new(head: &ResponseHead, length: u64) -> Self {
        Self { plain: Prepared::new(head, length), changed: RefCell::default() }
    }

    /// As no place changes it.
    pub(crate) fn plain(&self) -> &Prepared {
        &self.plain
    }

    /// How long a body it announces.
    pub(super) fn body(&self) -> BodyLength {
        if self.plain.status().forbids_body() {
            BodyLength::None
        } else {
            BodyLength::Known(self.plain.length())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::conditional::tests::head;
    use crate::policy::cors::{Origin, Origins};
    use crate::policy::headers::{Group, Text, secure};

    fn policy(value: &str) -> Rc<Headers> {
        let set = vec![("X-A".to_owned(), Text::new(value))];
        Rc::new(Headers::new(vec![Group { set, ..Group::default() }, secure()]))
    }

    #[test]
    fn a_head_is_encoded_once_for_each_place() {
        let page = ResponseHead::new(404).with("Content-Type", "text/html").with("x-a", "0");
        let head = SharedHead::new(&page, 5);
        let one = HeadPolicy::new(Some(&policy("1")), |_| panic!("nothing is filled in"));
        let made = one.prepared(&head).unwrap();
        assert!(Rc::ptr_eq(&made, &one.clone().prepared(&head).unwrap()));
        assert_eq!((made.status(), made.length()), (Status(404), 5));
        let has = |name: &str| made.has(name.as_bytes());
        assert!(has("x-frame-options") && has("content-length") && has("server"));
        let values: Vec<_> = made.fields().filter(|(name, _)| *name == b"x-a").collect();
        assert_eq!(values, [(&b"x-a"[..], &b"1"[..])]);
        assert!(!head.plain().has(b"x-frame-options"));
        for _ in 0..2 * PLACES {
            HeadPolicy::new(Some(&policy("2")), |_| Filled::default()).prepared(&head).unwrap();
        }
        assert_eq!(head.changed.borrow().len(), PLACES);
        let varying = HeadPolicy::new(Some(&policy("$host")), |_| Filled::default());
        assert_eq!(varying.prepared(&head), None);
    }

    #[test]
    fn a_head_for_one_origin_alone_is_not_kept() {
        let cors = Rc::new(Cors {
            origins: Origins::Of(vec![Origin::parse("https://a.example").unwrap()]),
            ..Cors::default()
        });
        let page = SharedHead::new(&ResponseHead::new(200), 5);
        let mut policies =
            [("https://a.example", false), ("https://b.example", true)].map(|(origin, is_kept)| {
                let policy = HeadPolicy::new(None, |_| Filled::default())
                    .with_cors(&cors, &head("GET", &[("Origin", origin)]));
                assert_eq!(policy.prepared(&page).is_some(), is_kept, "{origin}");
                policy
            });
        let [allowed, _] = &mut policies;
        assert!(
            allowed.apply(&page.plain().unprepared()).fields.get("access-control-allow-origin").is_some()
        );
        allowed.drop_cors();
        assert!(allowed.apply(&page.plain().unprepared()).fields.is_empty());
    }

    #[test]
    fn a_place_can_take_back_what_its_site_says_of_hsts() {
        let remove = vec!["Strict-Transport-Security".to_owned()];
        for (policy, said) in [
            (policy("1"), Some("max-age=1")),
            (Rc::new(Headers::new(vec![Group { remove, ..Group::default() }])), None),
        ] {
            let policy = HeadPolicy::new(Some(&policy), |_| Filled::default());
            let common = Common { strict: Some("max-age=1"), ..Common::default() };
            assert_eq!(policy.common(common, Status(200)).strict, said);
        }
    }
}
