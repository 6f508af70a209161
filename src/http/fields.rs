//! Header fields of a response (RFC 9110 §5): one allocation for all bytes, one for the index of spans. The bytes are lines of
//! HTTP/1.1, so that one that is passed on is copied as a whole.

/// A range of bytes in a head's allocation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes it names; empty if it does not fit.
    #[must_use]
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes.get(self.start as usize..self.end as usize).unwrap_or_default()
    }
}

/// Fields in the order in which they were added. Names and values are bytes without CR, LF or NUL: whoever adds a
/// field from outside (an app, an upstream) checks it with [`is_name`] and [`is_value`] first.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    bytes: Vec<u8>,
    index: Vec<(Span, Span)>,
}

impl PartialEq for Fields {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Fields {}

/// Lines of a usual response.
const USUAL_BYTES: usize = 256;
const USUAL_FIELDS: usize = 8;

impl Fields {
    /// No fields.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Adds a field at the end, also when one of that name is there already.
    pub(crate) fn add(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        if self.index.capacity() == 0 {
            // What most responses need, at once: growing piece by piece costs more than the fields themselves.
            self.bytes.reserve(USUAL_BYTES);
            self.index.reserve(USUAL_FIELDS);
        }
        let (name, value) = (name.as_ref(), value.as_ref());
        let start = self.bytes.len();
        write_line(name, value, &mut self.bytes);
        let span = |start: usize, len: usize| Span { start: start as u32, end: (start + len) as u32 };
        self.index.push((span(start, name.len()), span(start + name.len() + BETWEEN.len(), value.len())));
    }

    /// Those of a head, which is kept as it came; `index` says where names and values are in it.
    pub(crate) fn of_head(head: &[u8], index: Vec<(Span, Span)>) -> Self {
        Self { bytes: head.to_vec(), index }
    }

    /// Writes the lines of those whose names pass.
    pub(crate) fn write(&self, out: &mut Vec<u8>, passes: impl Fn(&[u8]) -> bool) {
        for (name, value) in &self.index {
            if passes(name.of(&self.bytes)) {
                match self.line(*name, *value) {
                    Some(line) => out.extend_from_slice(line),
                    None => write_line(name.of(&self.bytes), value.of(&self.bytes), out),
                }
            }
        }
    }

    /// The line that they are in, if that stands as it would be written.
    fn line(&self, name: Span, value: Span) -> Option<&[u8]> {
        let between = self.bytes.get(name.end as usize..value.start as usize)?;
        let line = self.bytes.get(name.start as usize..(value.end as usize).checked_add(LINE_END.len())?)?;
        (between == BETWEEN && line.ends_with(LINE_END)).then_some(line)
    }

    /// Replaces every field of that name by this one.
    pub(crate) fn set(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.remove(name.as_ref());
        self.add(name, value);
    }

    /// Drops every field of that name.
    pub(crate) fn remove(&mut self, name: impl AsRef<[u8]>) {
        let Self { bytes, index } = self;
        index.retain(|(span, _)| !span.of(bytes).eq_ignore_ascii_case(name.as_ref()));
    }

    /// Keeps only the fields for which `keep` says so; it gets the name.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&[u8]) -> bool) {
        let Self { bytes, index } = self;
        index.retain(|(span, _)| keep(span.of(bytes)));
    }

    /// The value of the first field of that name, compared without case.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(have, _)| have.eq_ignore_ascii_case(name.as_bytes())).map(|(_, value)| value)
    }

    /// Name and value of every field.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.index.iter().map(|(name, value)| (name.of(&self.bytes), value.of(&self.bytes)))
    }

    /// Gives other values to those fields for which there are some.
    pub(crate) fn replace(&mut self, other: impl Fn(&[u8], &[u8]) -> Option<Vec<u8>>) {
        if !self.iter().any(|(name, value)| other(name, value).is_some()) {
            return;
        }
        let mut all = Self::new();
        for (name, value) in self.iter() {
            match other(name, value) {
                Some(value) => all.add(name, value),
                None => all.add(name, value),
            }
        }
        *self = all;
    }

    /// Whether there are none.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }
}

/// What stands between name and value, and behind both.
const BETWEEN: &[u8] = b": ";
const LINE_END: &[u8] = b"\r\n";

/// Writes one field as a line of HTTP/1.1.
pub(crate) fn write_line(name: &[u8], value: &[u8], out: &mut Vec<u8>) {
    out.reserve(name.len() + BETWEEN.len() + value.len() + LINE_END.len());
    out.extend_from_slice(name);
    out.extend_from_slice(BETWEEN);
    out.extend_from_slice(value);
    out.extend_from_slice(LINE_END);
}

/// Names of fields that mean something together, each in lower case.
#[derive(Debug)]
pub(crate) struct Names {
    names: &'static [&'static str],
    /// One bit for each length that one of them has.
    lengths: u64,
}

impl Names {
    /// These.
    pub(crate) const fn new(names: &'static [&'static str]) -> Self {
        let (mut lengths, mut at) = (0, 0);
        while at < names.len() {
            assert!(names[at].len() < u64::BITS as usize);
            lengths |= 1 << names[at].len();
            at += 1;
        }
        Self { names, lengths }
    }

    /// Whether this is one of them, compared without case. Most names are told by their length not to be.
    pub(crate) fn has(&self, name: &[u8]) -> bool {
        let has_length = name.len() < u64::BITS as usize && self.lengths >> name.len() & 1 == 1;
        has_length && self.names.iter().any(|other| name.eq_ignore_ascii_case(other.as_bytes()))
    }
}

