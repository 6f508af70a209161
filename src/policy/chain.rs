//! The rules in their order. The first one that answers is the last one that is asked.
//!
//! | rule | answers |
//! |---|---|
//! | host | 421, if the host belongs to no site |
//! | internal | 404, if the location is `internal` and nobody has led there who may |
//! | body | 413, if a body is announced that is longer than `max_body`; the protocol bounds what is not announced |
//! | probe | 200, if the app sleeps and is not to be woken for this |

use super::Policies;
use crate::http::BodyLength;
use crate::http::fault::Refusal;

/// A request as the rules see it.
pub struct Asked<'a> {
    /// Its host belongs to a site.
    pub has_site: bool,
    /// An app or upstream has led there: places that are `internal` are for that.
    pub may_enter: bool,
    /// The body that it announces.
    pub body: BodyLength,
    /// Whether an app answers it that sleeps.
    pub is_asleep: &'a dyn Fn() -> bool,
}

/// What a rule, or all of them, say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: the next has it.
    Continue,
    /// This is the answer.
    Respond(Answer),
}

/// The answer of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The error page for this status.
    Page(u16),
    /// The page of the refusal, and nothing more is read of the request, whose fault it is.
    Refuse(Refusal),
    /// 200, with this text.
    Text(&'static str),
}

type Rule = fn(&Policies, &Asked<'_>) -> Verdict;

const RULES: [Rule; 4] = [host, internal, body, probe];

/// What comes of a request where these policies hold.
#[must_use]
pub fn judge(policies: &Policies, asked: &Asked<'_>) -> Verdict {
    for rule in RULES {
        let verdict = rule(policies, asked);
        if verdict != Verdict::Continue {
            return verdict;
        }
    }
    Verdict::Continue
}

fn host(_: &Policies, asked: &Asked<'_>) -> Verdict {
    if asked.has_site { Verdict::Continue } else { Verdict::Respond(Answer::Page(421)) }
}

fn internal(policies: &Policies, asked: &Asked<'_>) -> Verdict {
    if policies.internal && !asked.may_enter {
        Verdict::Respond(Answer::Page(404))
    } else {
        Verdict::Continue
    }
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
    use super::*;

    const PROBED: Policies = Policies { max_body: Some(4), asleep_200: true, internal: false };

    fn judged(policies: Policies, has_site: bool, body: BodyLength, asleep: bool) -> Verdict {
        judge(&policies, &Asked { has_site, may_enter: false, body, is_asleep: &|| asleep })
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
            assert_eq!(judged(PROBED, true, body, false), Verdict::Continue, "{body:?}");
        }
        refused(judged(PROBED, true, BodyLength::Known(5), false));
        assert_eq!(judged(PROBED, true, BodyLength::None, true), Verdict::Respond(Answer::Text("asleep\n")));
    }

    #[test]
    fn the_first_that_answers_is_the_last_that_is_asked() {
        assert_eq!(judged(PROBED, false, BodyLength::Known(5), true), Verdict::Respond(Answer::Page(421)));
        refused(judge(
            &PROBED,
            &Asked {
                has_site: true,
                may_enter: false,
                body: BodyLength::Known(5),
                is_asleep: &|| panic!("asked"),
            },
        ));
    }

    #[test]
    fn an_internal_place_is_nowhere_unless_one_is_led_there_by_who_may() {
        let hidden = Policies { internal: true, ..PROBED };
        let judged = |may_enter, body| {
            judge(&hidden, &Asked { has_site: true, may_enter, body, is_asleep: &|| false })
        };
        assert_eq!(judged(false, BodyLength::Known(5)), Verdict::Respond(Answer::Page(404)));
        assert_eq!(judged(true, BodyLength::None), Verdict::Continue);
    }

    #[test]
    fn whether_an_app_sleeps_is_asked_only_where_it_matters() {
        let plain = Policies { max_body: Some(4), ..Policies::default() };
        let asked = Asked {
            has_site: true,
            may_enter: false,
            body: BodyLength::None,
            is_asleep: &|| panic!("asked"),
        };
        assert_eq!(judge(&plain, &asked), Verdict::Continue);
    }
}
