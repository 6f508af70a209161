//! Processes that are replaced although they serve.

use super::*;
use crate::supervisor::spread;

fn two_shops() -> Plan {
    plan(vec![workers(1, 1), app(1, "shop", 2, 2)])
}

fn worn(scene: &mut Scene, child: ChildId) -> Vec<Output> {
    scene.on(Input::Worn { child, reason: "it served 1000 requests (max_requests)".to_owned() })
}

#[test]
fn the_replacement_is_ready_before_the_old_one_drains() {
    let mut scene = Scene::serving(two_shops());
    let old = scene.of(1, "ready");
    let outputs = worn(&mut scene, old[0]);
    assert_eq!(spawned(&outputs), [(1, 1)]);
    assert_eq!(drained(&outputs), []);
    assert_eq!(worn(&mut scene, old[0]), [], "said twice");
    let relief = scene.one(1, "booting");
    let outputs = scene.ready(relief);
    let drain = Output::Drain { child: old[0], within: seconds(600), hurry: false };
    assert!(position(&outputs, &Output::Open { child: relief }) < position(&outputs, &drain));
    assert_eq!(spawned(&outputs), []);
    assert_eq!(scene.of(1, "ready").len(), 2);
    assert!(notes(&outputs, Level::Info).iter().any(|note| note.contains("it served 1000 requests")));
    assert_eq!(scene.exit(old[0], Exit::Code(0)), []);
    assert_eq!((scene.pool(1).restarts, scene.pool(1).worn.len()), (0, 0), "it has not died");
    assert_eq!(scene.pool(1).last_exit, None, "it was told to");
}

#[test]
fn one_at_a_time_and_one_more_than_the_maximum() {
    let mut scene = Scene::serving(two_shops());
    let old = scene.of(1, "ready");
    old.iter().for_each(|child| drop(worn(&mut scene, *child)));
    let first = scene.one(1, "booting");
    let outputs = scene.ready(first);
    let gone = drained(&outputs)[0].0;
    assert_eq!((drained(&outputs).len(), spawned(&outputs)), (1, vec![]), "the first one has not ended");
    assert_eq!(spawned(&scene.exit(gone, Exit::Code(0))), [(1, 1)]);
    let second = scene.one(1, "booting");
    assert_eq!(drained(&scene.ready(second)).len(), 1);
    scene.leave_all();
    let now = scene.of(1, "ready");
    assert!(now.len() == 2 && !now.contains(&old[0]) && !now.contains(&old[1]), "{now:?}");
    assert_eq!(scene.supervisor.deadline(), None);
}

#[test]
fn a_process_in_which_nothing_runs_any_more_ends_within_stop_timeout() {
    let mut scene = Scene::serving(two_shops());
    let old = scene.of(1, "ready");
    worn(&mut scene, old[0]);
    let relief = scene.one(1, "booting");
    scene.ready(relief);
    assert_eq!(killed(&scene.pass(seconds(60))), [], "a request may run in it");
    for child in &old {
        assert_eq!(scene.on(Input::Idle { child: *child }), []);
    }
    assert_eq!(killed(&scene.pass(millis(9999))), []);
    assert_eq!(killed(&scene.pass(millis(1))), [(old[0], Kill::Kill)], "it has nothing to finish");
    scene.exit(old[0], Exit::Signal(9));
    assert_eq!(killed(&scene.pass(seconds(60))), [], "one that serves is not idle in this sense");
    assert_eq!((scene.of(1, "ready").len(), scene.pool(1).last_exit.clone()), (2, None));
}

#[test]
fn a_relief_that_fails_leaves_the_worn_one_and_comes_again_later() {
    let mut scene = Scene::serving(two_shops());
    let old = scene.of(1, "ready");
    worn(&mut scene, old[0]);
    let mut waits = Vec::new();
    for _ in 0..4 {
        let relief = scene.one(1, "booting");
        let outputs = scene.on(Input::Failed { child: relief, reason: "ValueError: no".to_owned() });
        assert!(notes(&outputs, Level::Error)[0].contains("goes on"), "{outputs:?}");
        assert_eq!(spawned(&scene.exit(relief, Exit::Code(3))), []);
        assert_eq!(scene.of(1, "ready"), old, "both serve");
        let next = scene.supervisor.deadline().unwrap();
        waits.push(next.since(scene.now).as_millis());
        scene.pass(next.since(scene.now));
    }
    assert_eq!(waits, [100, 100, 200, 400]);
    let relief = scene.one(1, "booting");
    assert_eq!(drained(&scene.ready(relief))[0].0, old[0]);
}

#[test]
fn a_restart_that_fails_leaves_worn_what_is_worn_without_it() {
    let three = plan(vec![workers(1, 1), app(1, "shop", 3, 3)]);
    let mut scene = Scene::serving(three);
    let old = scene.of(1, "ready");
    worn(&mut scene, old[0]);
    scene.on(Input::Restart { ticket: Ticket(3), name: "shop".to_owned(), why: "restart was asked for" });
    assert_eq!(scene.pool(1).worn.len(), 3);
    worn(&mut scene, old[1]);
    let relief = scene.one(1, "booting");
    let outputs = scene.on(Input::Failed { child: relief, reason: "ValueError: no".to_owned() });
    assert_eq!(answers(&outputs).len(), 1, "the restart is over");
    assert_eq!(scene.pool(1).worn.len(), 2, "worn before it, and meanwhile");
    scene.exit(relief, Exit::Code(3));
    let next = scene.supervisor.deadline().unwrap();
    scene.pass(next.since(scene.now));
    for _ in 0..2 {
        let relief = scene.one(1, "booting");
        assert_eq!(drained(&scene.ready(relief)).len(), 1);
        scene.leave_all();
    }
    let left: Vec<ChildId> = scene.of(1, "ready").into_iter().filter(|child| old.contains(child)).collect();
    assert_eq!((scene.pool(1).worn.len(), left), (0, vec![old[2]]));
}

