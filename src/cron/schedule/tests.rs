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
    // Clocks go forward over each of its times.
    assert!(Schedule::parse("*/10 2 * 3 sun#L", Some("Europe/Berlin")).is_err());
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
fn a_fixed_time_beside_the_gap_runs_once() {
    assert_eq!(
        times("0 1 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T01:00:00+01:00", "2026-03-30T01:00:00+02:00"]
    );
    // 29 March 2026: 00:00 to 01:00 does not exist in Beirut.
    assert_eq!(
        times("0 5 * * *", "Asia/Beirut", "2026-03-28T12:00:00Z", 2),
        ["2026-03-29T05:00:00+03:00", "2026-03-30T05:00:00+03:00"]
    );
}

#[test]
fn what_is_fixed_and_falls_into_the_gap_runs_at_its_end_and_once() {
    for (at, zone, from, wanted) in [
        // 29 March 2026: 02:00 to 03:00 does not exist in Berlin.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"],
        ),
        (
            "10-50/10 2 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T03:00:00+02:00", "2026-03-30T02:10:00+02:00"],
        ),
        // What is due at its end anyway is no second run.
        (
            "0,30 2,3 * * *",
            "Europe/Berlin",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"],
        ),
        // 8 March 2026: 02:00 to 03:00 does not exist in New York.
        (
            "30 2 * * *",
            "America/New_York",
            "2026-03-07T12:00:00Z",
            ["2026-03-08T03:00:00-04:00", "2026-03-09T02:30:00-04:00"],
        ),
        (
            "@daily",
            "Asia/Beirut",
            "2026-03-28T12:00:00Z",
            ["2026-03-29T01:00:00+03:00", "2026-03-30T00:00:00+03:00"],
        ),
        // 4 October 2026: half an hour is missing on Lord Howe Island.
        (
            "15 2 * * *",
            "Australia/Lord_Howe",
            "2026-10-03T12:00:00Z",
            ["2026-10-04T02:30:00+11:00", "2026-10-05T02:15:00+11:00"],
        ),
    ] {
        assert_eq!(times(at, zone, from, 2), wanted, "{at} in {zone}");
    }
}

#[test]
fn a_day_that_does_not_exist_is_a_gap_like_any_other() {
    // There was no 30 December 2011 on Samoa.
    assert_eq!(
        times("0 12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3),
        ["2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]
    );
    assert_eq!(
        times("0 */12 * * *", "Pacific/Apia", "2011-12-29T12:00:00Z", 3),
        ["2011-12-29T12:00:00-10:00", "2011-12-31T00:00:00+14:00", "2011-12-31T12:00:00+14:00"]
    );
}

#[test]
fn what_moves_goes_on_in_real_time_over_the_gap() {
    assert_eq!(
        times("*/30 * * * *", "Europe/Berlin", "2026-03-29T00:15:00Z", 3),
        ["2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00", "2026-03-29T03:30:00+02:00"]
    );
    assert_eq!(
        times("@hourly", "America/New_York", "2026-03-08T06:30:00Z", 2),
        ["2026-03-08T03:00:00-04:00", "2026-03-08T04:00:00-04:00"]
    );
    assert_eq!(
        times("*/30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 1),
        ["2026-03-30T02:00:00+02:00"]
    );
}

#[test]
fn what_is_fixed_and_comes_twice_runs_the_first_time() {
    for (at, zone, from, wanted) in [
        // 25 October 2026: 02:00 to 03:00 comes twice in Berlin.
        (
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24T12:00:00Z",
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"],
        ),
        (
            "0,30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T00:15:00Z",
            ["2026-10-25T02:30:00+02:00", "2026-10-26T02:00:00+01:00"],
        ),
        // 1 November 2026: 01:00 to 02:00 comes twice in New York.
        (
            "30 1 * * *",
            "America/New_York",
            "2026-10-31T12:00:00Z",
            ["2026-11-01T01:30:00-04:00", "2026-11-02T01:30:00-05:00"],
        ),
        // Seen while it comes for the second time.
        (
            "0,45 1 * * *",
            "America/New_York",
            "2026-11-01T06:15:00Z",
            ["2026-11-02T01:00:00-05:00", "2026-11-02T01:45:00-05:00"],
        ),
    ] {
        assert_eq!(times(at, zone, from, 2), wanted, "{at} in {zone}");
    }
    let schedule = Schedule::parse("0,45 1 * * *", Some("America/New_York")).expect("a schedule");
    assert_eq!(schedule.last_until(utc("2026-11-01T06:15:00Z")), Some(utc("2026-11-01T05:45:00Z")));
}

#[test]
fn what_moves_runs_both_times() {
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
            assert_eq!(last, next, "{at} in {zone} until {}", schedule.local(next));
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
