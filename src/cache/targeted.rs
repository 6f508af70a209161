//! Fields for caches of one kind, such as `CDN-Cache-Control` (RFC 9213). They have the directives of `Cache-Control`, but are
//! dictionaries (RFC 8941 §3.2): one that is none says nothing at all, and `Cache-Control` counts.

use super::control::{Argument, Response};

/// More members than anybody has to say.
const MOST: usize = 64;

/// What the values of all fields of that name say; `None`: nothing.
pub(super) fn parse<'a>(values: impl Iterator<Item = &'a [u8]>) -> Option<Response> {
    let mut members: Vec<(&[u8], Value<'_>)> = Vec::new();
    for value in values {
        let mut left = value.trim_ascii();
        while !left.is_empty() {
            let (name, value, rest) = member(left)?;
            // The last of a name counts (RFC 8941 §4.2.2).
            members.retain(|(have, _)| *have != name);
            members.push((name, value));
            if members.len() > MOST {
                return None;
            }
            left = next(rest)?;
        }
    }
    if members.is_empty() {
        return None;
    }
    let mut said = Response::default();
    for (name, value) in members {
        match value {
            Value::Number(digits) => said.take(name, &Argument::Text(digits)),
            Value::Text(text) => said.take(name, &Argument::Text(text)),
            Value::True => said.take(name, &Argument::None),
            Value::False => {}
            Value::Other => said.take(name, &Argument::Broken),
        }
    }
    Some(said)
}

enum Value<'a> {
    /// Digits of a number that is neither negative nor has a fraction.
    Number(&'a [u8]),
    /// The inside of a string.
    Text(&'a [u8]),
    True,
    False,
    /// Of another type than a directive has.
    Other,
}

/// What follows a comma, which something does; nothing behind the last member.
fn next(rest: &[u8]) -> Option<&[u8]> {
    match rest.trim_ascii_start() {
        [] => Some(&[]),
        [b',', rest @ ..] => Some(rest.trim_ascii_start()).filter(|rest| !rest.is_empty()),
        _ => None,
    }
}

/// Name, value and what follows; parameters mean nothing here.
fn member(text: &[u8]) -> Option<(&[u8], Value<'_>, &[u8])> {
    let (name, rest) = key(text)?;
    let (value, mut rest) = match rest.strip_prefix(b"=") {
        Some(rest) => value(rest)?,
        None => (Value::True, rest),
    };
    while let Some(parameter) = rest.strip_prefix(b";") {
        let (_, after) = key(parameter.trim_ascii_start())?;
        rest = match after.strip_prefix(b"=") {
            Some(value) => item(value)?.1,
            None => after,
        };
    }
    Some((name, value, rest))
}

fn key(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let is_first = |byte: &u8| byte.is_ascii_lowercase() || *byte == b'*';
    let is_key = |byte: &u8| is_first(byte) || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.');
    text.first().filter(|byte| is_first(byte))?;
    text.split_at_checked(text.iter().position(|byte| !is_key(byte)).unwrap_or(text.len()))
}

/// An item, or a list of items in parentheses.
fn value(text: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let Some(mut left) = text.strip_prefix(b"(") else { return item(text) };
    loop {
        left = left.trim_ascii_start();
        if let Some(rest) = left.strip_prefix(b")") {
            return Some((Value::Other, rest));
        }
        left = item(left)?.1;
        while let Some(parameter) = left.strip_prefix(b";") {
            let (_, after) = key(parameter.trim_ascii_start())?;
            left = match after.strip_prefix(b"=") {
                Some(value) => item(value)?.1,
                None => after,
            };
        }
        if !matches!(left.first(), Some(b' ' | b')')) {
            return None;
        }
    }
}

/// An item without its parameters (RFC 8941 §3.3).
fn item(text: &[u8]) -> Option<(Value<'_>, &[u8])> {
    match text {
        [b'?', b'1', rest @ ..] => Some((Value::True, rest)),
        [b'?', b'0', rest @ ..] => Some((Value::False, rest)),
        [b'"', rest @ ..] => string(rest),
        [b':', rest @ ..] => {
            let end = rest.iter().position(|byte| *byte == b':')?;
            let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
            rest.get(..end)?.iter().all(is_base64).then_some(())?;
            Some((Value::Other, rest.get(end + 1..)?))
        }
        [b'-', rest @ ..] => number(rest).map(|(_, rest)| (Value::Other, rest)),
        [b'0'..=b'9', ..] => number(text),
        [first, ..] if first.is_ascii_alphabetic() || *first == b'*' => {
            let is_token =
                |byte: &u8| crate::http::fields::is_token_byte(*byte) || matches!(byte, b':' | b'/');
            let end = text.iter().position(|byte| !is_token(byte)).unwrap_or(text.len());
            Some((Value::Other, text.get(end..)?))
        }
        _ => None,
    }
}

/// A string whose begin was taken.
fn string(text: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let mut left = text;
    loop {
        left = match left {
            [b'"', rest @ ..] => {
                let inside = text.get(..text.len() - left.len())?;
                return Some((Value::Text(inside), rest));
            }
            [b'\\', b'"' | b'\\', rest @ ..] => rest,
            [0x20..=0x7e, rest @ ..] if left.first() != Some(&b'\\') => rest,
            _ => return None,
        };
    }
}

/// An integer of at most 15 digits, or a decimal of at most 12 and 3.
fn number(text: &[u8]) -> Option<(Value<'_>, &[u8])> {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(text);
    let (number, rest) = text.split_at_checked(whole).filter(|_| (1..=15).contains(&whole))?;
    let Some(fraction) = rest.strip_prefix(b".") else { return Some((Value::Number(number), rest)) };
    let length = digits(fraction);
    let fits = whole <= 12 && (1..=3).contains(&length);
    fits.then(|| fraction.get(length..)).flatten().map(|rest| (Value::Other, rest))
}
