use super::*;

fn running() -> Scene {
    Scene::serving(plan(vec![workers(2, 2), app(1, "shop", 1, 2), app(2, "blog", 0, 1)]))
}

#[test]
fn a_graceful_stop_takes_the_workers_first_then_the_apps() {
    let mut scene = running();
    let outputs = scene.on(Input::Signal(Signal::Term));
    assert_eq!(outputs[0], Output::Stopping);
    let workers = scene.of(0, "draining");
    assert_eq!(drained(&outputs), [(workers[0], seconds(30), true), (workers[1], seconds(30), true)]);
    let app = scene.one(1, "ready");
    scene.pass(seconds(10));
    scene.exit(workers[0], Exit::Code(0));
    assert_eq!(scene.of(1, "ready"), [app], "a worker still needs it");
    let outputs = scene.exit(workers[1], Exit::Code(0));
    assert_eq!(drained(&outputs), [(app, seconds(20), true)]);
    assert_eq!(scene.exit(app, Exit::Code(0)).last(), Some(&Output::Exit { code: 0 }));
    assert_eq!(scene.supervisor.deadline(), None);
    assert_eq!(scene.on(Input::Signal(Signal::Hup)), [], "it is over");
}

#[test]
fn a_graceful_stop_is_bounded() {
    let mut scene = running();
    scene.on(Input::Signal(Signal::Quit));
    let outputs = scene.pass(seconds(31));
    assert_eq!(killed(&outputs).len(), 3);
    assert!(killed(&outputs).iter().all(|(_, how)| *how == Kill::Kill));
    scene.leave_all();
    assert_eq!(scene.outputs.last(), Some(&Output::Exit { code: 0 }));
}

#[test]
fn a_second_signal_an_interrupt_and_fast_do_not_wait() {
    let second = |mut scene: Scene, input| {
        scene.on(Input::Signal(Signal::Term));
        (scene.on(input), scene)
    };
    let cases = [
        second(running(), Input::Signal(Signal::Term)),
        second(running(), Input::Signal(Signal::Int)),
        second(running(), Input::Stop { fast: true }),
        {
            let mut scene = running();
            (scene.on(Input::Signal(Signal::Int)), scene)
        },
    ];
    for (outputs, mut scene) in cases {
        assert_eq!(killed(&outputs).len(), 3);
        assert!(killed(&outputs).iter().all(|(_, how)| *how == Kill::Term));
        assert_eq!(killed(&scene.on(Input::Signal(Signal::Int))), [], "a third changes nothing");
        assert_eq!(killed(&scene.pass(millis(999))), []);
        assert_eq!(killed(&scene.pass(millis(1))).len(), 3);
        scene.leave_all();
        assert_eq!(scene.outputs.last(), Some(&Output::Exit { code: 0 }));
    }
}

#[test]
fn a_reload_is_refused_during_a_stop() {
    let mut scene = running();
    scene.on(Input::Stop { fast: false });
    let outputs = scene.on(Input::Reload { ticket: Ticket(4), wait: true, prove: false });
    assert_eq!(answers(&outputs), [(4, Err("the server is stopping".to_owned()))]);
}

#[test]
fn nothing_is_replaced_or_woken_during_a_stop() {
    let mut scene = running();
    let outputs = scene.on(Input::Signal(Signal::Term));
    let end = scene.now.after(seconds(31));
    assert_eq!(published(&outputs, 2), [PoolState::Failed { retry: end }], "nobody waits for a sleeping app");
    assert_eq!(scene.on(Input::Wanted { pool: 2 }), []);
    let app = scene.one(1, "ready");
    let outputs = scene.exit(app, Exit::Signal(11));
    assert_eq!(spawned(&outputs), []);
    assert_eq!(published(&outputs, 1), [PoolState::Failed { retry: end }]);
    let worker = scene.of(0, "draining")[0];
    assert_eq!(spawned(&scene.exit(worker, Exit::Signal(11))), []);
}

#[test]
fn an_app_that_boots_still_serves_the_requests_that_wait_for_it() {
    let mut scene = running();
    scene.on(Input::Wanted { pool: 2 });
    scene.on(Input::Signal(Signal::Term));
    let child = scene.one(2, "booting");
    let outputs = scene.ready(child);
    assert_eq!(outputs[0], Output::Open { child });
}

#[test]
fn a_stop_while_asleep_is_over_at_once() {
    let mut scene = Scene::new(plan(vec![workers(0, 2)]));
    let outputs = scene.on(Input::Signal(Signal::Term));
    assert_eq!(outputs, [Output::Stopping, Output::Watch(false), Output::Exit { code: 0 }]);
}

#[test]
fn a_stop_hurries_what_an_old_reload_left() {
    let mut scene = running();
    let old = scene.of(0, "ready");
    scene.on(Input::Signal(Signal::Hup));
    scene.on(Input::Loaded(plan(vec![workers(1, 1), app(1, "shop", 1, 2)])));
    scene.boot_all();
    scene.boot_all();
    assert_eq!(scene.of(0, "draining"), old);
    let outputs = scene.on(Input::Signal(Signal::Term));
    assert_eq!(drained(&outputs).len(), 3, "two old workers and the new one");
    assert_eq!(killed(&scene.pass(seconds(31))).len(), scene.living.len());
}

#[test]
fn a_stop_during_a_reload_answers_and_leaves_nothing() {
    for loaded in [false, true] {
        let mut scene = running();
        scene.on(Input::Reload { ticket: Ticket(1), wait: true, prove: false });
        scene.on(Input::Reload { ticket: Ticket(2), wait: true, prove: false });
        if loaded {
            scene.on(Input::Loaded(plan(vec![workers(2, 2), app(1, "shop", 1, 2)])));
        }
        let outputs = scene.on(Input::Signal(Signal::Term));
        let told = Err("the server is stopping".to_owned());
        assert_eq!(answers(&outputs), [(1, told.clone()), (2, told)]);
        assert_eq!(outputs.contains(&Output::Discard), loaded);
        if !loaded {
            assert_eq!(scene.on(Input::Loaded(plan(vec![workers(2, 2)]))), [Output::Discard]);
        }
        while !scene.living.is_empty() {
            scene.leave_all();
        }
        assert_eq!(scene.outputs.last(), Some(&Output::Exit { code: 0 }));
    }
}

#[test]
fn what_kill_does_not_end_is_left_behind_some_seconds_later() {
    let mut scene = running();
    scene.on(Input::Signal(Signal::Term));
    let killed = killed(&scene.pass(seconds(31)));
    let (deaf, others) = (killed[0].0, [killed[1].0, killed[2].0]);
    others.into_iter().for_each(|child| _ = scene.exit(child, Exit::Signal(9)));
    let outputs = scene.pass(seconds(5));
    assert!(outputs.contains(&Output::Abandon { child: deaf }), "{outputs:?}");
    assert_eq!(outputs.last(), Some(&Output::Exit { code: 1 }));
}
