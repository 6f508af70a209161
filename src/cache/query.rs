//! The query of a request as it stands in a key: parameters that make no difference left out, the others in one order.

use super::settings::{Keyed, Query};

/// Writes path or query as it is compared: of two ways to write a byte that needs no encoding, or the digits of one that does
/// (RFC 3986 §6.2.2), one. Nothing else changes: `/a/../b` and `/b` may be the same to one server and not to another, and `%2E%2E`
/// may be another thing to it than `..`.
pub(super) fn write_plain(text: &[u8], out: &mut Vec<u8>) {
    let mut left = text;
    while let Some((byte, rest)) = left.split_first() {
        match (byte, rest) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let value = digit(*high) << 4 | digit(*low);
                if needs_none(value) {
                    out.push(value);
                } else {
                    out.extend_from_slice(&[b'%', high.to_ascii_uppercase(), low.to_ascii_uppercase()]);
                }
                left = after;
            }
            _ => {
                out.push(*byte);
                left = rest;
            }
        }
    }
}

fn digit(byte: u8) -> u8 {
    char::from(byte).to_digit(16).map_or(0, |digit| digit as u8)
}

/// Unreserved (RFC 3986 §2.3), and no dot.
fn needs_none(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~')
}

/// Writes a query, behind a `?` if something of it is left.
pub(super) fn write(query: &[u8], keyed: &Keyed, out: &mut Vec<u8>) {
    if query.is_empty() || keyed.query == Query::None {
        return;
    }
    let mut plain = Vec::with_capacity(query.len());
    write_plain(query, &mut plain);
    let mut parameters: Vec<&[u8]> = plain
        .split(|byte| *byte == b'&')
        .filter(|one| !one.is_empty() && counts(one, &keyed.query))
        .collect();
    if keyed.sorts {
        // Stable: of one name, the order may mean something.
        parameters.sort_by_key(|parameter| name(parameter));
    }
    for (number, parameter) in parameters.into_iter().enumerate() {
        out.push(if number == 0 { b'?' } else { b'&' });
        out.extend_from_slice(parameter);
    }
}

fn name(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'=').next().unwrap_or_default()
}

/// Whether a parameter makes a difference. One with a `;` always does: there are apps to which that begins another one, which
/// nobody has said to be of no matter.
fn counts(parameter: &[u8], query: &Query) -> bool {
    let is_among = |names: &[String]| names.iter().any(|pattern| matches(pattern, name(parameter)));
    parameter.contains(&b';')
        || match query {
            Query::All => true,
            Query::None => false,
            Query::Ignore(names) => !is_among(names),
            Query::Only(names) => is_among(names),
        }
}

fn matches(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == pattern.as_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(query: &str, keyed: &Keyed) -> String {
        let mut out = Vec::new();
        write(query.as_bytes(), keyed, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn what_makes_no_difference_is_written_one_way() {
        let mut out = Vec::new();
        write_plain(b"/%7euser/%e2%82%AC/%2f%2e%2E/%zz%4/a%", &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), "/~user/%E2%82%AC/%2F%2E%2E/%zz%4/a%");
    }

    #[test]
    fn parameters_are_sorted_but_those_of_one_name_are_not() {
        let sorted = Keyed::default();
        for (query, wanted) in [
            ("", ""),
            ("&&", ""),
            ("b=2&a=1", "?a=1&b=2"),
            ("b=2&a=2&a=1", "?a=2&a=1&b=2"),
            ("a&b=&", "?a&b="),
            ("%62=2&a=%2f", "?a=%2F&b=2"),
            ("a=1=2&a", "?a=1=2&a"),
        ] {
            assert_eq!(written(query, &sorted), wanted, "{query}");
        }
        let as_it_is = Keyed { sorts: false, ..Keyed::default() };
        assert_eq!(written("b=2&&a=1", &as_it_is), "?b=2&a=1");
    }

    #[test]
    fn ignored_parameters_are_left_out_unless_they_hide_others() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let ignore = Keyed { query: Query::Ignore(names(&["utm_*", "fbclid"])), ..Keyed::default() };
        let only = Keyed { query: Query::Only(names(&["page", "q*"])), ..Keyed::default() };
        for (query, keyed, wanted) in [
            ("utm_source=a&page=1&fbclid=x", &ignore, "?page=1"),
            ("utm%5Fsource=a", &ignore, ""),
            ("fbclid2=x&UTM_a=1", &ignore, "?UTM_a=1&fbclid2=x"),
            // The app may see a parameter `page` here.
            ("utm_source=a;page=evil", &ignore, "?utm_source=a;page=evil"),
            ("page=1&other=2&query=3", &only, "?page=1&query=3"),
            ("other=2;page=3", &only, "?other=2;page=3"),
            ("a=1", &Keyed { query: Query::None, ..Keyed::default() }, ""),
        ] {
            assert_eq!(written(query, keyed), wanted, "{query}");
        }
    }
}
