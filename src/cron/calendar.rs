//! The times that five fields name, in a zone whose clocks change.
//!
//! croner says which times of the calendar match, as if clocks never changed; which moments these are is decided here,
//! much as cronie does it:
//!
//! | schedule | clocks go forward | clocks go back |
//! |---|---|---|
//! | fixed: neither minute nor hour begins with `*` | what falls into the gap runs at its end, once | the first time only |
//! | moving: one of them does | what falls into the gap does not run | both times |
//!
//! So a fixed schedule runs once for each of its times, and a moving one whenever the clock shows one of its times.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Calendar {
    times: Cron,
    is_moving: bool,
}

/// Changes of a zone that a moving schedule is looked for across: a century and more. A schedule of which each time falls
/// into a gap never runs.
const MOST_CHANGES: usize = 400;

const SECOND: SignedDuration = SignedDuration::from_secs(1);

impl Calendar {
    /// Reads fields that were checked before.
    ///
    /// # Errors
    /// What croner has against them.
    pub(super) fn parse(fields: &str) -> Result<Self, String> {
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let times = parser.parse(fields).map_err(|error| error.to_string())?;
        let is_moving = fields.split_whitespace().take(2).any(|field| field.starts_with('*'));
        Ok(Self { times, is_moving })
    }

    /// The first moment after this one.
    pub(super) fn next_after(&self, after: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.is_moving {
            return self.next_moving(after.checked_add(SECOND).ok()?, zone);
        }
        let mut time = zone.to_datetime(after);
        loop {
            time = self.time_from(time.checked_add(SECOND).ok()?)?;
            // Not after it: a time that comes twice, of which the first one has been.
            let moment = moment(time, zone)?;
            if moment > after {
                return Some(moment);
            }
        }
    }

    /// The last moment until this one, which counts.
    pub(super) fn last_until(&self, until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        if self.is_moving {
            return self.last_moving(until, zone);
        }
        let mut time = zone.to_datetime(until);
        if let AmbiguousOffset::Fold { before, after } = zone.to_ambiguous_timestamp(time).offset() {
            // When it comes for the second time, later ones have been, too.
            time = time.checked_add(before.duration_since(after)).ok()?;
        }
        loop {
            time = self.time_until(time)?;
            let moment = moment(time, zone)?;
            if moment <= until {
                return Some(moment);
            }
            time = time.checked_sub(SECOND).ok()?;
        }
    }

    /// From this moment on; between two changes of the zone, time passes as on the calendar.
    fn next_moving(&self, mut from: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        for _ in 0..MOST_CHANGES {
            let offset = zone.to_offset(from);
            let moment = offset.to_timestamp(self.time_from(offset.to_datetime(from))?).ok()?;
            match zone.following(from).next() {
                Some(change) if change.timestamp() <= moment => from = change.timestamp(),
                _ => return Some(moment),
            }
        }
        None
    }

    fn last_moving(&self, mut until: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        for _ in 0..MOST_CHANGES {
            let offset = zone.to_offset(until);
            let moment = offset.to_timestamp(self.time_until(offset.to_datetime(until))?).ok()?;
            match zone.preceding(until.checked_add(SECOND).ok()?).next() {
                Some(change) if moment < change.timestamp() => {
                    until = change.timestamp().checked_sub(SECOND).ok()?;
                }
                _ => return Some(moment),
            }
        }
        None
    }

    /// The first time from this one on.
    fn time_from(&self, time: DateTime) -> Option<DateTime> {
        let found = self.times.find_next_occurrence(&time.to_zoned(TimeZone::UTC).ok()?, true);
        Some(found.ok()?.datetime())
    }

    /// The last time until this one.
    fn time_until(&self, time: DateTime) -> Option<DateTime> {
        let found = self.times.find_previous_occurrence(&time.to_zoned(TimeZone::UTC).ok()?, true);
        Some(found.ok()?.datetime())
    }
}

/// When a time comes, for the first time; of one that does not exist, when the clock leaps over it.
fn moment(time: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(time).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(time).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(time).ok(),
        AmbiguousOffset::Gap { before, .. } => {
            let beyond = before.to_timestamp(time).ok()?.checked_add(SECOND).ok()?;
            let mut changes = zone.preceding(beyond);
            changes
                .find(|change| change.offset().to_datetime(change.timestamp()) > time)
                .map(|change| change.timestamp())
        }
    }
}

#[cfg(test)]
mod tests;
