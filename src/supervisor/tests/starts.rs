use super::*;

#[test]
fn apps_first_then_workers_then_started() {
    let mut scene = Scene::new(plan(vec![workers(2, 2), app(1, "shop", 2, 2)]));
    assert_eq!(spawned(&scene.outputs), [(1, 1), (1, 1)]);
    assert_eq!(scene.mode(), "starting");
    let apps = scene.of(1, "booting");
    let outputs = scene.ready(apps[0]);
    assert_eq!(outputs[0], Output::Open { child: apps[0] });
    assert_eq!(spawned(&outputs), [(0, 1), (0, 1)], "one Ready process of each app is enough");
    let outputs = scene.boot_all();
    let last_worker = scene.of(0, "ready")[1];
    assert!(position(&outputs, &Output::Open { child: last_worker }) < position(&outputs, &Output::Started));
    assert_eq!(scene.mode(), "running");
    assert_eq!(scene.supervisor.deadline(), None, "nothing to wait for");
}

#[test]
fn without_apps_the_workers_start_at_once() {
    let mut scene = Scene::new(plan(vec![workers(1, 1)]));
    let worker = scene.one(0, "booting");
    assert_eq!(scene.ready(worker), [Output::Open { child: worker }, Output::Started]);
}

#[test]
fn the_only_app_failing_ends_the_start() {
    let mut scene = Scene::new(plan(vec![workers(1, 1), app(1, "shop", 2, 2)]));
    let apps = scene.of(1, "booting");
    let reason = "Traceback\nModuleNotFoundError: No module named 'x'".to_owned();
    let outputs = scene.on(Input::Failed { child: apps[0], reason });
    assert_eq!(
        notes(&outputs, Level::Error),
        ["app shop: could not start: Traceback\nModuleNotFoundError: No module named 'x'"]
    );
    let mut asked = killed(&outputs);
    asked.sort_by_key(|(child, _)| *child);
    assert_eq!(asked, [(apps[0], Kill::Term), (apps[1], Kill::Term)]);
    scene.exit(apps[0], Exit::Code(1));
    let outputs = scene.pass(seconds(2));
    assert_eq!(killed(&outputs), [(apps[1], Kill::Kill)]);
    let outputs = scene.exit(apps[1], Exit::Signal(9));
    assert_eq!(outputs.last(), Some(&Output::Exit { code: 1 }));
    assert_eq!(spawned(&scene.outputs).len(), 2, "no worker was ever started");
}

#[test]
fn one_failing_app_of_two_backs_off_while_the_other_serves() {
    let mut scene = Scene::new(plan(vec![workers(1, 1), app(1, "shop", 1, 1), app(2, "blog", 1, 1)]));
    let shop = scene.one(1, "booting");
    scene.ready(shop);
    let blog = scene.one(2, "booting");
    let outputs = scene.exit(blog, Exit::Code(1));
    assert_eq!(spawned(&outputs), [(2, 1), (0, 1)], "tried again at once, and the start goes on");
    assert_eq!(
        notes(&outputs, Level::Warn),
        ["app blog: tried again at once"],
        "nothing was there to be replaced"
    );
    let worker = scene.one(0, "booting");
    assert!(scene.ready(worker).contains(&Output::Started));
    let blog = scene.one(2, "booting");
    let outputs = scene.exit(blog, Exit::Code(1));
    let retry = scene.now.after(millis(100));
    assert_eq!(published(&outputs, 2), [PoolState::Failed { retry }]);
    assert_eq!(scene.pool(2).retry(), Some(retry));
    assert_eq!(scene.pool(1).state(None), PoolState::Serving);
}

#[test]
fn all_or_nothing_makes_one_failing_app_fatal() {
    let mut scene = Scene::new(Plan {
        all_or_nothing: true,
        ..plan(vec![workers(1, 1), app(1, "shop", 1, 1), app(2, "blog", 1, 1)])
    });
    let (shop, blog) = (scene.one(1, "booting"), scene.one(2, "booting"));
    scene.ready(shop);
    scene.exit(blog, Exit::Code(1));
    assert_eq!(scene.mode(), "stopping");
    let outputs = scene.leave_all();
    assert_eq!(outputs.last(), Some(&Output::Exit { code: 1 }));
    assert!(scene.living.is_empty());
}

#[test]
fn every_app_failing_ends_the_start() {
    let mut scene = Scene::new(plan(vec![workers(1, 1), app(1, "shop", 1, 1), app(2, "blog", 1, 1)]));
    for pool in [1, 2] {
        let child = scene.one(pool, "booting");
        scene.exit(child, Exit::Signal(11));
    }
    scene.leave_all();
    assert_eq!(scene.outputs.last(), Some(&Output::Exit { code: 1 }));
}

#[test]
fn a_worker_that_does_not_boot_ends_the_start() {
    let mut scene = Scene::new(plan(vec![workers(2, 2)]));
    let children = scene.of(0, "booting");
    let outputs = scene.on(Input::Failed { child: children[1], reason: "no such root".to_owned() });
    assert_eq!(notes(&outputs, Level::Error), ["worker: could not start: no such root"]);
    scene.leave_all();
    assert_eq!(scene.outputs.last(), Some(&Output::Exit { code: 1 }));
}

