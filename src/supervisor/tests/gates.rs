//! `before`: commands that must succeed before an app boots.

use super::*;

fn gated(min: u32, max: u32, commands: &[&str]) -> Plan {
    let before = commands.iter().map(|command| (*command).to_owned()).collect();
    plan(vec![workers(1, 1), PoolPlan { before, ..app(1, "shop", min, max) }, app(2, "blog", 1, 1)])
}

/// The gates, or `None` for processes, that were started for the app.
fn started(outputs: &[Output]) -> Vec<Option<u16>> {
    let gate = |output: &Output| match output {
        Output::Spawn { pool: 1, gate, .. } => Some(*gate),
        _ => None,
    };
    outputs.iter().filter_map(gate).collect()
}

/// The one that runs for the app ends.
fn end(scene: &mut Scene, code: i32) -> Vec<Output> {
    let gate = scene.one(1, "booting");
    scene.exit(gate, Exit::Code(code))
}

fn hang_up(scene: &mut Scene, plan: Plan) -> Vec<Output> {
    scene.on(Input::Reload { ticket: Ticket(7), wait: true, prove: false });
    scene.on(Input::Loaded(plan))
}

#[test]
fn at_a_start_they_run_one_after_the_other_and_once_and_then_the_app_boots() {
    let mut scene = Scene::new(gated(2, 2, &["one", "two"]));
    assert_eq!(started(&scene.outputs), [Some(0)]);
    scene.pass(seconds(5));
    assert_eq!(started(&end(&mut scene, 0)), [Some(1)]);
    assert_eq!(started(&end(&mut scene, 0)), [None, None], "as many as are wanted");
    scene.boot_all();
    scene.boot_all();
    assert_eq!((scene.mode(), scene.of(1, "ready").len()), ("running", 2));
    // What dies is replaced, and what is restarted, without them.
    let child = scene.of(1, "ready")[0];
    assert_eq!(started(&scene.exit(child, Exit::Signal(9))), [None]);
    scene.boot_all();
    let restart = Input::Restart { ticket: Ticket(1), name: "shop".to_owned(), why: "" };
    assert_eq!(started(&scene.on(restart)), [None]);
}

#[test]
fn one_that_fails_at_a_start_is_a_boot_that_fails() {
    let mut scene = Scene::new(gated(1, 1, &["migrate --check"]));
    let outputs = end(&mut scene, 1);
    let told = "app shop: before it boots `migrate --check` must succeed: exit 1";
    assert_eq!(notes(&outputs, Level::Error), [told]);
    assert_eq!(started(&outputs), [Some(0)], "tried again at once");
    end(&mut scene, 1);
    scene.boot_all();
    scene.boot_all();
    assert!(matches!(scene.pool(1).state(None), PoolState::Failed { .. }) && scene.mode() == "running");
    assert_eq!(started(&scene.pass(millis(100))), [Some(0)]);
    assert_eq!(started(&end(&mut scene, 0)), [None]);
    scene.boot_all();
    assert_eq!(scene.pool(1).state(None), PoolState::Serving);
    let mut all = gated(1, 1, &["migrate --check"]);
    all.all_or_nothing = true;
    let mut scene = Scene::new(all);
    end(&mut scene, 1);
    assert_eq!(scene.mode(), "stopping");
}

#[test]
fn at_a_reload_the_old_processes_serve_until_they_have_succeeded_and_when_they_do_not() {
    let plan = gated(2, 2, &["one"]);
    let mut scene = Scene::new(plan.clone());
    end(&mut scene, 0);
    scene.boot_all();
    scene.boot_all();
    let old = scene.of(1, "ready");
    assert_eq!(started(&hang_up(&mut scene, plan.clone())), [Some(0)]);
    let gate = *scene.of(1, "booting").first().unwrap();
    let outputs = scene
        .on(Input::Failed { child: gate, reason: "exit 1; it had printed:\n0002 is missing".to_owned() });
    let told = "app shop: before it boots `one` must succeed: exit 1; it had printed:\n0002 is missing";
    assert_eq!(answers(&outputs), [(7, Err(told.to_owned()))]);
    scene.exit(gate, Exit::Code(1));
    scene.leave_all();
    assert_eq!((scene.of(1, "ready"), scene.mode()), (old.clone(), "running"));
    // The next one finds it mended.
    assert_eq!(started(&hang_up(&mut scene, plan)), [Some(0)]);
    assert_eq!(started(&end(&mut scene, 0)), [None, None]);
    scene.boot_all();
    scene.boot_all();
    scene.close_all();
    let new = scene.of(1, "ready");
    assert!(new.len() == 2 && new.iter().all(|child| !old.contains(child)), "{new:?}");
    assert_eq!(scene.generation(new[0]), 3);
}

