//! Several ranges in one body: multipart/byteranges (RFC 9110 §14.6). Everything but the content itself is built up
//! front, so that the length of the body is known before its first byte.

use crate::http::range::ByteRange;

/// A body of several parts.
#[derive(Debug)]
pub(in crate::worker) struct Multipart {
    /// What stands before the content of each range, and the range.
    pub(in crate::worker) parts: Vec<(Vec<u8>, ByteRange)>,
    /// What ends the body.
    pub(in crate::worker) end: Vec<u8>,
    /// Bytes of everything.
    pub(in crate::worker) length: u64,
    /// `Content-Type` of the response.
    pub(in crate::worker) content_type: String,
}

impl Multipart {
    /// `seed` makes the boundary: nobody may be able to guess it and put it into a file.
    pub(in crate::worker) fn new(
        ranges: &[ByteRange],
        size: u64,
        content_type: &str,
        seed: [u64; 2],
    ) -> Self {
        let boundary = format!("{:016x}{:016x}", seed[0], seed[1]);
        let mut parts = Vec::with_capacity(ranges.len());
        let add = u64::saturating_add;
        let mut length = 0;
        for (number, range) in ranges.iter().enumerate() {
            let start = if number == 0 { "" } else { "\r\n" };
            let content_range = range.content_range(size);
            let head = format!(
                "{start}--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: {content_range}\r\n\r\n"
            );
            length = add(length, add(head.len() as u64, range.len()));
            parts.push((head.into_bytes(), *range));
        }
        let end = format!("\r\n--{boundary}--\r\n").into_bytes();
        length = add(length, end.len() as u64);
        Self { parts, end, length, content_type: format!("multipart/byteranges; boundary={boundary}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_of_more_than_can_be_is_the_most() {
        let all = ByteRange { first: 0, last: u64::MAX };
        assert_eq!(Multipart::new(&[all, all], u64::MAX, "text/plain", [1, 2]).length, u64::MAX);
    }

    #[test]
    fn parts_stand_between_their_boundaries_and_the_length_is_right() {
        let ranges = [ByteRange { first: 0, last: 1 }, ByteRange { first: 8, last: 9 }];
        let multipart = Multipart::new(&ranges, 10, "text/plain", [1, 2]);
        let mut body = Vec::new();
        for (head, range) in &multipart.parts {
            body.extend_from_slice(head);
            body.extend_from_slice(&b"0123456789"[range.first as usize..=range.last as usize]);
        }
        body.extend_from_slice(&multipart.end);
        let boundary = "00000000000000010000000000000002";
        let part = |range: &str, content: &str| {
            format!(
                "--{boundary}\r\nContent-Type: text/plain\r\nContent-Range: bytes {range}/10\r\n\r\n{content}\r\n"
            )
        };
        let expected = part("0-1", "01") + &part("8-9", "89") + &format!("--{boundary}--\r\n");
        assert_eq!(String::from_utf8(body.clone()).unwrap(), expected);
        assert_eq!(multipart.length, body.len() as u64);
        assert_eq!(multipart.content_type, format!("multipart/byteranges; boundary={boundary}"));
    }
}
