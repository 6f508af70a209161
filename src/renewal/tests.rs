use super::*;
use std::collections::BTreeSet;

const DAY: u64 = 86_400;

/// A world in which time passes only here.
struct World {
    renewals: Renewals,
    now: Time,
    start: i64,
    /// The process: whether it is there and was ready, and what it does.
    alive: bool,
    busy: Option<(String, Errand)>,
    orders: Vec<(u64, String, Errand)>,
}

impl World {
    fn of(wanted: &[(&str, Option<Validity>)]) -> Self {
        let mut renewals = Renewals::default();
        renewals.want(wanted.iter().map(|(key, held)| ((*key).to_owned(), *held)));
        Self {
            renewals,
            now: Time(1_000_000_000),
            start: 1_700_000_000,
            alive: false,
            busy: None,
            orders: Vec::new(),
        }
    }

    fn seconds(&self) -> u64 {
        self.now.0 / 1_000_000_000
    }

    fn wall(&self) -> Wall {
        Wall { seconds: self.start + signed(self.seconds()), nanos: 0 }
    }

    fn validity(&self, days: u64) -> Validity {
        let from = self.wall().seconds;
        Validity { from, until: from + signed(days * DAY) }
    }

    /// Carries out what is decided, with a process that is ready and dies as told.
    fn settle(&mut self) -> Vec<Decision> {
        let mut decisions = Vec::new();
        while let Some(decision) = self.renewals.poll(self.wall(), self.now) {
            match &decision {
                Decision::Start => {
                    assert!(!std::mem::replace(&mut self.alive, true), "there is one already");
                    self.renewals.ready(self.now);
                }
                Decision::Order(key, errand) => {
                    assert!(self.alive && self.busy.is_none(), "one at a time");
                    self.busy = Some((key.clone(), *errand));
                    self.orders.push((self.seconds(), key.clone(), *errand));
                }
                Decision::Kill(_) | Decision::Abandon => self.die(),
                Decision::Placed | Decision::Withdraw => {}
            }
            decisions.push(decision);
            assert!(decisions.len() < 100, "without end: {decisions:?}");
        }
        decisions
    }

