//! `scale` and `restart`.

use super::*;

fn scale(scene: &mut Scene, name: &str, count: u32) -> (Result<String, String>, Vec<Output>) {
    let outputs = scene.on(Input::Scale { ticket: Ticket(1), name: name.to_owned(), count });
    let answer = answers(&outputs).pop().expect("answered at once");
    (answer.1, outputs)
}

fn restart(scene: &mut Scene, name: &str) -> Vec<Output> {
    scene.on(Input::Restart { ticket: Ticket(2), name: name.to_owned(), why: "restart was asked for" })
}

#[test]
fn a_pool_is_scaled_until_the_next_reload() {
    let two = plan(vec![workers(1, 1), app(1, "shop", 2, 2)]);
    let mut scene = Scene::serving(two.clone());
    let (answer, outputs) = scale(&mut scene, "shop", 4);
    assert_eq!(answer, Ok("app shop: 4 processes, until the next reload".to_owned()));
    assert_eq!(spawned(&outputs).len(), 2);
    scene.boot_all();
    assert_eq!(drained(&scale(&mut scene, "shop", 1).1).len(), 3);
    scene.leave_all();
    assert_eq!((scene.of(1, "ready").len(), scene.wanted(1)), (1, (1, 1)));
    scene.on(Input::Signal(Signal::Hup));
    scene.on(Input::Loaded(two));
    scene.boot_all();
    scene.boot_all();
    scene.leave_all();
    assert_eq!((scene.of(1, "ready").len(), scene.wanted(1)), (2, (2, 2)));
}

#[test]
fn scaled_to_nothing_it_sleeps_until_wanted() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 2, 2)]));
    let (answer, outputs) = scale(&mut scene, "shop", 0);
    assert_eq!(answer, Ok("app shop: asleep until wanted, until the next reload".to_owned()));
    assert_eq!(drained(&outputs).len(), 2);
    assert_eq!(published(&outputs, 1), [PoolState::Asleep]);
    scene.leave_all();
    assert_eq!(spawned(&scene.on(Input::Wanted { pool: 1 })), [(1, 1)]);
    // The workers too: the next client wakes one.
    assert_eq!(drained(&scale(&mut scene, "workers", 0).1).len(), 1);
    assert_eq!(scene.leave_all(), [Output::Watch(true)]);
    assert_eq!(spawned(&scene.on(Input::Readable)), [(0, 1)]);
}

#[test]
fn what_cannot_be_is_refused() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    let refused = scale(&mut scene, "blog", 2).0.unwrap_err();
    assert_eq!(refused, "there is no \"blog\"; there is: shop, workers");
    let refused = scale(&mut scene, "shop", 33).0.unwrap_err();
    assert_eq!(refused, "app shop: at most 32 processes are possible");
    assert_eq!(answers(&restart(&mut scene, "blog")).len(), 1);
    scene.on(Input::Signal(Signal::Hup));
    let refused = scale(&mut scene, "shop", 2).0.unwrap_err();
    assert!(refused.contains("reloading"), "{refused}");
    for _ in 0..100 {
        scene.on(Input::Signal(Signal::Ttin));
    }
    assert_eq!(scene.wanted(0), (32, 32));
}

#[test]
fn a_restart_replaces_one_after_the_other_and_is_answered_at_the_end() {
    for (index, name) in [(1, "shop"), (0, "workers")] {
        let mut scene = Scene::serving(plan(vec![workers(2, 2), app(1, "shop", 2, 2)]));
        let old = scene.of(index, "ready");
        let outputs = restart(&mut scene, name);
        assert_eq!((spawned(&outputs), answers(&outputs)), (vec![(index, 1)], vec![]));
        let outputs = scene.boot_all();
        assert_eq!((drained(&outputs).len(), answers(&outputs)), (1, vec![]));
        // Of an app the old process has ended before the next is started, old workers may have clients for long.
        let waits = if index == 1 { spawned(&scene.leave_all()) } else { spawned(&outputs) };
        assert_eq!(waits, [(index, 1)]);
        let outputs = scene.boot_all();
        let answers = answers(&outputs);
        assert!(
            matches!(&answers[..], [(2, Ok(text))] if text.contains("2 processes replaced")),
            "{answers:?}"
        );
        scene.leave_all();
        assert!(scene.of(index, "ready").iter().all(|child| !old.contains(child)));
    }
}

#[test]
fn a_restart_that_fails_keeps_the_old_processes() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 2, 2)]));
    let old = scene.of(1, "ready");
    restart(&mut scene, "shop");
    let relief = scene.one(1, "booting");
    let outputs = scene.on(Input::Failed { child: relief, reason: "SyntaxError".to_owned() });
    assert_eq!(answers(&outputs), [(2, Err("app shop: could not start: SyntaxError".to_owned()))]);
    scene.exit(relief, Exit::Code(3));
    scene.pass(seconds(60));
    assert_eq!((scene.of(1, "ready"), scene.of(1, "booting")), (old, vec![]), "not tried again");
}

