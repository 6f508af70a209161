//! Upgrades: a trial, the execution, new workers.

use super::*;

fn scene() -> Scene {
    let mut scene = Scene::new(plan(vec![workers(2, 2), app(1, "shop", 1, 2)]));
    scene.boot_all();
    scene.boot_all();
    assert_eq!(scene.mode(), "running");
    scene
}

/// The new program runs: its workers are still to come.
fn executed() -> Scene {
    let mut scene = scene();
    assert!(scene.on(Input::Signal(Signal::Usr2)).contains(&Output::Try));
    assert!(scene.on(Input::Tried(Ok(()))).contains(&Output::Execute));
    // What travels is text.
    let text = serde_json::to_string(&scene.supervisor).unwrap();
    scene.supervisor = serde_json::from_str(&text).unwrap();
    scene.on(Input::Executed(Ok(())));
    scene
}

fn reason(scene: &Scene) -> &str {
    scene.supervisor.last_upgrade_error().unwrap_or_default()
}

#[test]
fn workers_are_replaced_one_by_one_and_apps_are_not() {
    let mut scene = executed();
    let apps = scene.of(1, "ready");
    assert_eq!((scene.supervisor.generation(), scene.mode()), (2, "upgrading"));
    for left in [1, 0] {
        let relief = scene.one(0, "booting");
        assert_eq!(scene.generation(relief), 2);
        let outputs = scene.ready(relief);
        assert!(outputs.contains(&Output::Open { child: relief }));
        assert_eq!(drained(&outputs).len(), 1, "an old one leaves when its relief serves");
        assert!(!drained(&outputs)[0].2, "at leisure");
        assert_eq!(outputs.contains(&Output::Upgraded), left == 0);
    }
    assert_eq!((scene.mode(), reason(&scene)), ("running", ""));
    let new = scene.of(0, "ready");
    assert!(new.len() == 2 && new.iter().all(|child| scene.generation(*child) == 2));
    assert_eq!(scene.of(1, "ready"), apps);
    assert!(apps.iter().all(|child| scene.generation(*child) == 1));
}

#[test]
fn what_fails_before_the_execution_changes_nothing() {
    let before = scene();
    let mut scene = scene();
    scene.on(Input::Signal(Signal::Usr2));
    let outputs = scene.on(Input::Tried(Err("exit 1".to_owned())));
    assert!(outputs.contains(&Output::Upgraded) && spawned(&outputs).is_empty());
    assert!(reason(&scene).contains("trial") && reason(&scene).contains("exit 1"), "{}", reason(&scene));
    scene.on(Input::Signal(Signal::Usr2));
    scene.on(Input::Tried(Ok(())));
    let outputs = scene.on(Input::Executed(Err("no such file".to_owned())));
    assert!(outputs.contains(&Output::Upgraded) && spawned(&outputs).is_empty());
    assert!(reason(&scene).contains("no such file"), "{}", reason(&scene));
    assert_eq!(scene.supervisor.generation(), 1);
    assert_eq!(scene.living, before.living);
    assert_eq!(scene.mode(), "running");
}

#[test]
fn a_silent_trial_is_given_up_and_its_answer_is_too_late() {
    let mut scene = scene();
    scene.on(Input::Signal(Signal::Usr2));
    assert!(!scene.pass(seconds(14)).contains(&Output::GiveUp));
    let outputs = scene.pass(seconds(2));
    assert!(outputs.contains(&Output::GiveUp) && outputs.contains(&Output::Upgraded));
    assert!(reason(&scene).contains("silent"), "{}", reason(&scene));
    assert_eq!(scene.on(Input::Tried(Ok(()))), []);
    assert_eq!(scene.mode(), "running");
}

#[test]
fn one_thing_after_the_other() {
    let mut scene = scene();
    scene.on(Input::Signal(Signal::Usr2));
    assert_eq!(scene.on(Input::Signal(Signal::Hup)), []);
    assert_eq!(scene.on(Input::Signal(Signal::Usr2)), []);
    let outputs = scene.on(Input::Tried(Err("no".to_owned())));
    assert!(outputs.contains(&Output::Load) && !outputs.contains(&Output::Try), "the reload comes first");
    let outputs = scene.on(Input::Rejected { reason: "no".to_owned() });
    assert!(outputs.contains(&Output::Try), "then the second upgrade");
    // Whoever asks for a restart meanwhile is told to come again.
    let outputs =
        scene.on(Input::Restart { ticket: Ticket(9), name: "shop".to_owned(), why: "restart was asked for" });
    assert!(matches!(&outputs[..], [Output::Answer { result: Err(text), .. }] if text.contains("upgrading")));
}

#[test]
fn a_stop_ends_the_trial_and_nothing_is_executed_after_it() {
    let mut scene = scene();
    scene.on(Input::Signal(Signal::Usr2));
    assert!(scene.on(Input::Signal(Signal::Term)).contains(&Output::GiveUp));
    assert!(!scene.on(Input::Tried(Ok(()))).contains(&Output::Execute));

    let mut scene = self::scene();
    scene.on(Input::Signal(Signal::Usr2));
    // Both in one turn, before the master has carried out anything.
    scene.supervisor.on(Input::Tried(Ok(())), scene.now);
    scene.supervisor.on(Input::Signal(Signal::Term), scene.now);
    assert!(!scene.drain().contains(&Output::Execute));
    assert_eq!(scene.mode(), "stopping");
}

#[test]
fn a_worker_of_the_new_program_that_does_not_come_up_leaves_the_old_ones() {
    let mut scene = executed();
    let old = scene.of(0, "ready");
    let relief = scene.one(0, "booting");
    let outputs = scene.on(Input::Failed { child: relief, reason: "no such system call".to_owned() });
    assert!(outputs.contains(&Output::Upgraded) && drained(&outputs).is_empty());
    assert!(reason(&scene).contains("no such system call"), "{}", reason(&scene));
    assert_eq!((scene.of(0, "ready"), scene.mode()), (old, "running"));
    // It is tried again, later.
    scene.exit(relief, Exit::Code(3));
    assert!(spawned(&scene.pass(seconds(60))).contains(&(0, 2)));
}

#[test]
fn a_worker_that_dies_meanwhile_comes_back_as_one_of_the_new_program() {
    let mut scene = executed();
    let old = scene.of(0, "ready")[0];
    let outputs = scene.exit(old, Exit::Signal(9));
    assert_eq!(spawned(&outputs), [(0, 2)]);
    scene.boot_all();
    scene.boot_all();
    assert_eq!(scene.mode(), "running");
    assert_eq!(scene.of(0, "ready").len(), 2);
}

#[test]
fn a_sleeping_server_is_upgraded_in_its_sleep() {
    let mut scene = Scene::new(plan(vec![workers(0, 2), app(1, "shop", 0, 2)]));
    assert_eq!(scene.mode(), "asleep");
    scene.on(Input::Signal(Signal::Usr2));
    scene.on(Input::Tried(Ok(())));
    let outputs = scene.on(Input::Executed(Ok(())));
    assert!(outputs.contains(&Output::Upgraded) && spawned(&outputs).is_empty());
    assert_eq!((scene.mode(), scene.supervisor.generation()), ("asleep", 2));
    assert_eq!(spawned(&scene.on(Input::Readable)), [(0, 2)]);
}