    fn die(&mut self) {
        if std::mem::take(&mut self.alive) {
            self.busy = None;
            self.renewals.exited(self.wall(), self.now);
        }
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    fn end(&mut self, outcome: Outcome) -> Ended {
        self.busy = None;
        self.renewals.ended(outcome, self.wall(), self.now).expect("an errand was running")
    }

    /// Until the deadline after next, each time `answer` says how an errand ends; for so many seconds.
    fn live(&mut self, seconds: u64, mut answer: impl FnMut(&Self, &str, Errand) -> Outcome) {
        let until = self.seconds() + seconds;
        let mut turns = 0;
        while self.seconds() < until {
            self.settle();
            while let Some((key, errand)) = self.busy.clone() {
                let outcome = answer(self, &key, errand);
                self.end(outcome);
                self.settle();
            }
            let next = self.renewals.deadline(self.wall(), self.now).unwrap_or(Time(u64::MAX));
            self.now =
                next.max(self.now.after(Duration::from_secs(1))).min(Time((until + 1) * 1_000_000_000));
            turns += 1;
            assert!(turns < 100_000, "it never sleeps");
        }
    }

    fn issues(&self) -> usize {
        self.orders.iter().filter(|(_, _, errand)| *errand == Errand::Issue).count()
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap()
}

fn failed(reason: &str, again: Option<u64>) -> Outcome {
    Outcome::Failed(reason.to_owned(), again)
}

/// Looks cost nothing; orders succeed for so many days.
fn good(days: u64) -> impl FnMut(&World, &str, Errand) -> Outcome {
    move |world, _, errand| match errand {
        Errand::Issue => Outcome::Issued(world.validity(days)),
        Errand::Look => Outcome::NoWindow,
    }
}

#[test]
fn a_certificate_is_ordered_once_and_renewed_at_two_thirds_of_its_life() {
    let mut world = World::of(&[("a", None), ("b", None)]);
    world.live(59 * DAY, good(90));
    assert_eq!(world.issues(), 2, "{:?}", world.orders);
    let Some(Standing::Issued(rest)) = world.renewals.standing("a", world.wall(), world.now) else {
        panic!()
    };
    assert!((DAY..5 * DAY).contains(&rest.as_secs()), "{rest:?}");
    world.live(6 * DAY, good(90));
    assert_eq!(world.issues(), 4);
    // What has the same life is not renewed at the same moment.
    let last: Vec<u64> =
        world.orders.iter().filter(|order| order.2 == Errand::Issue).map(|order| order.0).collect();
    assert!(last[2].abs_diff(last[3]) > 600, "{last:?}");
    world.live(365 * DAY, good(90));
    assert!((12..=16).contains(&world.issues()), "{}", world.issues());
}

#[test]
fn what_is_there_already_is_not_ordered_but_asked_about_twice_a_day() {
    let mut world = World::of(&[]);
    let held = world.validity(90);
    world.renewals.want([("a".to_owned(), Some(held))]);
    world.live(10 * DAY, good(90));
    assert_eq!(world.issues(), 0);
    assert!((20..=24).contains(&world.orders.len()), "{}", world.orders.len());
}

#[test]
fn after_failures_it_waits_from_a_minute_to_a_day() {
    let mut world = World::of(&[("a", None)]);
    world.live(10 * DAY, |_, _, _| failed("no", None));
    let times: Vec<u64> = world.orders.iter().map(|order| order.0).collect();
    let waits: Vec<u64> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!((45..=77).contains(&waits[0]), "{waits:?}");
    assert!(waits.windows(2).take(5).all(|pair| pair[1] > pair[0]), "{waits:?}");
    assert!(waits.iter().skip(7).all(|wait| (64_800..=108_100).contains(wait)), "{waits:?}");
    assert!(
        times.iter().filter(|time| **time < times[0] + 3600).count() <= 5,
        "authorities allow five an hour"
    );
    let standing = world.renewals.standing("a", world.wall(), world.now);
    assert!(matches!(standing, Some(Standing::Waiting(reason, _)) if reason == "no"));
}

#[test]
fn an_authority_makes_it_wait_longer_but_not_for_ever() {
    for (again, at_least, at_most) in [(7200, 7200, 7300), (u64::MAX, 7 * DAY, 7 * DAY + 100), (0, 45, 77)] {
        let mut world = World::of(&[("a", None)]);
        world.settle();
        let next = world.end(failed("too many", Some(again))).next.as_secs();
        assert!((at_least..=at_most).contains(&next), "{again}: {next}");
    }
}

#[test]
fn a_try_by_hand_does_not_wait() {
    let mut world = World::of(&[("a", None), ("b", None)]);
    world.settle();
    world.end(failed("no", Some(DAY)));
    assert!(world.renewals.hurry(None) && !world.renewals.hurry(Some("c")));
    world.live(1, good(90));
    world.live(1, good(90));
    assert_eq!(world.issues(), 3, "{:?}", world.orders);
    assert!(world.renewals.hurry(Some("b")));
    world.live(1, good(90));
    assert_eq!(world.orders.last().map(|order| order.1.as_str()), Some("b"), "although it is good");
    world.live(10, good(90));
    assert_eq!(world.issues(), 4, "once");
}

#[test]
fn the_window_of_an_authority_decides() {
    let held = World::of(&[]).validity(90);
    let window = |from: u64, to: u64| Window {
        start: held.from + signed(from * DAY),
        end: held.from + signed(to * DAY),
    };
    // As at a revocation of many; later than two thirds; beyond the end of its life.
    for (window, first, last) in [(window(0, 1), 0, 1), (window(70, 72), 69, 72), (window(200, 300), 80, 82)]
    {
        let mut world = World::of(&[("a", Some(held))]);
        world.live(100 * DAY, |world, _, errand| match errand {
            Errand::Issue => Outcome::Issued(world.validity(900)),
            Errand::Look if world.issues() == 0 => Outcome::Window(window, None),
            Errand::Look => Outcome::NoWindow,
        });
        let issued = world.orders.iter().find(|order| order.2 == Errand::Issue).unwrap();
        assert!((first * DAY..=last * DAY).contains(&issued.0), "{window:?}: {}", issued.0 / DAY);
        assert_eq!(world.issues(), 1);
    }
    // One that makes no sense is none.
    let mut world = World::of(&[("a", Some(held))]);
    world.settle();
    world.end(Outcome::Window(Window { start: 5, end: 5 }, Some(0)));
    assert!(!world.renewals.has_window("a"));
}

#[test]
fn an_authority_that_always_says_it_is_too_late_is_not_asked_without_end() {
    let mut world = World::of(&[("a", None)]);
    world.live(10 * DAY, |world, _, errand| match errand {
        Errand::Issue => Outcome::Issued(world.validity(90)),
        Errand::Look => Outcome::Window(Window { start: 0, end: 1 }, Some(0)),
    });
    assert!(world.issues() <= 25, "{}", world.issues());
}

#[test]
fn what_the_process_dies_of_does_not_keep_the_others() {
    let mut world = World::of(&[("a", None), ("b", None)]);
    let mut deaths = Vec::new();
    while world.seconds() < 3600 {
        world.settle();
        match world.busy.clone() {
            Some((key, _)) if key == "a" => {
                deaths.push(world.seconds());
                world.die();
            }
            Some((_, Errand::Issue)) => _ = world.end(Outcome::Issued(world.validity(90))),
            Some((_, Errand::Look)) => _ = world.end(Outcome::NoWindow),
            None => {}
        }
        let next = world.renewals.deadline(world.wall(), world.now).expect("it tries again");
        world.now = next.max(world.now.after(Duration::from_millis(1)));
    }
    let other = world.orders.iter().find(|order| order.1 == "b").expect("b has its turn");
    assert!(other.0 < 10, "{:?}", world.orders);
    assert!((6..=10).contains(&deaths.len()), "as other failures do: {deaths:?}");
    let standing = world.renewals.standing("a", world.wall(), world.now);
    assert!(matches!(standing, Some(Standing::Waiting(reason, _)) if reason.contains("died over it")));
}

#[test]
fn a_try_by_hand_does_not_wait_for_the_process_either() {
    let mut world = World::of(&[("a", None)]);
    for _ in 0..8 {
        world.pass(DAY);
        world.settle();
        world.die();
    }
    assert_eq!(world.settle(), [], "it has died, and is not started at once");
    world.renewals.hurry(None);
    world.settle();
    assert!(world.busy.is_some());
}

#[test]
fn an_order_is_repeated_when_the_process_dies_and_ever_later() {
    let mut world = World::of(&[("a", None)]);
    let mut deaths = 0;
    while world.seconds() < DAY {
        world.settle();
        if world.busy.is_some() {
            deaths += 1;
            world.die();
            let standing = world.renewals.standing("a", world.wall(), world.now);
            assert!(matches!(standing, Some(Standing::Waiting(..))), "{standing:?}");
        }
        let next = world.renewals.deadline(world.wall(), world.now).expect("it tries again");
        world.now = next.max(world.now.after(Duration::from_millis(1)));
    }
    assert!((10..20).contains(&deaths), "{deaths}");
    world.pass(2 * DAY);
    world.settle();
    let validity = world.validity(90);
    world.end(Outcome::Issued(validity));
    world.die();
    world.renewals.want([("a".to_owned(), Some(validity)), ("b".to_owned(), None)]);
    world.settle();
    world.pass(1);
    world.settle();
    assert!(world.busy.is_some(), "an errand done makes the deaths before good");
}

#[test]
fn who_takes_too_long_is_killed_and_that_is_a_failure() {
    let mut world = World::of(&[("a", None)]);
    world.settle();
    world.pass(299);
    assert_eq!(world.settle(), []);
    world.pass(1);
    let Some(Decision::Kill(Kill::Kill)) = world.renewals.poll(world.wall(), world.now) else { panic!() };
    let ended = world.renewals.exited(world.wall(), world.now).unwrap();
    assert!(matches!(ended.outcome, Outcome::Failed(reason, None) if reason.contains("300 seconds")));
    assert!(ended.next.as_secs() >= 45);
}

#[test]
fn who_does_not_die_is_given_up_and_another_one_started() {
    let mut world = World::of(&[("a", None)]);
    let poll = |world: &mut World| world.renewals.poll(world.wall(), world.now);
    assert_eq!(poll(&mut world), Some(Decision::Start));
    world.pass(10);
    assert_eq!(poll(&mut world), Some(Decision::Kill(Kill::Kill)), "it is not ready");
    world.pass(5);
    assert_eq!(poll(&mut world), Some(Decision::Abandon));
    world.renewals.exited(world.wall(), world.now);
    assert_eq!(poll(&mut world), None);
    world.pass(1);
    assert_eq!(poll(&mut world), Some(Decision::Start));
}

#[test]
fn it_rests_a_minute_and_leaves() {
    let mut world = World::of(&[("a", None)]);
    world.settle();
    world.end(Outcome::Issued(world.validity(90)));
    assert_eq!(world.settle(), []);
    world.pass(59);
    assert_eq!(world.settle(), []);
    world.pass(1);
    assert_eq!(world.settle(), [Decision::Kill(Kill::Term)]);
}

#[test]
fn challenges_are_told_of_once_all_workers_have_them_or_time_is_up() {
    for waits in [true, false] {
        let mut world = World::of(&[("a", None)]);
        world.settle();
        world.renewals.place(7, world.now);
        world.renewals.workers_have(6);
        assert_eq!(world.settle(), []);
        if waits {
            world.pass(5);
        } else {
            world.renewals.workers_have(7);
        }
        assert_eq!(world.settle(), [Decision::Placed]);
        assert_eq!(world.settle(), []);
        world.end(failed("no", None));
        assert_eq!(world.settle(), [Decision::Withdraw], "whatever it came to");
    }
}

#[test]
fn what_a_reload_does_not_want_any_more_is_broken_off() {
    let mut world = World::of(&[("a", None), ("b", None)]);
    world.settle();
    world.renewals.place(1, world.now);
    assert_eq!(world.renewals.running(), Some(("a", Errand::Issue)));
    // The same goes on.
    world.renewals.want([("a".to_owned(), None), ("b".to_owned(), None)]);
    assert_eq!(world.renewals.running(), Some(("a", Errand::Issue)));
    world.renewals.want([("b".to_owned(), None)]);
    let decisions = world.settle();
    assert_eq!(decisions[..2], [Decision::Kill(Kill::Term), Decision::Withdraw]);
    assert!(world.busy.is_some_and(|(key, _)| key == "b"));
    assert_eq!(world.renewals.standing("a", Wall::default(), world.now), None);
}

#[test]
fn nothing_starts_while_the_server_stops() {
    let mut world = World::of(&[("a", None)]);
    world.settle();
    world.renewals.stop();
    assert_eq!(world.settle(), [Decision::Kill(Kill::Term)]);
    world.pass(DAY);
    assert_eq!(world.settle(), []);
    assert_eq!(world.renewals.deadline(world.wall(), world.now), None);
}

#[test]
fn a_clock_that_leaps_is_noticed_within_an_hour() {
    let mut world = World::of(&[]);
    let held = world.validity(90);
    world.renewals.want([("a".to_owned(), Some(held))]);
    world.live(2 * 3600, good(90));
    world.start += signed(89 * DAY);
    world.live(2 * 3600, good(90));
    assert_eq!(world.issues(), 1);
}

/// Whatever happens in whatever order: one process, one errand, and in the end a certificate.
#[test]
fn in_the_end_there_is_a_certificate() {
    let mut random = 1_u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    for _ in 0..200 {
        let mut world = World::of(&[("a", None), ("b", None), ("c", None)]);
        for _ in 0..200 {
            match below(9) {
                0 => world.die(),
                1 if world.busy.is_some() => {
                    world.end(failed("no", Some(below(100_000))));
                }
                2 if world.busy.is_some() => {
                    let validity = world.validity(below(100));
                    world.end(Outcome::Issued(validity));
                }
                3 => {
                    let keys: BTreeSet<u64> = (0..below(3)).map(|_| below(3)).collect();
                    let names = ["a", "b", "c"];
                    world.renewals.want(keys.iter().map(|at| (names[*at as usize].to_owned(), None)));
                }
                4 => world.renewals.place(below(5), world.now),
                5 => world.renewals.workers_have(below(5)),
                6 => {
                    let text = serde_json::to_string(&world.renewals).unwrap();
                    world.renewals = serde_json::from_str(&text).unwrap();
                }
                7 => world.pass(below(400)),
                _ => world.pass(below(100_000)),
            }
            world.settle();
        }
        world.renewals.want(["a", "b", "c"].map(|key| (key.to_owned(), None)));
        world.live(8 * DAY, good(90));
        for key in ["a", "b", "c"] {
            let standing = world.renewals.standing(key, world.wall(), world.now);
            assert!(matches!(standing, Some(Standing::Issued(_))), "{key}: {standing:?}");
        }
    }
}

#[test]
fn a_certificate_is_known_by_authority_and_names_in_any_order() {
    let names = |names: &[&str]| -> Vec<String> { names.iter().map(|name| (*name).to_owned()).collect() };
    let one = key("https://a/", &names(&["shop.example", "a.example"]));
    assert_eq!(one, key("https://a/", &names(&["a.example", "shop.example"])));
    assert!(one.starts_with("a.example-") && one.len() == "a.example-".len() + 16, "{one}");
    for other in
        [key("https://b/", &names(&["a.example", "shop.example"])), key("https://a/", &names(&["a.example"]))]
    {
        assert_ne!(one, other);
    }
    assert_eq!(key("https://a/", &names(&["a.example"])), "a.example-e68bc9d1468d545c");
}