/// Whether `bytes` is a field name: a non-empty token (RFC 9110 §5.6.2).
#[must_use]
pub(crate) fn is_name(bytes: &[u8]) -> bool {
    !bytes.is_empty() && bytes.iter().all(|byte| is_token_byte(*byte))
}

/// Whether `bytes` may stand in a field value (RFC 9110 §5.5): no control character but tab.
#[must_use]
pub(crate) fn is_value(bytes: &[u8]) -> bool {
    let is_good =
        |word: &[u8; 8]| has_no_control(u64::from_ne_bytes(*word)) || word.iter().all(is_value_byte);
    match bytes.last_chunk() {
        // Some of the last may be looked at twice.
        Some(last) => bytes.as_chunks().0.iter().all(is_good) && is_good(last),
        None => bytes.iter().all(is_value_byte),
    }
}

fn is_value_byte(byte: &u8) -> bool {
    matches!(byte, b'\t' | 0x20..=0x7e | 0x80..)
}

/// Whether none of eight bytes is a control character, all at once. Of those below 0x80, one below 0x20 loses a bit above to a
/// subtraction, and 0x7F alone reaches it by an addition.
fn has_no_control(word: u64) -> bool {
    const EACH: u64 = u64::MAX / 255;
    let high = EACH << 7;
    let low = word & !high;
    (((low | high) - EACH * 0x20) & !(low + EACH) | word) & high == high
}

/// Whether `byte` may stand in a token (RFC 9110 §5.6.2).
#[must_use]
pub(crate) fn is_token_byte(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// For each byte, whether it may.
static TOKEN: [bool; 256] = {
    let (mut token, mut at) = ([false; 256], 0);
    while at < token.len() {
        token[at] = matches!(at as u8,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            | b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z');
        at += 1;
    }
    token
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_compare_without_case_and_order_is_kept() {
        let mut fields = Fields::new();
        fields.add("Set-Cookie", "a=1");
        fields.add("Vary", "Cookie");
        fields.add("set-cookie", "b=2");
        assert_eq!(fields.get("SET-COOKIE"), Some(&b"a=1"[..]));
        assert_eq!(fields.iter().count(), 3);
        fields.set("vary", "Accept");
        fields.remove("set-cookie");
        assert_eq!(fields.iter().collect::<Vec<_>>(), [(&b"vary"[..], &b"Accept"[..])]);
    }

    #[test]
    fn lines_are_written_one_way_however_they_came() {
        let head = b"HTTP/1.1 200 OK\r\nA: 1\r\nB:2\r\nC: \t3 \r\nD: 4\nE:\r\n\r\n";
        let span = |start, len| Span { start, end: start + len };
        let at = |start, value, len| (span(start, 1), span(value, len));
        let index = vec![at(17, 20, 1), at(23, 25, 1), at(28, 32, 1), at(36, 39, 1), at(41, 43, 0)];
        let mut fields = Fields::of_head(head, index);
        fields.add("F", "6");
        let written = |fields: &Fields| {
            let mut out = Vec::new();
            fields.write(&mut out, |name| name != b"B");
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(&fields), "A: 1\r\nC: 3\r\nD: 4\r\nE: \r\nF: 6\r\n");
        let mut same = Fields::new();
        [("A", "1"), ("B", "2"), ("C", "3"), ("D", "4"), ("E", ""), ("F", "6")]
            .iter()
            .for_each(|(name, value)| same.add(name, value));
        assert_eq!((written(&same), &same), (written(&fields), &fields));
        same.set("D", "5");
        assert!(same != fields && !written(&same).contains("D: 4"));
    }

    #[test]
    fn names_are_found_without_case_and_others_of_their_length_are_not() {
        let names = Names::new(&["te", "keep-alive", "connection"]);
        assert!(["TE", "te", "Keep-Alive", "CONNECTION"].iter().all(|name| names.has(name.as_bytes())));
        let long = "x".repeat(64 + 2);
        assert!(
            !["", "tE2", "xx", "keep_alive", "connections", &long]
                .iter()
                .any(|name| names.has(name.as_bytes()))
        );
    }

    #[test]
    fn control_characters_are_refused() {
        assert!(is_value(b"text/html; charset=utf-8\t\xe9"));
        for bad in [&b"a\r\nb"[..], b"a\nb", b"a\0b", b"\x7f", b"\x1b[0m"] {
            assert!(!is_value(bad), "{bad:?}");
        }
        // Each byte, at each place of eight and behind them.
        for (byte, at) in (0..=255).flat_map(|byte| (0..20).map(move |at| (byte, at))) {
            let mut value = [b'\xff'; 20];
            value[at] = byte;
            let is_control = byte < 0x20 && byte != b'\t' || byte == 0x7f;
            assert_eq!(is_value(&value), !is_control, "{byte} at {at}");
            assert_eq!(is_value(&[b' '; 20].map(|_| byte)), !is_control, "{byte}");
        }
        assert!(is_name(b"X-A_b.1") && !is_name(b"") && !is_name(b"a b") && !is_name(b"a:"));
    }
}
