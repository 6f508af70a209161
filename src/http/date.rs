//! Dates in HTTP (RFC 9110 §5.6.7): written as IMF-fixdate, read in all three forms. The calendar is the proleptic
//! Gregorian one, in UTC, without leap seconds, as Unix time has it. No clock: `now` is an argument.

use crate::timer::Wall;
use std::fmt;

/// A date as text, `Sun, 06 Nov 1994 08:49:37 GMT`; 29 bytes, no allocation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct ImfDate([u8; ImfDate::LEN]);

impl ImfDate {
    /// Length of every IMF-fixdate.
    pub(crate) const LEN: usize = 29;

    /// The date of `seconds` since the Unix epoch. Years outside 0..=9999 have no text: the nearest that has is taken.
    #[must_use]
    pub(crate) fn new(seconds: i64) -> Self {
        let civil = Civil::from_unix(seconds.clamp(FIRST_SECOND, LAST_SECOND));
        let mut text = *b"Sun, 00 Jan 0000 00:00:00 GMT";
        text[0..3].copy_from_slice(DAYS[civil.weekday as usize % 7].as_bytes());
        put2(&mut text[5..7], civil.day);
        text[8..11].copy_from_slice(civil.month_name().as_bytes());
        put2(&mut text[12..14], (civil.year / 100) as u32);
        put2(&mut text[14..16], (civil.year % 100) as u32);
        put2(&mut text[17..19], civil.hour);
        put2(&mut text[20..22], civil.minute);
        put2(&mut text[23..25], civil.second);
        Self(text)
    }

    /// The text.
    #[must_use]
    pub(crate) fn as_str(&self) -> &str {
        // Every byte put in is ASCII.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl AsRef<[u8]> for ImfDate {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ImfDate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

impl fmt::Debug for ImfDate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.as_str())
    }
}

