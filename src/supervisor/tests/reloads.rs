use super::*;

fn shop() -> Plan {
    plan(vec![workers(2, 2), app(1, "shop", 1, 2)])
}

fn reload(scene: &mut Scene, ticket: u64, plan: Plan) -> Vec<Output> {
    let outputs = scene.on(Input::Reload { ticket: Ticket(ticket), wait: true, prove: false });
    assert_eq!(outputs, [Output::Load]);
    scene.on(Input::Loaded(plan))
}

#[test]
fn new_apps_then_new_workers_then_the_switch() {
    let mut scene = Scene::serving(shop());
    let (old_workers, old_app) = (scene.of(0, "ready"), scene.one(1, "ready"));
    let outputs = reload(&mut scene, 1, shop());
    assert_eq!(spawned(&outputs), [(1, 2)]);
    let app = scene.one(1, "booting");
    let outputs = scene.ready(app);
    assert_eq!(spawned(&outputs), [(0, 2), (0, 2)], "workers once the apps are Ready");
    assert!(!outputs.contains(&Output::Open { child: app }), "not opened before the switch");
    let new = scene.of(0, "booting");
    assert_eq!(scene.ready(new[0]), []);
    let outputs = scene.ready(new[1]);
    let orders: Vec<Output> =
        outputs.iter().filter(|output| !matches!(output, Output::Note { .. })).cloned().collect();
    let drain = |child| Output::Drain { child, within: seconds(600), hurry: false };
    assert_eq!(
        orders,
        [
            Output::Switch { generation: 2 },
            Output::Open { child: app },
            Output::Open { child: new[0] },
            Output::Open { child: new[1] },
            drain(old_workers[0]),
            drain(old_workers[1]),
            drain(old_app),
        ]
    );
    assert_eq!(scene.on(Input::Closed { child: old_workers[0] }), [], "the other one may still accept");
    assert_eq!(
        scene.on(Input::Closed { child: old_workers[1] }),
        [Output::Answer { ticket: Ticket(1), result: Ok("generation 2 serves".to_owned()) }]
    );
    assert_eq!((scene.mode(), scene.supervisor.generation()), ("running", 2));
    assert!(scene.leave_all().contains(&Output::Rearm));
    assert_eq!(scene.living.len(), 3);
    assert!(scene.living.values().all(|place| place.2 == 2));
}

#[test]
fn an_old_worker_that_goes_on_accepting_is_waited_for_a_moment_only() {
    let mut scene = Scene::serving(shop());
    let old_workers = scene.of(0, "ready");
    reload(&mut scene, 1, shop());
    let answered = |outputs: &[Output]| outputs.iter().any(|output| matches!(output, Output::Answer { .. }));
    scene.boot_all();
    assert!(!answered(&scene.boot_all()));
    assert!(!answered(&scene.exit(old_workers[0], Exit::Signal(9))), "one is gone, one is left");
    let outputs = scene.pass(seconds(2));
    assert!(answered(&outputs), "{outputs:?}");
}

#[test]
fn the_workers_stay_if_only_code_of_apps_may_have_changed() {
    let mut scene = Scene::serving(shop());
    let old_workers = scene.of(0, "ready");
    reload(&mut scene, 1, Plan { workers_changed: false, ..shop() });
    let outputs = scene.boot_all();
    assert!(outputs.contains(&Output::Switch { generation: 2 }));
    assert_eq!(scene.of(0, "ready"), old_workers);
    assert_eq!(scene.of(1, "draining").len(), 1);
    let dies = old_workers[0];
    assert_eq!(
        spawned(&scene.exit(dies, Exit::Signal(9))),
        [(0, 2)],
        "a later one belongs to the new generation"
    );
}

