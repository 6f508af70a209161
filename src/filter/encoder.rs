//! Compressing a body piece by piece: one face over the three codings. Pure: bytes in, bytes out.
//!
//! | call | what has come out after it |
//! |---|---|
//! | `write` | what the coder does not want to keep |
//! | `flush` | all that was written, so that who decodes has it |
//! | `finish` | the end |
//!
//! What a coder takes of memory is bounded by its window, however long the body ([`Encoder::memory`]).

use crate::http::encoding::Encoding;
use brotli::enc::StandardAlloc;
use brotli::enc::encode::{BrotliEncoderOperation, BrotliEncoderParameter, BrotliEncoderStateStruct};
use flate2::{Compress, Compression, FlushCompress, Status};
use std::fmt;
use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective};

/// The windows of streams, as powers of two: 256 KiB. A wider one would find little more in pages and scripts, and cost more
/// memory for each response that runs.
const WINDOW: u32 = 18;

/// The widest of brotli (RFC 7932 §9.1).
const WIDEST: u32 = 24;

/// Those of gzip have 32 KiB.
const GZIP_WINDOW: u8 = 15;

/// What is beside the window, for the tables of each.
const GZIP_MEMORY: u64 = 300 << 10;

/// Room for what comes out, at least.
const ROOM: usize = 4 * 1024;

/// What stands in a coding for nothing more than that.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failed;

/// One stream of compressed bytes.
pub(crate) struct Encoder {
    coder: Coder,
    encoding: Encoding,
    level: u32,
    memory: u64,
    /// Something was written since the last flush.
    owes: bool,
}

enum Coder {
    Brotli(Box<BrotliEncoderStateStruct<StandardAlloc>>),
    Zstd(CCtx<'static>),
    Gzip(Compress),
}

/// What a coder is to do beside taking bytes in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    GoOn,
    Flush,
    Finish,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").field("encoding", &self.encoding).field("level", &self.level).finish()
    }
}

impl Encoder {
    /// For a stream of so many bytes, if that is known, which is then to come exactly.
    ///
    /// # Errors
    /// There is no memory.
    pub(crate) fn new(encoding: Encoding, level: u32, length: Option<u64>) -> Result<Self, Failed> {
        Self::with((encoding, level), Some(WINDOW), length)
    }

    /// The smallest result, whatever it takes: for files that are compressed once.
    ///
    /// # Errors
    /// There is no memory.
    pub(crate) fn best(encoding: Encoding, length: u64) -> Result<Self, Failed> {
        let level = match encoding {
            Encoding::Brotli => 11,
            Encoding::Zstd => 19,
            Encoding::Gzip => 9,
        };
        Self::with((encoding, level), None, Some(length))
    }

    /// Without a window it has the one of its level: of zstd 8 MiB at most, which clients must take (RFC 9659).
    fn with(
        (encoding, level): (Encoding, u32),
        window: Option<u32>,
        length: Option<u64>,
    ) -> Result<Self, Failed> {
        let coder = match encoding {
            Encoding::Brotli => brotli(level, window.unwrap_or(WIDEST), length),
            Encoding::Zstd => zstd(level, window)?,
            Encoding::Gzip => Coder::Gzip(Compress::new_gzip(Compression::new(level), GZIP_WINDOW)),
        };
        let mut encoder = Self { coder, encoding, level, memory: 0, owes: false };
        encoder.begin(length)?;
        Ok(encoder)
    }

    /// As a new one, for another stream: what it takes of memory is had already. `None`: it cannot be used again.
    pub(crate) fn again(mut self, length: Option<u64>) -> Option<Self> {
        self.owes = false;
        match &mut self.coder {
            Coder::Brotli(_) => return None,
            Coder::Zstd(context) => drop(context.reset(ResetDirective::SessionOnly).ok()?),
            Coder::Gzip(coder) => coder.reset(),
        }
        self.begin(length).ok()?;
        Some(self)
    }

