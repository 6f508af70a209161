use super::*;
use crate::cron::{Kill, Schedule};

/// Both clocks of a test.
struct Clock {
    wall: i64,
    now: u64,
}

/// Midnight, 1 May 2026, UTC.
const START: i64 = 1_777_593_600;

struct Scene {
    scheduler: Scheduler,
    clock: Clock,
}

fn job(name: &str, at: &str, overlap: Overlap) -> JobSpec {
    let schedule = Schedule::parse(at, Some("UTC")).expect(at);
    JobSpec { name: name.to_owned(), schedule, overlap, timeout: None }
}

fn wall(seconds: i64) -> Wall {
    Wall { seconds, nanos: 0 }
}

impl Scene {
    fn new(jobs: Vec<JobSpec>) -> Self {
        let clock = Clock { wall: START, now: 1_000 };
        let mut scene = Self { scheduler: Scheduler::new(jobs, wall(START)), clock };
        assert_eq!(scene.poll(), []);
        scene
    }

    fn now(&self) -> Time {
        Time(self.clock.now * 1_000_000_000)
    }

    fn poll(&mut self) -> Vec<Decision> {
        let (wall, now) = (wall(self.clock.wall), self.now());
        std::iter::from_fn(|| self.scheduler.poll(wall, now)).collect()
    }

    /// Time passes; timers are served when they are due.
    fn pass(&mut self, seconds: u64) -> Vec<Decision> {
        let end = self.clock.now + seconds;
        let mut decisions = Vec::new();
        loop {
            let due = self
                .scheduler
                .next_wall()
                .map(|next| self.clock.now.saturating_add_signed(next.seconds - self.clock.wall));
            let deadline = self.scheduler.deadline().map(|deadline| deadline.0.div_ceil(1_000_000_000));
            let next =
                [due, deadline].into_iter().flatten().min().unwrap_or(end).min(end).max(self.clock.now);
            self.clock.wall += (next - self.clock.now).cast_signed();
            self.clock.now = next;
            let more = self.poll();
            if more.is_empty() && next >= end {
                return decisions;
            }
            assert!(!more.is_empty() || next < end, "a timer was due but nothing happened");
            decisions.extend(more);
        }
    }

    /// The clock is set; no time passes.
    fn set(&mut self, seconds: i64) -> Vec<Decision> {
        self.clock.wall += seconds;
        self.poll()
    }

    fn exit(&mut self, run: u64, exit: Exit) -> Vec<Decision> {
        self.scheduler.exited(RunId(run), exit, wall(self.clock.wall), self.now());
        self.poll()
    }

    fn outcomes(&self, name: &str) -> Vec<String> {
        let job =
            self.scheduler.status(Wall::default()).into_iter().find(|job| job.name == name).expect("the job");
        job.history.into_iter().map(|run| run.outcome).collect()
    }
}

/// `run 1 @60`, `skip`, `term 1`: seconds since the start of the test.
fn told(decisions: &[Decision]) -> Vec<String> {
    let line = |decision: &Decision| match decision {
        Decision::Run { run, scheduled, .. } => format!("run {} @{}", run.0, scheduled.seconds - START),
        Decision::Skip { .. } => "skip".to_owned(),
        Decision::Kill { run, how: Kill::Term } => format!("term {}", run.0),
        Decision::Kill { run, how: Kill::Kill } => format!("kill {}", run.0),
        Decision::Abandon { run } => format!("abandon {}", run.0),
    };
    decisions.iter().map(line).collect()
}