#[test]
fn a_rejected_configuration_changes_nothing() {
    let mut scene = Scene::serving(shop());
    scene.on(Input::Reload { ticket: Ticket(1), wait: true, prove: false });
    let reason = "hatchery.ron:3:1: unknown key".to_owned();
    let outputs = scene.on(Input::Rejected { reason: reason.clone() });
    assert_eq!(answers(&outputs), [(1, Err(reason.clone()))]);
    assert_eq!(notes(&outputs, Level::Error), [format!("reload failed, generation 1 goes on: {reason}")]);
    assert_eq!(scene.supervisor.last_reload_error(), Some(reason.as_str()));
    assert_eq!((scene.mode(), scene.supervisor.generation(), scene.living.len()), ("running", 1, 3));
    assert!(!outputs.contains(&Output::Discard));
}

#[test]
fn an_app_that_fails_keeps_everything_old() {
    let traceback = "Traceback\nSyntaxError: invalid syntax";
    let fail: [fn(&mut Scene, ChildId) -> Vec<Output>; 4] = [
        |scene, child| {
            let reason = "Traceback\nSyntaxError: invalid syntax".to_owned();
            scene.on(Input::Failed { child, reason })
        },
        |scene, child| scene.exit(child, Exit::Signal(11)),
        |scene, _| scene.pass(seconds(30)),
        |scene, child| {
            scene.living.remove(&child);
            scene.on(Input::ForkFailed { child, reason: "EAGAIN".to_owned() })
        },
    ];
    for (case, fail) in fail.into_iter().enumerate() {
        let mut scene = Scene::serving(plan(vec![workers(2, 2), app(1, "shop", 2, 2), app(2, "blog", 1, 1)]));
        let old: Vec<ChildId> = scene.in_state("ready");
        let outputs =
            reload(&mut scene, 1, plan(vec![workers(2, 2), app(1, "shop", 2, 2), app(2, "blog", 1, 1)]));
        assert_eq!(spawned(&outputs).len(), 3);
        let blog = scene.one(2, "booting");
        scene.ready(blog);
        let child = scene.of(1, "booting")[0];
        let outputs = fail(&mut scene, child);
        assert_eq!(outputs.iter().filter(|output| **output == Output::Discard).count(), 1, "case {case}");
        let [(1, Err(reason))] = &answers(&outputs)[..] else { panic!("case {case}: {outputs:?}") };
        assert!(reason.starts_with("app shop: "), "{reason}");
        if case == 0 {
            assert_eq!(*reason, format!("app shop: could not start: {traceback}"));
        }
        assert_eq!(scene.supervisor.last_reload_error(), Some(reason.as_str()));
        assert_eq!(scene.mode(), "running");
        assert!(!outputs.iter().any(|output| matches!(output, Output::Switch { .. } | Output::Drain { .. })));
        scene.leave_all();
        assert_eq!(scene.in_state("ready"), old, "case {case}");
        assert_eq!(scene.living.len(), old.len());
        assert!(scene.pass(seconds(100)).is_empty(), "case {case}: nothing is tried again");
    }
}

#[test]
fn a_new_worker_that_fails_keeps_everything_old() {
    let mut scene = Scene::serving(shop());
    reload(&mut scene, 1, shop());
    scene.boot_all();
    let worker = scene.of(0, "booting")[0];
    let outputs = scene.on(Input::Failed { child: worker, reason: "no such certificate".to_owned() });
    assert_eq!(answers(&outputs), [(1, Err("worker: could not start: no such certificate".to_owned()))]);
    assert_eq!(killed(&outputs).len(), 3, "both workers and the app that was Ready already");
    scene.leave_all();
    assert_eq!(scene.living.len(), 3);
    // The next attempt works and clears the error.
    reload(&mut scene, 2, shop());
    scene.boot_all();
    scene.boot_all();
    assert_eq!(scene.supervisor.last_reload_error(), None);
    assert_eq!(scene.generation(scene.one(1, "ready")), 3, "a generation that failed is not used again");
}

#[test]
fn a_new_process_that_dies_before_the_switch_ends_the_reload() {
    let mut scene = Scene::serving(shop());
    reload(&mut scene, 1, shop());
    let app = scene.one(1, "booting");
    scene.ready(app);
    let outputs = scene.exit(app, Exit::Signal(9));
    assert!(
        matches!(&answers(&outputs)[..], [(1, Err(reason))] if reason.starts_with("app shop died: killed by SIGKILL"))
    );
    assert_eq!(scene.mode(), "running");
}

