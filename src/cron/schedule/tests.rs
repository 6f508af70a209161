use super::*;

/// Seconds of a time in UTC.
fn utc(text: &str) -> Wall {
    let timestamp: Timestamp = text.parse().expect(text);
    Wall { seconds: timestamp.as_second(), nanos: 0 }
}

/// The next `count` times after `from`, in the schedule's zone.
fn times(at: &str, zone: &str, from: &str, count: usize) -> Vec<String> {
    let schedule = Schedule::parse(at, Some(zone)).expect(at);
    let mut wall = utc(from);
    let next = || {
        wall = schedule.next_after(wall)?;
        Some(schedule.local(wall))
    };
    std::iter::from_fn(next).take(count).collect()
}

#[test]
fn the_next_time_is_after_not_at() {
    let schedule = Schedule::parse("17 3 * * *", Some("UTC")).expect("a schedule");
    let at = utc("2026-03-01T03:17:00Z");
    assert_eq!(schedule.next_after(Wall { seconds: at.seconds - 1, nanos: 999_999_999 }), Some(at));
    assert_eq!(schedule.next_after(at), Some(utc("2026-03-02T03:17:00Z")));
    assert_eq!(schedule.next_after(Wall { nanos: 5, ..at }), Some(utc("2026-03-02T03:17:00Z")));
    assert_eq!(schedule.last_until(at), Some(at));
    assert_eq!(
        schedule.last_until(Wall { seconds: at.seconds - 1, nanos: 0 }),
        Some(utc("2026-02-28T03:17:00Z"))
    );
}

#[test]
fn names_mean_their_fields() {
    for (name, wanted) in [
        ("@yearly", "2027-01-01T00:00:00+00:00"),
        ("@annually", "2027-01-01T00:00:00+00:00"),
        ("@monthly", "2026-06-01T00:00:00+00:00"),
        ("@weekly", "2026-05-17T00:00:00+00:00"),
        ("@Daily", "2026-05-16T00:00:00+00:00"),
        ("@midnight", "2026-05-16T00:00:00+00:00"),
        (" @hourly ", "2026-05-15T12:00:00+00:00"),
    ] {
        assert_eq!(times(name, "UTC", "2026-05-15T11:30:00Z", 1), [wanted], "{name}");
    }
}

#[test]
fn lists_ranges_steps_and_sunday_twice() {
    assert_eq!(
        times("*/20 9-10 * * *", "UTC", "2026-05-15T09:30:00Z", 4),
        [
            "2026-05-15T09:40:00+00:00",
            "2026-05-15T10:00:00+00:00",
            "2026-05-15T10:20:00+00:00",
            "2026-05-15T10:40:00+00:00"
        ]
    );
    // 17 May 2026 is a Sunday.
    for sunday in ["0 0 * * 0", "0 0 * * 7", "0 0 * * sun", "0 0 * * 7-7"] {
        assert_eq!(
            times(sunday, "UTC", "2026-05-15T00:00:00Z", 1),
            ["2026-05-17T00:00:00+00:00"],
            "{sunday}"
        );
    }
    assert_eq!(
        times("0 0 * * fri-sun", "UTC", "2026-05-13T00:00:00Z", 4),
        [
            "2026-05-15T00:00:00+00:00",
            "2026-05-16T00:00:00+00:00",
            "2026-05-17T00:00:00+00:00",
            "2026-05-22T00:00:00+00:00"
        ]
    );
    assert_eq!(times("0 0 L * *", "UTC", "2028-02-01T00:00:00Z", 1), ["2028-02-29T00:00:00+00:00"]);
}

#[test]
fn either_day_is_enough_if_both_are_restricted() {
    assert_eq!(
        times("0 0 13 * fri", "UTC", "2026-05-07T12:00:00Z", 4),
        [
            "2026-05-08T00:00:00+00:00",
            "2026-05-13T00:00:00+00:00",
            "2026-05-15T00:00:00+00:00",
            "2026-05-22T00:00:00+00:00"
        ]
    );
}

#[test]
fn what_can_never_fire_is_refused() {
    for never in ["0 0 30 2 *", "0 0 31 4,6,9,11 *", "0 0 30,31 feb *"] {
        let error = Schedule::parse(never, Some("UTC")).expect_err(never);
        assert!(error.what.contains("can never fire"), "{error}");
    }
    // The twenty-ninth comes, and so does a weekday.
    assert_eq!(times("0 0 29 2 *", "UTC", "2026-01-01T00:00:00Z", 1), ["2028-02-29T00:00:00+00:00"]);
    assert!(Schedule::parse("0 0 30 2 mon", Some("UTC")).is_ok());
}

