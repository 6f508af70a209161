use super::*;

fn cheap_app() -> Scene {
    Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 0, 3), app(2, "blog", 1, 1)]))
}

#[test]
fn a_request_wakes_one_process_of_a_sleeping_app() {
    let mut scene = cheap_app();
    assert_eq!(scene.pool(1).state(None), PoolState::Asleep);
    let outputs = scene.on(Input::Wanted { pool: 1 });
    assert_eq!(spawned(&outputs), [(1, 1)]);
    assert_eq!(published(&outputs, 1), [PoolState::Booting]);
    for _ in 0..10 {
        assert_eq!(scene.on(Input::Wanted { pool: 1 }), [], "one boot, however many requests");
    }
    let child = scene.one(1, "booting");
    let outputs = scene.ready(child);
    assert_eq!(outputs, [Output::Open { child }, Output::Publish { pool: 1, state: PoolState::Serving }]);
}

#[test]
fn a_busy_app_grows_by_one_up_to_its_maximum() {
    let mut scene = cheap_app();
    for count in 1..=3 {
        assert_eq!(spawned(&scene.on(Input::Wanted { pool: 1 })).len(), 1);
        scene.boot_all();
        assert_eq!(scene.of(1, "ready").len(), count);
    }
    assert_eq!(scene.on(Input::Wanted { pool: 1 }), []);
}

#[test]
fn an_idle_app_shrinks_to_its_minimum_and_wakes_again() {
    let mut scene = cheap_app();
    for _ in 0..2 {
        scene.on(Input::Wanted { pool: 1 });
        scene.boot_all();
    }
    let outputs = scene.pass(seconds(60));
    assert_eq!(outputs, [Output::Sample { pool: 1 }]);
    assert_eq!(scene.pass(seconds(60)), [Output::Sample { pool: 1 }], "a lost answer is asked for again");
    let outputs = scene.on(Input::Activity { pool: 1, last: Time::ZERO });
    assert_eq!(drained(&outputs).len(), 2);
    assert_eq!(published(&outputs, 1), [PoolState::Asleep]);
    assert_eq!(spawned(&scene.on(Input::Wanted { pool: 1 })), [(1, 1)], "also while the old ones leave");
    scene.boot_all();
    scene.leave_all();
    assert_eq!(scene.of(1, "ready").len(), 1);
}

#[test]
fn a_wake_up_that_fails_never_boots_once_per_request() {
    let mut scene = cheap_app();
    scene.on(Input::Wanted { pool: 1 });
    let child = scene.one(1, "booting");
    let outputs = scene.exit(child, Exit::Code(1));
    assert_eq!(spawned(&outputs), [(1, 1)], "the first death is replaced at once");
    let child = scene.one(1, "booting");
    let outputs = scene.exit(child, Exit::Code(1));
    let state = PoolState::Failed { retry: scene.now.after(millis(100)) };
    assert_eq!(published(&outputs, 1), [state]);
    for _ in 0..100 {
        assert_eq!(scene.on(Input::Wanted { pool: 1 }), [Output::Publish { pool: 1, state }]);
    }
    assert_eq!(scene.pass(millis(100)), [Output::Publish { pool: 1, state: PoolState::Asleep }]);
    assert_eq!(spawned(&scene.on(Input::Wanted { pool: 1 })), [(1, 1)]);
    let child = scene.one(1, "booting");
    let outputs = scene.exit(child, Exit::Code(1));
    assert_eq!(published(&outputs, 1), [PoolState::Failed { retry: scene.now.after(millis(200)) }]);
}

#[test]
fn requests_wait_for_an_app_that_crashed_but_not_for_one_that_does_not_boot() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    let crash = |scene: &mut Scene| {
        scene.pass(millis(1));
        let child = scene.one(1, "ready");
        scene.exit(child, Exit::Code(1))
    };
    crash(&mut scene);
    scene.boot_all();
    for wait in [100, 200, 400, 800, 1000, 1000] {
        assert_eq!(published(&crash(&mut scene), 1), [PoolState::Booting]);
        assert_eq!(scene.pool(1).retry(), Some(scene.now.after(millis(wait))));
        assert_eq!(spawned(&scene.pass(millis(wait))), [(1, 1)]);
        scene.boot_all();
    }
    crash(&mut scene);
    scene.pass(seconds(1));
    let child = scene.one(1, "booting");
    let outputs = scene.exit(child, Exit::Code(1));
    assert!(matches!(published(&outputs, 1)[..], [PoolState::Failed { .. }]), "{outputs:?}");
}

#[test]
fn a_process_that_grew_and_keeps_dying_is_given_up() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 1, 3)]));
    scene.on(Input::Wanted { pool: 1 });
    for _ in 0..2 {
        let child = scene.one(1, "booting");
        scene.exit(child, Exit::Code(1));
    }
    assert!(scene.pool(1).retry().is_some());
    assert_eq!(scene.pool(1).state(None), PoolState::Serving);
    assert_eq!(scene.on(Input::Wanted { pool: 1 }), [Output::Publish { pool: 1, state: PoolState::Serving }]);
    assert_eq!(spawned(&scene.pass(seconds(1))), []);
    assert_eq!(scene.pool(1).retry(), None);
    assert_eq!(spawned(&scene.on(Input::Wanted { pool: 1 })), [(1, 1)]);
}

#[test]
fn an_app_that_hangs_is_replaced_at_once() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    let stuck = scene.one(1, "ready");
    let reason = "GET /slow?token=secret ran into the time-out of 60s".to_owned();
    let outputs = scene.on(Input::Stuck { child: stuck, reason: reason.clone() });
    let (inspect, drain) = (Output::Inspect { child: stuck }, drained(&outputs));
    assert!(
        position(&outputs, &inspect)
            < position(&outputs, &Output::Drain { child: stuck, within: drain[0].1, hurry: false })
    );
    assert_eq!(drained(&outputs), [(stuck, seconds(1), false)]);
    assert_eq!(spawned(&outputs), [(1, 1)]);
    assert_eq!(
        scene.on(Input::Stuck { child: stuck, reason: reason.clone() }),
        [],
        "said once by each worker"
    );
    scene.boot_all();
    assert_eq!(killed(&scene.pass(seconds(2))), [(stuck, Kill::Term)]);
    assert_eq!(killed(&scene.pass(seconds(5))), [(stuck, Kill::Kill)]);
    assert_eq!(scene.exit(stuck, Exit::Signal(9)), [], "its end is no crash");
    assert_eq!(scene.pool(1).restarts, 1);
    assert_eq!(
        scene.pool(1).last_exit.as_deref(),
        Some("GET /slow ran into the time-out of 60s"),
        "the query is for the log only"
    );
}

#[test]
fn a_worker_is_never_stuck() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1)]));
    let worker = scene.one(0, "ready");
    assert_eq!(scene.on(Input::Stuck { child: worker, reason: String::new() }), []);
}

#[test]
fn a_fork_that_fails_waits_like_a_death() {
    let mut scene = cheap_app();
    let now = scene.now;
    scene.supervisor.on(Input::Wanted { pool: 1 }, now);
    let mut forks = 0;
    while let Some(output) = scene.supervisor.poll() {
        if let Output::Spawn { child, .. } = output {
            forks += 1;
            scene.supervisor.on(Input::ForkFailed { child, reason: "EAGAIN".to_owned() }, now);
        }
    }
    assert_eq!(forks, 2);
    assert_eq!(scene.supervisor.deadline(), Some(now.after(millis(100))));
}