/// Seconds since the epoch as `2026-10-01T12:00:00Z` (RFC 3339).
#[must_use]
pub(crate) fn iso(seconds: i64) -> String {
    let Civil { year, month, day, hour, minute, second, .. } = Civil::from_unix(seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Reads a date in any of the three forms (IMF-fixdate, RFC 850, asctime) as seconds since the Unix epoch; `None` if it
/// is none of them. The day name must be one, but need not be the right one. A two-digit year that would be more than 50
/// years after `now` lies in the century before (RFC 9110 §5.6.7).
#[must_use]
pub fn parse(text: &[u8], now: Wall) -> Option<i64> {
    let comma = text.iter().position(|byte| *byte == b',');
    match comma {
        Some(3) => parse_imf(text),
        Some(_) => parse_rfc850(text, now),
        None => parse_asctime(text),
    }
}

/// A point in UTC, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    /// Year, may be negative.
    pub(crate) year: i64,
    /// 1..=12.
    pub(crate) month: u32,
    /// 1..=31.
    pub(crate) day: u32,
    /// 0..=23.
    pub(crate) hour: u32,
    /// 0..=59.
    pub(crate) minute: u32,
    /// 0..=59.
    pub(crate) second: u32,
    /// 0 is Sunday.
    pub(crate) weekday: u32,
}

impl Civil {
    /// The date and time of `seconds` since the Unix epoch.
    /// After Howard Hinnant, "chrono-compatible low-level date algorithms", `civil_from_days`.
    #[must_use]
    pub(crate) fn from_unix(seconds: i64) -> Self {
        let days = seconds.div_euclid(DAY);
        let of_day = seconds.rem_euclid(DAY) as u32;
        let shifted = days + DAYS_0000_03_01_TO_EPOCH;
        let era = shifted.div_euclid(DAYS_PER_ERA);
        let day_of_era = shifted.rem_euclid(DAYS_PER_ERA);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day,
            hour: of_day / 3600,
            minute: of_day / 60 % 60,
            second: of_day % 60,
            weekday: (days + 4).rem_euclid(7) as u32,
        }
    }

    /// Seconds since the Unix epoch; the weekday is not looked at. Years are those of four digits.
    #[must_use]
    pub(crate) fn to_unix(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = i64::from((self.month + 9) % 12);
        let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * DAYS_PER_ERA + day_of_era - DAYS_0000_03_01_TO_EPOCH;
        days * DAY + i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }

    /// `Jan` to `Dec`.
    #[must_use]
    pub(crate) fn month_name(&self) -> &'static str {
        MONTHS[(self.month as usize).wrapping_sub(1) % 12]
    }

    /// `None` if a part is out of its range. Second 60 is in the grammar (a leap second) and becomes 59.
    fn checked(year: i64, month: u32, day: u32, (hour, minute, second): (u32, u32, u32)) -> Option<Self> {
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let longest = match month {
            2 => 28 + u32::from(leap),
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        let fits = (1..=longest).contains(&day) && hour < 24 && minute < 60 && second <= 60;
        fits.then_some(Self { year, month, day, hour, minute, second: second.min(59), weekday: 0 })
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`
fn parse_imf(text: &[u8]) -> Option<i64> {
    let mut left = Reader(text);
    left.name(&DAYS)?;
    left.literal(b", ")?;
    let day = left.digits(2)?;
    left.literal(b" ")?;
    let month = left.name(&MONTHS)? + 1;
    left.literal(b" ")?;
    let year = left.digits(4)?;
    left.literal(b" ")?;
    let time = left.time()?;
    left.literal(b" GMT")?;
    left.end(Civil::checked(i64::from(year), month, day, time)?)
}

/// `Sunday, 06-Nov-94 08:49:37 GMT`
fn parse_rfc850(text: &[u8], now: Wall) -> Option<i64> {
    let mut left = Reader(text);
    left.name(&LONG_DAYS)?;
    left.literal(b", ")?;
    let day = left.digits(2)?;
    left.literal(b"-")?;
    let month = left.name(&MONTHS)? + 1;
    left.literal(b"-")?;
    let short_year = i64::from(left.digits(2)?);
    left.literal(b" ")?;
    let time = left.time()?;
    left.literal(b" GMT")?;
    let this_year = Civil::from_unix(now.seconds).year;
    let mut year = this_year - this_year.rem_euclid(100) + short_year;
    if year > this_year + 50 {
        year -= 100;
    } else if year <= this_year - 50 {
        year += 100;
    }
    left.end(Civil::checked(year, month, day, time)?)
}

/// `Sun Nov  6 08:49:37 1994`
fn parse_asctime(text: &[u8]) -> Option<i64> {
    let mut left = Reader(text);
    left.name(&DAYS)?;
    left.literal(b" ")?;
    let month = left.name(&MONTHS)? + 1;
    left.literal(b" ")?;
    let day = if left.literal(b" ").is_some() { left.digits(1)? } else { left.digits(2)? };
    left.literal(b" ")?;
    let time = left.time()?;
    left.literal(b" ")?;
    let year = left.digits(4)?;
    left.end(Civil::checked(i64::from(year), month, day, time)?)
}

/// What is left to read.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn literal(&mut self, expected: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(expected)?;
        Some(())
    }

    fn digits(&mut self, count: usize) -> Option<u32> {
        let (digits, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        digits
            .iter()
            .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
    }

    /// The index of the name that stands here; names are case-sensitive (RFC 9110 §5.6.7).
    fn name(&mut self, names: &[&str]) -> Option<u32> {
        let index = names.iter().position(|name| self.0.starts_with(name.as_bytes()))?;
        self.0 = self.0.get(names[index].len()..)?;
        u32::try_from(index).ok()
    }

    fn time(&mut self) -> Option<(u32, u32, u32)> {
        let hour = self.digits(2)?;
        self.literal(b":")?;
        let minute = self.digits(2)?;
        self.literal(b":")?;
        Some((hour, minute, self.digits(2)?))
    }

    fn end(self, civil: Civil) -> Option<i64> {
        self.0.is_empty().then(|| civil.to_unix())
    }
}

/// Writes two digits.
pub(crate) fn put2(place: &mut [u8], number: u32) {
    if let [tens, ones] = place {
        *tens = b'0' + (number / 10 % 10) as u8;
        *ones = b'0' + (number % 10) as u8;
    }
}

const DAY: i64 = 86_400;
const DAYS_PER_ERA: i64 = 146_097;
const DAYS_0000_03_01_TO_EPOCH: i64 = 719_468;
/// 0000-01-01T00:00:00Z
const FIRST_SECOND: i64 = -62_167_219_200;
/// 9999-12-31T23:59:59Z
const LAST_SECOND: i64 = 253_402_300_799;
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const LONG_DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Wall = Wall { seconds: 1_790_000_000, nanos: 0 }; // 2026

    #[test]
    fn the_three_forms_of_the_rfc_are_the_same_moment() {
        for text in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(parse(text.as_bytes(), NOW), Some(784_111_777), "{text}");
        }
        assert_eq!(ImfDate::new(784_111_777).as_str(), "Sun, 06 Nov 1994 08:49:37 GMT");
    }

    #[test]
    fn known_moments_are_written() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (-1, "Wed, 31 Dec 1969 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_582_934_400, "Sat, 29 Feb 2020 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (i64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
            (i64::MIN, "Sat, 01 Jan 0000 00:00:00 GMT"),
        ] {
            assert_eq!(ImfDate::new(seconds).as_str(), text);
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        // Steps of a prime number of seconds, about every 11 hours from 1960 to 2110.
        for seconds in (-315_619_200..4_417_977_600_i64).step_by(39_937) {
            let text = ImfDate::new(seconds);
            assert_eq!(parse(text.as_ref(), NOW), Some(seconds), "{text}");
            assert_eq!(Civil::from_unix(seconds).to_unix(), seconds);
        }
    }

    #[test]
    fn two_digit_years_lie_within_fifty_years_of_now() {
        for (year, expected) in [("26", 2026), ("76", 2076), ("77", 1977), ("99", 1999), ("00", 2000)] {
            let text = format!("Sunday, 06-Nov-{year} 08:49:37 GMT");
            let seconds = parse(text.as_bytes(), NOW).unwrap();
            assert_eq!(Civil::from_unix(seconds).year, expected, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_date() {
        for bad in [
            "",
            ",",
            "Sun",
            "0",
            "784111777",
            "Sun, 06 Nov 1994 08:49:37",
            "Sun, 06 Nov 1994 08:49:37 UTC",
            "Sun, 06 Nov 1994 08:49:37 GMT ",
            "sun, 06 nov 1994 08:49:37 gmt",
            "Sun, 6 Nov 1994 08:49:37 GMT",
            "Sun, 31 Feb 1994 08:49:37 GMT",
            "Sun, 29 Feb 1900 08:49:37 GMT",
            "Sun, 00 Nov 1994 08:49:37 GMT",
            "Sun, 06 Nov 1994 24:00:00 GMT",
            "Sun, 06 Nov 1994 08:60:00 GMT",
            "Sun, 06 Nov 1994 08:49:61 GMT",
            "Sun, 06 Nov 1994 08:49:+7 GMT",
            "Sun, 06 Nov 19940 08:49:37 GMT",
            "Sunday, 06 Nov 1994 08:49:37 GMT",
            "Sun Nov 06 08:49:37 94",
            "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        ] {
            assert_eq!(parse(bad.as_bytes(), NOW), None, "{bad}");
        }
        assert_eq!(parse(b"Sun, 06 Nov 1994 08:49:60 GMT", NOW), Some(784_111_799));
        assert_eq!(parse(b"Sun, \xff6 Nov 1994 08:49:37 GMT", NOW), None);
    }
}
