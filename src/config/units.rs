//! Sizes, durations, paths of URLs and `${NAME}`: the small languages inside strings.

use super::problem::Complaint;
use crate::control::text::steers;
use std::fmt::Write as _;
use std::time::Duration;

/// By which durations are written; they are read by their words, too.
const DURATION_UNITS: [(&str, u64, &[&str]); 5] = [
    ("d", 86_400_000, &["day", "days"]),
    ("h", 3_600_000, &["hour", "hours"]),
    ("m", 60_000, &["min", "minute", "minutes"]),
    ("s", 1000, &["sec", "second", "seconds"]),
    ("ms", 1, &["millisecond", "milliseconds"]),
];
const SIZE_UNITS: [(&str, u64); 8] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("KB", 1000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
];

/// `"30s"`, `"500ms"`, `"1h30m"`, `"5 minutes"`.
pub(crate) fn duration(text: &str) -> Result<Duration, Complaint> {
    let example = "write a number and a unit: \"500ms\", \"30s\", \"10m\", \"2h\", \"7d\"";
    let bad = || Complaint::new(format!("`{text}` is not a duration"), example);
    let mut total: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(bad());
    }
    while !rest.is_empty() {
        let (number, after) = leading_number(rest).ok_or_else(bad)?;
        let after = after.trim_start();
        let end = after.find(|char: char| !char.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, next) = after.split_at(end);
        if unit.is_empty() {
            return Err(Complaint::new(format!("`{text}` has no unit"), example));
        }
        let known = DURATION_UNITS.iter().find(|(name, _, words)| *name == unit || words.contains(&unit));
        let (_, scale, _) = known.ok_or_else(|| {
            let names: Vec<&str> = DURATION_UNITS.iter().map(|(name, ..)| *name).collect();
            Complaint::new(
                format!("`{text}`: unknown unit `{unit}`"),
                format!("units are {}", names.join(", ")),
            )
        })?;
        let part = number.checked_mul(*scale);
        total =
            part.and_then(|part| total.checked_add(part)).filter(|sum| *sum <= MAX_MS).ok_or_else(|| {
                Complaint::new(format!("`{text}` is too long"), "at most 100 years (\"36500d\")")
            })?;
        rest = next.trim_start();
    }
    Ok(Duration::from_millis(total))
}

/// 100 years: nanoseconds of it fit a `u64`.
const MAX_MS: u64 = 36_500 * 86_400_000;

/// `"10MiB"`, in bytes.
pub(crate) fn size(text: &str) -> Result<u64, Complaint> {
    let example = "write a number and a unit: \"512B\", \"64KiB\", \"10MiB\", \"1GiB\"";
    let bad = || Complaint::new(format!("`{text}` is not a size"), example);
    let (number, unit) = leading_number(text.trim()).ok_or_else(bad)?;
    let unit = unit.trim();
    if unit.is_empty() {
        return Err(Complaint::new(format!("`{text}` has no unit"), example));
    }
    let Some((_, scale)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
        let lower = unit.to_lowercase();
        let meant = SIZE_UNITS.iter().find(|(name, _)| {
            let name = name.to_lowercase();
            name == lower || name.starts_with(&lower)
        });
        let hint =
            meant.map_or_else(|| example.to_owned(), |(name, _)| format!("did you mean \"{number}{name}\"?"));
        return Err(Complaint::new(format!("`{text}`: unknown unit `{unit}`"), hint));
    };
    number.checked_mul(*scale).ok_or_else(|| Complaint::new(format!("`{text}` is too large"), ""))
}

/// The shortest exact way to write a duration.
pub(crate) fn render_duration(value: Duration) -> String {
    let total = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
    if total == 0 {
        return "0s".to_owned();
    }
    let exact = DURATION_UNITS.iter().find(|(_, scale, _)| total.is_multiple_of(*scale));
    exact.map_or_else(|| format!("{total}ms"), |(name, scale, _)| format!("{}{name}", total / scale))
}

/// The shortest exact way to write a size.
pub(crate) fn render_size(bytes: u64) -> String {
    let binary = SIZE_UNITS.iter().take(5).rev();
    let exact = binary.into_iter().find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale));
    exact.map_or_else(|| format!("{bytes}B"), |(name, scale)| format!("{}{name}", bytes / scale))
}

fn leading_number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|char: char| !char.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    Some((digits.parse().ok()?, rest))
}

/// How deep `${A:-${B:-…}}` may go.
const MOST_NESTED: usize = 8;

/// `${NAME}` and `${NAME:-default}` replaced; `$${` stands for `${`. As in a shell, `:-` also replaces an empty value, a
/// default may itself have variables, which matter only where it is used, and the first `}` that closes nothing else
/// ends it. What a variable holds is not looked at again.
pub(crate) fn expand(text: &str, env: impl Fn(&str) -> Option<String>) -> Result<String, Complaint> {
    Expansion { env: &env }.text(text, 0, true).map(|(expanded, _)| expanded)
}

