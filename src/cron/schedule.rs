//! When a job runs.
//!
//! Five fields as in crontab(5): lists, ranges, steps, names, 7 is Sunday; if both days are restricted, either one is
//! enough (Vixie's rule; only a plain `*` leaves a day unrestricted). Names: `@yearly @annually @monthly @weekly @daily
//! @midnight @hourly`, and `@every 90s` for an interval, which is counted from the Unix epoch, so that neither a reload
//! nor a restart shifts it.
//!
//! What holds when clocks change stands in [`super::calendar`].

use super::calendar::Calendar;
use super::fields::{self, ScheduleError};
use crate::timer::Wall;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When a job runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(crate) struct Schedule {
    when: When,
    zone: TimeZone,
    /// As the zone was named; `None`: the system's.
    zone_name: Option<String>,
    text: String,
}

/// A schedule as a file has it.
#[derive(Serialize, Deserialize)]
struct Written {
    at: String,
    timezone: Option<String>,
}

impl From<Schedule> for Written {
    fn from(schedule: Schedule) -> Self {
        Self { at: schedule.text, timezone: schedule.zone_name }
    }
}

impl TryFrom<Written> for Schedule {
    type Error = ScheduleError;

    fn try_from(written: Written) -> Result<Self, ScheduleError> {
        Self::parse(&written.at, written.timezone.as_deref())
    }
}

#[derive(Clone, Debug)]
enum When {
    Calendar(Box<Calendar>),
    /// Every so many seconds.
    Every(i64),
}

/// Two schedules are equal if they are written alike and mean the same zone.
impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone == other.zone
    }
}

impl Schedule {
    /// Reads `at` in the zone of this IANA name (`None`: the system's).
    ///
    /// # Errors
    /// A field is wrong, the zone is unknown, or no day can ever match (30 February).
    pub(crate) fn parse(at: &str, timezone: Option<&str>) -> Result<Self, ScheduleError> {
        let zone = timezone.map_or_else(|| Ok(TimeZone::system()), find_zone)?;
        let text = at.trim().to_owned();
        let when = match text.strip_prefix('@') {
            Some(name) => nickname(name)?,
            None => calendar(&fields::normalise(&text)?)?,
        };
        let schedule = Self { when, zone, zone_name: timezone.map(str::to_owned), text };
        // Leap years come every eight years at the latest (1896 to 1904), so what fires at all fires within a few.
        if schedule.next_after(Wall { seconds: Y2000, nanos: 0 }).is_none() {
            return Err(ScheduleError::new(
                format!("`{at}` can never fire"),
                "no month it names has such a day (`L` is the last one), or clocks leap over each of its times",
            ));
        }
        Ok(schedule)
    }

    /// As it was written.
    #[must_use]
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// The first time it fires after `wall`, at a whole second.
    #[must_use]
    pub(crate) fn next_after(&self, wall: Wall) -> Option<Wall> {
        match &self.when {
            When::Every(step) => {
                let next = wall.seconds.div_euclid(*step).checked_add(1)?.checked_mul(*step)?;
                Some(Wall { seconds: next, nanos: 0 })
            }
            When::Calendar(calendar) => {
                let next = calendar.next_after(timestamp(wall)?, &self.zone)?;
                Some(Wall { seconds: next.as_second(), nanos: 0 })
            }
        }
    }

    /// The last time it fired until `wall`, which counts.
    #[must_use]
    pub(crate) fn last_until(&self, wall: Wall) -> Option<Wall> {
        match &self.when {
            When::Every(step) => {
                let last = wall.seconds.div_euclid(*step).checked_mul(*step)?;
                Some(Wall { seconds: last, nanos: 0 })
            }
            When::Calendar(calendar) => {
                let last = calendar.last_until(timestamp(wall)?, &self.zone)?;
                Some(Wall { seconds: last.as_second(), nanos: 0 })
            }
        }
    }

    /// A time in the schedule's zone, RFC 3339.
    #[must_use]
    pub(crate) fn local(&self, wall: Wall) -> String {
        match timestamp(wall) {
            Some(at) => at.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string(),
            None => format!("@{}", wall.seconds),
        }
    }
}

fn timestamp(wall: Wall) -> Option<Timestamp> {
    Timestamp::from_second(wall.seconds).ok()
}

/// 2000-01-01T00:00:00Z: any fixed time will do to see whether a schedule ever fires.
const Y2000: i64 = 946_684_800;
const NICKNAMES: &str =
    "known are @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly and `@every 90s`";

fn nickname(name: &str) -> Result<When, ScheduleError> {
    let lower = name.to_ascii_lowercase();
    let fields = match lower.as_str() {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        "reboot" => {
            let hint = "what should run while the server runs is a daemon";
            return Err(ScheduleError::new("`@reboot` is not supported".to_owned(), hint));
        }
        other => match other.strip_prefix("every") {
            Some(interval) if interval.starts_with(char::is_whitespace) => return every(interval.trim()),
            _ => return Err(ScheduleError::new(format!("`@{name}` is not known"), NICKNAMES)),
        },
    };
    calendar(fields)
}

fn calendar(fields: &str) -> Result<When, ScheduleError> {
    match Calendar::parse(fields) {
        Ok(calendar) => Ok(When::Calendar(Box::new(calendar))),
        Err(error) => {
            let hint = "write minute, hour, day of month, month and day of week, as in `17 3 * * *`";
            Err(ScheduleError::new(format!("`{fields}`: {error}"), hint))
        }
    }
}

/// `90s`, `5m`, `1h30m`, `2d`.
fn every(interval: &str) -> Result<When, ScheduleError> {
    let wrong = || {
        let hint =
            "write whole seconds, minutes, hours or days, at least one second: `@every 90s`, `@every 1h30m`";
        ScheduleError::new(format!("`{interval}` is no interval"), hint)
    };
    let mut seconds: i64 = 0;
    let mut rest = interval;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = rest.split_at(digits);
        let number: i64 = number.parse().map_err(|_| wrong())?;
        let factor = match unit.chars().next() {
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            _ => return Err(wrong()),
        };
        seconds = number.checked_mul(factor).and_then(|part| seconds.checked_add(part)).ok_or_else(wrong)?;
        rest = unit.get(1..).unwrap_or_default().trim_start();
    }
    if seconds < 1 || seconds > LONGEST_INTERVAL.as_secs().cast_signed() {
        Err(wrong())
    } else {
        Ok(When::Every(seconds))
    }
}

/// Ten years.
const LONGEST_INTERVAL: Duration = Duration::from_secs(3653 * 86_400);

/// The zone of a name; else the zones that may have been meant.
fn find_zone(name: &str) -> Result<TimeZone, ScheduleError> {
    TimeZone::get(name).map_err(|_| {
        let ending =
            format!("/{}", name.rsplit('/').next().unwrap_or(name).to_ascii_lowercase().replace(' ', "_"));
        let near: Vec<String> = jiff::tz::db()
            .available()
            .map(|known| known.to_string())
            .filter(|known| known.to_ascii_lowercase().ends_with(&ending))
            .filter(|known| !known.starts_with("posix/") && !known.starts_with("right/"))
            .take(3)
            .collect();
        let hint = match near.as_slice() {
            [] => {
                "write an IANA name such as `Europe/Berlin` or `UTC`; the package tzdata has them".to_owned()
            }
            near => format!("did you mean {}?", near.join(" or ")),
        };
        ScheduleError { what: format!("the time zone `{name}` is not known"), hint, zone: true }
    })
}

#[cfg(test)]
mod tests;
