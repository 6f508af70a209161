//! Frames (RFC 6455 §5.2).

use super::Breach;
use super::mask::Mask;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Opcode {
    Continuation = 0,
    Text = 1,
    Binary = 2,
    Close = 8,
    Ping = 9,
    Pong = 10,
}

impl Opcode {
    fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0 => Self::Continuation,
            1 => Self::Text,
            2 => Self::Binary,
            8 => Self::Close,
            9 => Self::Ping,
            10 => Self::Pong,
            _ => return None,
        })
    }

    /// Of a frame that may come within a message.
    pub(super) fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// The longest payload of a control frame (RFC 6455 §5.5).
pub(super) const CONTROL: usize = 125;

/// What stands for a length that follows in 16 bits, or in 64.
const SHORT: u8 = 126;
const LONG: u8 = 127;

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// The header of a frame of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) opcode: Opcode,
    /// The last frame of its message.
    pub(super) fin: bool,
    /// Bytes of payload; below 2^63.
    pub(super) length: u64,
    pub(super) mask: Mask,
}

impl Header {
    /// Reads the header that `bytes` begin with, and how long it is; `None`: more must come. What is wrong is found with the
    /// first byte that shows it.
    ///
    /// # Errors
    /// If it is none that a client may send us.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, Breach> {
        let Some(first) = bytes.first() else { return Ok(None) };
        if first & RESERVED != 0 {
            return Err(Breach::protocol("reserved bits without an extension"));
        }
        let opcode = Opcode::from_bits(first & 0x0f).ok_or(Breach::protocol("unknown opcode"))?;
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(Breach::protocol("fragmented control frame"));
        }
        let Some(second) = bytes.get(1) else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(Breach::protocol("frame without a mask"));
        }
        let code = second & !MASKED;
        if opcode.is_control() && usize::from(code) > CONTROL {
            return Err(Breach::protocol("control frame over 125 bytes"));
        }
        let behind = bytes.get(2..).unwrap_or_default();
        let Some((length, width)) = length(code, behind)? else { return Ok(None) };
        let mask = behind.get(width..).and_then(<[u8]>::first_chunk);
        Ok(mask.map(|mask| (Self { opcode, fin, length, mask: Mask(*mask) }, 2 + width + mask.len())))
    }
}

/// The length that the code stands for, and in how many more bytes it is.
fn length(code: u8, behind: &[u8]) -> Result<Option<(u64, usize)>, Breach> {
    let (length, width, least) = match code {
        SHORT => match behind.first_chunk() {
            Some(bytes) => (u16::from_be_bytes(*bytes).into(), bytes.len(), u64::from(SHORT)),
            None => return Ok(None),
        },
        LONG => match behind.first_chunk() {
            Some(bytes) => (u64::from_be_bytes(*bytes), bytes.len(), 1 << 16),
            None => return Ok(None),
        },
        length => (length.into(), 0, 0),
    };
    if length < least {
        return Err(Breach::protocol("length in more bytes than it needs"));
    }
    if length >> 63 != 0 {
        return Err(Breach::protocol("length with its highest bit"));
    }
    Ok(Some((length, width)))
}

/// Writes the header of a frame to a client, which has no mask.
pub(super) fn write(opcode: Opcode, fin: bool, length: u64, out: &mut Vec<u8>) {
    out.push(opcode as u8 | if fin { FIN } else { 0 });
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(length), _) if length < SHORT => out.push(length),
        (_, Ok(length)) => {
            out.push(SHORT);
            out.extend_from_slice(&length.to_be_bytes());
        }
        _ => {
            out.push(LONG);
            out.extend_from_slice(&length.to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Option<(Opcode, bool, u64, usize)>, &'static str> {
        let read = Header::read(bytes).map_err(|breach| breach.why)?;
        Ok(read.map(|(header, used)| (header.opcode, header.fin, header.length, used)))
    }

    #[test]
    fn a_header_is_read_with_its_last_byte() {
        let good: [(&[u8], _); 7] = [
            (b"\x81\x80mask", (Opcode::Text, true, 0, 6)),
            (b"\x02\xfdmask", (Opcode::Binary, false, 125, 6)),
            (b"\x80\xfe\0\x7emask", (Opcode::Continuation, true, 126, 8)),
            (b"\x82\xfe\xff\xffmask", (Opcode::Binary, true, 0xffff, 8)),
            (b"\x82\xff\0\0\0\0\0\x01\0\0mask", (Opcode::Binary, true, 0x10000, 14)),
            (b"\x82\xff\x7f\xff\xff\xff\xff\xff\xff\xffmask", (Opcode::Binary, true, u64::MAX >> 1, 14)),
            (b"\x89\xfdmask", (Opcode::Ping, true, 125, 6)),
        ];
        for (bytes, header) in good {
            assert_eq!(read(bytes), Ok(Some(header)), "{bytes:x?}");
            assert_eq!(read(&[bytes, &b"payload"[..]].concat()), Ok(Some(header)), "{bytes:x?}");
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]), Ok(None), "{bytes:x?}, {end} bytes of it");
            }
        }
    }

    #[test]
    fn what_no_client_may_send_is_refused_with_its_first_byte_that_is_wrong() {
        let wrong: [(&[u8], _); 18] = [
            (b"\x91", "reserved bits without an extension"),
            (b"\xa1", "reserved bits without an extension"),
            (b"\xc1", "reserved bits without an extension"),
            (b"\x83", "unknown opcode"),
            (b"\x07", "unknown opcode"),
            (b"\x8b", "unknown opcode"),
            (b"\x8f", "unknown opcode"),
            (b"\x08", "fragmented control frame"),
            (b"\x09", "fragmented control frame"),
            (b"\x0a", "fragmented control frame"),
            (b"\x81\x00", "frame without a mask"),
            (b"\x88\x05", "frame without a mask"),
            (b"\x88\xfe", "control frame over 125 bytes"),
            (b"\x89\xff", "control frame over 125 bytes"),
            (b"\x82\xfe\0\x7d", "length in more bytes than it needs"),
            (b"\x82\xfe\0\0", "length in more bytes than it needs"),
            (b"\x82\xff\0\0\0\0\0\0\xff\xff", "length in more bytes than it needs"),
            (b"\x82\xff\x80\0\0\0\0\0\0\0", "length with its highest bit"),
        ];
        for (bytes, why) in wrong {
            assert_eq!(read(bytes), Err(why), "{bytes:x?}");
            assert_eq!(read(&bytes[..bytes.len() - 1]), Ok(None), "{bytes:x?} without its last byte");
        }
    }

    #[test]
    fn a_header_that_is_written_has_the_shortest_length() {
        let written: [(u64, &[u8]); 6] = [
            (0, b"\x82\0"),
            (125, b"\x82\x7d"),
            (126, b"\x82\x7e\0\x7e"),
            (0xffff, b"\x82\x7e\xff\xff"),
            (0x10000, b"\x82\x7f\0\0\0\0\0\x01\0\0"),
            (u64::MAX >> 1, b"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
        ];
        for (length, bytes) in written {
            let mut out = Vec::new();
            write(Opcode::Binary, true, length, &mut out);
            assert_eq!(out, bytes, "{length}");
        }
        let mut out = Vec::new();
        write(Opcode::Text, false, 1, &mut out);
        assert_eq!(out, b"\x01\x01");
    }
}