struct Expansion<'e> {
    env: &'e dyn Fn(&str) -> Option<String>,
}

impl Expansion<'_> {
    /// Text to its end, or in a default (`depth` above 0) to its `}`; second: what follows. Variables of a text that is
    /// not `used` need not be set.
    fn text<'t>(&self, text: &'t str, depth: usize, used: bool) -> Result<(String, &'t str), Complaint> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        loop {
            let close = if depth > 0 { rest.split_once('}') } else { None };
            match (rest.split_once("${"), close) {
                (Some((before, body)), close)
                    if close.is_none_or(|(inside, _)| before.len() < inside.len()) =>
                {
                    if let Some(kept) = before.strip_suffix('$') {
                        out.push_str(kept);
                        out.push_str("${");
                        rest = body;
                        continue;
                    }
                    out.push_str(before);
                    let (value, next) = self.variable(body, depth + 1, used)?;
                    out.push_str(&value);
                    rest = next;
                }
                (_, Some((inside, next))) => {
                    out.push_str(inside);
                    return Ok((out, next));
                }
                (_, None) if depth > 0 => return Err(unclosed()),
                (_, None) => {
                    out.push_str(rest);
                    return Ok((out, ""));
                }
            }
        }
    }

    /// What follows `${`: the value, and the text behind the `}`.
    fn variable<'t>(&self, body: &'t str, depth: usize, used: bool) -> Result<(String, &'t str), Complaint> {
        if depth > MOST_NESTED {
            let what = format!("more than {MOST_NESTED} variables within each other");
            return Err(Complaint::new(what, "give one of them a plain default"));
        }
        let end = body.find(|char: char| !char.is_ascii_alphanumeric() && char != '_');
        let (name, after) = body.split_at(end.unwrap_or(body.len()));
        let is_name = name.starts_with(|char: char| char.is_ascii_alphabetic() || char == '_');
        let value = (self.env)(name).filter(|_| is_name);
        if let (true, Some(default)) = (is_name, after.strip_prefix(":-")) {
            let value = value.filter(|value| !value.is_empty());
            let (default, next) = self.text(default, depth, used && value.is_none())?;
            return Ok((value.unwrap_or(default), next));
        }
        match (is_name, after.strip_prefix('}'), value) {
            (true, Some(next), Some(value)) => Ok((value, next)),
            (true, Some(next), None) if !used => Ok((String::new(), next)),
            (true, Some(_), None) => Err(Complaint::new(
                format!("the environment variable `{name}` is not set"),
                format!("set it, or give a default: `${{{name}:-…}}`"),
            )),
            _ => Err(no_name(body)),
        }
    }
}

fn unclosed() -> Complaint {
    Complaint::new("`${` without `}`", "write `$${` for the two characters themselves")
}

fn no_name(body: &str) -> Complaint {
    let Some((inside, _)) = body.split_once('}') else { return unclosed() };
    let name = inside.split_once(":-").map_or(inside, |(name, _)| name);
    Complaint::new(
        format!("`{name}` is not the name of an environment variable"),
        "write `${NAME}` or `${NAME:-default}`, or `$${` for the two characters themselves",
    )
}

/// Paths are compared after decoding, with `//` merged and dots resolved: others would never match.
pub(crate) fn check_path(text: &str) -> Result<(), Complaint> {
    let never = |why: &str, hint: &str| Err(Complaint::new(format!("`{text}` {why}"), hint));
    if !text.starts_with('/') {
        return never("does not begin with `/`", &format!("write \"/{text}\""));
    }
    if text.contains(['?', '#']) {
        return never("never matches", "a path is compared without its query");
    }
    if let Some(prefix) = text.strip_suffix('*') {
        return never(
            "ends with a `*`, which means nothing here",
            &format!("`path` is a prefix: write \"{prefix}\""),
        );
    }
    if text.contains('%') {
        return never("has a `%` in it", "paths are compared decoded: write the characters themselves");
    }
    if text.contains("//") || text.split('/').any(|segment| segment == "." || segment == "..") {
        return never("never matches", "paths are compared with `//` merged and `.` and `..` resolved");
    }
    if text.contains(char::is_control) {
        return never("has a control character in it", "");
    }
    Ok(())
}

/// A path below the root, without what would never be served.
pub(crate) fn below_root(text: &str, example: &str) -> Result<String, Complaint> {
    let path = text.trim_start_matches('/');
    let is_bad = |segment: &str| segment == "." || segment == "..";
    if path.contains('\0') || path.split('/').any(is_bad) {
        let what = format!("`{text}` is not the name of a file below the root");
        return Err(Complaint::new(what, format!("for example {example}")));
    }
    Ok(path.to_owned())
}

