//! Integers with a prefix of some bits (RFC 7541 §5.1).

use super::Error;

/// Octets behind the first, at most: what a number of 32 bits needs. More say nothing, or too much.
const OCTETS: u32 = 5;

/// The number that begins with the last `prefix` bits of the first octet of `rest`, which is moved behind it.
pub(super) fn decode(prefix: u32, rest: &mut &[u8]) -> Result<usize, Error> {
    let mask = (1 << prefix) - 1;
    let first = u64::from(octet(rest)?) & mask;
    if first < mask {
        return Ok(first as usize);
    }
    let mut number = mask;
    for place in 0..OCTETS {
        let next = octet(rest)?;
        number += u64::from(next & 0x7f) << (7 * place);
        if next & 0x80 == 0 {
            return u32::try_from(number).map(|number| number as usize).map_err(|_| TOO_LARGE);
        }
    }
    Err(TOO_LARGE)
}

const TOO_LARGE: Error = Error("an integer of more than 32 bits");

fn octet(rest: &mut &[u8]) -> Result<u8, Error> {
    let (octet, behind) = rest.split_first().ok_or(Error("the block breaks off"))?;
    *rest = behind;
    Ok(*octet)
}

/// Writes `number`; the bits before the prefix are those of `pattern`.
pub(super) fn encode(pattern: u8, prefix: u32, number: usize, out: &mut Vec<u8>) {
    let mask = (1 << prefix) - 1;
    if number < mask {
        out.push(pattern | number as u8);
    } else {
        out.push(pattern | mask as u8);
        encode_rest(number - mask, out);
    }
}

fn encode_rest(mut rest: usize, out: &mut Vec<u8>) {
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(prefix: u32, mut bytes: &[u8]) -> Result<(usize, usize), Error> {
        let length = bytes.len();
        decode(prefix, &mut bytes).map(|number| (number, length - bytes.len()))
    }

    #[test]
    fn examples_of_the_rfc() {
        for (pattern, prefix, number, wire) in [
            (0b1110_0000, 5, 10, &[0b1110_1010][..]),               // C.1.1
            (0, 5, 1337, &[0b0001_1111, 0b1001_1010, 0b0000_1010]), // C.1.2
            (0, 8, 42, &[0b0010_1010]),                             // C.1.3
        ] {
            let mut out = Vec::new();
            encode(pattern, prefix, number, &mut out);
            assert_eq!(out, wire);
            assert_eq!(decoded(prefix, wire), Ok((number, wire.len())));
        }
    }

    #[test]
    fn all_come_back() {
        for prefix in 4..=8 {
            for number in (0..1000).chain([16_383, 16_384, 0xffff_ffff]) {
                let mut out = Vec::new();
                encode(0, prefix, number, &mut out);
                assert_eq!(decoded(prefix, &out), Ok((number, out.len())), "{prefix} {number}");
                for end in 0..out.len() {
                    assert!(decoded(prefix, &out[..end]).is_err(), "{prefix} {number} cut at {end}");
                }
            }
        }
    }

    #[test]
    fn what_is_too_large_or_too_long_is_an_error() {
        // 31 + 0xffff_ffe0 is the largest.
        assert_eq!(decoded(5, &[31, 0xe0, 0xff, 0xff, 0xff, 0x0f]), Ok((0xffff_ffff, 6)));
        assert!(decoded(5, &[31, 0xe1, 0xff, 0xff, 0xff, 0x0f]).is_err());
        assert!(decoded(5, &[31, 0xff, 0xff, 0xff, 0xff, 0x7f]).is_err());
        // Zeros that say nothing.
        assert_eq!(decoded(5, &[31, 0x80, 0x80, 0x80, 0x80, 0x00]), Ok((31, 6)));
        assert!(decoded(5, &[31, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00]).is_err());
        assert!(decoded(5, &[31, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).is_err());
    }
}
