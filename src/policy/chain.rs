//! The rules in their order. The first one that answers is the last one that is asked. One that waits is asked again with what
//! has come of it, and the chain goes on behind it: those before are not asked twice.
//!
//! | rule | answers |
//! |---|---|
//! | host | 421, if the host belongs to no site |
//! | maintenance | 503, if the site is closed, to whom it is not open all the same; not in a place with `probe` |
//! | internal | 404, if the location is `internal` and nobody has led there who may |
//! | rewrite | nothing, but that another path of the site is to answer |
//! | access | 403, if the client's address is not let in; nothing if a login is enough |
//! | limit | 429, or 503, if a `limit` is exceeded; once, wherever it is led after that |
//! | cors | 204 to a preflight, of what may be asked and of whom |
//! | auth | 401, if there is no right password; what an app or upstream says that is asked; it waits for either. Nothing if the address is enough |
//! | body | 413, if a body is announced that is longer than `max_body`; the protocol bounds what is not announced |
//! | probe | 200, if the app sleeps and is not to be woken for this |

use super::Policies;
use super::access::Table;
use super::auth::{Auth, Basic, Login, Permission};
use super::condition::Facts;
use super::cors::is_preflight;
use super::limit::Limit;
use crate::http::fault::Refusal;
use crate::http::{BodyLength, Fields, RequestHead, ResponseHead};
use std::net::IpAddr;

/// A request as the rules see it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Its head; a request without one is asked nothing about it.
    pub head: Option<&'a RequestHead>,
    /// Who has sent it, behind trusted proxies; `None`: a peer of a Unix socket that nobody tells of.
    pub client: Option<IpAddr>,
    /// What conditions are asked about; `None`: none holds.
    pub facts: Option<Facts<'a>>,
    /// Its host belongs to a site.
    pub has_site: bool,
    /// Whether its site is closed for maintenance to whoever asks.
    pub is_closed: bool,
    /// An app or upstream has led there: places that are `internal` are for that.
    pub may_enter: bool,
    /// The body that it announces.
    pub body: BodyLength,
    /// Whether an app answers it that sleeps.
    pub is_asleep: &'a dyn Fn() -> bool,
    /// Who is let in by address, where anything is demanded of it.
    pub access: Option<&'a Table>,
    /// Whether one of these limits is exceeded, and what is answered then.
    pub(crate) exceeds: &'a dyn Fn(&[Limit], &Facts<'_>) -> Option<ResponseHead>,
    /// What has come of what the rule waited for that is asked again; of no meaning for others.
    pub came: Option<&'a Came>,
}

impl<'a> Asked<'a> {
    /// A request of a site, without a body, of which only this is known.
    pub fn of(facts: Facts<'a>) -> Self {
        Self {
            head: Some(facts.head),
            client: facts.client.map(|client| client.to_canonical()),
            facts: Some(facts),
            has_site: true,
            is_closed: false,
            may_enter: false,
            body: BodyLength::None,
            is_asleep: &|| false,
            access: None,
            exceeds: &|_, _| None,
            came: None,
        }
    }
}

/// What a rule, or all of them, say of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the next has it.
    Continue,
    /// This is the answer.
    Respond(Answer),
    /// Another path of the site is to answer: by the rewrite at this index of the place.
    Rewrite(usize),
    /// It cannot say yet: it is to be asked again once this is known.
    Wait(Wait),
}

/// What a rule has to know before it can say anything. The exchange finds it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Whether the password of the request is right.
    Password,
    /// What an app or upstream says of the request.
    Permission,
}

/// What has come of a [`Wait`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Came {
    /// Of a password.
    Password(Checked),
    /// Of a question about the request.
    Permission(Permission),
}

/// What is known of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is the user's.
    Right,
    /// It is not, or there is no such user.
    Wrong,
    /// Too many wait for theirs to be checked.
    Busy,
    /// The file with the users is not there.
    Unknown,
}

/// The answer of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The error page for this status.
    Page(u16),
    /// The error page for the status of this head, with its fields.
    With(Box<ResponseHead>),
    /// The page of the refusal, and nothing more is read of the request, whose fault it is.
    Refuse(Refusal),
    /// 204, of a preflight, with these fields; second: whether it may ask.
    Preflight(Box<Fields>, bool),
    /// What the operator says of a site that is closed for maintenance.
    Closed,
    /// 200, with this text.
    Text(&'static str),
}

