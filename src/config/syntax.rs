//! What people mean who write something that is not RON: what to say of a syntax error, and where.

use super::problem::Complaint;
use ron::Error;

/// Line and character in it, from 1.
type Position = (usize, usize);

/// What is wrong with a text that RON refuses there, for this reason; first: at which byte.
pub(super) fn explain(text: &str, lines: &Lines, error: &Error, position: Position) -> (usize, Complaint) {
    if text.trim().is_empty() {
        let hint = "write ( … ), or remove it; docs/manual/first-steps.md has a first configuration";
        return (0, Complaint::new("the file is empty", hint));
    }
    let at = lines.offset(text, position);
    let (what, hint, at) = comment(text, at)
        .or_else(|| quotes(text, error, at))
        .or_else(|| bracket(text, lines, error, at))
        .or_else(|| long_string(text, at))
        .or_else(|| key_in_list(text, lines, at))
        .or_else(|| key_or_value(text, error, at))
        .unwrap_or_else(|| (format!("syntax error: {}", plain(error)), hint(error), at));
    (at, Complaint::new(what, hint))
}

/// What is wrong, what to do, and the byte where.
type Found = (String, &'static str, usize);

fn comment(text: &str, at: usize) -> Option<Found> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?;
    let first = start + line.len() - line.trim_start().len();
    let at = [first, at].into_iter().find(|at| text.get(*at..).is_some_and(|rest| rest.starts_with('#')))?;
    Some(("syntax error: `#` begins no comment".to_owned(), "comments begin with `//`", at))
}

/// Others than `"`.
const QUOTES: [char; 9] = ['\'', '“', '”', '„', '‟', '‘', '’', '«', '»'];

fn quotes(text: &str, error: &Error, at: usize) -> Option<Found> {
    let here = text.get(at..)?.chars().next()?;
    let (quote, at) = if QUOTES.contains(&here) {
        (here, at)
    } else if *error == Error::ExpectedChar {
        ('\'', text.get(..at)?.rfind('\'')?)
    } else {
        return None;
    };
    Some((format!("syntax error: `{quote}` is no quotation mark here"), "strings stand in \"…\"", at))
}

/// Brackets that do not match, up to there.
fn bracket(text: &str, lines: &Lines, error: &Error, at: usize) -> Option<Found> {
    let mut open: Vec<(char, usize)> = Vec::new();
    for (place, char) in Brackets::of(text) {
        if let Some((_, close)) = PAIRS.into_iter().find(|(open, _)| *open == char) {
            open.push((close, place));
            continue;
        }
        match open.pop() {
            Some((close, _)) if close == char => {}
            _ if place > at => return None,
            Some((close, opened)) => {
                let (line, _) = lines.position(opened);
                let bracket = text.get(opened..=opened).unwrap_or_default();
                let what = format!(
                    "syntax error: `{char}` where `{close}` is missing: `{bracket}` is open since line {line}"
                );
                return Some((what, "close what was opened last first", place));
            }
            None => {
                let what = format!("syntax error: `{char}` closes nothing");
                return Some((what, "the whole file is one value in parentheses: ( key: value, … )", place));
            }
        }
    }
    let (close, opened) = open.pop().filter(|_| *error == Error::Eof || at >= text.trim_end().len())?;
    let bracket = text.get(opened..=opened).unwrap_or_default();
    let what = format!("syntax error: `{bracket}` is not closed");
    let hint = match close {
        ')' => "put a `)` where it ends",
        ']' => "put a `]` where it ends",
        _ => "put a `}` where it ends",
    };
    Some((what, hint, opened))
}

/// A string that goes over the end of its line, before there: its quotation mark may be missing.
fn long_string(text: &str, at: usize) -> Option<Found> {
    let mut tokens = Brackets::of(text);
    while tokens.next().is_some_and(|(place, _)| place < at) {}
    let start = tokens.long_string.filter(|start| *start < at)?;
    let what = "syntax error: the string that begins here goes over the end of its line".to_owned();
    Some((what, "is its `\"` missing?", start))
}

/// A key there, although the last bracket that was opened is that of a list.
fn key_in_list(text: &str, lines: &Lines, at: usize) -> Option<Found> {
    let rest = text.get(at..)?;
    let mut open = Vec::new();
    for (place, char) in Brackets::of(text).take_while(|(place, _)| *place < at) {
        match char {
            '(' | '[' | '{' => open.push((char, place)),
            _ => drop(open.pop()),
        }
    }
    let (_, opened) = open.pop().filter(|(char, _)| *char == '[' && rest.starts_with(':'))?;
    let (line, _) = lines.position(opened);
    let what = format!("syntax error: a key in the list that is open since line {line}");
    Some((what, "is its `]` missing before it?", at))
}

fn key_or_value(text: &str, error: &Error, at: usize) -> Option<Found> {
    let (before, rest) = text.split_at_checked(at)?;
    let here = rest.chars().next()?;
    let what = || format!("syntax error: {}", plain(error));
    match here {
        '=' => Some((what(), "a key is followed by a colon and its value: `key: value`", at)),
        ':' if before.trim_end().ends_with('"') => {
            Some((what(), "the keys of ( … ) stand without quotes, those of { … } in quotes", at))
        }
        '-' | '.' | '/' | '@' | '$' | '%' | '~' | '*' => {
            Some((what(), "a string stands in quotes: \"…\"", at))
        }
        _ => None,
    }
}

