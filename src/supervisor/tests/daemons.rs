//! Daemons: their order at start and stop, crashes, and what reloads do with them.

use super::*;

/// Alive for a second is Ready; ten seconds to end.
fn daemon(index: PoolIndex, name: &str, after: &[PoolIndex]) -> PoolPlan {
    let daemon = DaemonPlan { after: after.to_vec(), overlap: false, on_reload: OnReload::Replace };
    PoolPlan {
        index,
        name: name.to_owned(),
        upkeep: Upkeep { boot_timeout: seconds(1), ..Upkeep::default() },
        daemon: Some(daemon),
        ..workers(1, 1)
    }
}

fn on_reload(plan: PoolPlan, on_reload: OnReload) -> PoolPlan {
    let daemon = plan.daemon.map(|daemon| DaemonPlan { on_reload, ..daemon });
    PoolPlan { daemon, ..plan }
}

/// A shop, its queue, and a worker of both.
fn shop(app_min: u32) -> Plan {
    let pools = vec![
        workers(1, 1),
        app(1, "shop", app_min, 2),
        daemon(512, "redis", &[]),
        daemon(513, "celery", &[512, 1]),
    ];
    plan(pools)
}

/// Everything is Ready.
fn running(plan: Plan) -> Scene {
    let mut scene = Scene::new(plan);
    for _ in 0..4 {
        scene.boot_all();
    }
    assert_eq!((scene.mode(), scene.in_state("booting").len()), ("running", 0));
    scene.outputs.clear();
    scene
}

fn reload(scene: &mut Scene, ticket: u64, plan: Plan) -> Vec<Output> {
    scene.on(Input::Reload { ticket: Ticket(ticket), wait: true, prove: false });
    scene.on(Input::Loaded(plan))
}

/// A reload up to its switch.
fn switch(scene: &mut Scene, plan: Plan) -> Vec<Output> {
    let before = scene.supervisor.generation();
    let mut outputs = reload(scene, 9, plan);
    while scene.supervisor.generation() == before {
        let booting = scene.in_state("booting");
        assert!(!booting.is_empty(), "the reload waits for nothing");
        booting.into_iter().for_each(|child| outputs.extend(scene.ready(child)));
    }
    outputs
}

fn reloaded(outputs: &[Output]) -> Vec<ChildId> {
    let reload = |output: &Output| match output {
        Output::Reload { child } => Some(*child),
        _ => None,
    };
    outputs.iter().filter_map(reload).collect()
}

#[test]
fn a_daemon_starts_when_what_it_comes_after_is_ready() {
    let mut scene = Scene::new(shop(1));
    assert_eq!(spawned(&scene.outputs), [(1, 1), (512, 1)]);
    assert_eq!(scene.waits_for(513), ["redis".to_owned(), "shop".to_owned()]);
    let app = scene.one(1, "booting");
    assert_eq!(spawned(&scene.ready(app)), [(0, 1)], "redis is not up yet");
    let worker = scene.one(0, "booting");
    assert!(scene.ready(worker).contains(&Output::Started), "nobody waits for daemons");
    assert_eq!(scene.waits_for(513), ["redis".to_owned()]);
    let redis = scene.one(512, "booting");
    assert_eq!(scene.pass(millis(999)), []);
    let outputs = scene.pass(millis(1));
    assert_eq!(outputs[0], Output::Open { child: redis }, "alive for a second is ready");
    assert_eq!(spawned(&outputs), [(513, 1)]);
    assert!(scene.waits_for(513).is_empty());
    scene.pass(seconds(1));
    assert_eq!(scene.of(513, "ready").len(), 1);
    assert_eq!(scene.supervisor.deadline(), None, "nothing to wait for");
}

