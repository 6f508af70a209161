//! The access log: one record an exchange, rendered to one line. Pure: no I/O, no clock.
//!
//! Whatever a client sends, a record stays one line that a terminal shows as it is: control characters, quotes and
//! bytes that are not UTF-8 are escaped in all formats.

#[cfg(test)]
mod tests;

use crate::control::text::steers;
use crate::http::date::{Civil, put2};
use crate::timer::Wall;
use std::io::Write;
use std::net::IpAddr;
use std::time::Duration;

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object.
    Json,
    /// The combined log format, with request time and id at the end.
    Combined,
    /// The same, with the name of the host in front.
    VhostCombined,
    /// For who watches a terminal: what was asked, what came of it and what went wrong.
    Short,
}

/// How many bytes each text of a record may have, tried in turn until the line is not too long.
const PARTS: [usize; 5] = [usize::MAX, 1024, 512, 256, 64];

/// Ends a text that was cut.
const CUT: &[u8] = b"...";

/// One exchange, when it is over.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Record<'a> {
    /// When the request arrived.
    pub(crate) wall: Wall,
    /// The client, after trusted proxies; `None` on Unix sockets.
    pub(crate) client: Option<IpAddr>,
    /// Who has logged in at this server.
    pub(crate) user: Option<&'a [u8]>,
    /// The method as it was written; empty if the head could not be read.
    pub(crate) method: &'a [u8],
    /// The target as it was written.
    pub(crate) target: &'a [u8],
    /// The version, `HTTP/1.1`; empty if the head could not be read.
    pub(crate) version: &'a str,
    /// The version of TLS; `None` in the clear.
    pub(crate) tls: Option<&'a str>,
    /// Status of the response; 499 if the client left before there was one.
    pub(crate) status: u16,
    /// Bytes of the body that were sent.
    pub(crate) body_bytes: u64,
    /// Bytes of the client that came through a tunnel; `body_bytes` are those that left through it.
    pub(crate) received: Option<u64>,
    /// From the arrival to the last byte.
    pub(crate) took: Duration,
    /// Name of the host that was asked, in lower case, as sites are found by it.
    pub(crate) name: Option<&'a [u8]>,
    /// The Host field.
    pub(crate) host: Option<&'a [u8]>,
    /// The Referer field.
    pub(crate) referer: Option<&'a [u8]>,
    /// The User-Agent field.
    pub(crate) user_agent: Option<&'a [u8]>,
    /// The id of the exchange, as passed on.
    pub(crate) id: &'a str,
    /// Label of the site; empty if none took the request.
    pub(crate) site: &'a str,
    /// What answered: `files`, `app shop`, `proxy api`, `redirect`, `respond`; empty if nothing did.
    pub(crate) handler: &'a str,
    /// What the cache had for it: `HIT`, `MISS`, …; `None` where there is none.
    pub(crate) cache: Option<&'a str>,
    /// Until the head of the app's or upstream's response.
    pub(crate) upstream: Option<Duration>,
    /// How long it has waited for a process of the app, or a server of the upstream.
    pub(crate) queue_time: Option<Duration>,
    /// The word of what went wrong.
    pub(crate) fault: Option<&'a str>,
    /// Why there was an error, for the operator.
    pub(crate) error: Option<&'a str>,
}

/// Appends the record and a line feed to `out`, in `most` bytes at most: long texts of the client are cut then.
pub(crate) fn render(format: Format, record: &Record<'_>, most: usize, out: &mut Vec<u8>) {
    let start = out.len();
    for part in PARTS {
        out.truncate(start);
        match format {
            Format::Json => json(record, part, out),
            Format::Combined => combined(record, part, out),
            Format::Short => short(record, part, out),
            Format::VhostCombined => {
                hex_escaped(record.name.unwrap_or(b"-"), part, out);
                out.push(b' ');
                combined(record, part, out);
            }
        }
        if out.len() - start <= most {
            return;
        }
    }
}

