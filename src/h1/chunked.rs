//! The chunked transfer coding (RFC 9112 §7.1), read strictly and written plainly.
//!
//! Strict means: 1 to 15 hexadecimal digits, then extensions of the grammar in `extension`, then CR LF; nothing is
//! trimmed, a bare LF ends nothing. Whatever two implementations could read differently is an error, such as a line end
//! within quotes, where some end the line and some do not. Extensions and trailers are checked and bounded; what they say is
//! dropped, but for trailers that somebody wants.

use super::extension::Extension;
use crate::http::Fields;
use crate::http::fields::is_token_byte;
use crate::http::serving::{LONG_TRAILERS, TRAILER, TRAILERS_MAX};

/// Takes the coding off, whatever the cuts of the input.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Decoder {
    state: State,
    /// Bytes of extensions so far.
    extensions: u16,
    /// Bytes of trailers so far, as [`TRAILERS_MAX`] counts them.
    trailers: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In the digits of a size.
    Size { value: u64, digits: u8 },
    /// Behind the digits of a size line.
    Extension { size: u64, place: Extension },
    /// The LF of a size line must follow.
    SizeEnd { size: u64 },
    /// `left` bytes of a chunk are to come.
    Data { left: u64 },
    /// The CR behind a chunk must follow.
    DataEnd,
    /// The LF behind a chunk must follow.
    DataEndLf,
    /// At the start of a trailer line or of the empty line.
    TrailerStart,
    /// In the name of a trailer field.
    TrailerName,
    /// In its value.
    TrailerValue,
    /// The LF of a trailer line must follow.
    TrailerEnd,
    /// The LF of the empty line must follow.
    End,
    /// All of it was read.
    Done,
}

impl State {
    /// Whether the byte that led to it is one of a trailer line, or the LF before the first.
    fn is_in_trailers(self) -> bool {
        matches!(self, Self::TrailerName | Self::TrailerValue | Self::TrailerEnd | Self::TrailerStart)
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Size { value: 0, digits: 0 }
    }
}

/// Why it is not the chunked coding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Error {
    /// A size without digits, with others than hexadecimal ones, or with more than 15.
    Size,
    /// Extensions that are not of the grammar, or with more bytes than anyone needs.
    Extension,
    /// No CR LF where one must be.
    LineEnd,
    /// A trailer that is no field line.
    Trailer,
    /// More bytes of trailers than anyone needs.
    LongTrailers,
}

impl Error {
    /// For the log.
    #[must_use]
    pub(crate) fn why(self) -> &'static str {
        match self {
            Self::Size => "invalid chunk size",
            Self::Extension => "invalid chunk extension",
            Self::LineEnd => "missing CR LF in the chunked body",
            Self::Trailer => "invalid trailer field",
            Self::LongTrailers => LONG_TRAILERS.why,
        }
    }
}

/// Digits of a chunk size; 15 cannot overflow.
const DIGITS_MAX: u8 = 15;
/// Bytes of all extensions of a body.
const EXTENSIONS_MAX: usize = 16 * 1024;