#[test]
fn status_has_workers_then_apps_then_daemons_each_with_its_state() {
    let scene = Scene::new(shop(1));
    let pools = scene.supervisor.pools(scene.now).into_iter();
    let shown = pools.map(|pool| [pool.kind, pool.name, pool.state, pool.waits_for.join("+")].join(" "));
    let expected = [
        "workers worker asleep ",
        "app shop starting ",
        "daemon celery waiting redis+shop",
        "daemon redis starting ",
    ];
    assert_eq!(shown.collect::<Vec<_>>(), expected);
    let mut scene = running(shop(1));
    let (app, worker) = (scene.one(1, "ready"), scene.one(0, "ready"));
    scene.pass(seconds(5));
    scene.exit(app, Exit::Signal(9));
    let app = scene.one(1, "booting");
    scene.on(Input::Failed {
        child: app,
        reason: "Traceback (most recent call last):\nValueError: no".to_owned(),
    });
    scene.exit(app, Exit::Code(3));
    let pools = scene.supervisor.pools(scene.now);
    let (workers, app) = (&pools[0], &pools[1]);
    assert_eq!((&*app.state, app.last_exit.as_deref(), app.restarts), ("failed", Some("ValueError: no"), 1));
    assert_eq!((app.retry_in_ms, app.children.len(), app.processes), (Some(100), 0, (1, 2)));
    let child = &workers.children[0];
    assert_eq!((u64::from(child.pid), child.number, child.generation), (1000 + worker.0, 0, 1));
    assert_eq!((&*workers.state, &*child.state, child.uptime_seconds), ("ready", "ready", 5));
}

#[test]
fn an_app_that_sleeps_is_not_waited_for() {
    let mut scene = Scene::new(shop(0));
    scene.pass(seconds(1));
    assert_eq!(scene.of(513, "booting").len(), 1);
    assert_eq!(scene.of(1, "booting").len(), 0);
}

#[test]
fn a_failing_daemon_fails_the_start_only_if_everything_must_start() {
    for all_or_nothing in [false, true] {
        let mut scene = Scene::new(Plan { all_or_nothing, ..shop(1) });
        let app = scene.one(1, "booting");
        let outputs = scene.ready(app);
        assert_eq!(spawned(&outputs).len(), usize::from(!all_or_nothing), "all daemons are waited for");
        let redis = scene.one(512, "booting");
        let outputs = scene.exit(redis, Exit::Code(1));
        let told = "daemon redis: ended before it was ready: exit 1";
        assert_eq!(notes(&outputs, Level::Error), [told]);
        if all_or_nothing {
            scene.leave_all();
            assert_eq!(scene.outputs.last(), Some(&Output::Exit { code: 1 }));
        } else {
            scene.boot_all();
            assert_eq!(scene.mode(), "running");
        }
    }
}

#[test]
fn daemons_alone_are_a_server() {
    let mut scene = Scene::new(plan(vec![workers(0, 1), daemon(512, "redis", &[])]));
    assert_eq!(scene.mode(), "asleep");
    let redis = scene.one(512, "booting");
    scene.exit(redis, Exit::Code(1));
    assert_eq!(scene.of(512, "booting").len(), 1, "a server without apps goes on, too");
    let end =
        Scene::new(Plan { all_or_nothing: true, ..plan(vec![workers(1, 1), daemon(512, "redis", &[])]) });
    assert_eq!((end.mode(), end.of(0, "booting").len()), ("starting", 0));
}