/// The beginning of a text, and what marks it as cut.
fn cut(value: &[u8], part: usize) -> (&[u8], &'static [u8]) {
    value.get(..part).map_or((value, b""), |value| (value, CUT))
}

/// Members are always in this order; those that are absent or empty are left out, but for the ones of every record.
fn json(record: &Record<'_>, part: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"time\":\"");
    rfc3339(record.wall, out);
    out.push(b'"');
    if let Some(client) = record.client {
        let _ = write!(out, ",\"client\":\"{client}\"");
    }
    if let Some(user) = record.user {
        json_text("user", user, part, out);
    }
    json_text("method", record.method, part, out);
    json_text("target", record.target, part, out);
    if !record.version.is_empty() {
        json_text("version", record.version.as_bytes(), part, out);
    }
    if let Some(version) = record.tls {
        json_text("tls", version.as_bytes(), part, out);
    }
    let _ = write!(out, ",\"status\":{},\"bytes\":{}", record.status, record.body_bytes);
    if let Some(received) = record.received {
        let _ = write!(out, ",\"received\":{received}");
    }
    let _ = write!(out, ",\"duration\":{}", Seconds(record.took));
    for (name, value) in
        [("host", record.host), ("referer", record.referer), ("user_agent", record.user_agent)]
    {
        if let Some(value) = value {
            json_text(name, value, part, out);
        }
    }
    for (name, value) in [("id", record.id), ("site", record.site), ("handler", record.handler)] {
        if !value.is_empty() {
            json_text(name, value.as_bytes(), part, out);
        }
    }
    if let Some(cache) = record.cache {
        json_text("cache", cache.as_bytes(), part, out);
    }
    for (name, time) in [("upstream", record.upstream), ("queue_time", record.queue_time)] {
        if let Some(time) = time {
            let _ = write!(out, ",\"{name}\":{}", Seconds(time));
        }
    }
    for (name, value) in [("fault", record.fault), ("error", record.error)] {
        if let Some(value) = value {
            json_text(name, value.as_bytes(), part, out);
        }
    }
    out.extend_from_slice(b"}\n");
}

/// `client - user [time] "request" status bytes "referer" "user agent" seconds id`; what is absent is `-`. Times are UTC.
fn combined(record: &Record<'_>, part: usize, out: &mut Vec<u8>) {
    match record.client {
        Some(client) => _ = write!(out, "{client}"),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" - ");
    match record.user {
        // A space would be the end of it.
        Some(user) => user.split(|byte| *byte == b' ').enumerate().for_each(|(number, word)| {
            out.extend_from_slice(if number > 0 { b"\\x20" } else { b"" });
            hex_escaped(word, part, out);
        }),
        None => out.push(b'-'),
    }
    out.extend_from_slice(b" [");
    common_log_time(record.wall, out);
    out.extend_from_slice(b"] \"");
    if record.method.is_empty() && record.target.is_empty() {
        out.push(b'-');
    } else {
        hex_escaped(record.method, part, out);
        out.push(b' ');
        hex_escaped(record.target, part, out);
        if !record.version.is_empty() {
            out.push(b' ');
            hex_escaped(record.version.as_bytes(), part, out);
        }
    }
    let _ = write!(out, "\" {} {}", record.status, record.body_bytes);
    for value in [record.referer, record.user_agent] {
        out.extend_from_slice(b" \"");
        hex_escaped(value.filter(|value| !value.is_empty()).unwrap_or(b"-"), part, out);
        out.push(b'"');
    }
    let _ = write!(out, " {} ", Seconds(record.took));
    hex_escaped(if record.id.is_empty() { b"-" } else { record.id.as_bytes() }, part, out);
    out.push(b'\n');
}

