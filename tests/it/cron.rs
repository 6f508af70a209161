//! Jobs run when they should, where they should, and what became of them is recorded.

use crate::harness::{Setup, hatchery, holds, wait_until};
use std::time::Duration;

/// A job of every minute begins within one; then it runs.
const A_MINUTE_AND_MORE: Duration = Duration::from_secs(90);

#[test]
fn jobs_run_in_their_apps_place_and_their_ends_are_recorded() {
    let setup = Setup::new(
        r#"
    workers: (processes: 1),
    sites: [(listen: ["{address}"], locations: [(path: "/", to: App("plain"))])],
    apps: {
        "plain": (module: "app", chdir: "{dir}/app", home: "{venv}", env: {"FROM_APP": "of the app"}, processes: 1),
    },
    cron: [
        (name: "good", at: "* * * * *", command: ["python", "job.py"], app: "plain", env: {"FROM_JOB": "of the job"}),
        (name: "bad", at: "* * * * *", command: ["python", "-c", "import sys; sys.exit(3)"], app: "plain"),
        (name: "slow", at: "* * * * *", command: ["sleep", "60"], timeout: "500ms"),
        (name: "absent", at: "* * * * *", command: ["no-such-program-anywhere"]),
        (name: "never today", at: "@yearly", command: ["touch", "{dir}/yearly"], timezone: "Asia/Seoul"),
    ],"#,
    );
    let app = std::fs::read(crate::harness::apps().join("plain/app.py")).unwrap();
    setup.directory.write("app/app.py", app);
    setup.directory.write(
        "app/job.py",
        "import os, sys\n\
         print('prefix', sys.prefix)\n\
         print('directory', os.getcwd())\n\
         print('environment', os.environ['FROM_APP'], 'and', os.environ['FROM_JOB'])\n",
    );
    let server = setup.start().tolerant(&["bad", "slow", "absent"]);
    let yearly = server.job("never today");
    assert!(yearly.next.as_deref().is_some_and(|next| next.ends_with("+09:00")), "{yearly:?}");
    let jobs = wait_until(A_MINUTE_AND_MORE, "every job has run", || {
        let jobs = server.status().cron;
        let ran = jobs.iter().filter(|job| !job.history.is_empty()).count();
        if ran == 4 { Ok(jobs) } else { Err(format!("{jobs:?}")) }
    });
    let outcome = |name: &str| jobs.iter().find(|job| job.name == name).unwrap().history[0].outcome.clone();
    assert_eq!(outcome("good"), "ok");
    assert_eq!(outcome("bad"), "exit 3");
    assert_eq!(outcome("slow"), "timed out");
    assert!(outcome("absent").starts_with("could not start"), "{}", outcome("absent"));
    let prefix = server.wait_log("prefix ");
    assert!(prefix.contains("good"), "the name of the job: {prefix}");
    assert!(prefix.contains(crate::harness::virtualenv().to_str().unwrap()), "{prefix}");
    server.wait_log(&format!("directory {}", server.directory().path().join("app").display()));
    server.wait_log("environment of the app and of the job");
    wait_until(Duration::from_secs(10), "nothing of a job is left", || {
        let running: Vec<_> = server.status().cron.into_iter().flat_map(|job| job.running).collect();
        holds(running.is_empty(), running)
    });
    assert!(!server.directory().path().join("yearly").exists());
}

/// `nobody` has no home on most machines.
#[test]
fn a_job_whose_user_has_no_home_runs_in_the_root_and_is_warned_of() {
    let Ok(Some(nobody)) = nix::unistd::User::from_name("nobody") else { return };
    if !nix::unistd::geteuid().is_root() || nobody.dir.exists() {
        eprintln!("nothing to test: no user whose home is missing");
        return;
    }
    let home = nobody.dir.display();
    let setup = Setup::new(
        r#"
    user: "nobody",
    sites: [(listen: ["{address}"], locations: [(path: "/", to: Respond(body: "fixed"))])],
    cron: [(name: "where", at: "@yearly", command: ["sh", "-c", "echo in $(pwd), home $HOME"])],"#,
    )
    .bind_itself();
    let checked = hatchery(&setup.directory, &["check"]);
    let warning = format!("cron[0]: `where` runs in `/`, as the home of its user, `{home}`, does not exist");
    assert!(checked.code == Some(0) && checked.stderr.contains(&warning), "{checked:?}");
    let server = setup.start().tolerant(&["cron where: runs in"]);
    assert_eq!(server.command(&["cron", "run", "where"]).code, Some(0));
    server.wait_log(&format!("cron where: runs in `/`, as the home of its user, `{home}`, does not exist"));
    server.wait_log(&format!("in /, home {home}"));
    wait_until(Duration::from_secs(10), "it has ended", || {
        let job = server.job("where");
        holds(job.history.first().is_some_and(|run| run.outcome == "ok"), job)
    });
}