#[test]
fn a_job_runs_when_it_is_due_and_its_exit_is_remembered() {
    let mut scene = Scene::new(vec![job("clear", "* * * * *", Overlap::Skip)]);
    assert_eq!(scene.scheduler.next_wall(), Some(wall(START + 60)));
    assert_eq!(told(&scene.pass(59)), [""; 0]);
    assert_eq!(told(&scene.pass(1)), ["run 1 @60"]);
    scene.scheduler.started(RunId(1), 4711);
    assert_eq!(scene.scheduler.status(Wall::default())[0].running, [4711]);
    assert!(!scene.scheduler.is_idle());
    scene.pass(3);
    assert_eq!(scene.exit(1, Exit::Code(0)), []);
    scene.pass(57);
    scene.exit(2, Exit::Code(3));
    scene.pass(60);
    scene.exit(3, Exit::Signal(9));
    scene.pass(60);
    scene.scheduler.could_not_start(RunId(4), "no such file");
    let status = &scene.scheduler.status(Wall::default())[0];
    assert_eq!(
        scene.outcomes("clear"),
        ["could not start: no such file", "killed by SIGKILL", "exit 3", "ok"]
    );
    assert_eq!(status.history[3].started, "2026-05-01T00:01:00+00:00");
    assert_eq!(status.history[3].duration_ms, 3000);
    assert_eq!(status.next.as_deref(), Some("2026-05-01T00:05:00+00:00"));
    assert!(scene.scheduler.is_idle());
}

#[test]
fn by_hand_it_runs_at_once_under_its_overlap_rule_and_its_schedule_stays() {
    let jobs = [("skip", Overlap::Skip), ("queue", Overlap::Queue)];
    let mut scene = Scene::new(jobs.map(|(name, overlap)| job(name, "17 3 * * *", overlap)).to_vec());
    let next = scene.scheduler.next_wall();
    let run_now = |scene: &mut Scene, name: &str| {
        let (wall, now) = (wall(scene.clock.wall), scene.now());
        scene.scheduler.run_now(name, wall, now)
    };
    for (name, second) in [("skip", false), ("queue", true)] {
        assert_eq!(run_now(&mut scene, name), Ok(()));
        let decisions = scene.poll();
        assert!(matches!(&decisions[..], [Decision::Run { job, .. }] if job == name), "{decisions:?}");
        assert_eq!(run_now(&mut scene, name).is_ok(), second, "{name}");
        assert_eq!(scene.poll(), [], "it still runs");
    }
    assert_eq!(scene.scheduler.next_wall(), next);
    let waited = scene.exit(2, Exit::Code(0));
    assert!(matches!(&waited[..], [Decision::Run { job, .. }] if job == "queue"), "{waited:?}");
    scene.pass(24 * 3600);
    let skipped = &scene.scheduler.status(wall(scene.clock.wall))[0];
    assert!(!skipped.history[0].by_hand, "{skipped:?}");
    let by_hand = &scene.scheduler.status(wall(scene.clock.wall))[1];
    assert!(by_hand.history.last().unwrap().by_hand, "{by_hand:?}");
    assert_eq!(by_hand.next_in_seconds.map(|left| left <= 24 * 3600), Some(true), "{by_hand:?}");
    assert_eq!(
        run_now(&mut scene, "other"),
        Err("there is no job \"other\"; there is: skip, queue".to_owned())
    );
    let now = scene.now();
    scene.scheduler.stop(std::time::Duration::from_secs(1), now);
    assert!(run_now(&mut scene, "queue").is_err());
}

#[test]
fn the_last_twenty_runs_are_remembered() {
    let mut scene = Scene::new(vec![job("clear", "* * * * *", Overlap::Skip)]);
    for run in 1..=30 {
        scene.pass(60);
        scene.exit(run, Exit::Code(run as i32));
    }
    let outcomes = scene.outcomes("clear");
    assert_eq!(outcomes.len(), 20);
    assert_eq!((outcomes[0].as_str(), outcomes[19].as_str()), ("exit 30", "exit 11"));
}

#[test]
fn overlap_skip() {
    let mut scene = Scene::new(vec![job("slow", "* * * * *", Overlap::Skip)]);
    scene.pass(60);
    assert_eq!(told(&scene.pass(120)), ["skip", "skip"]);
    scene.exit(1, Exit::Code(0));
    assert_eq!(told(&scene.pass(60)), ["run 2 @240"]);
    assert_eq!(scene.outcomes("slow"), ["ok", "skipped: still running", "skipped: still running"]);
}