#[test]
fn old_processes_are_looked_after_during_a_reload() {
    let mut scene = Scene::serving(shop());
    reload(&mut scene, 1, shop());
    let dies = scene.of(0, "ready")[0];
    assert_eq!(spawned(&scene.exit(dies, Exit::Signal(9))), [(0, 1)], "from the old generation");
    let old = scene.one(0, "booting");
    let outputs = scene.ready(old);
    assert_eq!(outputs[0], Output::Open { child: old });
    let app = scene.one(1, "booting");
    let outputs = scene.ready(app);
    assert_eq!(spawned(&outputs), [(0, 2), (0, 2)]);
}

#[test]
fn an_old_process_that_boots_at_the_switch_is_killed() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    reload(&mut scene, 1, plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    let app = scene.one(1, "booting");
    scene.ready(app);
    let dies = scene.one(0, "ready");
    scene.exit(dies, Exit::Signal(9));
    let [first, second] = scene.of(0, "booting")[..] else { panic!("an old one and a new one") };
    let (old, new) = if scene.generation(first) == 1 { (first, second) } else { (second, first) };
    let outputs = scene.ready(new);
    assert_eq!(killed(&outputs), [(old, Kill::Term)]);
    assert!(outputs.contains(&Output::Open { child: new }));
}

#[test]
fn as_many_new_processes_as_serve_within_the_new_bounds() {
    for (ready, (min, max), wanted) in
        [(3, (0, 4), 3), (3, (0, 2), 2), (1, (2, 4), 2), (0, (0, 4), 0), (0, (1, 4), 1), (3, (1, 1), 1)]
    {
        let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 0, 4)]));
        for _ in 0..ready {
            scene.on(Input::Wanted { pool: 1 });
            scene.boot_all();
        }
        let next = plan(vec![workers(1, 1), app(1, "shop", min, max)]);
        let outputs = reload(&mut scene, 1, next);
        let apps = spawned(&outputs).into_iter().filter(|(pool, _)| *pool == 1).count();
        assert_eq!(apps, wanted, "{ready} serve, {min} to {max} wanted");
        scene.boot_all();
        scene.boot_all();
        scene.leave_all();
        assert_eq!(scene.of(1, "ready").len(), wanted);
    }
}

#[test]
fn sleeping_apps_are_listed_or_proved() {
    let pools = || plan(vec![workers(0, 1), app(1, "shop", 0, 1), app(2, "blog", 0, 1)]);
    let mut scene = Scene::new(pools());
    let outputs = reload(&mut scene, 1, pools());
    let told = "generation 2 serves; not proved (asleep): shop, blog".to_owned();
    assert_eq!(answers(&outputs), [(1, Ok(told))]);
    scene.on(Input::Reload { ticket: Ticket(2), wait: true, prove: true });
    let outputs = scene.on(Input::Loaded(pools()));
    assert_eq!(spawned(&outputs), [(1, 3), (2, 3)]);
    let outputs = scene.boot_all();
    assert_eq!(answers(&outputs), [(2, Ok("generation 3 serves".to_owned()))]);
    assert_eq!(drained(&outputs).len(), 2, "they leave again");
    scene.leave_all();
    assert_eq!(scene.mode(), "asleep");
    // One that does not boot keeps everything old.
    scene.on(Input::Reload { ticket: Ticket(3), wait: true, prove: true });
    scene.on(Input::Loaded(pools()));
    let child = scene.one(2, "booting");
    let outputs = scene.exit(child, Exit::Code(1));
    assert!(matches!(&answers(&outputs)[..], [(3, Err(reason))] if reason.starts_with("app blog: ")));
    scene.leave_all();
    assert_eq!((scene.mode(), scene.living.len()), ("asleep", 0));
    assert_eq!(scene.pass(seconds(100)), []);
}

