//! Percent-encoding (RFC 3986 §2.1).

/// Appends `bytes`; each that may not stand as it is becomes `%` and two upper-case digits.
pub(crate) fn encode(bytes: &[u8], may_stand: impl Fn(u8) -> bool, out: &mut Vec<u8>) {
    let digit = |value: u8| if value < 10 { b'0' + value } else { b'A' + value - 10 };
    for &byte in bytes {
        if may_stand(byte) {
            out.push(byte);
        } else {
            out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
}

/// Decodes once; a `%` that begins no encoding stays.
pub(crate) fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| char::from(*text.get(at)?).to_digit(16).map(|digit| digit as u8);
    let mut decoded = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                decoded.push(high << 4 | low);
                at += 3;
            }
            _ => {
                decoded.push(*byte);
                at += 1;
            }
        }
    }
    decoded
}

/// A decoded path, as it stands in a URL.
pub(crate) fn encoded_path(path: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(path.len());
    encode(path, |byte| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte), &mut encoded);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded_once() {
        for (text, wanted) in [
            ("/a%20b%2Fc", "/a b/c"),
            ("100%", "100%"),
            ("%4", "%4"),
            ("%zz%41", "%zzA"),
            ("%2541", "%41"),
            ("", ""),
        ] {
            assert_eq!(decoded(text.as_bytes()), wanted.as_bytes(), "{text}");
        }
    }

    #[test]
    fn what_may_not_stand_has_two_digits() {
        let mut out = b"/".to_vec();
        encode(&[b'a', 0, b'%', 0x9a, 0xff, b'z'], |byte| byte.is_ascii_alphabetic(), &mut out);
        assert_eq!(out, b"/a%00%25%9A%FFz");
    }
}
