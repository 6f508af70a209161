//! `hatchery exec`: a command among what is around an app, a daemon or a cron job.

use crate::harness::{Directory, Finished, Setup, as_nobody, binary, hatchery, virtualenv, without};
use nix::libc::{SYS_close_range, SYS_getdents64};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};

/// A configuration in a directory of its own, which a server need not serve.
fn configured(user: &str) -> Setup {
    let setup = Setup::new(&format!(
        r#"
    sites: [(listen: ["127.0.0.1:0"], locations: [(path: "/", to: App("shop"))])],
    apps: {{
        "shop": (
            module: "shop.wsgi", chdir: "{{dir}}/code", home: "{{venv}}", {user}
            env: {{"GREETING": "hello", "SECRET": "of the app"}}, limits: (open_files: 321),
        ),
    }},
    daemons: {{"celery": (command: ["true"], app: "shop", env: {{"GREETING": "of the daemon"}})}},
    cron: [(name: "clean", at: "@yearly", command: ["true"], chdir: "{{dir}}", env: {{"ITS": "own"}})],"#
    ));
    setup.directory.write("code/local.sh", "#!/bin/sh\necho \"local $*\"\n");
    setup
}

fn run(setup: &Setup, arguments: &[&str]) -> Finished {
    hatchery(&setup.directory, &[&["exec"], arguments].concat())
}

#[test]
fn a_command_finds_what_is_around_its_app() {
    let setup = configured("");
    let code = setup.directory.path().join("code").display().to_string();
    let venv = virtualenv().display().to_string();
    let shown = "pwd; echo $GREETING $SECRET; echo $VIRTUAL_ENV; command -v python; ulimit -n";
    let ran = run(&setup, &["shop", "--", "sh", "-c", shown]);
    let lines: Vec<&str> = ran.stdout.lines().collect();
    assert_eq!(lines, [&code, "hello of the app", &venv, &format!("{venv}/bin/python"), "321"], "{ran:?}");
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    // The virtualenv's own program, without `--`, and with flags that are not ours.
    let ran =
        run(&setup, &["shop", "python", "-c", "import sys; print(sys.prefix, sys.argv)", "-h", "--", "x"]);
    assert_eq!(ran.stdout, format!("{venv} ['-c', '-h', '--', 'x']\n"), "{ran:?}");
    let ran = run(&setup, &["celery", "sh", "-c", "echo $GREETING; pwd"]);
    assert_eq!(ran.stdout, format!("of the daemon\n{code}\n"), "{ran:?}");
    let job = r#"echo "$ITS$GREETING$STRAY" "$SHELL" "$VIRTUAL_ENV""#;
    let mut command = Command::new(binary());
    command
        .args(["exec", "clean", "sh", "-c", job])
        .current_dir(setup.directory.path())
        .env("STRAY", "stray");
    let ran = command.output().unwrap();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "own /bin/sh \n", "{ran:?}");
}

#[test]
fn its_streams_its_end_and_its_process_are_those_of_the_command() {
    let setup = configured("");
    assert_eq!(run(&setup, &["shop", "sh", "-c", "exit 43"]).code, Some(43));
    let exec = |command: &str| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!(r#"exec 9</dev/null; exec "$0" exec shop -- sh -c '{command}'"#)]);
        shell.arg(binary()).current_dir(setup.directory.path());
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        shell.spawn().unwrap()
    };
    let killed = exec("kill -TERM $$").wait_with_output().unwrap();
    assert_eq!(killed.status.signal(), Some(15), "{killed:?}");
    // A pipe that nobody reads ends it, as it would without us.
    let mut child = exec("echo $$; ls /proc/self/fd; cat; exec yes");
    let pid = child.id();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"typed\n").unwrap();
    let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line: &String| line != "typed") {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut out, &mut line).unwrap();
        lines.push(line.trim_end().to_owned());
    }
    // The last descriptor is that of the listing.
    assert_eq!(lines, [&*pid.to_string(), "0", "1", "2", "3", "typed"]);
    drop(out);
    assert_eq!(child.wait().unwrap().signal(), Some(13));
}

/// The one call marks them all since Linux 5.11.
#[test]
fn an_old_kernel_hands_no_other_descriptor_to_the_command_either() {
    let setup = configured("");
    let on_kernel_without = |calls: &[i64]| {
        let words = without(calls);
        let script = r#"exec 9</dev/null; exec "$@" exec shop -- ls /proc/self/fd"#;
        let mut shell = Command::new("sh");
        shell.args(["-c", script, "sh"]).args(words).arg(binary()).current_dir(setup.directory.path());
        shell.output().unwrap()
    };
    let listing = on_kernel_without(&[SYS_close_range]);
    // The last descriptor is that of the listing.
    assert_eq!(String::from_utf8_lossy(&listing.stdout), "0\n1\n2\n3\n", "{listing:?}");
    let refused = on_kernel_without(&[SYS_close_range, SYS_getdents64]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(1) && refused.stdout.is_empty(), "{refused:?}");
    assert!(
        said.contains("app shop: cannot start: what else is open here cannot be kept from it: "),
        "{said}"
    );
}