/// The rule that is asked next. At first: the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct At(usize);

impl Asked<'_> {
    /// Whether an address is all that it takes.
    fn is_let_in(&self) -> bool {
        self.access.is_some_and(|access| access.permits(self.client))
    }
}

impl Policies {
    /// Whether a login is enough where an address is not.
    fn leaves_it_to_auth(&self) -> bool {
        self.satisfy_any == Some(true) && self.auth.get().is_some() && self.access.get().is_some()
    }
}

type Rule = fn(&Policies, &Asked<'_>) -> Verdict;

#[rustfmt::skip]
const RULES: &[Rule] = &[
    host,
    maintenance,
    internal,
    rewrite,
    access,
    limit,
    cors,
    auth,
    body,
    probe,
];

/// What comes of a request where these policies hold, from a rule on. Second: the rule to go on from after a [`Verdict::Wait`].
#[must_use]
pub fn judge(policies: &Policies, asked: &Asked<'_>, from: At) -> (Verdict, At) {
    ask(RULES, policies, asked, from)
}

fn ask(rules: &[Rule], policies: &Policies, asked: &Asked<'_>, from: At) -> (Verdict, At) {
    let mut came = asked.came;
    for (number, rule) in rules.iter().enumerate().skip(from.0) {
        // What came is for the one that has waited.
        let verdict = rule(policies, &Asked { came: came.take(), ..*asked });
        if verdict != Verdict::Continue {
            return (verdict, At(number));
        }
    }
    (Verdict::Continue, At(rules.len()))
}

fn host(_: &Policies, asked: &Asked<'_>) -> Verdict {
    if asked.has_site { Verdict::Continue } else { Verdict::Respond(Answer::Page(421)) }
}

fn maintenance(policies: &Policies, asked: &Asked<'_>) -> Verdict {
    // A probe asks for the machine, not for the site.
    if asked.is_closed && !policies.asleep_200 { Verdict::Respond(Answer::Closed) } else { Verdict::Continue }
}

fn internal(policies: &Policies, asked: &Asked<'_>) -> Verdict {
    if policies.internal && !asked.may_enter {
        Verdict::Respond(Answer::Page(404))
    } else {
        Verdict::Continue
    }
}

fn rewrite(policies: &Policies, asked: &Asked<'_>) -> Verdict {
    let (Some(rules), Some(facts)) = (&policies.rewrite, &asked.facts) else { return Verdict::Continue };
    rules.iter().position(|rule| rule.applies(facts)).map_or(Verdict::Continue, Verdict::Rewrite)
}

fn cors(policies: &Policies, asked: &Asked<'_>) -> Verdict {
    match (policies.cors(), asked.head) {
        (Some(cors), Some(head)) if is_preflight(head) => {
            let (fields, may_ask) = cors.preflight(head);
            Verdict::Respond(Answer::Preflight(Box::new(fields), may_ask))
        }
        _ => Verdict::Continue,
    }
}

fn access(policies: &Policies, asked: &Asked<'_>) -> Verdict {
    if policies.access.get().is_none() || asked.is_let_in() || policies.leaves_it_to_auth() {
        Verdict::Continue
    } else {
        Verdict::Respond(Answer::Page(403))
    }
}

fn auth(policies: &Policies, asked: &Asked<'_>) -> Verdict {
    let Some(auth) = policies.auth.get() else { return Verdict::Continue };
    if policies.leaves_it_to_auth() && asked.is_let_in() {
        return Verdict::Continue;
    }
    match auth {
        Auth::Basic(basic) => password(basic, asked),
        Auth::Request(_) => permission(asked.came),
    }
}

fn permission(came: Option<&Came>) -> Verdict {
    match came {
        Some(Came::Permission(Permission::Granted(_))) => Verdict::Continue,
        Some(Came::Permission(Permission::Denied(head))) => {
            Verdict::Respond(Answer::With(Box::new(head.clone())))
        }
        Some(Came::Permission(Permission::Failed(_))) => Verdict::Respond(Answer::Page(500)),
        _ => Verdict::Wait(Wait::Permission),
    }
}

fn password(basic: &Basic, asked: &Asked<'_>) -> Verdict {
    let challenge = || Verdict::Respond(Answer::With(Box::new(basic.challenge())));
    match asked.came {
        None if asked.head.and_then(Login::of).is_some() => Verdict::Wait(Wait::Password),
        None | Some(Came::Password(Checked::Wrong) | Came::Permission(_)) => challenge(),
        Some(Came::Password(Checked::Right)) => Verdict::Continue,
        Some(Came::Password(Checked::Busy)) => {
            Verdict::Respond(Answer::With(Box::new(ResponseHead::new(503).with("Retry-After", "1"))))
        }
        Some(Came::Password(Checked::Unknown)) => Verdict::Respond(Answer::Page(500)),
    }
}

fn limit(policies: &Policies, asked: &Asked<'_>) -> Verdict {
    let found = policies.limits.as_deref().zip(asked.facts.as_ref());
    let exceeded = found.and_then(|(limits, facts)| (asked.exceeds)(limits, facts));
    exceeded.map_or(Verdict::Continue, |head| Verdict::Respond(Answer::With(Box::new(head))))
}

fn body(policies: &Policies, asked: &Asked<'_>) -> Verdict {
    match (asked.body, policies.max_body) {
        (BodyLength::Known(length), Some(most)) if length > most => {
            Verdict::Respond(Answer::Refuse(Refusal::BODY_TOO_LARGE))
        }
        _ => Verdict::Continue,
    }
}

fn probe(policies: &Policies, asked: &Asked<'_>) -> Verdict {
    if policies.asleep_200 && (asked.is_asleep)() {
        Verdict::Respond(Answer::Text("asleep\n"))
    } else {
        Verdict::Continue
    }
}

#[cfg(test)]
mod tests {
    use super::super::Said;
    use super::super::access::{Access, Block, Who};
    use super::super::auth::{Granted, Inquiry, Whom};
    use super::*;
    use crate::http::conditional::tests::head;
    use crate::http::{Span, Version};
    use crate::policy::cors::Cors;
    use std::rc::Rc;
    use std::time::Duration;

    fn probed() -> Policies {
        Policies { max_body: Some(4), asleep_200: true, ..Policies::default() }
    }

    /// One that gets past all rules.
    fn plain<'a>() -> Asked<'a> {
        Asked {
            head: None,
            client: None,
            facts: None,
            has_site: true,
            is_closed: false,
            may_enter: false,
            body: BodyLength::None,
            is_asleep: &|| false,
            access: None,
            exceeds: &|_, _| None,
            came: None,
        }
    }

    fn judge_all(policies: &Policies, asked: &Asked<'_>) -> Verdict {
        judge(policies, asked, At::default()).0
    }

    fn judged(policies: Policies, has_site: bool, body: BodyLength, asleep: bool) -> Verdict {
        judge_all(&policies, &Asked { has_site, body, is_asleep: &|| asleep, ..plain() })
    }

    #[track_caller]
    fn refused(verdict: Verdict) {
        assert_eq!(verdict, Verdict::Respond(Answer::Refuse(Refusal::BODY_TOO_LARGE)));
    }

    #[test]
    fn each_rule_answers_what_is_its_own() {
        let none = Policies::default();
        assert_eq!(judged(none.clone(), true, BodyLength::Known(u64::MAX), true), Verdict::Continue);
        assert_eq!(judged(none, false, BodyLength::None, false), Verdict::Respond(Answer::Page(421)));
        for body in [BodyLength::None, BodyLength::Known(4), BodyLength::Unknown] {
            assert_eq!(judged(probed(), true, body, false), Verdict::Continue, "{body:?}");
        }
        refused(judged(probed(), true, BodyLength::Known(5), false));
        assert_eq!(
            judged(probed(), true, BodyLength::None, true),
            Verdict::Respond(Answer::Text("asleep\n"))
        );
    }

    #[test]
    fn the_first_that_answers_is_the_last_that_is_asked() {
        assert_eq!(judged(probed(), false, BodyLength::Known(5), true), Verdict::Respond(Answer::Page(421)));
        let never = || panic!("asked");
        refused(judge_all(&probed(), &Asked { body: BodyLength::Known(5), is_asleep: &never, ..plain() }));
    }

    #[test]
    fn an_internal_place_is_nowhere_unless_one_is_led_there_by_who_may() {
        let hidden = Policies { internal: true, ..probed() };
        let judged = |may_enter, body| judge_all(&hidden, &Asked { may_enter, body, ..plain() });
        assert_eq!(judged(false, BodyLength::Known(5)), Verdict::Respond(Answer::Page(404)));
        assert_eq!(judged(true, BodyLength::None), Verdict::Continue);
    }

    #[test]
    fn a_closed_site_answers_probes_alone_and_is_not_asked_what_is_in_it() {
        let judged = |policies: &Policies, has_site| {
            judge_all(policies, &Asked { has_site, is_closed: true, body: BodyLength::Known(9), ..plain() })
        };
        let hidden = Policies { internal: true, ..Policies::default() };
        assert_eq!(judged(&hidden, true), Verdict::Respond(Answer::Closed));
        assert_eq!(judged(&hidden, false), Verdict::Respond(Answer::Page(421)));
        refused(judged(&probed(), true));
    }

    #[test]
    fn a_preflight_is_answered_where_other_origins_are_spoken_of_and_a_place_is() {
        let fields = [("Origin", "https://a.example"), ("Access-Control-Request-Method", "PUT")];
        let head = head("OPTIONS", &fields);
        let judged = |policies: &Policies| judge_all(policies, &Asked { head: Some(&head), ..plain() });
        assert_eq!(judged(&probed()), Verdict::Continue);
        let open = Policies { cors: Some(Rc::default()), ..probed() };
        let Verdict::Respond(Answer::Preflight(fields, false)) = judged(&open) else { panic!("no answer") };
        assert!(fields.get("vary").is_some());
        let off = Policies { cors: Some(Rc::new(Cors { off: true, ..Cors::default() })), ..probed() };
        assert_eq!(judged(&off), Verdict::Continue);
        let hidden = Policies { internal: true, ..open };
        assert_eq!(judged(&hidden), Verdict::Respond(Answer::Page(404)));
    }

    #[test]
    fn whether_an_app_sleeps_is_asked_only_where_it_matters() {
        let plainly = Policies { max_body: Some(4), ..Policies::default() };
        assert_eq!(
            judge_all(&plainly, &Asked { is_asleep: &|| panic!("asked"), ..plain() }),
            Verdict::Continue
        );
    }

    #[test]
    fn one_that_waits_is_asked_again_with_what_came_and_those_before_are_not() {
        fn once(_: &Policies, asked: &Asked<'_>) -> Verdict {
            assert!(asked.has_site, "asked twice");
            Verdict::Continue
        }
        fn waits(_: &Policies, asked: &Asked<'_>) -> Verdict {
            match asked.came {
                None => Verdict::Wait(Wait::Password),
                Some(Came::Password(Checked::Right)) => Verdict::Continue,
                Some(_) => Verdict::Respond(Answer::Page(401)),
            }
        }
        const BOTH: &[Rule] = &[once, waits, waits];
        let judged = |has_site, came: Option<Checked>, from| {
            let came = came.map(Came::Password);
            ask(BOTH, &Policies::default(), &Asked { has_site, came: came.as_ref(), ..plain() }, from)
        };
        let (verdict, first) = judged(true, None, At::default());
        assert_eq!((verdict, first), (Verdict::Wait(Wait::Password), At(1)));
        assert_eq!(judged(false, Some(Checked::Wrong), first), (Verdict::Respond(Answer::Page(401)), At(1)));
        // What came for one is not for the next.
        let (verdict, second) = judged(false, Some(Checked::Right), first);
        assert_eq!((verdict, second), (Verdict::Wait(Wait::Password), At(2)));
        assert_eq!(judged(false, Some(Checked::Right), second).0, Verdict::Continue);
    }

    /// The head of a request with this password.
    fn with_password(credentials: &str) -> RequestHead {
        let raw = format!("GET /authorizationBasic {credentials}").into_bytes();
        let span = |start, end| Span { start, end };
        let fields = vec![(span(5, 18), span(18, raw.len() as u32))];
        RequestHead::new(raw, span(0, 3), span(4, 5), Version::Http11, fields)
    }

    fn guarded(any: bool) -> (Policies, Table) {
        let office = Block { base: "192.0.2.0".parse().unwrap(), bits: 24 };
        let access = Access { allow: vec![Who::Block(office)], deny: vec![Who::All] };
        let table = Table::of(&access, |_| &[]);
        let policies = Policies {
            access: Said::Own(Some(Rc::new(access))),
            auth: Said::Own(Some(Rc::new(Auth::Basic(Basic::default())))),
            satisfy_any: Some(any),
            ..Policies::default()
        };
        (policies, table)
    }

    #[test]
    fn who_is_elsewhere_is_refused_before_passwords_unless_one_is_enough() {
        let head = with_password("YTpi");
        for (any, client, wanted) in [
            (false, "192.0.2.7", Verdict::Wait(Wait::Password)),
            (false, "192.0.3.7", Verdict::Respond(Answer::Page(403))),
            (true, "192.0.2.7", Verdict::Continue),
            (true, "192.0.3.7", Verdict::Wait(Wait::Password)),
        ] {
            let (policies, table) = guarded(any);
            let client = Some(client.parse().unwrap());
            let asked = Asked { head: Some(&head), client, access: Some(&table), ..plain() };
            assert_eq!(judge_all(&policies, &asked), wanted, "{any} {client:?}");
        }
        // Where nothing is demanded of one of the two, the other is not done without.
        let (policies, table) = guarded(true);
        let client = Some("192.0.3.7".parse().unwrap());
        let asked = Asked { head: Some(&head), client, access: Some(&table), ..plain() };
        let alone = Policies { auth: Said::Own(None), ..policies.clone() };
        assert_eq!(judge_all(&alone, &asked), Verdict::Respond(Answer::Page(403)));
        let alone = Policies { access: Said::Own(None), ..policies };
        let asked = Asked { access: None, ..asked };
        assert_eq!(judge_all(&alone, &asked), Verdict::Wait(Wait::Password));
    }

    #[test]
    fn a_password_is_asked_for_and_checked() {
        let (policies, _) = guarded(false);
        let policies = Policies { access: Said::Nothing, ..policies };
        let status = |head: Option<&RequestHead>, came: Option<Checked>| {
            let came = came.map(Came::Password);
            match judge_all(&policies, &Asked { head, came: came.as_ref(), ..plain() }) {
                Verdict::Respond(Answer::With(head)) => Some((head.status.0, head.fields.iter().count())),
                Verdict::Respond(Answer::Page(status)) => Some((status, 0)),
                Verdict::Continue => Some((0, 0)),
                Verdict::Wait(Wait::Password) => None,
                other => panic!("{other:?}"),
            }
        };
        let (good, bad) = (with_password("YTpi"), with_password("YQ=="));
        assert_eq!(status(None, None), Some((401, 1)));
        assert_eq!(status(Some(&bad), None), Some((401, 1)));
        assert_eq!(status(Some(&good), None), None);
        // What came is for the rule that has waited, which is the first that is asked then.
        let from = |checked| {
            let came = Came::Password(checked);
            let asked = Asked { head: Some(&good), came: Some(&came), ..plain() };
            let at = judge(&policies, &Asked { head: Some(&good), ..plain() }, At::default()).1;
            match judge(&policies, &asked, at).0 {
                Verdict::Respond(Answer::With(head)) => head.status.0,
                Verdict::Respond(Answer::Page(status)) => status,
                Verdict::Continue => 0,
                other => panic!("{other:?}"),
            }
        };
        let all = [Checked::Right, Checked::Wrong, Checked::Busy, Checked::Unknown].map(from);
        assert_eq!(all, [0, 401, 503, 500]);
    }

    #[test]
    fn an_app_or_upstream_is_asked_about_the_request() {
        let inquiry = Inquiry {
            to: Whom::Upstream(0),
            path: "/".to_owned(),
            timeout: Duration::from_secs(1),
            user: None,
            pass: Vec::new(),
        };
        let policies =
            Policies { auth: Said::Own(Some(Rc::new(Auth::Request(inquiry)))), ..Policies::default() };
        let (verdict, at) = judge(&policies, &plain(), At::default());
        assert_eq!(verdict, Verdict::Wait(Wait::Permission));
        let denied = ResponseHead::new(302).with("Location", "/login");
        for (permission, wanted) in [
            (Permission::Granted(Granted::default()), Verdict::Continue),
            (Permission::Denied(denied.clone()), Verdict::Respond(Answer::With(Box::new(denied)))),
            (Permission::Failed(""), Verdict::Respond(Answer::Page(500))),
        ] {
            let came = Came::Permission(permission);
            assert_eq!(judge(&policies, &Asked { came: Some(&came), ..plain() }, at).0, wanted);
        }
    }
}
