use super::*;

#[test]
fn a_dead_worker_is_replaced_and_the_others_look_again() {
    let mut scene = Scene::serving(plan(vec![workers(2, 2)]));
    let dead = scene.of(0, "ready")[0];
    scene.pass(seconds(60));
    let outputs = scene.exit(dead, Exit::Signal(9));
    assert_eq!(spawned(&outputs), [(0, 1)]);
    assert!(outputs.contains(&Output::Rearm));
    assert_eq!(scene.pool(0).restarts, 1);
    assert_eq!(
        scene.pool(0).last_exit.as_deref(),
        Some("killed by SIGKILL: by hand, or by the kernel when memory ran out")
    );
    let new = scene.one(0, "booting");
    assert_eq!(scene.ready(new), [Output::Open { child: new }]);
}

#[test]
fn a_worker_that_keeps_dying_waits_longer_and_longer() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1)]));
    let mut waits = Vec::new();
    for _ in 0..12 {
        let child = scene.one(0, "ready");
        scene.exit(child, Exit::Code(1));
        let begun = scene.now;
        if let Some(retry) = scene.pool(0).retry() {
            scene.pass(retry.since(begun));
        }
        waits.push(scene.now.since(begun).as_millis());
        scene.boot_all();
    }
    // The first death in the row follows at once, then the wait doubles.
    assert_eq!(waits[..2], [0, 100]);
    assert_eq!(waits[2..], [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
    scene.pass(seconds(10));
    let child = scene.one(0, "ready");
    assert_eq!(spawned(&scene.exit(child, Exit::Code(1))), [(0, 1)], "ten good seconds forgive everything");
    assert_eq!(scene.pool(0).restarts, 13);
}

#[test]
fn each_slot_has_its_own_back_off() {
    let mut scene = Scene::serving(plan(vec![workers(3, 3)]));
    for child in scene.of(0, "ready") {
        assert_eq!(spawned(&scene.exit(child, Exit::Signal(11))), [(0, 1)]);
    }
}

#[test]
fn cheap_workers_wake_for_a_client_and_sleep_again() {
    let mut scene = Scene::new(plan(vec![workers(0, 2)]));
    assert_eq!(scene.outputs, [Output::Started, Output::Watch(true)]);
    let outputs = scene.on(Input::Readable);
    assert_eq!(outputs[0], Output::Watch(false));
    assert_eq!(spawned(&outputs), [(0, 1)]);
    assert_eq!(scene.on(Input::Readable), [], "a late one does nothing");
    scene.boot_all();
    assert_eq!(scene.mode(), "running");
    assert_eq!(scene.pass(millis(59_999)), []);
    assert_eq!(scene.pass(millis(1)), [Output::Sample { pool: 0 }]);
    let busy = scene.now;
    assert_eq!(scene.on(Input::Activity { pool: 0, last: busy }), []);
    scene.pass(seconds(60));
    let worker = scene.one(0, "ready");
    let outputs = scene.on(Input::Activity { pool: 0, last: busy });
    assert_eq!(drained(&outputs), [(worker, seconds(600), false)]);
    assert_eq!(scene.exit(worker, Exit::Code(0)), [Output::Watch(true)]);
    assert_eq!(scene.mode(), "asleep");
}

#[test]
fn a_client_is_not_kept_waiting_by_a_worker_that_leaves_slowly() {
    let mut scene = Scene::new(plan(vec![workers(0, 2)]));
    scene.on(Input::Readable);
    scene.boot_all();
    scene.pass(seconds(60));
    scene.on(Input::Activity { pool: 0, last: Time::ZERO });
    let slow = scene.one(0, "draining");
    assert_eq!(scene.pass(millis(999)), [], "it stops accepting first");
    assert_eq!(scene.pass(millis(1)), [Output::Watch(true)]);
    let outputs = scene.on(Input::Readable);
    assert_eq!(spawned(&outputs), [(0, 1)]);
    scene.boot_all();
    assert_eq!(scene.exit(slow, Exit::Code(0)), [Output::Rearm]);
}

#[test]
fn a_cheap_worker_that_does_not_boot_is_not_woken_before_its_back_off_ends() {
    let mut scene = Scene::new(plan(vec![workers(0, 1)]));
    scene.on(Input::Readable);
    for (attempt, wait) in [(1, 0), (2, 100), (3, 200), (4, 400)] {
        let child = scene.one(0, "booting");
        let outputs = scene.exit(child, Exit::Code(1));
        assert!(!outputs.contains(&Output::Watch(true)), "attempt {attempt}");
        if wait == 0 {
            assert_eq!(spawned(&outputs), [(0, 1)]);
            continue;
        }
        assert_eq!(scene.on(Input::Readable), []);
        assert_eq!(scene.pass(millis(wait - 1)), []);
        assert_eq!(scene.pass(millis(1)), [Output::Watch(true)], "attempt {attempt}");
        assert_eq!(spawned(&scene.on(Input::Readable)), [(0, 1)]);
    }
}

#[test]
fn a_crashed_cheap_worker_is_replaced_for_the_clients_that_wait() {
    let mut scene = Scene::new(plan(vec![workers(0, 1)]));
    scene.on(Input::Readable);
    scene.boot_all();
    let worker = scene.one(0, "ready");
    let outputs = scene.exit(worker, Exit::Signal(11));
    assert_eq!(spawned(&outputs), [(0, 1)]);
    assert!(!outputs.contains(&Output::Watch(true)));
}

#[test]
fn cheap_workers_grow_on_demand() {
    let mut scene = Scene::new(plan(vec![workers(0, 2)]));
    scene.on(Input::Readable);
    assert_eq!(scene.on(Input::Wanted { pool: 0 }), [], "one boot at a time");
    scene.boot_all();
    assert_eq!(spawned(&scene.on(Input::Wanted { pool: 0 })), [(0, 1)]);
    scene.boot_all();
    assert_eq!(scene.on(Input::Wanted { pool: 0 }), [], "never more than max");
}

#[test]
fn ttin_and_ttou_move_the_workers_until_the_next_reload() {
    let mut scene = Scene::serving(plan(vec![workers(2, 2)]));
    assert_eq!(spawned(&scene.on(Input::Signal(Signal::Ttin))), [(0, 1)]);
    scene.boot_all();
    assert_eq!(scene.wanted(0), (3, 3));
    for left in [2, 1, 1] {
        scene.on(Input::Signal(Signal::Ttou));
        scene.leave_all();
        assert_eq!(scene.of(0, "ready").len(), left);
    }
    assert_eq!(scene.of(0, "ready").iter().map(|child| scene.living[child].1).collect::<Vec<_>>(), [0]);
    scene.on(Input::Signal(Signal::Hup));
    let outputs = scene.on(Input::Loaded(plan(vec![workers(2, 2)])));
    assert_eq!(spawned(&outputs), [(0, 2), (0, 2)]);
    assert_eq!(scene.wanted(0), (1, 1));
    scene.boot_all();
    assert_eq!(scene.wanted(0), (2, 2));
}

#[test]
fn ttin_leaves_sleeping_workers_asleep() {
    let mut scene = Scene::new(plan(vec![workers(0, 1)]));
    scene.on(Input::Signal(Signal::Ttin));
    assert_eq!(scene.mode(), "asleep");
    assert_eq!(scene.wanted(0), (0, 2));
}

#[test]
fn ttou_gives_up_a_worker_that_waits_before_one_that_serves() {
    let mut scene = Scene::serving(plan(vec![workers(2, 2)]));
    let [stays, dies] = scene.of(0, "ready")[..] else { panic!("two workers") };
    scene.exit(dies, Exit::Code(1));
    let again = scene.one(0, "booting");
    scene.exit(again, Exit::Code(1));
    assert!(scene.pool(0).retry().is_some());
    let outputs = scene.on(Input::Signal(Signal::Ttou));
    assert_eq!(drained(&outputs), []);
    assert_eq!(scene.pool(0).retry(), None);
    assert_eq!(scene.one(0, "ready"), stays);
    assert_eq!(scene.pass(seconds(100)), []);
}

#[test]
fn a_suspended_machine_kills_nobody_that_had_no_time_to_run() {
    let mut scene = Scene::new(plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    scene.now = scene.now.after(seconds(3600));
    let late = scene.now;
    scene.supervisor.on_timeout(late);
    assert_eq!(scene.drain(), []);
    // An hour late, its thirty seconds begin again; a second input does not give it yet another hour.
    scene.on(Input::Signal(Signal::Ttin));
    assert!(scene.supervisor.deadline().is_some_and(|deadline| deadline <= late.after(seconds(30))));
    let app = scene.one(1, "booting");
    assert_eq!(killed(&scene.pass(millis(29_999))), []);
    assert_eq!(killed(&scene.pass(millis(1)))[0], (app, Kill::Term));
}

#[test]
fn one_more_worker_while_all_are_busy_and_one_fewer_when_none_is() {
    let mut scene = Scene::serving(plan(vec![workers(1, 3)]));
    let first = scene.one(0, "ready");
    let say = |scene: &mut Scene, child, load| scene.on(Input::Load { child, load });
    assert_eq!(say(&mut scene, first, Load::Middle), []);
    assert_eq!(spawned(&say(&mut scene, first, Load::High)), [(0, 1)]);
    assert_eq!(say(&mut scene, first, Load::High), [], "one at a time");
    let second = scene.one(0, "booting");
    assert_eq!(spawned(&scene.ready(second)), [], "the new one is not busy yet");
    assert_eq!(spawned(&say(&mut scene, second, Load::High)), [(0, 1)]);
    let third = scene.one(0, "booting");
    scene.ready(third);
    assert_eq!(spawned(&say(&mut scene, third, Load::High)), [], "never more than max");

    say(&mut scene, first, Load::Low);
    say(&mut scene, second, Load::Low);
    assert_eq!(drained(&scene.pass(seconds(120))), [], "the third is busy");
    say(&mut scene, third, Load::Middle);
    assert_eq!(drained(&scene.pass(seconds(120))), [], "two would have too much to do");
    say(&mut scene, third, Load::Low);
    scene.pass(seconds(59));
    say(&mut scene, second, Load::Middle);
    say(&mut scene, second, Load::Low);
    assert_eq!(drained(&scene.pass(seconds(59))), [], "it starts from the beginning");
    assert_eq!(drained(&scene.pass(seconds(1))), [(third, seconds(600), false)]);
    assert_eq!(drained(&scene.pass(seconds(60))), [(second, seconds(600), false)], "step by step");
    assert!(drained(&scene.pass(seconds(600))).is_empty(), "never fewer than min");
    assert_eq!(scene.of(0, "ready"), [first]);
}

#[test]
fn a_busy_worker_gets_help_once_a_reload_is_over() {
    let mut scene = Scene::serving(plan(vec![workers(1, 2)]));
    let old = scene.one(0, "ready");
    scene.on(Input::Signal(Signal::Hup));
    assert_eq!(spawned(&scene.on(Input::Load { child: old, load: Load::High })), []);
    assert_eq!(spawned(&scene.on(Input::Rejected { reason: "no".to_owned() })), [(0, 1)]);
}

#[test]
fn a_worker_that_hangs_is_aborted_killed_and_replaced_even_if_nothing_ends_it() {
    let mut scene = Scene::serving(plan(vec![workers(2, 2), app(1, "shop", 1, 2)]));
    let worker = scene.of(0, "ready")[0];
    let outputs = scene.on(Input::Hung { child: worker });
    assert_eq!(killed(&outputs), [(worker, Kill::Abort)]);
    assert_eq!(killed(&scene.pass(seconds(1))), [(worker, Kill::Kill)]);
    assert_eq!(spawned(&scene.pass(millis(4999))), [], "it may still end");
    let outputs = scene.pass(millis(1));
    assert_eq!(outputs[0], Output::Abandon { child: worker });
    assert_eq!(spawned(&outputs), [(0, 1)]);
    scene.boot_all();
    assert_eq!(scene.of(0, "ready").len(), 2);
    let pool = scene.pool(0);
    assert_eq!((pool.abandoned[0].child, pool.restarts), (worker, 1));
    assert!(pool.last_exit.as_deref().unwrap().contains("hangs in one turn of its loop"));
    // It survives an upgrade, and ends after all.
    let text = serde_json::to_string(&scene.supervisor).unwrap();
    scene.supervisor = serde_json::from_str(&text).unwrap();
    let outputs = scene.on(Input::Exited { child: worker, exit: Exit::Signal(9) });
    assert!(
        matches!(&outputs[..], [Output::Note { text, .. }] if text.contains("has ended: killed by SIGKILL"))
    );
    assert_eq!(scene.pool(0).abandoned, []);
}