#[test]
fn overlap_queue() {
    let mut scene = Scene::new(vec![job("slow", "* * * * *", Overlap::Queue)]);
    scene.pass(60);
    assert_eq!(told(&scene.pass(60)), [""; 0]);
    assert_eq!(told(&scene.pass(60)), ["skip"], "only one waits");
    assert_eq!(told(&scene.exit(1, Exit::Code(0))), ["run 2 @120"]);
    assert_eq!(told(&scene.exit(2, Exit::Code(0))), [""; 0]);
    assert_eq!(told(&scene.pass(60)), ["run 3 @240"]);
    scene.pass(60);
    scene.scheduler.could_not_start(RunId(3), "no");
    assert_eq!(told(&scene.poll()), ["run 4 @300"]);
}

#[test]
fn overlap_allow() {
    let mut scene = Scene::new(vec![job("slow", "* * * * *", Overlap::Allow)]);
    assert_eq!(told(&scene.pass(180)), ["run 1 @60", "run 2 @120", "run 3 @180"]);
    scene.scheduler.started(RunId(2), 2);
    scene.scheduler.started(RunId(3), 3);
    scene.exit(2, Exit::Code(0));
    assert_eq!(scene.scheduler.status(Wall::default())[0].running, [3]);
}

#[test]
fn overlap_replace() {
    let mut scene = Scene::new(vec![job("slow", "* * * * *", Overlap::Replace)]);
    scene.pass(60);
    assert_eq!(told(&scene.pass(60)), ["term 1"]);
    assert_eq!(told(&scene.exit(1, Exit::Signal(15))), ["run 2 @120"]);
    assert_eq!(scene.outcomes("slow"), ["ended: replaced by the next run"]);
    assert_eq!(told(&scene.pass(62)), ["term 2"], "one that ignores TERM");
    scene.scheduler.run_now("slow", wall(scene.clock.wall), scene.now()).unwrap();
    assert_eq!(told(&scene.poll()), ["skip"], "the newest waits");
    assert_eq!(told(&scene.pass(8)), ["kill 2"]);
    assert_eq!(told(&scene.exit(2, Exit::Signal(9))), ["run 3 @182"]);
}

#[test]
fn a_time_out_is_term_then_kill() {
    let mut scene = Scene::new(vec![JobSpec {
        timeout: Some(Duration::from_secs(90)),
        ..job("slow", "0 * * * *", Overlap::Skip)
    }]);
    scene.pass(3600);
    assert_eq!(told(&scene.pass(89)), [""; 0]);
    assert_eq!(told(&scene.pass(1)), ["term 1"]);
    assert_eq!(told(&scene.pass(9)), [""; 0]);
    assert_eq!(told(&scene.pass(1)), ["kill 1"]);
    scene.exit(1, Exit::Signal(9));
    assert_eq!(scene.scheduler.deadline(), None);
    assert_eq!(scene.outcomes("slow"), ["timed out"]);
}

#[test]
fn a_clock_set_back_runs_nothing_twice() {
    let mut scene = Scene::new(vec![job("clear", "*/10 * * * *", Overlap::Allow)]);
    assert_eq!(told(&scene.pass(1800)), ["run 1 @600", "run 2 @1200", "run 3 @1800"]);
    assert_eq!(scene.set(-1500), []);
    assert_eq!(told(&scene.pass(1500)), [""; 0], "these times were lived through");
    assert_eq!(told(&scene.pass(600)), ["run 4 @2400"]);
    // Before the start of the server nothing was run.
    assert_eq!(scene.set(-2400 - 3600), []);
    assert_eq!(told(&scene.pass(1200)), ["run 5 @-3000", "run 6 @-2400"]);
}

#[test]
fn a_clock_that_was_years_ahead_does_not_silence_a_job() {
    let years = 4 * 365 * 86_400;
    let mut scene = Scene::new(vec![job("clear", "*/10 * * * *", Overlap::Allow)]);
    scene.set(-years);
    assert_eq!(told(&scene.pass(600)), [format!("run 1 @{}", 600 - years)]);
}

