//! What processes, clients and files say, as people may see it. Everything that is shown passes through here: a record
//! of the log through [`record`], a field of `status` through [`line()`], all that a command prints through [`printable`],
//! and JSON through [`json`]. Whoever wrote a text can then neither write to the terminal of whoever reads it nor make
//! a line that looks like one of ours.

use std::fmt::Write as _;

/// Begins the lines of a record after its first one. A record itself never begins with a space.
pub(crate) const MARK: &str = "    | ";

/// Whether a character does something to a terminal, or to how a text is read, instead of being shown: the control
/// characters (Unicode's Cc: C0, DEL and C1, as ECMA-48 has them, all of which terminals obey in UTF-8 too), the line and
/// paragraph separators, and what reorders text (Unicode's `Bidi_Control`).
#[must_use]
pub(crate) fn steers(char: char) -> bool {
    let reorders = |char| matches!(char, '\u{61c}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    char.is_control() || matches!(char, '\u{2028}' | '\u{2029}') || reorders(char)
}

/// Text in which what [`steers`] is escaped, as `\x1b` or `\u{9b}`; ends of lines and tabs stay.
#[must_use]
pub fn printable(text: &str) -> String {
    escaped(text, |char| steers(char) && !matches!(char, '\n' | '\t'))
}

/// The same in one line: ends of lines are escaped too.
#[must_use]
pub(crate) fn line(text: &str) -> String {
    escaped(text, |char| steers(char) && char != '\t')
}

/// One record of the log: as [`printable`], the lines after the first one are indented behind a bar, and there are
/// none without text at its end.
#[must_use]
pub fn record(text: &str) -> String {
    printable(text.trim_end_matches('\n')).replace('\n', &format!("\n{MARK}"))
}

/// JSON that means the same (RFC 8259 §7): what [`steers`] can stand only in its strings, besides the ends of lines
/// between them.
#[must_use]
pub(crate) fn json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        if steers(char) && char != '\n' {
            // None of them is beyond the basic multilingual plane. Writing to a String cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(char));
        } else {
            out.push(char);
        }
    }
    out
}

/// Text without what colours it: ECMA-48's SGR (`ESC [ … m`), which means nothing where it is kept.
#[must_use]
pub(crate) fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        out.push_str(before);
        let after_numbers =
            after.trim_start_matches(|char: char| char.is_ascii_digit() || matches!(char, ';' | ':'));
        rest = after_numbers.strip_prefix('m').unwrap_or_else(|| {
            out.push_str("\x1b[");
            after
        });
    }
    out.push_str(rest);
    out
}

/// Text in which the words end before the query that they have, as in the line of a request or in a URL: it may hold
/// secrets, which the log may have and whoever gives commands may not.
#[must_use]
pub(crate) fn without_queries(text: &str) -> String {
    let path = |word| str::split(word, '?').next().unwrap_or_default();
    text.split(' ').map(path).collect::<Vec<_>>().join(" ")
}

/// A time in the largest unit of which it has one, without what is left over: `59s`, `1m`, `23h`, `12d`.
#[must_use]
pub(crate) fn about(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

fn escaped(text: &str, hides: impl Fn(char) -> bool) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        // Writing to a String cannot fail.
        let _ = match char {
            char if !hides(char) => {
                out.push(char);
                Ok(())
            }
            '\n' => write!(out, "\\n"),
            '\r' => write!(out, "\\r"),
            char if char.is_ascii() => write!(out, "\\x{:02x}", u32::from(char)),
            char => write!(out, "\\u{{{:x}}}", u32::from(char)),
        };
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        assert_eq!(
            printable("Error:\n\t\x1b]52;c;eA==\x07 \u{9b}2J\r\u{202e}é\u{2028}日本\u{7f}"),
            "Error:\n\t\\x1b]52;c;eA==\\x07 \\u{9b}2J\\r\\u{202e}é\\u{2028}日本\\x7f"
        );
        for number in 0..=0x10_ffff {
            let Some(char) = char::from_u32(number) else { continue };
            let bad = |char: char| {
                let code = u32::from(char);
                (code < 0x20 && char != '\t')
                    || (0x7f..0xa0).contains(&code)
                    || (0x2028..=0x202e).contains(&code)
                    || (0x2066..=0x2069).contains(&code)
            };
            assert!(!line(&char.to_string()).contains(bad), "{number:x}");
        }
    }

    #[test]
    fn a_time_is_told_in_one_number() {
        let told = [0, 59, 60, 3599, 3600, 86_399, 86_400, 172_799].map(about);
        assert_eq!(told, ["0s", "59s", "1m", "59m", "1h", "23h", "1d", "1d"]);
    }

    #[test]
    fn a_record_is_one_and_a_field_is_one_line() {
        let forged = "no\n2026-01-31T12:00:00Z ERROR hatchery: forged\r\n<3>x\n\n";
        assert_eq!(record(forged), "no\n    | 2026-01-31T12:00:00Z ERROR hatchery: forged\\r\n    | <3>x");
        assert_eq!(line(forged), "no\\n2026-01-31T12:00:00Z ERROR hatchery: forged\\r\\n<3>x\\n\\n");
    }

    #[test]
    fn colours_go_and_nothing_else() {
        let coloured = "\x1b[1;31mError\x1b[0m: \x1b[38:5:9mred\x1b[m \x1b[2J \x1b[31 \x1b[";
        assert_eq!(without_colours(coloured), "Error: red \x1b[2J \x1b[31 \x1b[");
    }

    #[test]
    fn words_lose_their_queries_and_nothing_else() {
        let text = "    | GET /a?b=1?c\t2 HTTP/1.1: 502,  from http://x/?q=\u{a0}s";
        assert_eq!(without_queries(text), "    | GET /a HTTP/1.1: 502,  from http://x/");
    }

    #[test]
    fn json_stays_what_it_was() {
        let value = serde_json::json!({"a": "\x1b[2J \u{9b}2J \u{202e} \u{2029} \u{7f} é 💡 \" \\ \n"});
        let text = json(&serde_json::to_string_pretty(&value).unwrap());
        assert!(!text.contains(|char| steers(char) && char != '\n'), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
