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
    assert_eq!((scene.of(1, "ready").len(), scene.pool(1).wanted), (1, (1, 1)));
    scene.on(Input::Signal(Signal::Hup));
    scene.on(Input::Loaded(two));
    scene.boot_all();
    scene.boot_all();
    scene.leave_all();
    assert_eq!((scene.of(1, "ready").len(), scene.pool(1).wanted), (2, (2, 2)));
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
    assert_eq!(scene.pool(0).wanted, (32, 32));
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
        if scene.pool(1).retry.is_some() {
            let wait = scene.supervisor.deadline().unwrap().since(scene.now);
            scene.pass(wait);
        }
    }
    let child = scene.one(1, "booting");
    scene.exit(child, Exit::Code(1));
    assert!(scene.pool(1).retry.is_some());
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