#[test]
fn a_fork_that_fails_ends_the_start() {
    let now = Time(7);
    let mut supervisor = Supervisor::new(plan(vec![workers(1, 1)]), now);
    let Some(Output::Spawn { child, .. }) = supervisor.poll() else { panic!("a worker is wanted") };
    supervisor.on(Input::ForkFailed { child, reason: "EAGAIN".to_owned() }, now);
    let outputs: Vec<Output> = std::iter::from_fn(|| supervisor.poll()).collect();
    assert_eq!(notes(&outputs, Level::Error), ["worker: could not start: EAGAIN"]);
    assert_eq!(outputs.last(), Some(&Output::Exit { code: 1 }));
}

#[test]
fn a_boot_that_hangs_is_killed_in_two_steps() {
    let mut scene = Scene::new(plan(vec![workers(1, 1), app(1, "shop", 1, 1), app(2, "blog", 1, 1)]));
    let (shop, blog) = (scene.one(1, "booting"), scene.one(2, "booting"));
    scene.ready(blog);
    let outputs = scene.pass(seconds(30));
    assert_eq!(killed(&outputs), [(shop, Kill::Term)]);
    assert_eq!(notes(&outputs, Level::Error), ["app shop: did not become ready within 30s"]);
    assert_eq!(spawned(&outputs), [(0, 1)], "it has failed, so the workers start");
    scene.boot_all();
    assert_eq!(scene.mode(), "running");
    assert_eq!(killed(&scene.pass(seconds(5))), [(shop, Kill::Kill)]);
    let outputs = scene.exit(shop, Exit::Signal(9));
    assert_eq!(spawned(&outputs), [(1, 1)], "a death like any other: the first is replaced at once");
}

#[test]
fn a_proof_boots_leaves_and_the_server_sleeps() {
    let mut shop = app(1, "shop", 0, 2);
    shop.upkeep.prove = true;
    let mut scene = Scene::new(plan(vec![workers(0, 2), shop]));
    let proof = scene.one(1, "booting");
    let outputs = scene.ready(proof);
    assert_eq!(drained(&outputs), [(proof, seconds(5), false)]);
    assert_eq!(scene.mode(), "starting", "the proof leaves first");
    let outputs = scene.exit(proof, Exit::Code(0));
    assert_eq!(outputs, [Output::Started, Output::Watch(true)]);
    assert_eq!(scene.mode(), "asleep");
    assert_eq!(scene.pool(1).state(None), PoolState::Asleep);
    assert!(scene.living.is_empty());
}

#[test]
fn a_proof_that_fails_ends_the_start_of_the_only_app() {
    let mut shop = app(1, "shop", 0, 2);
    shop.upkeep.prove = true;
    let mut scene = Scene::new(plan(vec![workers(0, 2), shop]));
    let proof = scene.one(1, "booting");
    scene.on(Input::Failed { child: proof, reason: "no".to_owned() });
    let outputs = scene.exit(proof, Exit::Code(1));
    assert_eq!(outputs.last(), Some(&Output::Exit { code: 1 }));
}

#[test]
fn a_proof_that_fails_beside_a_good_app_is_told_to_requests() {
    let mut shop = app(1, "shop", 0, 2);
    shop.upkeep.prove = true;
    let mut scene = Scene::new(plan(vec![workers(1, 1), shop, app(2, "blog", 1, 1)]));
    let (proof, blog) = (scene.one(1, "booting"), scene.one(2, "booting"));
    scene.ready(blog);
    let outputs = scene.exit(proof, Exit::Code(1));
    let retry = scene.now.after(millis(100));
    assert_eq!(published(&outputs, 1), [PoolState::Failed { retry }]);
    scene.boot_all();
    assert_eq!(scene.mode(), "running");
    let outputs = scene.pass(millis(100));
    assert_eq!(published(&outputs, 1), [PoolState::Asleep], "it is tried again when somebody asks");
    assert_eq!(spawned(&outputs), []);
}

#[test]
fn a_reload_during_the_start_waits_for_it() {
    let mut scene = Scene::new(plan(vec![workers(1, 1)]));
    assert_eq!(scene.on(Input::Signal(Signal::Hup)), []);
    let outputs = scene.boot_all();
    assert!(position(&outputs, &Output::Started) < position(&outputs, &Output::Load));
}

#[test]
fn a_stop_during_the_start_ends_with_zero() {
    let mut scene = Scene::new(plan(vec![workers(1, 1), app(1, "shop", 1, 1)]));
    scene.on(Input::Reload { ticket: Ticket(5), wait: true, prove: false });
    let outputs = scene.on(Input::Signal(Signal::Term));
    assert_eq!(answers(&outputs), [(5, Err("the server is stopping".to_owned()))]);
    scene.leave_all();
    assert_eq!(scene.outputs.last(), Some(&Output::Exit { code: 0 }));
    assert!(!scene.outputs.contains(&Output::Started));
}