impl Decoder {
    /// At the start of a body.
    #[must_use]
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Whether the body, trailers included, is complete.
    #[must_use]
    pub(crate) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Adds what `input` holds of the body to `out` and returns how much of `input` belonged to it: all, or less if
    /// the body ends in it. Data before an error is in `out`.
    ///
    /// # Errors
    /// [`Error`]; the decoder is of no use afterwards.
    pub(crate) fn decode(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Error> {
        self.decode_with(input, out, None)
    }

    /// The same; the lines of trailers are added to `kept`, for [`trailers`].
    ///
    /// # Errors
    /// As those of [`Self::decode`].
    pub(crate) fn decode_with(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        mut kept: Option<&mut Vec<u8>>,
    ) -> Result<usize, Error> {
        let mut rest = input;
        while let (Some(byte), false) = (rest.first(), self.is_done()) {
            if let State::Data { left } = self.state {
                let here = rest.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                let (data, after) = rest.split_at_checked(here).unwrap_or((rest, &[]));
                out.extend_from_slice(data);
                rest = after;
                let left = left - here as u64;
                self.state = if left == 0 { State::DataEnd } else { State::Data { left } };
            } else {
                let next = self.framing(*byte)?;
                if let (Some(kept), true) = (&mut kept, next.is_in_trailers()) {
                    kept.push(*byte);
                }
                self.state = next;
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        Ok(input.len() - rest.len())
    }

    /// The state behind one byte of framing.
    fn framing(&mut self, byte: u8) -> Result<State, Error> {
        match (self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = char::from(byte).to_digit(16).ok_or(Error::Size)?;
                if digits == DIGITS_MAX {
                    return Err(Error::Size);
                }
                Ok(State::Size { value: value << 4 | u64::from(digit), digits: digits + 1 })
            }
            (State::Size { digits: 0, .. }, _) => Err(Error::Size),
            (State::Size { value, .. }, b'\r') => Ok(State::SizeEnd { size: value }),
            (State::Size { value, .. }, b';' | b' ' | b'\t') => {
                let place = Extension::Gap.behind(byte).ok_or(Error::Extension)?;
                Ok(State::Extension { size: value, place })
            }
            (State::Size { .. }, b'\n') => Err(Error::LineEnd),
            (State::Size { .. }, _) => Err(Error::Size),

            (State::Extension { size, place }, b'\r') if place.may_end() => Ok(State::SizeEnd { size }),
            (State::Extension { size, place }, _) => {
                count(&mut self.extensions, 1, EXTENSIONS_MAX, Error::Extension)?;
                let place = place.behind(byte).ok_or(Error::Extension)?;
                Ok(State::Extension { size, place })
            }

            (State::SizeEnd { size: 0 }, b'\n') => Ok(State::TrailerStart),
            (State::SizeEnd { size }, b'\n') => Ok(State::Data { left: size }),
            (State::DataEnd, b'\r') => Ok(State::DataEndLf),
            (State::DataEndLf, b'\n') => Ok(State::default()),
            (State::SizeEnd { .. } | State::DataEnd | State::DataEndLf, _) => Err(Error::LineEnd),

            (State::TrailerStart, b'\r') => Ok(State::End),
            (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => {
                let more = if self.state == State::TrailerStart { TRAILER } else { 0 };
                count(&mut self.trailers, 1 + more, TRAILERS_MAX, Error::LongTrailers)?;
                Ok(State::TrailerName)
            }
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerEnd),
            (State::TrailerValue, b'\t' | 0x20..=0x7e | 0x80..) => {
                count(&mut self.trailers, 1, TRAILERS_MAX, Error::LongTrailers)?;
                Ok(State::TrailerValue)
            }
            (State::TrailerStart | State::TrailerName | State::TrailerValue, _) => Err(Error::Trailer),
            (State::TrailerEnd, b'\n') => Ok(State::TrailerStart),
            (State::End, b'\n') => Ok(State::Done),
            (State::TrailerEnd | State::End, _) => Err(Error::LineEnd),
            // `decode` handles both itself.
            (State::Data { .. } | State::Done, _) => Ok(self.state),
        }
    }
}

/// The fields in lines of trailers.
pub(crate) fn trailers(lines: &[u8]) -> Fields {
    let mut fields = Fields::new();
    for line in lines.split(|byte| *byte == b'\n') {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        if let Some((name, [b':', value @ ..])) = line.split_at_checked(colon) {
            fields.add(name, value.trim_ascii());
        }
    }
    fields
}

fn count(counter: &mut u16, more: usize, most: usize, error: Error) -> Result<(), Error> {
    let sum = usize::from(*counter) + more;
    *counter = u16::try_from(sum).ok().filter(|_| sum <= most).ok_or(error)?;
    Ok(())
}

/// What ends a chunked body without trailers.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What follows the data of every chunk.
pub(crate) const CHUNK_END: &[u8] = b"\r\n";

/// Writes the size line of a chunk; `size` is not 0.
pub(crate) fn write_size(size: u64, out: &mut Vec<u8>) {
    debug_assert!(size > 0, "a chunk of size 0 ends the body");
    let first = 15 - (size | 1).leading_zeros() / 4;
    for place in (0..=first).rev() {
        let digit = (size >> (place * 4)) as usize & 15;
        out.extend(b"0123456789abcdef".get(digit));
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data, bytes of input that belong to the body and whether it is complete; the same at every cut.
    fn decode(input: &[u8]) -> Result<(Vec<u8>, usize, bool), Error> {
        let mut results = Vec::new();
        for step in 1..=input.len().max(1) {
            let mut decoder = Decoder::new();
            let (mut out, mut used) = (Vec::new(), 0);
            let mut result = Ok(());
            for piece in input.chunks(step) {
                match decoder.decode(piece, &mut out) {
                    Ok(count) => used += count,
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
            results.push(result.map(|()| (out, used, decoder.is_done())));
        }
        assert!(results.iter().all(|result| *result == results[0]), "{input:?}: {results:?}");
        results.swap_remove(0)
    }

    #[test]
    fn trailers_that_are_wanted_are_the_same_at_every_cut() {
        let input = b"2;x=\"0\"\r\nA:\r\n0\r\nA: b\r\nC:\r\nD:\t\xe9 f \r\n\r\nE: f\r\n";
        for step in 1..=input.len() {
            let (mut decoder, mut data, mut kept) = (Decoder::new(), Vec::new(), Vec::new());
            for piece in input.chunks(step) {
                decoder.decode_with(piece, &mut data, Some(&mut kept)).unwrap();
            }
            let trailers = trailers(&kept);
            let told: Vec<_> = trailers.iter().collect();
            let expected: [(&[u8], &[u8]); 3] = [(b"A", b"b"), (b"C", b""), (b"D", b"\xe9 f")];
            assert_eq!((data.as_slice(), told.as_slice()), (&b"A:"[..], &expected[..]), "{step}");
        }
    }

    #[test]
    fn bodies() {
        for (input, data, used) in [
            (&b"0\r\n\r\n"[..], &b""[..], 5),
            (b"5\r\nhello\r\n0\r\n\r\nGET", b"hello", 15),
            (b"1\r\na\r\n00a\r\n0123456789\r\n0\r\n\r\n", b"a0123456789", 28),
            (b"3;name=\"a;b\"\t;c\r\nabc\r\n0;x\r\nA: b\r\nC:\t\xe9\r\n\r\n", b"abc", 41),
            (b"2;a = \"x;y\" ; b\r\nhi\r\n0 ;x\r\n\r\n", b"hi", 29),
            (b"000000000000001\r\n\n\r\n0\r\n\r\n", b"\n", 25),
            (b"1;a=\"\\\"\\\\\";b\r\nx\r\n0\r\n\r\n", b"x", 22),
        ] {
            assert_eq!(decode(input), Ok((data.to_vec(), used, true)), "{input:?}");
        }
        assert_eq!(decode(b"5\r\nhel"), Ok((b"hel".to_vec(), 6, false)));
    }

    #[test]
    fn errors() {
        for (input, error) in [
            (&b"\r\n"[..], Error::Size),
            (b"\n", Error::Size),
            (b" 5\r\n", Error::Size),
            (b"5 \r\n", Error::Extension),
            (b"5\t\t6;x\r\n", Error::Extension),
            (b"2;\r\nhi\r\n", Error::Extension),
            (b"2;a=\r\nhi\r\n", Error::Extension),
            (b"2;a[b\r\nhi\r\n", Error::Extension),
            (b"2;a \r\nhi\r\n", Error::Extension),
            (b"0;\r\n\r\n", Error::Extension),
            (b"0x5\r\n", Error::Size),
            (b"+5\r\n", Error::Size),
            (b"-1\r\n", Error::Size),
            (b"5_\r\n", Error::Size),
            (b"g\r\n", Error::Size),
            (b";x\r\n", Error::Size),
            (b"0000000000000001\r\n", Error::Size),
            (b"fffffffffffffffff\r\n", Error::Size),
            (b"5\nhello", Error::LineEnd),
            (b"5\rhello", Error::LineEnd),
            (b"5\r\nhello0\r\n\r\n", Error::LineEnd),
            (b"5\r\nhello\n0\r\n\r\n", Error::LineEnd),
            (b"5\r\nhello\r0\r\n", Error::LineEnd),
            (b"5;a\nb\r\n", Error::Extension),
            (b"5;\"\n\"\r\nhello\r\n", Error::Extension),
            (b"5;\0\r\n", Error::Extension),
            (b"5;a\rb\r\n", Error::LineEnd),
            (b"5;a=\"\r\nhello\r\n", Error::Extension),
            (b"5;a=\"\\\"\r\nhello\r\n", Error::Extension),
            (b"5;a=\"\\\r\nhello\r\n", Error::Extension),
            (b"\r5\r\nhello\r\n", Error::Size),
            (b"0\r\nX\r\n\r\n", Error::Trailer),
            (b"0\r\nX : y\r\n\r\n", Error::Trailer),
            (b"0\r\n: y\r\n\r\n", Error::Trailer),
            (b"0\r\n folded\r\n\r\n", Error::Trailer),
            (b"0\r\nX: y\n\r\n", Error::Trailer),
            (b"0\r\nX: \0\r\n", Error::Trailer),
            (b"0\r\n\n", Error::Trailer),
            (b"0\r\n\rX", Error::LineEnd),
        ] {
            assert_eq!(decode(input), Err(error), "{input:?}");
        }
    }

    #[test]
    fn extensions_and_trailers_are_bounded_over_the_whole_body() {
        let mut decoder = Decoder::new();
        let chunk = [&b"1;"[..], &[b'x'; 1000], b"\r\na\r\n"].concat();
        let failed = (0..100).position(|_| decoder.decode(&chunk, &mut Vec::new()).is_err());
        assert_eq!(failed, Some(16));
        let mut decoder = Decoder::new();
        decoder.decode(b"0\r\n", &mut Vec::new()).unwrap();
        let told = (0..100_000).map(|_| decoder.decode(b"A: b\r\n", &mut Vec::new()));
        let failed = told.enumerate().find_map(|(at, told)| told.err().map(|error| (at, error)));
        assert_eq!(failed, Some((468, Error::LongTrailers)));
    }

    #[test]
    fn sizes_are_written_as_they_are_read() {
        for size in [1, 9, 15, 16, 17, 255, 256, 0xabc_def0, 0xfff_ffff_ffff_ffff] {
            let mut line = Vec::new();
            write_size(size, &mut line);
            assert_eq!(line, format!("{size:x}\r\n").into_bytes());
            let mut decoder = Decoder::new();
            decoder.decode(&line, &mut Vec::new()).unwrap();
            assert_eq!(decoder.state, State::Data { left: size });
        }
    }
}