/// What RON says, as a part of a sentence.
fn plain(error: &Error) -> String {
    match error {
        Error::ExceededRecursionLimit => return "nested too deeply".to_owned(),
        Error::TrailingCharacters => return "something follows the end of the value".to_owned(),
        _ => {}
    }
    let text = error.to_string();
    let mut chars = text.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

fn hint(error: &Error) -> &'static str {
    match error {
        Error::ExpectedStructLikeEnd
        | Error::ExpectedArrayEnd
        | Error::ExpectedMapEnd
        | Error::ExpectedComma => "is a comma missing before this, or a colon after a key?",
        Error::ExpectedMapColon => "a key is followed by a colon and its value, `key: value`",
        Error::TrailingCharacters => "the whole file is one value in parentheses: ( key: value, … )",
        Error::ExpectedStringEnd => "a string begins and ends with `\"`",
        Error::Eof => {
            "there are only comments; the whole file is one value in parentheses: ( key: value, … )"
        }
        Error::UnexpectedChar(_) | Error::ExpectedIdentifier => {
            "strings stand in quotes; keys of ( … ) do not, those of { … } do"
        }
        Error::InvalidEscape(_) => "write a backslash in a string as `\\\\`, or the string as r\"…\"",
        Error::ExceededRecursionLimit => {
            "no value of a configuration is so deep; is a bracket closed too late?"
        }
        _ => "",
    }
}

const PAIRS: [(char, char); 3] = [('(', ')'), ('[', ']'), ('{', '}')];

/// The brackets of a text with their places; not those in strings and comments.
struct Brackets<'t> {
    text: &'t str,
    at: usize,
    /// Where the first string began that goes over the end of its line.
    long_string: Option<usize>,
}

impl<'t> Brackets<'t> {
    fn of(text: &'t str) -> Self {
        Self { text, at: 0, long_string: None }
    }

    /// Goes on behind what begins here and ends so.
    fn skip_to(&mut self, end: &str) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.find(end).map_or(rest.len(), |found| found + end.len());
    }

    /// Goes on behind the comment that has begun; others may stand in it.
    fn skip_comment(&mut self) {
        let mut depth = 0_usize;
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(found) = rest.find(['*', '/']) else { return self.at = self.text.len() };
            let pair = rest.get(found..).unwrap_or_default();
            let step = if pair.starts_with("*/") || pair.starts_with("/*") { 2 } else { 1 };
            self.at += found + step;
            match (pair.starts_with("*/"), step) {
                (true, _) if depth == 0 => return,
                (true, _) => depth -= 1,
                (false, 2) => depth += 1,
                _ => {}
            }
        }
    }

    /// Goes on behind the string that begins here, after its first quotation mark.
    fn skip_string(&mut self, start: usize) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let mut escaped = false;
        let end = rest.find(|char| {
            let ends = char == '"' && !escaped;
            escaped = char == '\\' && !escaped;
            ends
        });
        self.at += end.map_or(rest.len(), |end| end + 1);
        self.note(start);
    }

    fn note(&mut self, start: usize) {
        let is_long = self.text.get(start..self.at).is_some_and(|string| string.contains('\n'));
        self.long_string = self.long_string.or(is_long.then_some(start));
    }
}

impl Iterator for Brackets<'_> {
    type Item = (usize, char);

    fn next(&mut self) -> Option<(usize, char)> {
        loop {
            let start = self.at;
            let rest = self.text.get(start..)?;
            let char = rest.chars().next()?;
            let hashes = rest.get(1..).unwrap_or_default();
            let raw = hashes.trim_start_matches('#');
            self.at += char.len_utf8();
            match char {
                '"' => self.skip_string(start),
                '/' if rest.starts_with("//") => self.skip_to("\n"),
                '/' if rest.starts_with("/*") => self.skip_comment(),
                'r' if raw.starts_with('"') => {
                    let count = hashes.len() - raw.len();
                    self.at += count + 1;
                    self.skip_to(&format!("\"{}", "#".repeat(count)));
                    self.note(start);
                }
                '(' | ')' | '[' | ']' | '{' | '}' => return Some((start, char)),
                _ => {}
            }
        }
    }
}

/// Where the lines of a text begin: a place is asked for once a value.
pub(super) struct Lines {
    starts: Vec<usize>,
    /// The bytes at which no character begins.
    inner: Vec<usize>,
}

impl Lines {
    pub(super) fn of(text: &str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        let inner = (0..text.len()).filter(|at| !text.is_char_boundary(*at)).collect();
        Self { starts, inner }
    }

    /// The line and the character of a byte.
    pub(super) fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(0);
        let characters = |end: usize| end - self.inner.partition_point(|inner| *inner < end);
        (line, characters(offset) - characters(start) + 1)
    }

    /// The byte of a line and a character.
    fn offset(&self, text: &str, (line, column): Position) -> usize {
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or(text.len());
        let rest = text.get(start..).unwrap_or_default();
        start + rest.char_indices().nth(column.saturating_sub(1)).map_or(rest.len(), |(at, _)| at)
    }
}