    fn begin(&mut self, length: Option<u64>) -> Result<(), Failed> {
        if let Coder::Zstd(context) = &mut self.coder {
            context.set_pledged_src_size(length).map_err(|_| Failed)?;
        }
        self.memory = match self.encoding {
            Encoding::Gzip => GZIP_MEMORY,
            Encoding::Zstd => zstd_memory(self.level, length),
            Encoding::Brotli => brotli_memory(self.level, length),
        };
        Ok(())
    }

    /// Its coding.
    #[must_use]
    pub(crate) fn encoding(&self) -> Encoding {
        self.encoding
    }

    /// Its level.
    #[must_use]
    pub(crate) fn level(&self) -> u32 {
        self.level
    }

    /// Bytes that it takes about, once it runs.
    #[must_use]
    pub(crate) fn memory(&self) -> u64 {
        self.memory
    }

    /// Takes bytes in; what comes out is added to `out`.
    ///
    /// # Errors
    /// There is no memory, or more has come than was said.
    pub(crate) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Failed> {
        self.owes |= !bytes.is_empty();
        self.run(bytes, Then::GoOn, out)
    }

    /// Has all come out that was written.
    ///
    /// # Errors
    /// There is no memory.
    pub(crate) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), Failed> {
        if !std::mem::replace(&mut self.owes, false) {
            return Ok(());
        }
        self.run(&[], Then::Flush, out)
    }

    /// The end of the stream.
    ///
    /// # Errors
    /// There is no memory, or less has come than was said.
    pub(crate) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Failed> {
        self.run(&[], Then::Finish, out)
    }

    fn run(&mut self, bytes: &[u8], then: Then, out: &mut Vec<u8>) -> Result<(), Failed> {
        match &mut self.coder {
            Coder::Brotli(state) => run_brotli(state, bytes, then, out),
            Coder::Zstd(context) => run_zstd(context, bytes, then, out),
            Coder::Gzip(coder) => run_gzip(coder, bytes, then, out),
        }
    }
}

/// The bits of a window that holds all of a stream of that length, or the usual ones.
fn bits(length: Option<u64>, most: u32) -> u32 {
    let Some(length) = length else { return most };
    // What a window of brotli has less than a power of two (RFC 7932 §9.1), and some more.
    let wanted = length.saturating_add(64).max(1024);
    wanted.checked_next_power_of_two().map_or(most, |size| size.trailing_zeros().min(most))
}

fn brotli(level: u32, window: u32, length: Option<u64>) -> Coder {
    let mut state = Box::new(BrotliEncoderStateStruct::new(StandardAlloc::default()));
    let hint = length.map_or(0, |length| u32::try_from(length).unwrap_or(u32::MAX).min(1 << 30));
    for (parameter, value) in [
        (BrotliEncoderParameter::BROTLI_PARAM_QUALITY, level),
        (BrotliEncoderParameter::BROTLI_PARAM_LGWIN, bits(length, window)),
        (BrotliEncoderParameter::BROTLI_PARAM_SIZE_HINT, hint),
    ] {
        state.set_parameter(parameter, value);
    }
    Coder::Brotli(state)
}

/// A ring of twice the window, the commands of a block, and the tables by which repetitions are found.
fn brotli_memory(level: u32, length: Option<u64>) -> u64 {
    let window = 1u64 << bits(length, WINDOW);
    let tables = match level {
        0..=1 => 128 << 10,
        2..=4 => 512 << 10,
        5..=6 => 1 << 20,
        _ => 4 << 20,
    };
    window * 4 + tables
}

/// The window, a block each way with what is found in it, and the tables by which repetitions are found.
fn zstd_memory(level: u32, length: Option<u64>) -> u64 {
    let window = 1u64 << bits(length, WINDOW);
    let tables = match level {
        0..=2 => 384 << 10,
        3 => 768 << 10,
        4 => 2 << 20,
        5..=12 => 3 << 20,
        _ => 5 << 20,
    };
    window + (768 << 10) + u64::min(tables, window * 20)
}

