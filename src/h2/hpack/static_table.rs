//! The static table (RFC 7541 appendix A).

/// Name and value of the entries 1 to 61.
pub(super) const ENTRIES: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// Index of the first `:status`, 200.
pub(super) const STATUS: usize = 8;

/// Length of the longest name, `access-control-allow-origin`.
const LONGEST: usize = 27;

/// The indices of the entries, in the order of the lengths of their names.
const ORDER: [u8; ENTRIES.len()] = order();

/// Where in [`ORDER`] the names of each length begin.
const STARTS: [u8; LONGEST + 2] = starts();

/// The index of the first entry of that name, in lower case.
pub(super) fn index(name: &[u8]) -> Option<usize> {
    let start = usize::from(*STARTS.get(name.len())?);
    let end = usize::from(*STARTS.get(name.len() + 1)?);
    let mut same = ORDER.get(start..end)?.iter().map(|index| usize::from(*index));
    same.find(|index| ENTRIES.get(index - 1).is_some_and(|(have, _)| *have == name))
}

const fn order() -> [u8; ENTRIES.len()] {
    let mut order = [0; ENTRIES.len()];
    let (mut count, mut length) = (0, 0);
    while length <= LONGEST {
        let mut at = 0;
        while at < ENTRIES.len() {
            if ENTRIES[at].0.len() == length {
                order[count] = at as u8 + 1;
                count += 1;
            }
            at += 1;
        }
        length += 1;
    }
    assert!(count == ENTRIES.len(), "a name is longer");
    order
}

const fn starts() -> [u8; LONGEST + 2] {
    let mut starts = [0; LONGEST + 2];
    let mut at = 0;
    while at < ENTRIES.len() {
        let mut above = ENTRIES[at].0.len() + 1;
        while above < starts.len() {
            starts[above] += 1;
            above += 1;
        }
        at += 1;
    }
    starts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_at_its_first_entry() {
        for (name, _) in ENTRIES {
            let first = ENTRIES.iter().position(|(have, _)| *have == name);
            assert_eq!(index(name), first.map(|at| at + 1), "{}", name.escape_ascii());
        }
        for unknown in [&b""[..], b"x", b"x-frame-options", b"Server", &[b'a'; 27], &[b'a'; 28], &[b'a'; 500]]
        {
            assert_eq!(index(unknown), None);
        }
        assert_eq!(ENTRIES[STATUS - 1], (&b":status"[..], &b"200"[..]));
    }
}