#[test]
fn a_worn_one_that_dies_or_leaves_needs_no_relief() {
    let mut scene = Scene::serving(two_shops());
    let old = scene.of(1, "ready");
    worn(&mut scene, old[0]);
    let relief = scene.one(1, "booting");
    let outputs = scene.exit(old[0], Exit::Signal(9));
    assert_eq!(killed(&outputs), [(relief, Kill::Term)]);
    assert_eq!(spawned(&outputs), [(1, 1)], "replaced as any that dies");
}

#[test]
fn a_reload_and_a_stop_come_before_a_relief() {
    let mut scene = Scene::serving(two_shops());
    let old = scene.of(1, "ready");
    worn(&mut scene, old[0]);
    let relief = scene.one(1, "booting");
    assert_eq!(killed(&scene.on(Input::Signal(Signal::Hup))), [(relief, Kill::Term)]);
    scene.exit(relief, Exit::Signal(15));
    assert_eq!(spawned(&scene.on(Input::Rejected { reason: "no".to_owned() })), [(1, 1)], "afterwards again");
    let relief = scene.one(1, "booting");
    let outputs = scene.on(Input::Signal(Signal::Term));
    assert!(killed(&outputs).contains(&(relief, Kill::Term)));
}

#[test]
fn a_relief_waits_until_the_pool_is_whole() {
    let mut scene = Scene::serving(two_shops());
    let old = scene.of(1, "ready");
    scene.exit(old[1], Exit::Signal(9));
    assert_eq!(worn(&mut scene, old[0]), []);
    let other = scene.one(1, "booting");
    assert_eq!(spawned(&scene.ready(other)), [(1, 1)]);
}

#[test]
fn memory_is_looked_at_and_judged() {
    let mut shop = app(1, "shop", 2, 2);
    shop.upkeep.max_rss = Some(300 << 20);
    let mut scene = Scene::serving(plan(vec![workers(1, 1), shop]));
    let old = scene.of(1, "ready");
    let measured: Vec<Output> = old.iter().map(|child| Output::Measure { child: *child }).collect();
    assert_eq!(scene.pass(seconds(5)), measured);
    assert_eq!(scene.pass(seconds(5)), measured, "an answer may be lost");
    assert_eq!(scene.on(Input::Measured { child: old[0], rss: 300 << 20 }), []);
    let outputs = scene.on(Input::Measured { child: old[1], rss: 301 << 20 });
    assert_eq!(spawned(&outputs), [(1, 1)]);
    let relief = scene.one(1, "booting");
    let outputs = scene.ready(relief);
    assert_eq!(drained(&outputs)[0].0, old[1]);
    assert!(notes(&outputs, Level::Info)[0].contains("301 MiB, above max_rss 300 MiB"), "{outputs:?}");
}

#[test]
fn a_lifetime_ends_a_little_earlier_for_each() {
    let mut shop = app(1, "shop", 2, 2);
    shop.upkeep.max_lifetime = Some(seconds(3600));
    let mut scene = Scene::serving(plan(vec![workers(1, 1), shop]));
    let old = scene.of(1, "ready");
    let begin = scene.now;
    for _ in 0..2 {
        let due = scene.supervisor.deadline().unwrap();
        assert!((3240..=3600).contains(&due.since(begin).as_secs()), "{due:?}");
        assert_eq!(spawned(&scene.pass(due.since(scene.now))), [(1, 1)]);
        scene.boot_all();
        scene.leave_all();
    }
    assert!(scene.of(1, "ready").iter().all(|child| !old.contains(child)));
}

#[test]
fn limits_are_spread_below_and_never_above() {
    let limits: std::collections::BTreeSet<u64> =
        (0..100).map(|child| spread(10_000, ChildId(child))).collect();
    assert!(limits.iter().all(|limit| (9000..=10_000).contains(limit)), "{limits:?}");
    assert!(limits.len() > 80, "{}", limits.len());
    assert!((0..100).all(|child| spread(1, ChildId(child)) == 1));
    assert!((0..100).all(|child| spread(u64::MAX, ChildId(child)) >= u64::MAX / 10 * 9));
}

#[test]
fn a_process_that_is_not_fit_is_told_to_go() {
    let mut scene = Scene::serving(two_shops());
    let old = scene.of(1, "ready")[0];
    scene.exit(old, Exit::Signal(9));
    let first = scene.one(1, "booting");
    let outputs = scene.on(Input::Unready { child: first, reason: "GET /healthz answered 503".to_owned() });
    assert_eq!(killed(&outputs), [(first, Kill::Term)]);
    assert!(notes(&outputs, Level::Error)[0].contains("answered 503"), "{outputs:?}");
}

#[test]
fn a_reload_whose_processes_are_not_ready_keeps_the_old() {
    let mut scene = Scene::serving(two_shops());
    let old = scene.of(1, "ready");
    scene.on(Input::Reload { ticket: Ticket(7), wait: true, prove: false });
    scene.on(Input::Loaded(two_shops()));
    let next = scene.of(1, "booting");
    let outputs = scene.on(Input::Unready { child: next[0], reason: "answered 503: no database".to_owned() });
    let answer = Err("app shop: could not start: answered 503: no database".to_owned());
    assert_eq!(answers(&outputs), [(7, answer)]);
    assert!(next.iter().all(|child| killed(&outputs).contains(&(*child, Kill::Term))), "{outputs:?}");
    assert_eq!(scene.of(1, "ready"), old);
}