/// A string in quotes that means itself: `${` is escaped.
pub(crate) fn text(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for char in value.replace("${", "$${").chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            char if steers(char) => {
                let _infallible = write!(out, "\\u{{{:x}}}", u32::from(char));
            }
            char => out.push(char),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_their_mistakes() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            ("0s", 0),
            ("1 min 2 seconds", 62_000),
        ] {
            let value = Duration::from_millis(ms);
            assert_eq!(duration(text), Ok(value), "{text}");
            assert_eq!(duration(&render_duration(value)), Ok(value), "{text}");
        }
        assert_eq!(render_duration(Duration::from_secs(90)), "90s");
        assert_eq!(render_duration(Duration::from_secs(600)), "10m");
        for text in [
            "",
            "soon",
            "30",
            "30 parsecs",
            "seconds",
            "-5s",
            "1.5s",
            "99999999999999999999s",
            "36501d",
            "5s x",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
        assert_eq!(duration("30").unwrap_err().what, "`30` has no unit");
    }

    #[test]
    fn sizes_and_their_mistakes() {
        for (text, bytes) in
            [("10MiB", 10 << 20), ("64KiB", 64 << 10), ("5MB", 5_000_000), ("7B", 7), ("0B", 0)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
            assert_eq!(size(&render_size(bytes)), Ok(bytes), "{text}");
        }
        assert_eq!(render_size(20 << 20), "20MiB");
        assert_eq!(size("20m").unwrap_err().hint, "did you mean \"20MiB\"?");
        assert_eq!(size("20mib").unwrap_err().hint, "did you mean \"20MiB\"?");
        for text in ["", "big", "10", "10XB", "99999999999TiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn variables_are_replaced() {
        let env = |name: &str| match name {
            "HOME" => Some("/home/x".to_owned()),
            "EMPTY" => Some(String::new()),
            "ODD" => Some("${HOME}".to_owned()),
            _ => None,
        };
        for (text, want) in [
            ("plain $rest", "plain $rest"),
            ("${HOME}/a", "/home/x/a"),
            ("${NONE:-8000}", "8000"),
            ("${EMPTY:-x}", "x"),
            ("[${EMPTY}]", "[]"),
            ("${HOME}${HOME}", "/home/x/home/x"),
            ("$${HOME}", "${HOME}"),
            ("$$${HOME}", "$${HOME}"),
            ("${NONE:-}", ""),
            ("${NONE:-${HOME}/x}", "/home/x/x"),
            ("[${NONE:-${HOME}}]", "[/home/x]"),
            ("${NONE:-a${EMPTY:-${HOME}b}c}d", "a/home/xbcd"),
            ("${NONE:-${NONE:-${NONE:-${HOME}}}}", "/home/x"),
            ("${HOME:-${NONE}}", "/home/x"),
            ("${HOME:-${NONE:-${NONE}}}/${HOME}", "/home/x//home/x"),
            ("${NONE:-$${HOME}", "${HOME"),
            ("${NONE:-$${HOME}}", "${HOME}"),
            ("${NONE:-a:-b}", "a:-b"),
            ("${NONE:-{}}", "{}"),
            ("${ODD}", "${HOME}"),
            ("${NONE:-${ODD}}", "${HOME}"),
            ("a } b", "a } b"),
        ] {
            assert_eq!(expand(text, env).as_deref(), Ok(want), "{text}");
        }
        assert_eq!(expand("${NONE}", env).unwrap_err().what, "the environment variable `NONE` is not set");
        for text in [
            "${HOME",
            "${",
            "${NONE:-",
            "${NONE:-a",
            "${NONE:-${HOME}",
            "${HOME:-${HOME}",
            "${HOME:-${",
            "a${x y",
        ] {
            assert_eq!(expand(text, env).unwrap_err().what, "`${` without `}`", "{text}");
        }
        for (text, name) in [
            ("${9}", "9"),
            ("${}", ""),
            ("${:-x}", ""),
            ("${A-B:-x}", "A-B"),
            ("${A:x}", "A:x"),
            ("${HOME:-${1}}", "1"),
            ("${${HOME}}", "${HOME"),
        ] {
            let what = format!("`{name}` is not the name of an environment variable");
            assert_eq!(expand(text, env).unwrap_err().what, what, "{text}");
        }
        assert_eq!(
            expand("${NONE:-${NEITHER}}", env).unwrap_err().what,
            "the environment variable `NEITHER` is not set"
        );
        let deep = |depth: usize| format!("{}x{}", "${NONE:-".repeat(depth), "}".repeat(depth));
        assert_eq!(expand(&deep(8), env).as_deref(), Ok("x"));
        assert_eq!(expand(&deep(9), env).unwrap_err().what, "more than 8 variables within each other");
        assert!(expand(&deep(100_000), env).is_err());
    }
}