#[test]
fn a_restart_ends_a_back_off() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    for _ in 0..6 {
        let child = [scene.of(1, "ready"), scene.of(1, "booting")].concat()[0];
        scene.exit(child, Exit::Code(1));
        if scene.pool(1).retry().is_some() {
            let wait = scene.supervisor.deadline().unwrap().since(scene.now);
            scene.pass(wait);
        }
    }
    let child = scene.one(1, "booting");
    scene.exit(child, Exit::Code(1));
    assert!(scene.pool(1).retry().is_some());
    let outputs = restart(&mut scene, "shop");
    assert_eq!(spawned(&outputs), [(1, 1)]);
    assert_eq!(answers(&outputs), [(2, Ok("app shop: another attempt is made now".to_owned()))]);
}

#[test]
fn a_restart_of_what_sleeps_or_stops_is_answered() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 0, 1)]));
    assert!(matches!(&answers(&restart(&mut scene, "shop"))[..], [(2, Ok(text))] if text.contains("asleep")));
    restart(&mut scene, "workers");
    let outputs = scene.on(Input::Signal(Signal::Term));
    assert_eq!(answers(&outputs), [(2, Err("the server is stopping".to_owned()))]);
}

fn stop_one(scene: &mut Scene, name: &str) -> Vec<Output> {
    scene.on(Input::StopOne { ticket: Ticket(3), name: name.to_owned() })
}

fn start_one(scene: &mut Scene, name: &str) -> Vec<Output> {
    scene.on(Input::StartOne { ticket: Ticket(4), name: name.to_owned() })
}

#[test]
fn a_stop_by_hand_names_what_does_not_die() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    stop_one(&mut scene, "shop");
    let outputs = (0..2000).flat_map(|_| scene.pass(seconds(1))).collect::<Vec<_>>();
    let answers = answers(&outputs);
    let [(3, Err(text))] = &answers[..] else { panic!("{answers:?}") };
    assert!(text.starts_with("app shop: stopped, but for what does not die: process "), "{text}");
}

#[test]
fn an_app_that_is_stopped_by_hand_drains_and_wakes_for_nobody_until_it_is_started() {
    for min in [2, 0] {
        let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", min, 3)]));
        scene.on(Input::Wanted { pool: 1 });
        scene.boot_all();
        let serving = scene.of(1, "ready").len();
        let outputs = stop_one(&mut scene, "shop");
        assert_eq!((drained(&outputs).len(), answers(&outputs)), (serving, vec![]));
        assert_eq!(published(&outputs, 1), [PoolState::Stopped]);
        let outputs = scene.leave_all();
        let text = "app shop: stopped, until `hatchery start shop` or a reload".to_owned();
        assert_eq!(answers(&outputs), [(3, Ok(text.clone()))], "when the last one has left");
        assert_eq!(scene.on(Input::Wanted { pool: 1 }), []);
        scene.pass(seconds(3600));
        assert_eq!((scene.pool(1).state(None), scene.pool(1).is_alive()), (PoolState::Stopped, false));
        assert_eq!(answers(&stop_one(&mut scene, "shop")), [(3, Ok(text))], "stopped already");
        let refused = answers(&restart(&mut scene, "shop"));
        let hint = "app shop is stopped by hand; `hatchery start shop` starts it";
        assert_eq!(refused, [(2, Err(hint.to_owned()))]);

        let stays = "app shop: stays stopped by hand, until `hatchery start shop` or a reload";
        assert_eq!(scale(&mut scene, "shop", 0).0, Ok(stays.to_owned()));
        assert_eq!(scene.pool(1).state(None), PoolState::Stopped);

        let outputs = start_one(&mut scene, "shop");
        assert_eq!(spawned(&outputs).len(), min as usize);
        if min == 0 {
            assert_eq!(answers(&outputs), [(4, Ok("app shop: asleep until wanted".to_owned()))]);
            assert_eq!(spawned(&scene.on(Input::Wanted { pool: 1 })), [(1, 1)]);
        } else {
            assert_eq!(answers(&outputs), [], "until it serves");
            assert_eq!(answers(&scene.boot_all()), [(4, Ok("app shop: 2 processes started".to_owned()))]);
        }
        let answer = answers(&start_one(&mut scene, "shop"));
        assert_eq!(answer, [(4, Ok("app shop was not stopped".to_owned()))]);
    }
}