#[test]
fn unknown_zones_and_names_come_with_a_hint() {
    let error = Schedule::parse("@daily", Some("Asia/Soul")).expect_err("no such zone");
    assert!(
        error.zone && error.what.contains("`Asia/Soul`") && error.hint.contains("Europe/Berlin"),
        "{error}"
    );
    let error = Schedule::parse("@daily", Some("Seoul")).expect_err("no such zone");
    assert_eq!(error.hint, "did you mean Asia/Seoul?");
    for (wrong, wanted) in [
        ("@fortnightly", "`@fortnightly` is not known"),
        ("@reboot", "not supported"),
        ("@every", "is not known"),
        ("@every90s", "is not known"),
        ("@", "is not known"),
        ("", "five fields"),
        ("0 0 5# * *", "not a day of month"),
        ("0 0 * * 5#9", "5#9"),
    ] {
        let error = Schedule::parse(wrong, Some("UTC")).expect_err(wrong);
        assert!(error.what.contains(wanted) && !error.zone, "{wrong}: {error}");
    }
}

#[test]
fn an_interval_counts_from_the_epoch() {
    assert_eq!(
        times("@every 90s", "UTC", "1970-01-01T00:00:01Z", 2),
        ["1970-01-01T00:01:30+00:00", "1970-01-01T00:03:00+00:00"]
    );
    let schedule = Schedule::parse("@every 1h 30m", Some("UTC")).expect("an interval");
    assert_eq!(schedule.next_after(Wall { seconds: -1, nanos: 0 }), Some(Wall::default()));
    assert_eq!(schedule.last_until(Wall { seconds: 5399, nanos: 0 }), Some(Wall::default()));
    assert_eq!(schedule.next_after(Wall { seconds: i64::MAX, nanos: 0 }), None);
    for wrong in ["", "0s", "90", "s", "1.5h", "-5s", "5w", "99999999999999999999s", "9999999d", "5\u{e9}"] {
        let error = Schedule::parse(&format!("@every {wrong}"), Some("UTC")).expect_err(wrong);
        assert!(!error.hint.is_empty());
    }
}

#[test]
fn a_fixed_time_in_the_gap_runs_once_after_it() {
    // 29 March 2026: 02:00 to 03:00 does not exist in Berlin.
    assert_eq!(
        times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]
    );
    // 8 March 2026: 02:00 to 03:00 does not exist in New York.
    assert_eq!(
        times("30 2 * * *", "America/New_York", "2026-03-07T12:00:00Z", 2),
        ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"]
    );
}

#[test]
fn a_wildcard_in_the_gap_follows_the_clock() {
    assert_eq!(
        times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3),
        ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]
    );
    assert_eq!(
        times("@hourly", "America/New_York", "2026-03-08T06:30:00Z", 2),
        ["2026-03-08T03:00:00-04:00", "2026-03-08T04:00:00-04:00"]
    );
}

#[test]
fn a_fixed_time_in_the_overlap_runs_once_the_first_time() {
    // 25 October 2026: 02:00 to 03:00 comes twice in Berlin.
    assert_eq!(
        times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2),
        ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    );
    // 1 November 2026: 01:00 to 02:00 comes twice in New York.
    assert_eq!(
        times("30 1 * * *", "America/New_York", "2026-10-31T12:00:00Z", 2),
        ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"]
    );
}

#[test]
fn a_wildcard_in_the_overlap_runs_in_both_passes() {
    assert_eq!(
        times("30 * * * *", "Europe/Berlin", "2026-10-25T00:00:00Z", 3),
        ["2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", "2026-10-25T03:30:00+01:00"]
    );
    assert_eq!(
        times("*/30 * * * *", "America/New_York", "2026-11-01T05:15:00Z", 4),
        [
            "2026-11-01T01:30:00-04:00",
            "2026-11-01T01:00:00-05:00",
            "2026-11-01T01:30:00-05:00",
            "2026-11-01T02:00:00-05:00"
        ]
    );
}

#[test]
fn time_only_goes_forward_over_years() {
    for (at, zone) in [
        ("30 2 * * *", "Europe/Berlin"),
        ("*/7 1-3 * * *", "America/New_York"),
        ("0 0 * * *", "America/Sao_Paulo"),
        ("15 2 29 2 *", "Australia/Lord_Howe"),
        ("@every 7h", "Asia/Seoul"),
    ] {
        let schedule = Schedule::parse(at, Some(zone)).expect(at);
        let mut wall = utc("2017-09-01T00:00:00Z");
        for _ in 0..400 {
            let next = schedule.next_after(wall).expect("there is always a next one");
            assert!(next > wall, "{at} in {zone} after {}", schedule.local(wall));
            let last = schedule.last_until(next).expect("at least this one");
            assert!(last <= next && last > wall || at.starts_with("30 2"), "{at} in {zone}: {last:?}");
            wall = next;
        }
    }
}

#[test]
fn the_ends_of_time_are_no_crash() {
    let schedule = Schedule::parse("0 0 * * *", Some("Europe/Berlin")).expect("a schedule");
    for seconds in [i64::MIN, i64::MAX, -400_000_000_000, 260_000_000_000] {
        let wall = Wall { seconds, nanos: 0 };
        assert_eq!(schedule.next_after(wall).filter(|next| *next <= wall), None);
        assert!(!schedule.local(wall).is_empty());
    }
}
