//! Replays the corpora of the fuzz targets, and a few seeded mutations of each file, without a fuzzer.

#![allow(clippy::panic, reason = "a test fails by panicking, in its helpers too")]

use crate::{http_corpus, http2};
use hatchery::fuzzing::{self, TARGETS};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// Mutations of each file.
const MUTATIONS: u64 = 8;

fn replay(name: &str, at_least: usize) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).expect("a target of that name");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(name);
    let mut paths: Vec<_> =
        std::fs::read_dir(&folder).expect("a corpus").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    assert!(paths.len() >= at_least, "{} files in {}", paths.len(), folder.display());
    for path in paths {
        let bytes = std::fs::read(&path).expect("a readable file");
        try_all(&path.display().to_string(), &bytes, *target);
    }
}

fn try_all(name: &str, bytes: &[u8], target: fn(&[u8])) {
    for seed in 0..=MUTATIONS {
        let bytes = if seed == 0 { bytes.to_vec() } else { mutate(bytes, seed) };
        if catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err() {
            panic!("{name}, mutation {seed}: {}", bytes.escape_ascii());
        }
    }
}

/// Other bytes at a few places, and the end cut off now and then.
fn mutate(bytes: &[u8], seed: u64) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let noise = crate::harness::noise(16, seed.wrapping_add(bytes.len() as u64));
    for pair in noise.chunks_exact(4).take(seed as usize) {
        let at = usize::from(u16::from_le_bytes([pair[0], pair[1]])) % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = if pair[2] < 128 { b"\r\n :;,/%0\0\"[].*-"[usize::from(pair[2]) % 16] } else { pair[3] };
        }
        if pair[2] == 0 {
            bytes.truncate(at);
        }
    }
    bytes
}

#[test]
fn head() {
    replay("head", 100);
    for (name, bytes) in http_corpus::streams() {
        try_all(&name, &bytes, fuzzing::head);
    }
}

#[test]
fn packet() {
    replay("packet", 25);
}

#[test]
fn chunked() {
    replay("chunked", 50);
}

#[test]
fn target() {
    replay("target", 80);
}

#[test]
fn back() {
    replay("back", 15);
}

#[test]
fn range() {
    replay("range", 10);
}

#[test]
fn configuration() {
    replay("configuration", 12);
}

#[test]
fn response() {
    replay("response", 15);
}

#[test]
fn cgi() {
    replay("cgi", 12);
}

#[test]
fn fastcgi() {
    replay("fastcgi", 20);
}

#[test]
fn block() {
    replay("block", 25);
}

#[test]
fn proxied() {
    replay("proxied", 16);
}

#[test]
fn frames() {
    replay("frames", 25);
    for (name, bytes) in http2::streams() {
        try_all(&name, &bytes, fuzzing::frames);
    }
}

#[test]
fn websocket() {
    replay("websocket", 30);
}

#[test]
fn shared() {
    replay("shared", 6);
}

#[test]
fn kept() {
    replay("kept", 10);
}

#[test]
fn caching() {
    replay("caching", 40);
}
