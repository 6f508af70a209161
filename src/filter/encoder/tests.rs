use super::*;
use std::io::{Read, Write};

/// Numbers that look random, the same each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below.max(1)
    }

    /// Words that come again, numbers, and from time to time what cannot be made smaller.
    fn body(&mut self, length: usize) -> Vec<u8> {
        let mut body = Vec::new();
        while body.len() < length {
            match self.roll(8) {
                0 => body.extend((0..self.roll(300)).map(|_| self.0 as u8)),
                1 => body.extend_from_slice(self.roll(u64::MAX).to_string().as_bytes()),
                _ => body.extend_from_slice(format!("<li class=\"item-{}\">", self.roll(40)).as_bytes()),
            }
        }
        body.truncate(length);
        body
    }
}

/// What a client makes of it, without its end if that has not come.
fn decoded(encoding: Encoding, coded: &[u8]) -> Vec<u8> {
    let mut plain = Vec::new();
    match encoding {
        Encoding::Gzip => drop(flate2::write::GzDecoder::new(&mut plain).write_all(coded)),
        Encoding::Brotli => drop(brotli::Decompressor::new(coded, 4096).read_to_end(&mut plain)),
        Encoding::Zstd => {
            let mut context = zstd_safe::DCtx::create();
            let mut input = InBuffer::around(coded);
            let mut buffer = vec![0; 64 * 1024];
            loop {
                let mut output = OutBuffer::around(&mut buffer[..]);
                let left = context.decompress_stream(&mut output, &mut input).unwrap();
                let count = output.pos();
                plain.extend_from_slice(&buffer[..count]);
                if left == 0 || (input.pos() == coded.len() && count < buffer.len()) {
                    break;
                }
            }
        }
    }
    plain
}

/// Whether there is an end, and nothing behind it.
fn is_whole(encoding: Encoding, coded: &[u8]) -> bool {
    match encoding {
        Encoding::Gzip => {
            let mut decoder = flate2::bufread::GzDecoder::new(coded);
            decoder.read_to_end(&mut Vec::new()).is_ok() && decoder.into_inner().is_empty()
        }
        Encoding::Brotli => brotli::Decompressor::new(coded, 4096).read_to_end(&mut Vec::new()).is_ok(),
        Encoding::Zstd => zstd_safe::find_frame_compressed_size(coded) == Ok(coded.len()),
    }
}

fn levels(encoding: Encoding) -> &'static [u32] {
    match encoding {
        Encoding::Brotli => &[0, 1, 2, 4, 5, 9],
        Encoding::Zstd => &[1, 3, 9],
        Encoding::Gzip => &[1, 5, 9],
    }
}

/// However it comes in and wherever it pauses, what a client has is what was sent: at each pause all of it so far.
#[test]
fn what_comes_out_is_what_came_in() {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for encoding in Encoding::ALL {
        for &level in levels(encoding) {
            let mut kept = None;
            for size in [0, 1, 100, 5_000, 40_000, 300_000] {
                let length = dice.roll(size + 1) as usize;
                let body = dice.body(length);
                let announced = (dice.roll(2) == 0).then_some(body.len() as u64);
                let again = kept.take().and_then(|encoder: Encoder| encoder.again(announced));
                let mut encoder = again.unwrap_or_else(|| Encoder::new(encoding, level, announced).unwrap());
                let (mut out, mut given) = (Vec::new(), 0);
                while given < body.len() {
                    let bound = [10, 2_000, 70_000][dice.roll(3) as usize];
                    let count = 1 + dice.roll(bound) as usize;
                    let piece = &body[given..body.len().min(given + count)];
                    encoder.write(piece, &mut out).unwrap();
                    given += piece.len();
                    if dice.roll(20) == 0 {
                        encoder.flush(&mut out).unwrap();
                        let had = decoded(encoding, &out);
                        assert!(had == body[..given], "{encoding:?} {level}: {} of {given}", had.len());
                    }
                }
                encoder.finish(&mut out).unwrap();
                let label = format!("{encoding:?} {level}, {length} bytes, announced {announced:?}");
                assert!(decoded(encoding, &out) == body, "{label}");
                assert!(is_whole(encoding, &out), "{label}");
                kept = Some(encoder);
            }
        }
    }
}

#[test]
fn a_pause_without_anything_new_says_nothing() {
    for encoding in Encoding::ALL {
        let mut encoder = Encoder::new(encoding, 4, None).unwrap();
        let mut out = Vec::new();
        encoder.flush(&mut out).unwrap();
        assert_eq!(out.len(), 0, "{encoding:?}");
        encoder.write(b"data: 1\n\n", &mut out).unwrap();
        encoder.flush(&mut out).unwrap();
        let first = out.len();
        assert_eq!(decoded(encoding, &out), b"data: 1\n\n", "{encoding:?}");
        encoder.flush(&mut out).unwrap();
        assert_eq!(out.len(), first, "{encoding:?}");
    }
}

#[test]
fn text_becomes_smaller_and_a_higher_level_does_not_make_it_larger() {
    let body = Dice(7).body(200_000);
    for encoding in Encoding::ALL {
        let size = |mut encoder: Encoder| {
            let mut out = Vec::new();
            encoder.write(&body, &mut out).unwrap();
            encoder.finish(&mut out).unwrap();
            out.len()
        };
        let usual = size(Encoder::new(encoding, 3, None).unwrap());
        let best = size(Encoder::best(encoding, body.len() as u64).unwrap());
        assert!(usual < body.len() / 2 && best <= usual, "{encoding:?}: {usual}, {best}");
    }
}

/// Of all levels that may be configured, what is accounted for is about what is taken: of zstd, which tells.
#[test]
fn what_a_stream_takes_is_bounded_and_known() {
    let body = Dice(7).body(2_000_000);
    for level in 1..=15 {
        let mut encoder = Encoder::new(Encoding::Zstd, level, None).unwrap();
        let mut out = Vec::new();
        encoder.write(&body, &mut out).unwrap();
        let Coder::Zstd(context) = &encoder.coder else { panic!() };
        let (takes, said) = (context.sizeof() as u64, encoder.memory());
        println!("zstd {level}: {takes}, said {said}");
        assert!(takes <= said * 3 / 2 && takes >= said / 4, "level {level}: takes {takes}, said {said}");
    }
}
