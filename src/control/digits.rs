//! Bytes as text: hexadecimal digits, and those of base64url (RFC 4648 §5). Keys are among them, so a text that is made has
//! its room from the beginning: one that grows leaves behind what it held. With serde (`with = "digits"`) it is wiped out.

use crate::secret::Hidden;
use serde::de::Error as _;
use serde::{Deserialize as _, Deserializer, Serializer};

/// Two digits a byte, in lower case.
#[must_use]
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
    text
}

/// What such digits stand for; `None`: they are none.
#[must_use]
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let mut bytes = Vec::with_capacity(text.len() / 2);
    for two in text.as_bytes().chunks(2) {
        bytes.push(pair(two)?);
    }
    Some(bytes)
}

/// Without padding.
#[must_use]
pub(crate) fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let padded = [0, 1, 2].map(|at| u32::from(three.get(at).copied().unwrap_or(0)));
        let bits = padded[0] << 16 | padded[1] << 8 | padded[2];
        for at in 0..=three.len() {
            let digit = usize::try_from(bits >> (18 - 6 * at) & 63).unwrap_or(0);
            text.push(char::from(DIGITS.get(digit).copied().unwrap_or(b'A')));
        }
    }
    text
}

/// What such digits stand for, with or without padding; also those of the other alphabet, in which some authorities show keys.
/// `None`: they are none, or stand for nothing.
#[must_use]
pub(crate) fn unbase64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().trim_end_matches('=');
    let (mut bytes, mut bits, mut count) = (Vec::with_capacity(text.len()), 0_u32, 0);
    for byte in text.bytes() {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    (!bytes.is_empty()).then_some(bytes)
}

/// As hexadecimal digits.
pub(crate) fn serialize<S: Serializer>(bytes: &impl AsRef<[u8]>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&Hidden(hex(bytes.as_ref())).0)
}

/// From hexadecimal digits.
pub(crate) fn deserialize<'de, D: Deserializer<'de>, B: From<Vec<u8>>>(from: D) -> Result<B, D::Error> {
    let text = Hidden::deserialize(from)?;
    unhex(&text.0).map(B::from).ok_or_else(|| D::Error::custom("these are no hexadecimal digits"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_digits_are_read_back_and_nothing_else_is() {
        let all: Vec<u8> = (0..=255).collect();
        assert!(hex(&all).starts_with("000102") && hex(&all).ends_with("fdfeff"));
        assert_eq!(unhex(&hex(&all)), Some(all));
        for wrong in ["0", "000", "0g", "ä", "+1", " 0"] {
            assert_eq!(unhex(wrong), None, "{wrong:?}");
        }
    }

    /// RFC 4648 §10.
    #[test]
    fn base64url_is_read_back_in_either_alphabet() {
        for (bytes, text) in
            [("f", "Zg"), ("fo", "Zm8"), ("foo", "Zm9v"), ("foob", "Zm9vYg"), ("fooba", "Zm9vYmE")]
        {
            assert_eq!(base64url(bytes.as_bytes()), text);
            assert_eq!(unbase64(text), Some(bytes.into()));
        }
        assert_eq!(base64url(&[0, 255, 191]), "AP-_");
        assert_eq!(unbase64("AP-_"), Some(vec![0, 255, 191]));
        assert_eq!(unbase64(" AP+/\n"), Some(vec![0, 255, 191]));
        assert_eq!(unbase64("AA=="), Some(vec![0]));
        for wrong in ["", "====", "A", "AP ä", "AP*_"] {
            assert_eq!(unbase64(wrong), None, "{wrong:?}");
        }
    }
}
