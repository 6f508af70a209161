//! What an ASGI process may say over the stream that its requests share.

use super::MOST;
use crate::gateway::shared::{Asked, Part, Streams};
use std::collections::BTreeSet;

/// Requests that are open: two of either kind.
const OPEN: [(u16, Asked); 4] =
    [(0, Asked::Http), (1, Asked::WebSocket), (2, Asked::Http), (3, Asked::WebSocket)];

/// Frames on any of the four requests; a BODY may come in pieces.
pub fn shared(bytes: &[u8]) {
    let bytes = bytes.get(..MOST).unwrap_or(bytes);
    let whole = play(&[bytes]);
    assert_eq!(whole, play(&bytes.chunks(1).collect::<Vec<_>>()), "whole and byte by byte");
    let cut = bytes.first().map_or(0, |byte| usize::from(*byte) % bytes.len());
    let (before, after) = bytes.split_at_checked(cut).unwrap_or((bytes, &[]));
    assert_eq!(whole, play(&[before, after]), "whole and cut at {cut}");
}

/// What came of each request, bodies in one piece, and whether the stream is still of use.
fn play(pieces: &[&[u8]]) -> (Vec<(u32, Vec<Part>)>, bool) {
    let mut streams = Streams::default();
    let numbers = OPEN.map(|(unit, asked)| streams.begin(unit, asked, ()).expect("a number"));
    let mut told: Vec<(u32, Vec<Part>)> = numbers.iter().map(|number| (*number, Vec::new())).collect();
    let mut freed = BTreeSet::new();
    for piece in pieces {
        streams.feed(piece);
        loop {
            match streams.poll() {
                Ok(Some((number, part))) => {
                    assert!(!freed.contains(&number), "something of request {number} after FREE");
                    if part == Part::Free {
                        freed.insert(number);
                        assert!(streams.end(number), "it was open");
                    }
                    let known = told.iter_mut().find(|(known, _)| *known == number);
                    let (_, parts) = known.expect("something of a request that was never open");
                    match (parts.last_mut(), part) {
                        (Some(Part::Body(before)), Part::Body(bytes)) => before.extend(bytes),
                        (_, part) => parts.push(part),
                    }
                }
                Ok(None) => break,
                Err(_) => return (told, false),
            }
        }
    }
    (told, true)
}