#[test]
fn a_leap_forward_runs_a_job_once() {
    let mut scene =
        Scene::new(vec![job("often", "* * * * *", Overlap::Allow), job("daily", "0 3 * * *", Overlap::Skip)]);
    let leap = 10 * 3600;
    assert_eq!(told(&scene.set(leap + 30)), [format!("run 1 @{leap}"), "run 2 @10800".to_owned()]);
    // Back into what was skipped: it comes, but for no time that was run.
    assert_eq!(scene.set(-120), []);
    assert_eq!(told(&scene.pass(60)), [format!("run 3 @{}", leap - 60)]);
    assert_eq!(told(&scene.pass(60)), [""; 0], "this one was run after the leap");
    assert_eq!(told(&scene.pass(60)), [format!("run 4 @{}", leap + 60)]);
}

#[test]
fn a_leap_into_what_was_lived_runs_only_what_was_missed_before_it() {
    let mut scene = Scene::new(vec![job("often", "*/10 * * * *", Overlap::Allow)]);
    assert_eq!(told(&scene.pass(1800)).len(), 3);
    scene.set(-3600);
    assert_eq!(scene.pass(300), []);
    assert_eq!(told(&scene.set(3000)), ["run 4 @-1200"]);
    assert_eq!(told(&scene.pass(299)), [""; 0]);
    assert_eq!(told(&scene.pass(601)), ["run 5 @2400"]);
}

#[test]
fn a_master_that_was_busy_runs_what_it_missed_once() {
    let mut scene = Scene::new(vec![job("often", "* * * * *", Overlap::Allow)]);
    scene.clock.wall += 300;
    scene.clock.now += 300;
    assert_eq!(told(&scene.poll()), ["run 1 @300"]);
    assert_eq!(scene.poll(), []);
}

#[test]
fn a_change_of_the_clocks_runs_nothing_twice_and_leaves_nothing_out() {
    let job = |name: &str, at: &str| {
        let schedule = Schedule::parse(at, Some("Europe/Berlin")).expect(at);
        JobSpec { name: name.to_owned(), schedule, overlap: Overlap::Allow, timeout: None }
    };
    // Noon in Berlin on 28 March and on 24 October 2026; it is 01:00 UTC when clocks change.
    for (noon, in_march) in [(1_774_695_600, 1), (1_792_836_000, 0)] {
        let jobs = vec![
            job("before", "0 1 * * *"),
            job("within", "30 2 * * *"),
            job("often within", "10,20,50 2 29 3 *"),
            job("hourly", "0 * * * *"),
        ];
        let clock = Clock { wall: noon, now: 1_000 };
        let mut scene = Scene { scheduler: Scheduler::new(jobs, wall(noon)), clock };
        let decisions = scene.pass(86_400);
        let count = |name: &str| {
            let of_job = |decision: &&Decision| matches!(decision, Decision::Run { job, .. } if job == name);
            decisions.iter().filter(of_job).count()
        };
        let counts = ["before", "within", "often within", "hourly"].map(count);
        assert_eq!(counts, [1, 1, in_march, 24], "after {noon}");
    }
}

#[test]
fn a_reload_keeps_jobs_by_their_name() {
    let mut scene =
        Scene::new(vec![job("stays", "* * * * *", Overlap::Skip), job("goes", "* * * * *", Overlap::Queue)]);
    scene.pass(60);
    scene.scheduler.started(RunId(1), 11);
    scene.scheduler.started(RunId(2), 12);
    scene.pass(60);
    let jobs = vec![job("new", "*/5 * * * *", Overlap::Skip), job("stays", "*/2 * * * *", Overlap::Skip)];
    scene.scheduler.replace(jobs, wall(scene.clock.wall));
    let status = scene.scheduler.status(Wall::default());
    assert_eq!(status.iter().map(|job| job.name.as_str()).collect::<Vec<_>>(), ["new", "stays"]);
    assert_eq!(status[1].running, [11]);
    assert_eq!(status[1].at, "*/2 * * * *");
    assert_eq!(scene.outcomes("stays"), ["skipped: still running"]);
    assert_eq!(
        told(&scene.exit(2, Exit::Code(0))),
        [""; 0],
        "what waited of a job that has gone does not run"
    );
    scene.exit(1, Exit::Code(0));
    assert_eq!(told(&scene.pass(180)), ["run 3 @240", "run 4 @300"]);
}

