//! The second opinion: somebody who looks at a clock on the wall every minute, with a calendar of their own, and strikes out
//! what they have done. A sample of the changes of all zones in the suite; all of them with
//! `scripts/clocks [FIRST [LAST]]`, which sets `HATCHERY_CLOCKS`.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 60 * MINUTE;

/// Changes that the suite looks at: one of each shape, and as many others.
const SAMPLE: usize = 300;

/// Fixed ones, then moving ones.
const SCHEDULES: [&str; 17] = [
    "0 1 * * *",
    "30 2 * * *",
    "0 0 * * *",
    "59 23 * * *",
    "0,15,30,45 0-3 * * *",
    "5 0-23/2 * * *",
    "0-59/7 2,23 * * *",
    "30 1,2,3 * * 0",
    "15 0,12 1,30,31 * 5",
    "0 3 * 3,10,12 *",
    "*/15 * * * *",
    "0 * * * *",
    "*/20 1-3 * * *",
    "30 */2 * * *",
    "*/6 2 * * *",
    "7 * 1,31 * 0",
    "* 0 * 4,9 6",
];

/// Fields as somebody reads them who knows numbers, lists, ranges and steps.
struct Written {
    /// Minute, hour, day of month, month, day of week: a bit for each value.
    fields: [u64; 5],
    /// Either day is enough.
    either: bool,
    is_moving: bool,
}

impl Written {
    fn read(text: &str) -> Self {
        let words: Vec<&str> = text.split(' ').collect();
        let bounds = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)];
        let mut fields = [0; 5];
        for ((field, word), bounds) in fields.iter_mut().zip(&words).zip(bounds) {
            for item in word.split(',') {
                let (range, step) = item.split_once('/').unwrap_or((item, "1"));
                let (low, high) = match range.split_once('-') {
                    Some((low, high)) => (low.parse().unwrap(), high.parse().unwrap()),
                    None if range == "*" => bounds,
                    None => (range.parse().unwrap(), range.parse().unwrap()),
                };
                (low..=high).step_by(step.parse().unwrap()).for_each(|value: u32| *field |= 1 << value);
            }
        }
        let is_moving = words[0].starts_with('*') || words[1].starts_with('*');
        Self { fields, either: words[2] != "*" && words[4] != "*", is_moving }
    }

    /// Whether this minute is named, counted from 1970 on the clock.
    fn names(&self, shown: i64) -> bool {
        let has = |field: usize, value: i64| self.fields[field] >> value & 1 == 1;
        let (day_number, minute) = (shown.div_euclid(24 * 60), shown.rem_euclid(24 * 60));
        if !has(0, minute % 60) || !has(1, minute / 60) {
            return false;
        }
        let (month, day) = month_and_day(day_number);
        // 1 January 1970 was a Thursday.
        let (day, weekday) = (has(2, day), has(4, (day_number + 4).rem_euclid(7)));
        has(3, month) && if self.either { day || weekday } else { day && weekday }
    }

    /// When it runs, for who looks at the clock at these moments and sees these minutes.
    fn runs(&self, looks: &[(i64, i64)]) -> Vec<i64> {
        let mut latest = looks[0].1;
        let mut runs = Vec::new();
        for &(moment, shown) in &looks[1..] {
            let runs_now = if self.is_moving {
                self.names(shown)
            } else {
                // All that has come since, be it only because the clock leapt; nothing while it shows what it has shown.
                (latest + 1..=shown).any(|minute| self.names(minute))
            };
            latest = latest.max(shown);
            runs.extend(runs_now.then_some(moment));
        }
        runs
    }
}