/// `status method target (time, bytes, who answered): what went wrong`.
fn short(record: &Record<'_>, part: usize, out: &mut Vec<u8>) {
    let _ = write!(out, "{} ", record.status);
    hex_escaped(if record.method.is_empty() { b"-" } else { record.method }, part, out);
    out.push(b' ');
    hex_escaped(if record.target.is_empty() { b"-" } else { record.target }, part, out);
    let (millis, bytes) = (record.took.as_secs_f64() * 1000.0, record.body_bytes);
    let _ = if millis < 10.0 { write!(out, " ({millis:.1} ms") } else { write!(out, " ({millis:.0} ms") };
    let _ = match bytes {
        0..1024 => write!(out, ", {bytes} B"),
        1024..1_048_576 => write!(out, ", {:.1} KiB", bytes as f64 / 1024.0),
        _ => write!(out, ", {:.1} MiB", bytes as f64 / 1_048_576.0),
    };
    if !record.handler.is_empty() {
        out.extend_from_slice(b", ");
        hex_escaped(record.handler.as_bytes(), part, out);
    }
    out.push(b')');
    if let Some(error) = record.error {
        out.extend_from_slice(b": ");
        hex_escaped(error.as_bytes(), part, out);
    }
    out.push(b'\n');
}

/// `,"name":"value"`. UTF-8 stays as it is. A byte that is not part of any becomes the character of the same number,
/// escaped (`\u00ff`), which real text never holds in that spelling; so is what terminals obey.
fn json_text(name: &str, value: &[u8], part: usize, out: &mut Vec<u8>) {
    let (value, end) = cut(value, part);
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":\"");
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                // Ends of lines of JavaScript and of some log readers among them; none has more than four digits.
                character if steers(character) => _ = write!(out, "\\u{:04x}", u32::from(character)),
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\u{byte:04x}");
        }
    }
    out.extend_from_slice(end);
    out.push(b'"');
}

/// As nginx and Apache do: quotes, backslashes and all that is not visible ASCII as `\xHH`.
fn hex_escaped(value: &[u8], part: usize, out: &mut Vec<u8>) {
    let (value, end) = cut(value, part);
    for byte in value {
        match byte {
            b'"' | b'\\' | 0..0x20 | 0x7f.. => _ = write!(out, "\\x{byte:02X}"),
            _ => out.push(*byte),
        }
    }
    out.extend_from_slice(end);
}

/// `2026-10-09T12:34:56.123Z`
fn rfc3339(time: Wall, out: &mut Vec<u8>) {
    let civil = Civil::from_unix(time.seconds);
    let mut text = *b"0000-00-00T00:00:00.000Z";
    put_year(&mut text[..4], civil.year);
    put2(&mut text[5..7], civil.month);
    put2(&mut text[8..10], civil.day);
    put2(&mut text[11..13], civil.hour);
    put2(&mut text[14..16], civil.minute);
    put2(&mut text[17..19], civil.second);
    let millis = time.nanos / 1_000_000;
    put2(&mut text[20..22], millis / 10);
    text[22] = b'0' + (millis % 10) as u8;
    out.extend_from_slice(&text);
}

/// `09/Oct/2026:12:34:56 +0000`
fn common_log_time(time: Wall, out: &mut Vec<u8>) {
    let civil = Civil::from_unix(time.seconds);
    let mut text = *b"00/Jan/0000:00:00:00 +0000";
    put2(&mut text[..2], civil.day);
    text[3..6].copy_from_slice(civil.month_name().as_bytes());
    put_year(&mut text[7..11], civil.year);
    put2(&mut text[12..14], civil.hour);
    put2(&mut text[15..17], civil.minute);
    put2(&mut text[18..20], civil.second);
    out.extend_from_slice(&text);
}

fn put_year(place: &mut [u8], year: i64) {
    let year = year.clamp(0, 9999) as u32;
    let (century, of_century) = place.split_at_mut(2);
    put2(century, year / 100);
    put2(of_century, year);
}

/// Shown as seconds with six decimals, cut: what nginx users expect of `$request_time`, only finer.
struct Seconds(Duration);

impl std::fmt::Display for Seconds {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}.{:06}", self.0.as_secs(), self.0.subsec_micros())
    }
}