#[test]
fn a_reload_at_the_very_second_neither_loses_nor_repeats_a_run() {
    let mut scene =
        Scene::new(vec![job("same", "* * * * *", Overlap::Allow), job("moved", "* * * * *", Overlap::Allow)]);
    assert_eq!(told(&scene.pass(60)).len(), 2);
    let jobs = || vec![job("same", "* * * * *", Overlap::Allow), job("moved", "*/1 * * * *", Overlap::Allow)];
    scene.scheduler.replace(jobs(), wall(scene.clock.wall));
    assert_eq!(scene.poll(), []);
    scene.clock.wall += 60;
    scene.clock.now += 60;
    scene.scheduler.replace(jobs(), wall(scene.clock.wall));
    assert_eq!(told(&scene.poll()), ["run 3 @120", "run 4 @120"], "due, but not yet looked at");
}

#[test]
fn a_stop_ends_what_runs_and_starts_nothing() {
    let mut scene = Scene::new(vec![job("slow", "* * * * *", Overlap::Queue)]);
    scene.pass(120);
    let now = scene.now();
    scene.scheduler.stop(Duration::from_secs(5), now);
    assert_eq!(told(&scene.poll()), ["term 1"]);
    assert_eq!(scene.scheduler.next_wall(), None);
    assert_eq!(told(&scene.pass(5)), ["kill 1"]);
    assert_eq!(told(&scene.exit(1, Exit::Signal(9))), [""; 0]);
    assert!(scene.scheduler.is_idle());
    assert_eq!(scene.outcomes("slow"), ["ended: the server stopped"]);
}

#[test]
fn a_run_that_was_not_begun_is_not_begun_by_a_stop() {
    let mut scene =
        Scene::new(vec![job("one", "* * * * *", Overlap::Skip), job("two", "* * * * *", Overlap::Skip)]);
    scene.clock.wall += 60;
    scene.clock.now += 60;
    let (wall, now) = (wall(scene.clock.wall), scene.now());
    assert!(matches!(scene.scheduler.poll(wall, now), Some(Decision::Run { run: RunId(1), .. })));
    scene.scheduler.stop(Duration::from_secs(5), now);
    assert_eq!(told(&scene.poll()), ["term 1"]);
}

#[test]
fn a_run_that_does_not_die_is_given_up_so_often() {
    let spec = JobSpec { timeout: Some(Duration::from_secs(20)), ..job("stuck", "* * * * *", Overlap::Skip) };
    let mut scene = Scene::new(vec![spec]);
    assert_eq!(told(&scene.pass(60)), ["run 1 @60"]);
    for run in 1..=16 {
        let next = format!("run {} @{}", run + 1, (run + 1) * 60);
        let ends = [format!("term {run}"), format!("kill {run}"), format!("abandon {run}"), next];
        assert_eq!(told(&scene.pass(60)), ends);
    }
    assert_eq!(scene.outcomes("stuck")[0], "does not die, although it was killed");
    assert_eq!(told(&scene.pass(120)), ["term 17", "kill 17", "skip", "skip"], "one more counts as running");
    scene.exit(1, Exit::Signal(9));
    assert_eq!(scene.exit(17, Exit::Signal(9)), []);
    assert_eq!(told(&scene.pass(60)), ["run 18 @1200"]);
    scene.scheduler.stop(Duration::from_secs(2), scene.now());
    assert_eq!(told(&scene.pass(60)), ["term 18", "kill 18", "abandon 18"]);
    assert!(scene.scheduler.is_idle(), "a stop does not wait for them");
}
