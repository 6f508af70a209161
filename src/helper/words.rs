//! What went wrong with an order, and what the operator can do about it.

use crate::control::helper::{Answer, Way};
use instant_acme::{Error, Problem};

/// In characters.
const LONGEST: usize = 2000;

/// Why something could not be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) reason: String,
    /// Seconds for which the authority wants no other try.
    pub(super) again: Option<u64>,
}

impl Failure {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), again: None }
    }

    /// What the authority, or the way to it, says; while doing something.
    pub(super) fn of(doing: &str, error: &Error) -> Self {
        let said = match error {
            Error::Api(problem) => of_problem(problem, None),
            Error::Json(_) => {
                "what it answers is not ACME; see that `directory` is the address of a directory".to_owned()
            }
            Error::Http(_) | Error::InvalidUri(_) => {
                "it sends us to what is no address at all; see that `directory` is the right one".to_owned()
            }
            Error::Timeout(_) => "it has not come to a decision in time".to_owned(),
            error => match chain(error) {
                said if said.contains("UnknownIssuer") => format!(
                    "{said}: nobody whom this machine trusts has signed its server's certificate; `directory_ca` names who has"
                ),
                said => said,
            },
        };
        Self::new(format!("{doing}: {said}"))
    }
}

impl From<Failure> for Answer {
    fn from(failure: Failure) -> Self {
        Self::Failed { reason: short(&failure.reason), again: failure.again }
    }
}

/// As much of what strangers say as anybody reads.
pub(super) fn short(text: &str) -> String {
    text.chars().take(LONGEST).collect()
}

/// An error with what has led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // hyper's words for that something went wrong.
        if !said.ends_with(&text) && !text.starts_with("client error") {
            said = format!("{said}: {text}");
        }
        cause = error.source();
    }
    said
}

/// A problem that an authority tells of (RFC 8555 §6.7), with what to do about it. Of a challenge: the name and the way.
pub(super) fn of_problem(problem: &Problem, challenge: Option<(&str, Way)>) -> String {
    let kind = problem.r#type.as_deref().unwrap_or_default();
    let kind = kind.strip_prefix("urn:ietf:params:acme:error:").unwrap_or(kind);
    let detail = problem.detail.as_deref().unwrap_or("no details");
    let said = if kind.is_empty() { detail.to_owned() } else { format!("{detail} ({kind})") };
    let parts = problem.subproblems.iter().map(|part| format!("; {part}"));
    let said = parts.fold(said, |said, part| said + &part);
    match advice(kind, challenge) {
        Some(advice) => format!("{said}; {advice}"),
        None => said,
    }
}

fn advice(kind: &str, challenge: Option<(&str, Way)>) -> Option<String> {
    let name = challenge.map_or("the name", |(name, _)| name);
    let port = challenge.map_or("80 or 443", |(_, way)| match way {
        Way::Http => "80",
        Way::Alpn => "443",
    });
    Some(match kind {
        "dns" => format!("let the DNS of {name} (A and AAAA records) name this machine"),
        "connection" => format!(
            "see that the DNS of {name} (A and AAAA records) names this machine and that port {port} is reached from \
             outside"
        ),
        "tls" => format!(
            "see that nothing in front of this server ends TLS for {name}, and that port {port} reaches it"
        ),
        "unauthorized" | "incorrectResponse" if challenge.is_some() => format!(
            "another server answers for {name}, or none: see that its DNS (A and AAAA records) names this machine, and \
             that port {port} reaches it"
        ),
        "caa" => {
            format!("a CAA record in the DNS of {name} allows other authorities only: allow this one there")
        }
        "rateLimited" => "it gives no more for now; it is tried again by itself".to_owned(),
        "rejectedIdentifier" | "unsupportedIdentifier" => {
            "this authority gives no certificate for such a name: leave it out, or choose another authority"
                .to_owned()
        }
        "externalAccountRequired" => "give `eab`, as this authority tells its customers".to_owned(),
        "invalidContact" | "unsupportedContact" => "see that `email` is right".to_owned(),
        "userActionRequired" => "its terms have changed: agree to them as it says".to_owned(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(kind: &str, detail: Option<&str>) -> Problem {
        Problem {
            r#type: Some(format!("urn:ietf:params:acme:error:{kind}")),
            detail: detail.map(str::to_owned),
            status: None,
            subproblems: Vec::new(),
        }
    }

    #[test]
    fn a_problem_says_what_to_do_about_it() {
        let challenge = Some(("shop.example", Way::Http));
        for (kind, wanted) in [
            ("dns", "let the DNS of shop.example"),
            ("connection", "port 80 is reached"),
            ("unauthorized", "another server answers for shop.example"),
            ("caa", "CAA record in the DNS of shop.example"),
        ] {
            let said = of_problem(&problem(kind, Some("no")), challenge);
            assert!(said.starts_with(&format!("no ({kind}); ")) && said.contains(wanted), "{said}");
        }
        let alpn = of_problem(&problem("connection", None), Some(("shop.example", Way::Alpn)));
        assert!(alpn.starts_with("no details (connection); ") && alpn.contains("port 443"), "{alpn}");
        assert_eq!(of_problem(&problem("serverInternal", Some("oops")), None), "oops (serverInternal)");
        // An account that may not: nothing about other servers.
        assert_eq!(of_problem(&problem("unauthorized", Some("blocked")), None), "blocked (unauthorized)");
    }

    #[test]
    fn an_error_tells_its_causes_once() {
        let inner = std::io::Error::other("connection refused");
        let error = Error::Other(Box::new(inner));
        assert_eq!(Failure::of("asking", &error).reason, "asking: connection refused");
        let error = Error::Other(Box::new(std::io::Error::other("invalid peer certificate: UnknownIssuer")));
        assert!(Failure::of("asking", &error).reason.contains("`directory_ca` names who has"));
    }
}
