//! What is wrong with a configuration, where, and what to do about it.

use crate::control::text;
use std::fmt;

/// One thing that is wrong, in one line:
/// ``hatchery.ron:14:9: sites[0].locations[2].to: unknown variant `Fiels`; did you mean `Files`?``
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problem {
    /// The file as the operator named it, or `command line`.
    pub(crate) file: String,
    /// Line, from 1; 0: the place is not known (command line, environment).
    pub(crate) line: u32,
    /// Character in the line, from 1.
    pub(crate) column: u32,
    /// Path of the key, `apps.shop.timeout`; empty for the whole file.
    pub(crate) key: String,
    /// What is wrong.
    pub what: String,
    /// What to do; may be empty.
    pub(crate) hint: String,
}

impl Problem {
    /// Of a key whose place is not known.
    pub(crate) fn of(file: &str, key: &str, what: impl Into<String>) -> Self {
        Place::named(file, key).problem(Complaint::new(what, ""))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, key, what, hint } = self;
        let place = if *line > 0 { format!(":{line}:{column}") } else { String::new() };
        let key = if key.is_empty() { String::new() } else { format!(": {key}") };
        let hint = if hint.is_empty() { String::new() } else { format!("; {hint}") };
        // It quotes what stands in the file.
        f.write_str(&text::line(&format!("{file}{place}{key}: {what}{hint}")))
    }
}

impl std::error::Error for Problem {}

/// Where a value stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: u32,
    pub(crate) column: u32,
    pub(crate) key: String,
}

impl Place {
    /// A place without a line: a flag, a section of a resolved configuration.
    pub(crate) fn named(file: &str, key: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0, key: key.into() }
    }

    /// The complaint, at this place.
    pub(crate) fn problem(&self, complaint: Complaint) -> Problem {
        Problem {
            file: self.file.clone(),
            line: self.line,
            column: self.column,
            key: self.key.clone(),
            what: complaint.what,
            hint: complaint.hint,
        }
    }

    /// `sites[1].names[0] (sites.ron:7:12)`: this place as a message about another one mentions it.
    pub(crate) fn mention(&self) -> String {
        if self.line == 0 {
            return self.key.clone();
        }
        format!("{} ({}:{}:{})", self.key, self.file, self.line, self.column)
    }
}

/// A problem before its place is known: what parsers of small values return.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) what: String,
    pub(crate) hint: String,
}

impl Complaint {
    pub(crate) fn new(what: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { what: what.into(), hint: hint.into() }
    }

    /// ``unknown KIND `WORD`; did you mean `…`?``, or the list of what is known.
    pub(crate) fn unknown<T: AsRef<str>>(kind: &str, word: &str, known: &[T]) -> Self {
        let hint = match suggestion(word, known) {
            Some(near) => format!("did you mean `{near}`?"),
            None if known.is_empty() => String::new(),
            None => {
                let list: Vec<String> = known.iter().map(|name| format!("`{}`", name.as_ref())).collect();
                format!("known: {}", list.join(", "))
            }
        };
        Self::new(format!("unknown {kind} `{word}`"), hint)
    }

    /// Something the manual announces and this version does not have.
    pub(crate) fn later(kind: &str, word: &str) -> Self {
        Self::new(format!("{kind} `{word}` is not available yet in this version"), "remove it")
    }
}

/// The known word nearest to what was written, if it is near enough to have been meant.
pub(crate) fn suggestion<'k, T: AsRef<str>>(word: &str, known: &'k [T]) -> Option<&'k str> {
    let folded = word.to_lowercase();
    known
        .iter()
        .map(|name| (distance(&folded, &name.as_ref().to_lowercase()), name.as_ref()))
        .filter(|(far, name)| {
            *far <= (name.chars().count().max(word.chars().count()) / 3).max(1) && *far < name.len()
        })
        .min_by_key(|(far, _)| *far)
        .map(|(_, name)| name)
}

/// Edits (insert, delete, replace, swap neighbours) that make one word of the other: optimal string alignment.
fn distance(one: &str, two: &str) -> usize {
    let two: Vec<char> = two.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=two.len()).collect();
    let mut previous = None;
    for (row, char_one) in one.chars().enumerate() {
        let mut line = vec![row + 1];
        for (column, char_two) in two.iter().enumerate() {
            let at = |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let replace = at(&last, column) + usize::from(char_one != *char_two);
            let mut best = replace.min(at(&last, column + 1) + 1).min(at(&line, column) + 1);
            let swapped = column > 0 && two.get(column - 1) == Some(&char_one) && previous == Some(*char_two);
            if swapped {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            line.push(best);
        }
        before_last = std::mem::replace(&mut last, line);
        previous = Some(char_one);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_is_one_line() {
        let place = Place {
            file: "hatchery.ron".to_owned(),
            line: 14,
            column: 9,
            key: "sites[0].locations[2].to".to_owned(),
        };
        let problem = place.problem(Complaint::unknown("variant", "Fiels", &["Files", "App"]));
        assert_eq!(
            problem.to_string(),
            "hatchery.ron:14:9: sites[0].locations[2].to: unknown variant `Fiels`; did you mean `Files`?"
        );
        let bare = Place::named("command line", "--http").problem(Complaint::new("no port", ""));
        assert_eq!(bare.to_string(), "command line: --http: no port");
    }

    #[test]
    fn near_words_are_suggested_and_far_ones_listed() {
        let known = ["timeout", "threads", "user", "at", "Files"];
        for (word, want) in [
            ("timout", Some("timeout")),
            ("tiemout", Some("timeout")),
            ("TIMEOUT", Some("timeout")),
            ("thread", Some("threads")),
            ("files", Some("Files")),
            ("usr", Some("user")),
            ("bananas", None),
            ("xy", None),
        ] {
            assert_eq!(suggestion(word, &known), want, "{word}");
        }
        assert_eq!(Complaint::unknown("key", "zzz", &["a", "b"]).hint, "known: `a`, `b`");
    }
}
