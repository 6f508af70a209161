//! Files whose being touched reloads the server.

use crate::harness::{SOON, Server, Setup, holds, wait_until};
use std::fs;

fn site(touch: &str) -> String {
    format!(
        "touch_reload: {touch}, sites: [(listen: [\"{{address}}\"], locations: [(path: \"/\", to: Respond(status: 204))])],"
    )
}

#[track_caller]
fn wait_generation(server: &Server, generation: u32) {
    wait_until(SOON, "the generation serves", || {
        let status = server.status();
        holds(status.generation >= generation && status.mode == "running", (status.generation, status.mode))
    });
}

fn reloads(server: &Server) -> usize {
    server.log().iter().filter(|line| line.contains("was touched: reloading")).count()
}

#[test]
fn a_touch_reloads_once_and_a_refused_reload_says_why() {
    let server = Setup::new(&site("[\"one.txt\", \"deep/two.txt\"]")).start().tolerant(&["reload failed"]);
    let at = |name: &str| server.directory().path().join(name);
    assert_eq!(server.status().generation, 1);
    for _ in 0..20 {
        fs::write(at("one.txt"), "").unwrap();
    }
    let told = server.wait_log("one.txt was touched: reloading");
    assert!(told.contains("touch_reload: "), "{told}");
    wait_generation(&server, 2);
    // One that was not there, in a directory that was not either, and goes and comes back.
    fs::create_dir(at("deep")).unwrap();
    fs::write(at("deep/two.txt"), "").unwrap();
    wait_generation(&server, 3);
    fs::remove_dir_all(at("deep")).unwrap();
    fs::create_dir(at("deep")).unwrap();
    fs::write(at("deep/new"), "").unwrap();
    fs::rename(at("deep/new"), at("deep/two.txt")).unwrap();
    wait_generation(&server, 4);
    assert_eq!(reloads(&server), 3, "{:?}", server.log());
    // An upgrade knows what was seen before it.
    fs::write(at("one.txt"), "").unwrap();
    server.master.signal(nix::sys::signal::Signal::SIGUSR2);
    server.wait_log("goes on in place of");
    wait_until(SOON, "the touch is noticed", || holds(reloads(&server) == 4, server.log()));
    wait_until(SOON, "the reload is over", || {
        let status = server.status();
        holds(status.mode == "running", status.mode)
    });
    let generation = server.status().generation;
    fs::write(at("one.txt"), "").unwrap();
    wait_generation(&server, generation + 1);
    assert_eq!(reloads(&server), 5, "{:?}", server.log());
    server.configure("no such thing");
    fs::write(at("one.txt"), "").unwrap();
    server.wait_log("reload failed");
    assert_eq!((reloads(&server), server.status().generation), (6, generation + 1));
}

#[test]
fn a_reload_brings_other_files() {
    let server = Setup::new(&site("\"one.txt\"")).start();
    let touch = |name: &str| fs::write(server.directory().path().join(name), "").unwrap();
    server.configure(&site("\"two.txt\""));
    touch("one.txt");
    wait_generation(&server, 2);
    touch("two.txt");
    wait_generation(&server, 3);
    let log = server.log().join("\n");
    assert!(log.contains("one.txt was touched") && log.contains("two.txt was touched"), "{log}");
    assert_eq!(reloads(&server), 2);
}

#[test]
fn check_warns_root_of_a_file_that_everybody_can_touch() {
    use std::os::unix::fs::PermissionsExt as _;
    if crate::harness::as_nobody().is_empty() {
        return;
    }
    let setup = Setup::new(&site("\"one.txt\"")).bind_itself();
    let check = || crate::harness::hatchery(&setup.directory, &["check", "-c", "hatchery.ron"]).stderr;
    let file = setup.directory.write("one.txt", "");
    assert!(!check().contains("touch_reload"), "{}", check());
    fs::set_permissions(&file, fs::Permissions::from_mode(0o666)).unwrap();
    let place =
        "hatchery.ron:3:15: touch_reload: every user can reload the server, as every user can write `";
    assert!(check().contains(place), "{}", check());
}