#[test]
fn a_start_that_fails_and_one_that_is_taken_back_are_told_so() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    stop_one(&mut scene, "shop");
    // Before it has left.
    let outputs = start_one(&mut scene, "shop");
    assert_eq!(answers(&outputs), [(3, Err("app shop was started again meanwhile".to_owned()))]);
    assert_eq!(spawned(&outputs), [(1, 1)]);
    let outputs = stop_one(&mut scene, "shop");
    assert_eq!(answers(&outputs), [(4, Err("app shop was stopped meanwhile".to_owned()))]);
    scene.leave_all();
    start_one(&mut scene, "shop");
    for last in [false, true] {
        let child = scene.one(1, "booting");
        scene.on(Input::Failed { child, reason: "ImportError: no".to_owned() });
        let answers = answers(&scene.exit(child, Exit::Code(1)));
        let failed = (4, Err("app shop: could not start: ImportError: no".to_owned()));
        assert_eq!(answers, if last { vec![failed] } else { vec![] });
    }
    let outputs = stop_one(&mut scene, "shop");
    assert_eq!((answers(&outputs).len(), scene.pool(1).retry()), (1, None), "nothing is tried again");
    restart(&mut scene, "workers");
    start_one(&mut scene, "shop");
    let outputs = scene.on(Input::Signal(Signal::Term));
    let stopping = Err("the server is stopping".to_owned());
    assert_eq!(answers(&outputs), [(2, stopping.clone()), (4, stopping)]);
}

#[test]
fn a_reload_starts_what_was_stopped_by_hand_unless_it_fails() {
    let both = plan(vec![workers(1, 1), app(1, "shop", 1, 1), app(2, "wiki", 0, 1)]);
    let mut scene = Scene::serving(both.clone());
    stop_one(&mut scene, "shop");
    stop_one(&mut scene, "wiki");
    scene.leave_all();
    scene.on(Input::Signal(Signal::Hup));
    scene.on(Input::Loaded(both.clone()));
    scene.on(Input::Failed { child: scene.one(1, "booting"), reason: "ImportError".to_owned() });
    scene.leave_all();
    let states = |scene: &Scene| [scene.pool(1).state(None), scene.pool(2).state(None)];
    assert_eq!(states(&scene), [PoolState::Stopped; 2]);
    scene.on(Input::Signal(Signal::Hup));
    scene.on(Input::Loaded(both));
    scene.boot_all();
    let outputs = scene.boot_all();
    assert_eq!(states(&scene), [PoolState::Serving, PoolState::Asleep]);
    let told = notes(&outputs, Level::Info);
    for name in ["shop", "wiki"] {
        let text = format!("app {name}: was stopped by hand, and is started by the reload");
        assert!(told.contains(&&*text), "{told:?}");
    }
}

#[test]
fn an_upgrade_and_a_scale_know_what_was_stopped_by_hand() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 2, 2)]));
    restart(&mut scene, "shop");
    let outputs = stop_one(&mut scene, "shop");
    assert_eq!(answers(&outputs), [(2, Err("app shop was stopped meanwhile".to_owned()))]);
    scene.leave_all();
    let text = serde_json::to_string(&scene.supervisor).unwrap();
    scene.supervisor = serde_json::from_str(&text).unwrap();
    assert_eq!(scene.pool(1).state(None), PoolState::Stopped);
    assert_eq!(scene.on(Input::Wanted { pool: 1 }), []);
    let (answer, outputs) = scale(&mut scene, "shop", 1);
    assert_eq!(answer, Ok("app shop: 1 process, until the next reload".to_owned()));
    assert_eq!((spawned(&outputs), published(&outputs, 1)), (vec![(1, 1)], vec![PoolState::Booting]));
    scene.boot_all();
    assert_eq!(scene.pool(1).state(None), PoolState::Serving);
}

#[test]
fn neither_the_workers_nor_a_name_that_is_none_is_stopped_or_started() {
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    let before = scene.pool(0).clone();
    for (name, text) in [
        ("workers", "workers are not stopped by name; `hatchery stop` without a name ends the server"),
        ("shopp", "there is no \"shopp\"; there is: shop, workers; `hatchery stop` without a name ends"),
        ("", "there is no \"\"; there is: shop"),
    ] {
        let answers = answers(&stop_one(&mut scene, name));
        assert!(matches!(&answers[..], [(3, Err(told))] if told.starts_with(text)), "{answers:?}");
    }
    let hint =
        "workers are not started or stopped by name; `hatchery scale workers N` sets how many there are";
    assert_eq!(answers(&start_one(&mut scene, "workers")), [(4, Err(hint.to_owned()))]);
    assert!(matches!(&answers(&start_one(&mut scene, "shopp"))[..], [(4, Err(_))]));
    assert_eq!((scene.pool(0), scene.mode()), (&before, "running"));
}