/// As `nohup` does it, and a shell without job control with what it starts by `&`.
#[test]
fn what_was_ignored_before_is_ignored_by_the_command() {
    let setup = configured("");
    let script = r#"trap '' HUP; exec "$0" exec shop -- sh -c 'kill -HUP $$; echo held'"#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(binary()).current_dir(setup.directory.path());
    let held = shell.output().unwrap();
    assert_eq!((held.status.code(), &*held.stdout), (Some(0), &b"held\n"[..]), "{held:?}");
}

#[test]
fn what_cannot_be_run_is_told_with_what_there_is() {
    let setup = configured("");
    let told = |arguments: &[&str], code: i32, texts: &[&str]| {
        let ran = run(&setup, arguments);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        texts.iter().for_each(|text| assert!(ran.stderr.contains(text), "{text:?} is not in {ran:?}"));
    };
    told(&["shopp", "true"], 2, &["there is no \"shopp\"; there is: shop, celery, clean"]);
    told(&["shop"], 2, &["<COMMAND>"]);
    told(
        &["shop", "pyton"],
        1,
        &["app shop: the command `pyton` cannot be executed: No such file", "venv", "/bin:"],
    );
    told(&["shop", "./local.sh"], 1, &["`./local.sh` cannot be executed: Permission denied"]);
    std::fs::remove_dir_all(setup.directory.path().join("code")).unwrap();
    told(&["shop", "true"], 1, &["cannot enter its directory: No such file", "/code)"]);
    let empty = Directory::new();
    told(&["-c", "none.ron", "shop", "true"], 2, &["none.ron"]);
    assert_eq!(hatchery(&empty, &["exec", "shop", "true"]).code, Some(2));
}

#[test]
fn a_limit_that_cannot_be_set_is_told_with_its_key() {
    let setup = configured("");
    let file = setup.directory.path().join("hatchery.ron");
    let text = std::fs::read_to_string(&file).unwrap();
    // More than nr_open, which nobody may have.
    std::fs::write(&file, text.replace("open_files: 321", "open_files: 2000000000")).unwrap();
    let ran = run(&setup, &["shop", "true"]);
    let told =
        "app shop: cannot set `limits.open_files` to 2000000000: Operation not permitted (os error 1); ";
    assert!(ran.code == Some(1) && ran.stderr.contains(told) && !ran.stderr.contains("master"), "{ran:?}");
}

#[test]
fn another_user_is_for_root_only() {
    let user = nix::unistd::User::from_uid(65534.into()).unwrap().unwrap().name;
    let setup = configured(&format!("user: \"{user}\","));
    if nix::unistd::geteuid().is_root() {
        let ran =
            run(&setup, &["shop", "sh", "-c", "id -u; id -G; echo $USER; grep CapEff /proc/self/status"]);
        assert_eq!(ran.stdout.split_whitespace().last(), Some("0000000000000000"), "{ran:?}");
        assert!(ran.stdout.starts_with("65534\n65534\n") && ran.stdout.contains(&user), "{ran:?}");
    }
    let setup = configured("user: \"root\",");
    let refused = run_as_nobody(&setup, &["celery", "id"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(2) && refused.stdout.is_empty(), "{refused:?}");
    assert!(said.contains("daemon celery runs as the user \"root\", and only root"), "{said}");
}

fn run_as_nobody(setup: &Setup, arguments: &[&str]) -> Output {
    let program = binary();
    let words: Vec<&str> = as_nobody().iter().copied().chain(program.to_str()).collect();
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg("exec").args(arguments).current_dir(setup.directory.path());
    command.output().unwrap()
}

#[test]
fn a_program_that_is_nowhere_is_told_so_where_a_directory_of_the_path_is_closed() {
    let setup = configured("");
    let closed = setup.directory.write("closed/there", "");
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::set_permissions(closed.parent().unwrap(), std::fs::Permissions::from_mode(0o000)).unwrap();
    let program = binary();
    let words: Vec<&str> = as_nobody().iter().copied().chain(program.to_str()).collect();
    let path = format!("{}:/usr/bin:/bin", closed.parent().unwrap().display());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["exec", "shop", "--", "pyton"]).env("PATH", path);
    let refused = command.current_dir(setup.directory.path()).output().unwrap();
    std::fs::set_permissions(closed.parent().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("it was looked for in") && !said.contains("denied"), "{said}");
}

#[test]
fn a_file_with_variables_that_is_for_root_alone_sends_its_user_to_root() {
    let ours = nix::unistd::geteuid();
    let user = if ours.is_root() { 65534.into() } else { ours };
    let user = nix::unistd::User::from_uid(user).unwrap().unwrap().name;
    let setup = configured(&format!("user: \"{user}\", env_file: \"shop.env\","));
    let path = setup.directory.write("shop.env", "KEY=of root\n");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o000)).unwrap();
    for (name, label) in [("shop", "app shop"), ("celery", "daemon celery")] {
        let refused = run_as_nobody(&setup, &[name, "true"]);
        let said = String::from_utf8_lossy(&refused.stderr);
        let told =
            format!("{label} has variables from `{}`, which this user cannot read: use sudo", path.display());
        assert!(refused.status.code() == Some(2) && said.contains(&told), "{said}");
    }
    let ran = run_as_nobody(&setup, &["clean", "true"]);
    assert!(ran.status.success(), "it has no file: {ran:?}");
    if ours.is_root() {
        assert_eq!(run(&setup, &["celery", "sh", "-c", "echo $KEY"]).stdout, "of root\n");
    }
}
