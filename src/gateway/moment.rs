//! A moment as `X-Request-Start` has it: `t=1760013296.007999`, seconds since 1970 with six decimals, which whoever reads nginx's
//! `t=${msec}` understands. Without `std::fmt`: every request of an app has one.

use crate::http::date::put2;
use crate::timer::Wall;

/// How long it is, in bytes.
pub(super) const LEN: usize = 19;

/// Seconds have ten digits until the year 2286.
const MOST: i64 = 9_999_999_999;

/// The moment as text.
pub(super) fn of(wall: Wall) -> [u8; LEN] {
    let mut text = *b"t=0000000000.000000";
    let seconds = wall.seconds.clamp(0, MOST) as u64;
    let (high, low) = ((seconds / 1_000_000) as u32, (seconds % 1_000_000) as u32);
    let micros = wall.nanos / 1000;
    put2(&mut text[2..4], high / 100);
    put2(&mut text[4..6], high);
    put2(&mut text[6..8], low / 10_000);
    put2(&mut text[8..10], low / 100);
    put2(&mut text[10..12], low);
    put2(&mut text[13..15], micros / 10_000);
    put2(&mut text[15..17], micros / 100);
    put2(&mut text[17..19], micros);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_seconds_with_six_decimals_which_are_cut() {
        for (seconds, nanos, text) in [
            (1_760_013_296, 7_999_999, "t=1760013296.007999"),
            (1_760_013_296, 999_999_999, "t=1760013296.999999"),
            (1_234_567_890, 123_456_000, "t=1234567890.123456"),
            (0, 0, "t=0000000000.000000"),
            (-5, 1000, "t=0000000000.000001"),
            (i64::MAX, 0, "t=9999999999.000000"),
        ] {
            assert_eq!(std::str::from_utf8(&of(Wall { seconds, nanos })), Ok(text));
        }
    }
}