#[test]
fn of_a_sleeping_app_they_run_and_it_sleeps_on() {
    let plan = gated(0, 2, &["one"]);
    let mut scene = Scene::new(plan.clone());
    assert_eq!(started(&scene.outputs), [Some(0)]);
    assert_eq!(started(&end(&mut scene, 0)), []);
    scene.boot_all();
    scene.boot_all();
    assert_eq!((scene.mode(), scene.pool(1).state(None)), ("running", PoolState::Asleep));
    assert_eq!(started(&hang_up(&mut scene, plan.clone())), [Some(0)]);
    let outputs = scene.boot_all();
    assert_eq!((started(&outputs), scene.mode()), (vec![], "reloading"));
    assert_eq!(started(&end(&mut scene, 0)), []);
    scene.boot_all();
    scene.close_all();
    assert_eq!((scene.mode(), scene.supervisor.generation()), ("running", 2));
    assert_eq!(started(&scene.on(Input::Wanted { pool: 1 })), [None], "they have succeeded");
    // It is to be proved: then it boots, and leaves.
    scene.leave_all();
    scene.on(Input::Scale { ticket: Ticket(1), name: "shop".to_owned(), count: 0 });
    scene.leave_all();
    scene.on(Input::Reload { ticket: Ticket(8), wait: true, prove: true });
    assert_eq!(started(&scene.on(Input::Loaded(plan))), [Some(0)]);
    assert_eq!(started(&end(&mut scene, 0)), [None]);
}

#[test]
fn one_that_takes_too_long_is_killed_and_one_whose_server_stops_lets_nothing_boot() {
    let mut plan = gated(1, 1, &["one"]);
    plan.pools[1].ready_timeout = seconds(10);
    let mut scene = Scene::new(plan.clone());
    let gate = scene.of(1, "booting")[0];
    let outputs = scene.pass(seconds(36));
    let killed: Vec<_> = killed(&outputs).into_iter().filter(|(child, _)| *child == gate).collect();
    assert_eq!(killed.first().zip(killed.last()), Some((&(gate, Kill::Term), &(gate, Kill::Kill))));
    let told = notes(&outputs, Level::Error);
    assert_eq!(
        told[0],
        "app shop: before it boots `one` must succeed: did not end within 30s; `hatchery logs` shows what it had printed"
    );
    // The process itself has the time of its ready request besides.
    let mut scene = Scene::new(plan.clone());
    end(&mut scene, 0);
    let process = scene.one(1, "booting");
    scene.pass(seconds(39));
    assert_eq!(scene.one(1, "booting"), process);
    assert!(super::killed(&scene.pass(seconds(1))).contains(&(process, Kill::Term)));
    let mut scene = Scene::new(plan);
    scene.on(Input::Signal(Signal::Term));
    for gate in scene.of(1, "booting") {
        assert_eq!(started(&scene.exit(gate, Exit::Code(0))), []);
    }
    scene.leave_all();
}

#[test]
fn a_reload_waits_for_the_end_of_one_that_is_tried_again_and_runs_its_own() {
    let plan = gated(1, 1, &["one"]);
    let mut scene = Scene::new(plan.clone());
    end(&mut scene, 1);
    end(&mut scene, 1);
    scene.boot_all();
    scene.boot_all();
    scene.pass(millis(100));
    let old = scene.one(1, "booting");
    let outputs = hang_up(&mut scene, plan.clone());
    assert_eq!(started(&outputs), [], "not two of them at a time");
    assert!(scene.in_state("killing").contains(&old));
    assert_eq!(started(&scene.exit(old, Exit::Signal(15))), [Some(0)]);
    let child = scene.one(1, "booting");
    let outputs = scene.exit(child, Exit::Code(2));
    assert!(matches!(&answers(&outputs)[..], [(7, Err(_))]), "{outputs:?}");
    assert_eq!(started(&outputs), [Some(0)], "the generation that goes on tries its own again");
    let plain = gated(1, 1, &[]);
    hang_up(&mut scene, plain);
    let outputs = scene.leave_all();
    assert_eq!(started(&outputs), [None]);
}

#[test]
fn one_that_fails_has_failed_also_while_a_reload_is_under_way() {
    let plan = gated(1, 1, &["one"]);
    let mut scene = Scene::new(plan.clone());
    end(&mut scene, 1);
    end(&mut scene, 1);
    scene.boot_all();
    scene.boot_all();
    assert!(scene.pool(1).retry().is_some());
    assert_eq!(started(&hang_up(&mut scene, plan)), [Some(0)]);
    let new = scene.one(1, "booting");
    let outputs = scene.pass(seconds(10));
    let states = published(&outputs, 1);
    assert!(states.iter().all(|state| matches!(state, PoolState::Failed { .. })), "not asleep: {states:?}");
    assert!(matches!(scene.pool(1).state(None), PoolState::Failed { .. }), "{:?}", scene.pool(1).state(None));
    assert!(scene.supervisor.deadline() > Some(scene.now), "nobody is kept busy");
    let outputs = scene.exit(new, Exit::Code(2));
    assert_eq!(started(&outputs), [], "it has its pause");
    assert_eq!(started(&scene.pass(seconds(1))), [Some(0)]);
}
