//! Twice as much to read is twice the work: what is counted is the text that is walked through, not the time.

use super::*;
use crate::config::load::examine;
use crate::config::problem::{Complaint, Place};
use crate::config::shape::WALKED;

/// As many sites, apps, upstreams, daemons and jobs, half of the sites in files of their own, and a mistake in each.
fn files(count: usize) -> Memory {
    let site = |host: &str, number: usize| {
        format!(
            "(names: [\"{host}{number}.example\"], listen: [\":80\"], locations: [
                (path: \"/s/\", to: Files(\"s{number}\")), (path: \"/\", to: App(\"a{number}\")),
                (path: \"/u/\", to: Proxy(\"u{number}\"))])"
        )
    };
    let all = |one: &dyn Fn(usize) -> String| (0..count).map(one).collect::<Vec<_>>().join(", ");
    let text = format!(
        "(sites: [{}], apps: {{{}}}, upstreams: {{{}}}, daemons: {{{}}}, cron: [{}], include: [\"sites/*\"])",
        all(&|number| site("s", number)),
        all(&|number| format!("\"a{number}\": (module: \"m:a\", threads: 2)")),
        all(&|number| format!("\"u{number}\": (servers: [\"127.0.0.1:{}\"])", 1024 + number)),
        all(&|number| format!("\"d{number}\": (command: [\"x\"])")),
        all(&|number| format!("(name: \"j{number}\", at: \"* * * * *\", command: [\"x\"])")),
    );
    (0..count).fold(Memory::default().with("hatchery.ron", &text), |files, number| {
        files.with(&format!("sites/{number}.ron"), &format!("(sites: [{}])", site("t", number)))
    })
}

/// What it takes to read so many, and to find the places of a problem of each.
fn work(count: usize) -> usize {
    let source = files(count);
    let before = WALKED.get();
    let keys = |number: usize| {
        [
            format!("sites[{number}].locations[0].to.root"),
            format!("sites[{}].locations[0].to.root", count + number),
            format!("apps.a{number}.chdir"),
            format!("upstreams.u{number}.servers[0]"),
            format!("daemons.d{number}.command"),
            format!("cron[{number}].command"),
        ]
    };
    let examined = examine(Path::new("hatchery.ron"), &source, |_, _| {
        let keys = (0..count).flat_map(keys);
        let told = keys.map(|key| Place::named("hatchery.ron", key).problem(Complaint::new("wrong", "")));
        (Vec::new(), told.collect())
    });
    assert_eq!(source.read.borrow().len(), count + 1, "each file is read once");
    assert!(examined.problems.is_empty(), "{:?}", examined.problems.first());
    let warnings = examined.warnings.iter().filter(|warning| warning.what == "wrong");
    assert!(warnings.clone().all(|warning| warning.line > 0), "{:?}", examined.warnings.last());
    assert_eq!(warnings.count(), 6 * count);
    WALKED.get() - before
}

#[test]
fn twice_the_sites_are_twice_the_work() {
    let (once, twice) = (work(20), work(40));
    assert!(once > 0 && twice < once * 21 / 10, "{once} bytes walked for 20 sites, {twice} for 40");
}