#[test]
fn a_daemon_that_keeps_dying_backs_off_and_shows_it() {
    let mut scene = running(shop(1));
    let mut waits = Vec::new();
    for _ in 0..12 {
        let redis = [scene.of(512, "ready"), scene.of(512, "booting")].concat()[0];
        scene.exit(redis, Exit::Code(3));
        if let Some(retry) = scene.pool(512).retry() {
            let wait = retry.since(scene.now);
            waits.push(wait.as_millis());
            assert!(matches!(scene.pool(512).state(None), PoolState::Failed { .. }) || waits.len() == 1);
            scene.pass(wait);
        }
    }
    assert_eq!(waits, [100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    assert_eq!(scene.pool(512).last_exit.as_deref(), Some("ended before it was ready: exit 3"));
    assert_eq!(scene.of(513, "ready").len(), 1, "who came after it is left alone");
    assert_eq!(scene.mode(), "running");
}

#[test]
fn who_comes_after_a_daemon_that_is_down_waits_for_it() {
    let mut scene = running(shop(1));
    let (redis, celery) = (scene.one(512, "ready"), scene.one(513, "ready"));
    assert_eq!(spawned(&scene.exit(redis, Exit::Signal(9))), [(512, 1)]);
    let redis = scene.one(512, "booting");
    scene.exit(redis, Exit::Code(1));
    assert_eq!(spawned(&scene.exit(celery, Exit::Code(1))), [], "its attempt would be for nothing");
    assert_eq!(scene.waits_for(513), ["redis".to_owned()]);
    assert_eq!(spawned(&scene.pass(millis(100))), [(512, 1)]);
    assert_eq!(spawned(&scene.pass(seconds(1))), [(513, 1)]);
    assert_eq!(scene.pool(513).restarts, 1);
}

#[test]
fn who_comes_after_nothing_that_lives_has_all_the_time_to_stop() {
    let pools = vec![workers(1, 1), daemon(512, "redis", &[]), daemon(513, "celery", &[512])];
    let mut scene = running(Plan { shutdown_timeout: seconds(9), ..plan(pools) });
    let (redis, celery) = (scene.one(512, "ready"), scene.one(513, "ready"));
    scene.on(Input::Scale { ticket: Ticket(1), name: "redis".to_owned(), count: 0 });
    scene.exit(redis, Exit::Code(0));
    assert_eq!(killed(&scene.on(Input::Signal(Signal::Term))), [(celery, Kill::Term)]);
    assert!(!killed(&scene.pass(seconds(9))).contains(&(celery, Kill::Kill)), "nobody else needs the time");
    assert!(killed(&scene.pass(seconds(1))).contains(&(celery, Kill::Kill)));
}

#[test]
fn a_stop_ends_daemons_before_what_they_come_after() {
    let mut scene = running(shop(1));
    let (redis, celery, app) = (scene.one(512, "ready"), scene.one(513, "ready"), scene.one(1, "ready"));
    let worker = scene.one(0, "ready");
    let outputs = scene.on(Input::Signal(Signal::Term));
    assert_eq!(killed(&outputs), [(celery, Kill::Term)], "with the workers: it needs the time");
    assert_eq!(drained(&outputs).len(), 1);
    let outputs = scene.exit(worker, Exit::Code(0));
    assert_eq!((killed(&outputs), drained(&outputs)), (vec![], vec![]), "celery may need both");
    let outputs = scene.exit(celery, Exit::Code(0));
    assert_eq!(killed(&outputs), [(redis, Kill::Term)]);
    assert_eq!(drained(&outputs).len(), 1);
    scene.exit(app, Exit::Code(0));
    assert_eq!(scene.exit(redis, Exit::Code(0)).last(), Some(&Output::Exit { code: 0 }));
}

#[test]
fn an_app_waits_for_its_workers_and_daemons_at_a_stop() {
    let mut scene = running(shop(1));
    let (celery, worker) = (scene.one(513, "ready"), scene.one(0, "ready"));
    scene.on(Input::Signal(Signal::Term));
    let outputs = scene.exit(celery, Exit::Code(0));
    assert_eq!(drained(&outputs), [], "a request may still run");
    assert_eq!(drained(&scene.exit(worker, Exit::Code(0))).len(), 1);
}

#[test]
fn a_stop_leaves_time_for_what_is_stopped_last() {
    let mut scene = running(Plan { shutdown_timeout: seconds(9), ..shop(1) });
    let (redis, celery) = (scene.one(512, "ready"), scene.one(513, "ready"));
    scene.on(Input::Signal(Signal::Term));
    assert_eq!(
        killed(&scene.pass(seconds(5))),
        [(celery, Kill::Kill)],
        "half of nine seconds and one of grace"
    );
    let outputs = scene.exit(celery, Exit::Signal(9));
    assert_eq!(killed(&outputs), [(redis, Kill::Term)]);
    assert!(killed(&scene.pass(seconds(5))).contains(&(redis, Kill::Kill)));
    scene.leave_all();
    assert_eq!(scene.outputs.last(), Some(&Output::Exit { code: 0 }));
}

#[test]
fn a_fast_stop_tells_all_at_once() {
    let mut scene = running(shop(1));
    let outputs = scene.on(Input::Signal(Signal::Int));
    assert_eq!(killed(&outputs).iter().filter(|(_, how)| *how == Kill::Term).count(), 4);
    assert_eq!(killed(&scene.pass(seconds(1))).len(), 4);
}

#[test]
fn a_reload_replaces_old_before_new_after_the_switch() {
    let mut scene = running(shop(1));
    let (redis, celery) = (scene.one(512, "ready"), scene.one(513, "ready"));
    let next = |plan: Plan| {
        let pools = plan.pools.into_iter().map(|pool| match pool.index {
            512 => on_reload(pool, OnReload::Keep),
            _ => pool,
        });
        Plan { pools: pools.collect(), workers_changed: false, ..plan }
    };
    let outputs = reload(&mut scene, 1, next(shop(1)));
    assert_eq!(spawned(&outputs), [(1, 2)], "daemons take no part in the proof");
    assert_eq!(killed(&outputs), []);
    let outputs = scene.boot_all();
    assert!(
        position(&outputs, &Output::Switch { generation: 2 })
            < position(&outputs, &Output::Kill { child: celery, how: Kill::Term })
    );
    assert_eq!(killed(&outputs), [(celery, Kill::Term)]);
    assert_eq!(answers(&scene.outputs), [(1, Ok("generation 2 serves".to_owned()))]);
    assert_eq!(spawned(&outputs), [], "not beside the old one");
    assert_eq!(scene.one(513, "draining"), celery);
    let outputs = scene.exit(celery, Exit::Code(0));
    assert_eq!(spawned(&outputs), [(513, 2)]);
    assert_eq!(notes(&outputs, Level::Warn), [""; 0], "its end is no crash");
    assert_eq!(scene.one(512, "ready"), redis);
}

#[test]
fn a_daemon_that_does_not_end_is_killed_and_replaced() {
    let mut scene = running(shop(1));
    let celery = scene.one(513, "ready");
    switch(&mut scene, shop(1));
    assert_eq!(killed(&scene.pass(millis(9999))), []);
    assert_eq!(killed(&scene.pass(millis(1))), [(celery, Kill::Kill)]);
    scene.exit(celery, Exit::Signal(9));
    scene.leave_all();
    assert_eq!(scene.pool(513).restarts, 0);
}

#[test]
fn daemons_that_are_all_replaced_keep_their_order() {
    let mut scene = running(shop(1));
    let (redis, celery) = (scene.one(512, "ready"), scene.one(513, "ready"));
    assert_eq!(killed(&switch(&mut scene, shop(1))), [(celery, Kill::Term)]);
    let outputs = scene.exit(celery, Exit::Code(0));
    assert_eq!(killed(&outputs), [(redis, Kill::Term)]);
    assert_eq!(spawned(&outputs), [], "the next redis comes first");
    assert_eq!(spawned(&scene.exit(redis, Exit::Code(0))), [(512, 2)]);
    assert_eq!(spawned(&scene.pass(seconds(1))), [(513, 2)]);
}

#[test]
fn a_daemon_that_may_overlap_is_started_at_the_switch() {
    let overlapping = || {
        let celery = daemon(513, "celery", &[]);
        let overlap = celery.daemon.clone().map(|daemon| DaemonPlan { overlap: true, ..daemon });
        plan(vec![workers(1, 1), app(1, "shop", 1, 1), PoolPlan { daemon: overlap, ..celery }])
    };
    let mut scene = running(overlapping());
    let celery = scene.one(513, "ready");
    let outputs = switch(&mut scene, overlapping());
    assert_eq!(killed(&outputs), [(celery, Kill::Term)]);
    assert!(spawned(&outputs).contains(&(513, 2)));
    assert_eq!((scene.of(513, "draining"), scene.of(513, "booting").len()), (vec![celery], 1));
}

#[test]
fn a_reload_signal_is_for_those_that_run() {
    let signalled = || {
        let mut next = plan(vec![workers(1, 1), app(1, "shop", 1, 1)]);
        next.pools.push(on_reload(daemon(512, "redis", &[]), OnReload::Signal));
        next.pools.push(on_reload(daemon(513, "celery", &[]), OnReload::Signal));
        next
    };
    let mut scene = running(signalled());
    let (redis, celery) = (scene.one(512, "ready"), scene.one(513, "ready"));
    scene.exit(celery, Exit::Code(1));
    let celery = scene.one(513, "booting");
    scene.on(Input::Reload { ticket: Ticket(1), wait: true, prove: false });
    scene.on(Input::Loaded(signalled()));
    let app = scene.one(1, "booting");
    scene.ready(app);
    let worker = scene.one(0, "booting");
    let outputs = scene.ready(worker);
    assert_eq!(reloaded(&outputs), [redis]);
    assert_eq!(killed(&outputs), [(celery, Kill::Term)], "it may not know the signal yet");
    assert_eq!(spawned(&scene.exit(celery, Exit::Signal(15))), [(513, 2)]);
    assert_eq!(scene.one(512, "ready"), redis);
}

#[test]
fn a_reload_that_fails_leaves_daemons_alone() {
    let fail: [fn(&mut Scene) -> Vec<Output>; 3] = [
        |scene| {
            scene.on(Input::Reload { ticket: Ticket(1), wait: true, prove: false });
            scene.on(Input::Rejected { reason: "no".to_owned() })
        },
        |scene| {
            reload(scene, 1, shop(1));
            let app = scene.one(1, "booting");
            scene.exit(app, Exit::Code(1))
        },
        |scene| {
            // A new daemon, and none of the old ones.
            let next = plan(vec![workers(1, 1), app(1, "shop", 1, 1), daemon(514, "beat", &[])]);
            reload(scene, 1, next);
            let app = scene.one(1, "booting");
            scene.ready(app);
            let worker = scene.one(0, "booting");
            scene.exit(worker, Exit::Code(1))
        },
    ];
    for fail in fail {
        let mut scene = running(shop(1));
        let before = [scene.one(512, "ready"), scene.one(513, "ready")];
        let outputs = fail(&mut scene);
        assert!(matches!(answers(&outputs)[..], [(1, Err(_))]), "{outputs:?}");
        scene.leave_all();
        assert_eq!([scene.one(512, "ready"), scene.one(513, "ready")], before);
        assert_eq!(killed(&scene.outputs).iter().filter(|(child, _)| before.contains(child)).count(), 0);
        assert!(scene.supervisor.pools.iter().all(|pool| pool.plan.index != 514));
    }
}

#[test]
fn daemons_come_and_go_with_the_file() {
    let mut scene = running(shop(1));
    let (redis, celery) = (scene.one(512, "ready"), scene.one(513, "ready"));
    let next = plan(vec![workers(1, 1), app(1, "shop", 1, 2), daemon(514, "beat", &[])]);
    let outputs = switch(&mut scene, next);
    assert!(spawned(&outputs).contains(&(514, 2)));
    assert_eq!(killed(&outputs), [(celery, Kill::Term)]);
    assert_eq!(killed(&scene.exit(celery, Exit::Code(0))), [(redis, Kill::Term)], "in their order, too");
    assert_eq!(spawned(&scene.exit(redis, Exit::Code(0))), []);
    assert_eq!(scene.supervisor.pools.iter().map(|pool| pool.plan.index).collect::<Vec<_>>(), [0, 1, 514]);
}

#[test]
fn a_reload_gives_a_failing_daemon_another_chance_at_once() {
    let mut scene = running(shop(1));
    for _ in 0..6 {
        let redis = [scene.of(512, "ready"), scene.of(512, "booting")].concat()[0];
        scene.exit(redis, Exit::Code(1));
        if let Some(retry) = scene.pool(512).retry().filter(|_| scene.of(512, "booting").is_empty()) {
            scene.pass(retry.since(scene.now));
        }
    }
    let redis = scene.one(512, "booting");
    scene.exit(redis, Exit::Code(1));
    assert!(scene.pool(512).retry().is_some());
    let celery = scene.one(513, "ready");
    let outputs = switch(&mut scene, shop(1));
    assert_eq!(killed(&outputs), [(celery, Kill::Term)]);
    assert!(spawned(&outputs).contains(&(512, 2)));
}

#[test]
fn restart_ends_the_old_process_and_answers_when_the_new_one_is_ready() {
    let mut scene = running(shop(1));
    let (redis, celery) = (scene.one(512, "ready"), scene.one(513, "ready"));
    let restart = |scene: &mut Scene, ticket| {
        scene.on(Input::Restart {
            ticket: Ticket(ticket),
            name: "redis".to_owned(),
            why: "restart was asked for",
        })
    };
    let outputs = restart(&mut scene, 1);
    assert_eq!((killed(&outputs), answers(&outputs)), (vec![(redis, Kill::Term)], vec![]));
    let outputs = scene.exit(redis, Exit::Code(0));
    assert_eq!((spawned(&outputs), answers(&outputs)), (vec![(512, 1)], vec![]));
    let told = Ok("daemon redis: 1 process replaced".to_owned());
    assert_eq!(answers(&scene.pass(seconds(1))), [(1, told)]);
    assert_eq!(scene.one(513, "ready"), celery, "only that one");
    // A second one meets a program that does not start any more.
    restart(&mut scene, 2);
    for _ in 0..3 {
        let redis = [scene.of(512, "draining"), scene.of(512, "booting")].concat()[0];
        scene.exit(redis, Exit::Code(1));
    }
    let told = Err("daemon redis: ended before it was ready: exit 1".to_owned());
    assert_eq!(answers(&scene.outputs).last(), Some(&(2, told)));
    assert_eq!(
        answers(&restart(&mut scene, 3)),
        [(3, Ok("daemon redis: another attempt is made now".to_owned()))]
    );
}

#[test]
fn a_daemon_is_scaled_and_stopped() {
    let mut scene = running(shop(1));
    let scale = |scene: &mut Scene, count| {
        scene.on(Input::Scale { ticket: Ticket(1), name: "celery".to_owned(), count })
    };
    assert_eq!(spawned(&scale(&mut scene, 3)).len(), 2);
    scene.boot_all();
    let outputs = scale(&mut scene, 1);
    assert_eq!(killed(&outputs).len(), 2);
    assert_eq!(spawned(&scale(&mut scene, 2)), [], "the old ones leave first");
    assert_eq!(spawned(&scene.leave_all()).len(), 1);
    let outputs = scale(&mut scene, 0);
    assert_eq!(answers(&outputs), [(1, Ok("daemon celery: stopped, until the next reload".to_owned()))]);
    scene.leave_all();
    assert_eq!((scene.pool(513).state(None), scene.pool(513).is_alive()), (PoolState::Stopped, false));
    assert_eq!(scene.on(Input::Wanted { pool: 513 }), [], "no request asks for a daemon");
    let outputs = switch(&mut scene, shop(1));
    assert_eq!(
        spawned(&outputs).iter().filter(|(pool, _)| *pool == 513).count(),
        0,
        "redis is replaced first"
    );
    scene.leave_all();
    scene.boot_all();
    assert_eq!(scene.of(513, "booting").len(), 1);
}

#[test]
fn a_daemon_that_is_stopped_by_hand_stays_so_and_what_comes_after_it_goes_on() {
    let mut scene = running(shop(1));
    let name = || "redis".to_owned();
    let outputs = scene.on(Input::StopOne { ticket: Ticket(1), name: name() });
    assert_eq!((killed(&outputs).len(), answers(&outputs)), (1, vec![]));
    assert_eq!(answers(&scene.leave_all()).len(), 1);
    assert_eq!(scene.pass(seconds(3600)), []);
    // Its successor in the order starts without it.
    let celery = scene.one(513, "ready");
    assert_eq!(spawned(&scene.exit(celery, Exit::Signal(9))), [(513, 1)]);
    let outputs = scene.on(Input::StartOne { ticket: Ticket(2), name: name() });
    assert_eq!((spawned(&outputs), answers(&outputs)), (vec![(512, 1)], vec![]));
    assert_eq!(answers(&scene.pass(seconds(10))), [(2, Ok("daemon redis: started".to_owned()))]);
}

#[test]
fn a_death_during_a_shrink_does_not_overlap() {
    let mut scene = running(shop(1));
    scene.on(Input::Scale { ticket: Ticket(1), name: "redis".to_owned(), count: 2 });
    scene.boot_all();
    scene.on(Input::Scale { ticket: Ticket(2), name: "redis".to_owned(), count: 1 });
    let (leaves, dies) = (scene.one(512, "draining"), scene.one(512, "ready"));
    assert_eq!(spawned(&scene.exit(dies, Exit::Signal(9))), []);
    assert_eq!(spawned(&scene.exit(leaves, Exit::Code(0))), [(512, 1)]);
}

#[test]
fn a_daemon_that_seems_to_go_to_the_background_has_failed_to_boot() {
    let told = "daemon redis: ended with exit 0 within ten seconds of its start";
    // Alive for a second is Ready, and counts for nothing then.
    for lives in [0, 1, 10] {
        let mut scene = running(shop(1));
        let mut waits = Vec::new();
        for _ in 0..8 {
            if !scene.pool(512).is_alive() {
                let wait = scene.pool(512).retry().map_or(Duration::ZERO, |retry| retry.since(scene.now));
                waits.push(wait.as_millis());
                scene.pass(wait);
            }
            scene.pass(seconds(lives));
            let redis = [scene.of(512, "ready"), scene.of(512, "booting")].concat()[0];
            let outputs = scene.exit(redis, Exit::Code(0));
            let errors = notes(&outputs, Level::Error);
            assert!(errors.len() == 1 && errors[0].starts_with(told), "{lives}: {outputs:?}");
            assert!(
                errors[0].contains("`daemonize no`") && errors[0].contains("`daemon off;`"),
                "{errors:?}"
            );
            assert_eq!(killed(&outputs), [], "nothing is looked for");
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 3200], "{lives}");
        assert!(
            scene
                .pool(512)
                .last_exit
                .clone()
                .unwrap_or_default()
                .starts_with(&told["daemon redis: ".len()..])
        );
    }
}

#[test]
fn a_daemon_that_ends_late_in_another_way_or_as_it_was_told_has_not_gone_to_the_background() {
    let background = |scene: &Scene, outputs: &[Output]| {
        let shown = scene.pool(512).last_exit.clone().unwrap_or_default();
        notes(outputs, Level::Error).join(" ").contains("background") || shown.contains("background")
    };
    for (lives, exit, expected) in [
        (millis(10_000), Exit::Code(0), true),
        (millis(10_001), Exit::Code(0), false),
        (millis(5_000), Exit::Code(1), false),
        (millis(5_000), Exit::Signal(15), false),
    ] {
        let mut scene = running(shop(1));
        let redis = scene.one(512, "ready");
        scene.exit(redis, Exit::Code(1));
        scene.pass(lives);
        let redis = scene.one(512, "ready");
        let outputs = scene.exit(redis, exit);
        assert_eq!(background(&scene, &outputs), expected, "{lives:?} {exit:?}");
    }
    let mut scene = running(shop(1));
    let redis = scene.one(512, "ready");
    scene.on(Input::Restart { ticket: Ticket(1), name: "redis".to_owned(), why: "restart was asked for" });
    let outputs = scene.exit(redis, Exit::Code(0));
    assert!(!background(&scene, &outputs), "it was told to end");
    let app = scene.one(1, "ready");
    let outputs = scene.exit(app, Exit::Code(0));
    assert!(!background(&scene, &outputs), "an app");
}