#[test]
fn a_sleeping_app_whose_template_stays_is_proved() {
    let kept = |index: PoolIndex, name: &str| PoolPlan { kept: true, ..app(index, name, 0, 1) };
    let pools = || plan(vec![workers(0, 1), kept(1, "shop"), app(2, "blog", 0, 1)]);
    let mut scene = Scene::new(pools());
    assert_eq!(spawned(&scene.outputs), [], "a start does not wait for it");
    let outputs = reload(&mut scene, 1, pools());
    assert_eq!(spawned(&outputs), [(1, 2)]);
    let outputs = scene.boot_all();
    let told = "generation 2 serves; not proved (asleep): blog".to_owned();
    assert_eq!(answers(&outputs), [(1, Ok(told))]);
    scene.leave_all();
    reload(&mut scene, 2, pools());
    let proof = scene.one(1, "booting");
    let outputs = scene.on(Input::Failed { child: proof, reason: "SyntaxError".to_owned() });
    assert_eq!(answers(&outputs), [(2, Err("app shop: could not start: SyntaxError".to_owned()))]);
    assert_eq!((scene.supervisor.generation(), outputs.contains(&Output::Discard)), (2, true));
}

#[test]
fn an_app_that_wakes_during_a_reload_is_rolled_too() {
    let pools = || plan(vec![workers(1, 1), app(1, "shop", 1, 1), app(2, "blog", 0, 1)]);
    let mut scene = Scene::serving(pools());
    reload(&mut scene, 1, pools());
    let outputs = scene.on(Input::Wanted { pool: 2 });
    assert_eq!(spawned(&outputs), [(2, 1), (2, 2)], "one that serves now, one of the new generation");
    scene.boot_all();
    scene.boot_all();
    assert_eq!(scene.mode(), "running");
    assert_eq!(scene.generation(scene.one(2, "ready")), 2);
}

#[test]
fn a_new_app_comes_and_an_old_one_goes_with_its_workers() {
    let mut scene = Scene::serving(shop());
    let (old_workers, old_app) = (scene.of(0, "ready"), scene.one(1, "ready"));
    let outputs = reload(&mut scene, 1, plan(vec![workers(2, 2), app(2, "blog", 1, 1)]));
    assert_eq!(spawned(&outputs), [(2, 2)]);
    assert_eq!(published(&outputs, 2), [], "nobody asks for it yet");
    scene.boot_all();
    let outputs = scene.boot_all();
    assert_eq!(published(&outputs, 2), [PoolState::Serving]);
    assert_eq!(scene.of(1, "ready"), [old_app], "old workers still need it");
    assert_eq!(scene.on(Input::Wanted { pool: 1 }), [], "but it does not grow");
    scene.exit(old_workers[0], Exit::Code(0));
    assert_eq!(scene.of(1, "ready"), [old_app]);
    let outputs = scene.exit(old_workers[1], Exit::Code(0));
    assert_eq!(drained(&outputs), [(old_app, seconds(600), false)]);
    scene.exit(old_app, Exit::Code(0));
    assert_eq!(scene.supervisor.pools.len(), 2);
}

#[test]
fn an_app_that_left_and_came_back_is_the_same_pool() {
    let mut scene = Scene::serving(shop());
    reload(&mut scene, 1, plan(vec![workers(2, 2)]));
    scene.boot_all();
    assert_eq!(scene.of(1, "ready").len(), 1);
    reload(&mut scene, 2, shop());
    scene.boot_all();
    scene.boot_all();
    assert_eq!(scene.pool(1).state(None), PoolState::Serving);
    scene.leave_all();
    assert_eq!(scene.generation(scene.one(1, "ready")), 3);
}