/// Of a day counted from 1970, year by year and month by month.
fn month_and_day(mut days: i64) -> (i64, i64) {
    for year in 1970.. {
        let leap = i64::from(year % 4 == 0 && (year % 100 != 0 || year % 400 == 0));
        if days >= 365 + leap {
            days -= 365 + leap;
            continue;
        }
        for (month, length) in (1..).zip([31, 28 + leap, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
            if days < length {
                return (month, days + 1);
            }
            days -= length;
        }
    }
    unreachable!("every day is in a year")
}

/// A change of a clock: when, and what it is ahead of UTC before and after, in seconds.
type Change = (i64, i32, i32);

/// Each different change of all zones in these years, with a zone that has it.
fn changes(first: i16, last: i16) -> BTreeMap<Change, String> {
    let begin = |year| jiff::civil::date(year, 1, 1).to_zoned(TimeZone::UTC).unwrap().timestamp();
    let mut changes = BTreeMap::new();
    for name in jiff::tz::db().available().map(|name| name.to_string()) {
        if name.starts_with("posix/") || name.starts_with("right/") {
            continue;
        }
        let zone = TimeZone::get(&name).unwrap();
        for change in zone.following(begin(first)).take_while(|change| change.timestamp() < begin(last + 1)) {
            let before = zone.to_offset(change.timestamp() - SECOND).seconds();
            if before != change.offset().seconds() {
                let key = (change.timestamp().as_second(), before, change.offset().seconds());
                changes.entry(key).or_insert_with(|| name.clone());
            }
        }
    }
    changes
}

/// One of each shape, and so many of the others.
fn sample(changes: &BTreeMap<Change, String>, most: usize) -> Vec<(&Change, &String)> {
    let mut shapes = BTreeSet::new();
    let shape = |(at, before, after): Change| (after - before, (at + i64::from(before)).rem_euclid(DAY));
    let (mut taken, others): (Vec<_>, Vec<_>) =
        changes.iter().partition(|(change, _)| shapes.insert(shape(**change)));
    let step = others.len().div_ceil(most.saturating_sub(taken.len()).max(1)).max(1);
    taken.extend(others.into_iter().step_by(step));
    taken
}

/// As it is written, and as it is read here and there.
type Schedule = (&'static str, Calendar, Written);

/// Says what is not as the second opinion has it, from a day before the change to two days after it.
fn compare(at: i64, zone: &TimeZone, name: &str, schedules: &[Schedule]) -> Result<(), String> {
    let second = |second| Timestamp::from_second(second).unwrap();
    let start = at.div_euclid(MINUTE) * MINUTE;
    let looks: Vec<(i64, i64)> = (start - 2 * DAY..=start + 2 * DAY)
        .step_by(MINUTE as usize)
        .map(|moment| {
            let offset = zone.to_offset(second(moment)).seconds();
            (moment, (moment + i64::from(offset)).div_euclid(MINUTE))
        })
        .collect();
    let (from, to) = (start - DAY, start + 2 * DAY);
    let local = |moments: &[i64]| -> Vec<String> {
        moments.iter().map(|moment| second(*moment).to_zoned(zone.clone()).to_string()).collect()
    };
    for (text, calendar, written) in schedules {
        let mut expected = written.runs(&looks);
        expected.retain(|moment| *moment > from);
        let next = |last: &i64| calendar.next_after(second(*last), zone).map(Timestamp::as_second);
        let found: Vec<i64> =
            std::iter::successors(Some(from), next).skip(1).take_while(|moment| *moment <= to).collect();
        if found != expected {
            return Err(format!("{name}, {text}: {:#?} instead of {:#?}", local(&found), local(&expected)));
        }
        for moment in (from..to).step_by(293 * MINUTE as usize + 17).chain([at - 1, at, at + 1]) {
            let wrong = |what: &str, found: Option<Timestamp>, wanted: i64| {
                let found = found.map(Timestamp::as_second);
                if found == Some(wanted) {
                    return Ok(());
                }
                let (seen, shown) = (local(&[moment]), local(&[wanted]));
                Err(format!("{name}, {text}, the {what} {seen:?}: {found:?} instead of {shown:?}"))
            };
            if let Some(last) = expected.iter().rfind(|run| **run <= moment) {
                wrong("last until", calendar.last_until(second(moment), zone), *last)?;
            }
            if let Some(next) = expected.iter().find(|run| **run > moment) {
                wrong("next after", calendar.next_after(second(moment), zone), *next)?;
            }
        }
    }
    Ok(())
}

#[test]
fn schedules_run_when_somebody_runs_them_who_looks_at_the_clock() {
    let years = std::env::var("HATCHERY_CLOCKS").ok();
    let (first, last) = match years.as_deref().map(|years| years.split_once('-').expect("FIRST-LAST")) {
        Some((first, last)) => (first.parse().unwrap(), last.parse().unwrap()),
        None => (2010, 2037),
    };
    let changes = changes(first, last);
    let most = if years.is_some() { usize::MAX } else { SAMPLE };
    let looked_at = sample(&changes, most);
    println!("{} of {} changes of clocks, {} schedules", looked_at.len(), changes.len(), SCHEDULES.len());
    assert!(years.is_some() || looked_at.len() >= SAMPLE / 2, "are there rules of time zones?");
    let schedules = SCHEDULES.map(|text| (text, Calendar::parse(text).unwrap(), Written::read(text)));
    let wrong: Vec<String> = looked_at
        .into_iter()
        .filter_map(|((at, ..), name)| compare(*at, &TimeZone::get(name).unwrap(), name, &schedules).err())
        .collect();
    assert!(wrong.is_empty(), "{} changes, the first of them: {}", wrong.len(), wrong[0]);
}
