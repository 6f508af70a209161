//! Apps whose code is watched.

use super::*;

fn shop(min: u32) -> Plan {
    plan(vec![workers(1, 1), PoolPlan { watched: true, ..app(1, "shop", min, 1.max(min)) }])
}

fn edited(scene: &mut Scene) -> Vec<Output> {
    scene.on(Input::Edited { pool: 1 })
}

fn fail(scene: &mut Scene, child: ChildId) -> Vec<Output> {
    let mut outputs = scene.on(Input::Failed { child, reason: "SyntaxError: no".to_owned() });
    outputs.extend(scene.exit(child, Exit::Code(3)));
    outputs
}

#[test]
fn an_edit_boots_a_process_beside_the_old_one_which_goes_on_if_it_fails() {
    let mut scene = Scene::serving(shop(1));
    let old = scene.of(1, "ready")[0];
    assert_eq!(spawned(&edited(&mut scene)), [(1, 1)]);
    let relief = scene.one(1, "booting");
    let outputs = fail(&mut scene, relief);
    assert!(notes(&outputs, Level::Error)[0].contains("goes on"), "{outputs:?}");
    assert_eq!((drained(&outputs), spawned(&outputs)), (vec![], vec![]));
    assert_eq!(spawned(&scene.pass(seconds(100))), [], "the same code fails again");
    assert_eq!(spawned(&edited(&mut scene)), [(1, 1)], "at once");
    let relief = scene.one(1, "booting");
    assert_eq!(drained(&scene.ready(relief))[0].0, old);
}

#[test]
fn an_edit_while_a_process_boots_begins_again() {
    let mut scene = Scene::serving(shop(1));
    edited(&mut scene);
    let first = scene.one(1, "booting");
    let outputs = edited(&mut scene);
    assert_eq!(killed(&outputs), [(first, Kill::Term)]);
    scene.exit(first, Exit::Signal(15));
    let second = scene.one(1, "booting");
    assert_ne!(first, second);
    assert_eq!(drained(&scene.ready(second)).len(), 1);
    // The first process of an app that has slept.
    let mut scene = Scene::serving(shop(0));
    assert_eq!(spawned(&edited(&mut scene)), [], "it sleeps: the next request boots what is there then");
    scene.on(Input::Wanted { pool: 1 });
    let first = scene.one(1, "booting");
    edited(&mut scene);
    scene.exit(first, Exit::Signal(15));
    let second = scene.one(1, "booting");
    assert_ne!(first, second);
    assert!(scene.ready(second).contains(&Output::Open { child: second }));
}

#[test]
fn a_start_with_broken_code_goes_on_without_the_app_until_an_edit() {
    let mut scene = Scene::new(shop(1));
    let first = scene.one(1, "booting");
    fail(&mut scene, first);
    let worker = scene.one(0, "booting");
    let outputs = scene.ready(worker);
    assert!(outputs.contains(&Output::Started), "{outputs:?}");
    assert_eq!(spawned(&scene.pass(seconds(29))), [], "it would fail in the same way");
    assert_eq!(spawned(&edited(&mut scene)), [(1, 1)]);
    let second = scene.one(1, "booting");
    assert!(scene.ready(second).contains(&Output::Open { child: second }));
    // What was not wrong with the code may be over some time later.
    let mut scene = Scene::new(shop(1));
    let first = scene.one(1, "booting");
    fail(&mut scene, first);
    let worker = scene.one(0, "booting");
    scene.ready(worker);
    assert_eq!(spawned(&scene.pass(seconds(30))), [(1, 1)]);
}

#[test]
fn what_was_stopped_by_hand_stays_so() {
    let mut scene = Scene::serving(shop(1));
    let old = scene.of(1, "ready")[0];
    scene.on(Input::StopOne { ticket: Ticket(1), name: "shop".to_owned() });
    scene.exit(old, Exit::Code(0));
    assert_eq!(edited(&mut scene), []);
}

#[test]
fn what_code_says_instead_of_starting_is_known_until_a_process_serves() {
    let mut scene = Scene::new(shop(1));
    let first = scene.one(1, "booting");
    let outputs = fail(&mut scene, first);
    assert!(outputs.contains(&Output::Trouble { pool: 1 }), "{outputs:?}");
    let said = |scene: &Scene| scene.supervisor.trouble(1).map(|(_, text)| text.to_owned());
    assert!(said(&scene).unwrap().contains("SyntaxError: no"), "{:?}", said(&scene));
    let worker = scene.one(0, "booting");
    scene.ready(worker);
    // The same again is told in short.
    scene.pass(seconds(30));
    let second = scene.one(1, "booting");
    let outputs = fail(&mut scene, second);
    assert!(notes(&outputs, Level::Error)[0].starts_with("app shop: still "), "{outputs:?}");
    edited(&mut scene);
    scene.pass(seconds(1));
    let third = scene.one(1, "booting");
    assert!(said(&scene).is_some(), "it is not known yet whether it is mended");
    assert!(scene.ready(third).contains(&Output::Trouble { pool: 1 }));
    assert_eq!(said(&scene), None);
    // Beside code that serves.
    scene.pass(seconds(1));
    edited(&mut scene);
    let relief = scene.one(1, "booting");
    fail(&mut scene, relief);
    assert!(said(&scene).is_some());
    scene.pass(seconds(1));
    edited(&mut scene);
    let relief = scene.one(1, "booting");
    scene.ready(relief);
    assert_eq!(said(&scene), None);
}

#[test]
fn an_app_that_sleeps_has_no_trouble_after_an_edit_and_one_that_is_not_watched_never_has() {
    let mut scene = Scene::serving(shop(0));
    scene.on(Input::Wanted { pool: 1 });
    let first = scene.one(1, "booting");
    fail(&mut scene, first);
    assert!(scene.supervisor.trouble(1).is_some());
    assert!(edited(&mut scene).contains(&Output::Trouble { pool: 1 }));
    assert_eq!(scene.supervisor.trouble(1), None);
    let mut scene = Scene::serving(plan(vec![workers(1, 1), app(1, "shop", 0, 1)]));
    scene.on(Input::Wanted { pool: 1 });
    let first = scene.one(1, "booting");
    let outputs = fail(&mut scene, first);
    assert!(!outputs.contains(&Output::Trouble { pool: 1 }) && scene.supervisor.trouble(1).is_none());
}

#[test]
fn the_end_of_an_edit_is_told_when_what_serves_is_new_or_stays() {
    let told = |outputs: &[Output]| outputs.iter().filter(|output| **output == Output::Renewed).count();
    let mut scene = Scene::serving(shop(1));
    assert_eq!(told(&edited(&mut scene)), 0, "it boots");
    let relief = scene.one(1, "booting");
    assert_eq!(told(&scene.ready(relief)), 1);
    scene.leave_all();
    edited(&mut scene);
    let relief = scene.one(1, "booting");
    assert_eq!(told(&fail(&mut scene, relief)), 1, "the old one stays");
    let mut scene = Scene::serving(shop(0));
    assert_eq!(told(&edited(&mut scene)), 1, "it sleeps: whoever asks has new code");
}