#[test]
fn a_second_reload_waits_and_all_that_wait_are_one() {
    let mut scene = Scene::serving(shop());
    reload(&mut scene, 1, shop());
    assert_eq!(scene.on(Input::Reload { ticket: Ticket(2), wait: true, prove: false }), []);
    assert_eq!(scene.on(Input::Signal(Signal::Hup)), []);
    assert_eq!(scene.on(Input::Reload { ticket: Ticket(3), wait: true, prove: false }), []);
    let outputs = scene.on(Input::Reload { ticket: Ticket(4), wait: false, prove: false });
    assert_eq!(answers(&outputs), [(4, Ok("reload begun".to_owned()))], "this one does not wait");
    scene.boot_all();
    let outputs = scene.boot_all();
    assert_eq!(answers(&scene.close_all()), [(1, Ok("generation 2 serves".to_owned()))]);
    assert_eq!(outputs.iter().filter(|output| **output == Output::Load).count(), 1);
    let outputs = scene.on(Input::Rejected { reason: "no".to_owned() });
    assert_eq!(answers(&outputs), [(2, Err("no".to_owned())), (3, Err("no".to_owned()))]);
    assert!(!outputs.contains(&Output::Load));
}

#[test]
fn at_most_three_old_generations_drain() {
    let mut scene = Scene::serving(shop());
    let first = scene.in_state("ready");
    for ticket in 1..=4 {
        reload(&mut scene, ticket, shop());
        scene.boot_all();
        let outputs = scene.boot_all();
        let hurried: Vec<ChildId> = killed(&outputs).into_iter().map(|(child, _)| child).collect();
        assert_eq!(hurried, if ticket < 4 { vec![] } else { first.clone() }, "reload {ticket}");
    }
    assert_eq!(killed(&scene.pass(seconds(5))).len(), 3);
}

#[test]
fn a_drain_is_bounded() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1)]));
    reload(&mut scene, 1, plan(vec![workers(1, 1)]));
    scene.boot_all();
    let old = scene.one(0, "draining");
    assert_eq!(answers(&scene.close_all()).len(), 1);
    assert_eq!(scene.pass(seconds(600)), []);
    assert_eq!(killed(&scene.pass(seconds(1))), [(old, Kill::Term)]);
    assert_eq!(killed(&scene.pass(seconds(5))), [(old, Kill::Kill)]);
}

#[test]
fn sleeping_workers_stay_asleep() {
    let mut scene = Scene::new(plan(vec![workers(0, 2)]));
    let outputs = reload(&mut scene, 1, plan(vec![workers(0, 2)]));
    assert_eq!(spawned(&outputs), []);
    assert_eq!(scene.mode(), "asleep");
    assert_eq!(spawned(&scene.on(Input::Readable)), [(0, 2)]);
    // Never cheap any more: they come.
    scene.boot_all();
    scene.pass(seconds(60));
    scene.on(Input::Activity { pool: 0, last: Time::ZERO });
    scene.leave_all();
    let outputs = reload(&mut scene, 2, plan(vec![workers(2, 2)]));
    assert_eq!(spawned(&outputs), [(0, 3), (0, 3)]);
    assert!(scene.boot_all().contains(&Output::Watch(false)));
}

#[test]
fn a_failed_app_that_was_fixed_is_booted_by_the_reload() {
    let pools = || plan(vec![workers(1, 1), app(1, "shop", 1, 1), app(2, "blog", 1, 1)]);
    let mut scene = Scene::serving(pools());
    for _ in 0..8 {
        let blog = [scene.of(2, "ready"), scene.of(2, "booting")].concat()[0];
        scene.exit(blog, Exit::Code(1));
        if scene.of(2, "booting").is_empty() {
            let wait = scene.pool(2).retry().expect("it backs off").since(scene.now);
            scene.pass(wait);
        }
    }
    let blog = scene.one(2, "booting");
    scene.exit(blog, Exit::Code(1));
    assert!(scene.pool(2).retry().is_some());
    reload(&mut scene, 1, pools());
    scene.boot_all();
    scene.boot_all();
    assert_eq!((scene.pool(2).state(None), scene.pool(2).retry()), (PoolState::Serving, None));
    assert_eq!(scene.living.values().filter(|place| place.0 == 2).count(), 1);
}
