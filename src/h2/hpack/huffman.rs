//! The Huffman code of strings (RFC 7541 §5.2, appendix B). It is canonical: the lengths say all. Codes of one length
//! follow each other in the order of their symbols, and behind those of the length before.
//!
//! The first eight bits of a code find the symbol of each that is not longer, which are those of nearly all bytes that
//! are sent; the others are found by the first code of each length.

use super::Error;

/// Bits of the code of each byte, and of the end of a string, which no string may contain.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
    30,
];

/// Bits of the longest code.
const LONGEST: usize = 30;

/// What is not a byte: the end of the string.
const EOS: u16 = 256;

/// The codes in the order of their values.
struct Codes {
    /// The symbols in the order of their codes.
    symbols: [u16; 257],
    /// For each length, where its symbols begin there.
    starts: [u16; LONGEST + 1],
    /// For each length, its first code, moved to the left end of 32 bits. Codes that are shorter are below.
    firsts: [u32; LONGEST + 1],
    /// The code of each symbol.
    codes: [u32; 257],
}

static CODES: Codes = codes();

/// Symbol and length for what may be the first eight bits of a code; length 0 if it is longer.
static SHORT: [(u8, u8); 256] = short();

const fn codes() -> Codes {
    let mut all =
        Codes { symbols: [0; 257], starts: [0; LONGEST + 1], firsts: [0; LONGEST + 1], codes: [0; 257] };
    let (mut length, mut count, mut code) = (1, 0, 0);
    while length <= LONGEST {
        code <<= 1;
        all.starts[length] = count as u16;
        all.firsts[length] = code << (32 - length);
        let mut symbol = 0;
        while symbol < LENGTHS.len() {
            if LENGTHS[symbol] as usize == length {
                all.symbols[count] = symbol as u16;
                all.codes[symbol] = code;
                code += 1;
                count += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    assert!(code == 1 << LONGEST, "the codes are not complete");
    all
}

const fn short() -> [(u8, u8); 256] {
    let (mut table, all) = ([(0, 0); 256], codes());
    let mut symbol = 0;
    while symbol < 256 {
        let length = LENGTHS[symbol];
        if length <= 8 {
            let first = all.codes[symbol] << (8 - length);
            let mut at = 0;
            while at < 1 << (8 - length) {
                table[(first + at) as usize] = (symbol as u8, length);
                at += 1;
            }
        }
        symbol += 1;
    }
    table
}

/// Appends what `bytes` stand for.
pub(super) fn decode(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    // A byte takes five bits at least.
    out.reserve(bytes.len() * 8 / 5);
    let (mut window, mut rest) = (Window::default(), bytes);
    loop {
        window.fill(&mut rest);
        while window.bits >= LONGEST as u32 || rest.is_empty() {
            let (symbol, length) = window.symbol();
            if length > window.bits {
                // Only ones are left, the beginning of the end, which the padding is.
                return if window.inverted == 0 && window.bits < 8 { Ok(()) } else { Err(PADDING) };
            }
            if symbol == EOS {
                return Err(Error("a string contains its end"));
            }
            out.push(symbol as u8);
            window.inverted <<= length;
            window.bits -= length;
        }
    }
}

/// The next bits of a string.
#[derive(Default)]
struct Window {
    /// They, inverted, at the left end, and zeros behind the last one: as if the padding had no end.
    inverted: u64,
    /// How many they are.
    bits: u32,
}

impl Window {
    /// Takes what there is room for.
    fn fill(&mut self, rest: &mut &[u8]) {
        let mut word = [u8::MAX; 8];
        match rest.first_chunk() {
            Some(whole) => word = *whole,
            None => word.iter_mut().zip(*rest).for_each(|(place, byte)| *place = *byte),
        }
        // Of the byte behind those that are taken some bits come along, and once more with it.
        self.inverted |= !u64::from_be_bytes(word) >> self.bits;
        let taken = rest.len().min((63 - self.bits) as usize / 8);
        *rest = rest.get(taken..).unwrap_or_default();
        self.bits += taken as u32 * 8;
    }

    /// The symbol at the left end, and how many bits it has; if it has more than there are, it is none.
    fn symbol(&self) -> (u16, u32) {
        match SHORT[usize::from(!(self.inverted >> 56) as u8)] {
            (_, 0) => long(!(self.inverted >> 32) as u32),
            (symbol, length) => (u16::from(symbol), u32::from(length)),
        }
    }
}

const PADDING: Error = Error("the padding of a string is longer than seven bits or not of ones");

/// Symbol and length of the code at the left end of `window` that is longer than eight bits.
fn long(window: u32) -> (u16, u32) {
    let mut length = 9;
    while length < LONGEST && window >= CODES.firsts[length + 1] {
        length += 1;
    }
    let nth = (window - CODES.firsts[length]) >> (32 - length);
    let symbol = CODES.symbols.get(usize::from(CODES.starts[length]) + nth as usize);
    (symbol.copied().unwrap_or(EOS), length as u32)
}

/// How many bytes `bytes` are in the code.
pub(super) fn length(bytes: &[u8]) -> usize {
    let bits: usize = bytes.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum();
    bits.div_ceil(8)
}

/// Writes `bytes` in the code.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    let (mut window, mut bits) = (0_u64, 0);
    for byte in bytes {
        let symbol = usize::from(*byte);
        let length = u32::from(LENGTHS[symbol]);
        window = window << length | u64::from(CODES.codes[symbol]);
        bits += length;
        while bits >= 8 {
            bits -= 8;
            out.push((window >> bits) as u8);
        }
    }
    if bits > 0 {
        out.push((window << (8 - bits)) as u8 | (0xff >> bits));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut out = Vec::new();
        decode(bytes, &mut out).map(|()| out)
    }

    fn encoded(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        encode(bytes, &mut out);
        assert_eq!(out.len(), length(bytes));
        out
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (symbol, code) in [
            (0, 0x1ff8),
            (10, 0x3fff_fffc),
            (22, 0x3fff_fffe),
            (b'0'.into(), 0x0),
            (b'a'.into(), 0x3),
            (b't'.into(), 0x9),
            (b' '.into(), 0x14),
            (b'u'.into(), 0x2d),
            (b'Z'.into(), 0xfd),
            (b'<'.into(), 0x7ffc),
            (b'\\'.into(), 0x7fff0),
            (128, 0xf_ffe6),
            (249, 0xfff_fffe),
            (256, 0x3fff_ffff),
        ] {
            assert_eq!(CODES.codes[symbol], code, "{symbol}");
        }
    }

    #[test]
    fn every_pair_of_bytes_comes_back() {
        for one in 0..=255 {
            for other in 0..=255 {
                assert_eq!(decoded(&encoded(&[one, other])), Ok(vec![one, other]));
            }
        }
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).collect();
        assert_eq!(decoded(&encoded(&all)), Ok(all));
        assert_eq!(decoded(b""), Ok(Vec::new()));
    }

    #[test]
    fn padding_is_of_ones_and_shorter_than_a_byte() {
        // 'a' is 00011, so three bits are left.
        assert_eq!(decoded(&[0b0001_1111]), Ok(b"a".to_vec()));
        for bad in [0b0001_1110, 0b0001_1011, 0b0001_1000] {
            assert!(decoded(&[bad]).is_err(), "{bad:b}");
        }
        // Eight bits of it, also alone, and behind a code that ends with its byte ('X' is 1111_1100).
        assert!(decoded(&[0b0001_1111, 0xff]).is_err());
        assert!(decoded(&[0xff]).is_err());
        assert_eq!(decoded(&[0b1111_1100]), Ok(b"X".to_vec()));
        assert!(decoded(&[0b1111_1100, 0xff]).is_err());
        // Five codes of five bits and seven bits of padding.
        assert_eq!(decoded(&[0x18, 0xc6, 0x31, 0xff]), Ok(b"aaaaa".to_vec()));
    }

    #[test]
    fn a_string_does_not_contain_its_end() {
        // EOS is thirty ones.
        assert!(decoded(&[0xff; 4]).is_err());
        assert!(decoded(&[0xff; 5]).is_err());
        assert!(decoded(&[0b0001_1111, 0xff, 0xff, 0xff, 0xff]).is_err());
        // Codes of thirty bits that are not it.
        for symbol in [10, 13, 22] {
            assert_eq!(decoded(&encoded(&[symbol])), Ok(vec![symbol]));
        }
    }

    #[test]
    fn what_breaks_off_is_no_other_string() {
        let whole = encoded(b"https://www.example.com/?q=\x80\xff<>");
        for end in 0..whole.len() {
            if let Ok(shorter) = decoded(&whole[..end]) {
                assert!(b"https://www.example.com/?q=\x80\xff<>".starts_with(&shorter), "cut at {end}");
            }
        }
    }
}