fn zstd(level: u32, window: Option<u32>) -> Result<Coder, Failed> {
    let mut context = CCtx::try_create().ok_or(Failed)?;
    let level = i32::try_from(level).map_err(|_| Failed)?;
    context.set_parameter(CParameter::CompressionLevel(level)).map_err(|_| Failed)?;
    if let Some(window) = window {
        context.set_parameter(CParameter::WindowLog(window)).map_err(|_| Failed)?;
        // Those of higher levels are for longer bodies than a window holds.
        if level >= 5 {
            context.set_parameter(CParameter::HashLog(window)).map_err(|_| Failed)?;
            context.set_parameter(CParameter::ChainLog(window)).map_err(|_| Failed)?;
        }
    }
    Ok(Coder::Zstd(context))
}

fn run_gzip(coder: &mut Compress, mut bytes: &[u8], then: Then, out: &mut Vec<u8>) -> Result<(), Failed> {
    let flush = match then {
        Then::GoOn => FlushCompress::None,
        Then::Flush => FlushCompress::Sync,
        Then::Finish => FlushCompress::Finish,
    };
    loop {
        out.reserve(ROOM.max(bytes.len() / 4));
        let before = coder.total_in();
        let status = coder.compress_vec(bytes, out, flush).map_err(|_| Failed)?;
        let taken = usize::try_from(coder.total_in().saturating_sub(before)).map_err(|_| Failed)?;
        bytes = bytes.get(taken..).unwrap_or_default();
        let has_room = out.len() < out.capacity();
        match (status, then) {
            (Status::StreamEnd, _) => return Ok(()),
            (_, Then::Finish) => {}
            _ if bytes.is_empty() && has_room => return Ok(()),
            // It neither takes nor gives anything.
            (Status::BufError, _) if has_room => return Err(Failed),
            _ => {}
        }
    }
}

fn run_zstd(context: &mut CCtx<'_>, bytes: &[u8], then: Then, out: &mut Vec<u8>) -> Result<(), Failed> {
    let directive = match then {
        Then::GoOn => ZSTD_EndDirective::ZSTD_e_continue,
        Then::Flush => ZSTD_EndDirective::ZSTD_e_flush,
        Then::Finish => ZSTD_EndDirective::ZSTD_e_end,
    };
    let mut input = InBuffer::around(bytes);
    loop {
        out.reserve(ROOM.max(bytes.len() / 4));
        let filled = out.len();
        let mut output = OutBuffer::around_pos(out, filled);
        let left = context.compress_stream2(&mut output, &mut input, directive).map_err(|_| Failed)?;
        let is_taken = input.pos() >= bytes.len();
        if is_taken && (then == Then::GoOn || left == 0) {
            return Ok(());
        }
    }
}

fn run_brotli(
    state: &mut BrotliEncoderStateStruct<StandardAlloc>,
    bytes: &[u8],
    then: Then,
    out: &mut Vec<u8>,
) -> Result<(), Failed> {
    let operation = match then {
        Then::GoOn => BrotliEncoderOperation::BROTLI_OPERATION_PROCESS,
        Then::Flush => BrotliEncoderOperation::BROTLI_OPERATION_FLUSH,
        Then::Finish => BrotliEncoderOperation::BROTLI_OPERATION_FINISH,
    };
    let (mut left, mut from) = (bytes.len(), 0);
    loop {
        let (mut room, mut to) = (0, 0);
        let taken = state.compress_stream(
            operation,
            &mut left,
            bytes,
            &mut from,
            &mut room,
            &mut [],
            &mut to,
            &mut None,
            &mut |_, _, _, _| (),
        );
        if !taken {
            return Err(Failed);
        }
        while state.has_more_output() {
            let mut size = 0;
            let made = state.take_output(&mut size);
            out.extend_from_slice(made.get(..size).unwrap_or_default());
            if size == 0 {
                break;
            }
        }
        let is_done = match then {
            Then::Finish => state.is_finished(),
            Then::GoOn | Then::Flush => left == 0 && !state.has_more_output(),
        };
        if is_done {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests;
