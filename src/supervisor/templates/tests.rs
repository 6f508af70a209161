//! Scenes with the set of templates. `Scene` plays the master: templates start at once and answer when the test says so.

use super::super::slot::GIVE_UP;
use super::super::{Break, Kill};
use super::*;
use std::collections::BTreeMap;

mod random;

const SHOP: Key = Key { pool: 1, generation: 1 };

struct Scene {
    core: Templates,
    now: Time,
    living: BTreeMap<Key, u32>,
    /// Given up.
    undead: Vec<u32>,
    pids: u32,
}

fn plan(pool: PoolIndex, keep: bool) -> TemplatePlan {
    TemplatePlan { pool, name: format!("shop{pool}"), boot_timeout: seconds(90), keep }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

impl Scene {
    fn new(plans: Vec<TemplatePlan>) -> Self {
        let now = Time(1_000_000_000_000);
        Self { core: Templates::new(plans, now), now, living: BTreeMap::new(), undead: Vec::new(), pids: 0 }
    }

    /// Templates of the pools, Ready, with one process each that waits for nothing any more.
    fn ready(keep: bool) -> Self {
        let mut scene = Self::new(vec![plan(1, keep)]);
        scene.want(1, 1);
        scene.on(Input::Ready { key: SHOP, threads: 1 });
        scene.on(Input::Born { key: SHOP, child: ChildId(1) });
        assert_eq!(scene.states(), [(SHOP, "ready")]);
        scene
    }

    /// Whether nothing lives.
    fn is_idle(&self) -> bool {
        self.core.templates.iter().all(|template| template.slot.state == State::EMPTY)
    }

    fn on(&mut self, input: Input) -> Vec<Output> {
        self.core.on(input, self.now);
        self.drain()
    }

    fn want(&mut self, child: u64, generation: u32) -> Vec<Output> {
        let keep = self.core.plans.iter().any(|plan| plan.keep);
        self.on(Input::Want { child: ChildId(child), generation, plan: plan(1, keep) })
    }

    fn exit(&mut self, key: Key, exit: Exit) -> Vec<Output> {
        assert!(self.living.remove(&key).is_some(), "{key:?} does not live");
        self.on(Input::Exited { key, exit })
    }

    fn pass(&mut self, time: Duration) -> Vec<Output> {
        let end = self.now.after(time);
        let mut outputs = Vec::new();
        while let Some(deadline) = self.core.deadline().filter(|deadline| *deadline <= end) {
            assert!(deadline > self.now, "a deadline must move on");
            self.now = deadline;
            self.core.on_timeout(self.now);
            outputs.extend(self.drain());
        }
        self.now = end;
        outputs
    }

    fn drain(&mut self) -> Vec<Output> {
        let mut outputs = Vec::new();
        while let Some(output) = self.core.poll(self.now) {
            if let Output::Boot { key } = output {
                self.pids += 1;
                assert!(self.living.insert(key, self.pids).is_none(), "a second template of {key:?}");
                self.core.on(Input::Forked { key, pid: self.pids }, self.now);
            }
            if let Output::Abandon { key } = output {
                self.undead.push(self.living.remove(&key).expect("given up once"));
            }
            outputs.push(output);
        }
        outputs
    }

    fn states(&self) -> Vec<(Key, &'static str)> {
        let state = |status: TemplateStatus| {
            ["booting", "ready", "leaving"].into_iter().find(|name| *name == status.state)
        };
        let shown = |template: &Template| Some((template.key, state(template.status(self.now)?)?));
        let mut states: Vec<_> = self.core.templates.iter().filter_map(shown).collect();
        states.sort();
        states
    }
}

fn refused(outputs: &[Output]) -> Vec<(u64, &str)> {
    let refuse = |output: &'_ Output| matches!(output, Output::Refuse { .. });
    let told = outputs.iter().filter(|output| refuse(output)).map(|output| match output {
        Output::Refuse { child, reason } => (child.0, reason.as_str()),
        _ => (0, ""),
    });
    told.collect()
}

fn notes(outputs: &[Output]) -> Vec<(Level, &str)> {
    let note = |output: &'_ Output| matches!(output, Output::Note { .. });
    let told = outputs.iter().filter(|output| note(output)).map(|output| match output {
        Output::Note { level, text } => (*level, text.as_str()),
        _ => (Level::Debug, ""),
    });
    told.collect()
}

fn forks(outputs: &[Output]) -> Vec<u64> {
    let fork = |output: &Output| match output {
        Output::Fork { child, .. } => Some(child.0),
        _ => None,
    };
    outputs.iter().filter_map(fork).collect()
}

#[test]
fn the_first_process_boots_the_template_and_all_wait_for_it() {
    let mut scene = Scene::new(vec![plan(1, false)]);
    assert_eq!(scene.drain(), [], "nobody wants it yet");
    assert_eq!(scene.want(1, 1), [Output::Boot { key: SHOP }]);
    assert_eq!(scene.want(2, 1), []);
    let outputs = scene.on(Input::Ready { key: SHOP, threads: 1 });
    assert_eq!(forks(&outputs), [1, 2]);
    assert_eq!(forks(&scene.want(3, 1)), [3], "at once from now on");
}

#[test]
fn a_traceback_is_told_once_and_the_next_process_tries_again() {
    let mut scene = Scene::new(vec![plan(1, false)]);
    scene.want(1, 1);
    scene.want(2, 1);
    let outputs = scene.on(Input::Failed { key: SHOP, reason: "Traceback\nValueError: no".to_owned() });
    let [(1, first), (2, second)] = refused(&outputs)[..] else { panic!("{outputs:?}") };
    assert!(first.starts_with("Traceback\nValueError") && !second.contains("ValueError"), "{first} {second}");
    assert_eq!(notes(&outputs), []);
    // It still has to end.
    assert_eq!(scene.want(3, 1), []);
    assert_eq!(scene.exit(SHOP, Exit::Code(3)), [Output::Boot { key: SHOP }]);
}

#[test]
fn an_import_that_hangs_is_ended() {
    let mut scene = Scene::new(vec![plan(1, false)]);
    scene.want(1, 1);
    let outputs = scene.pass(seconds(90));
    assert!(outputs.contains(&Output::Kill { key: SHOP, how: Kill::Term }), "{outputs:?}");
    assert_eq!(refused(&outputs), [(1, "did not become ready within 90s")]);
    assert_eq!(scene.pass(seconds(5)), [Output::Kill { key: SHOP, how: Kill::Kill }]);
    // Who comes at the moment when it is over does not join it.
    let mut scene = Scene::new(vec![plan(1, false)]);
    scene.want(1, 1);
    scene.now = scene.now.after(seconds(90));
    let outputs = scene.want(2, 1);
    assert_eq!(refused(&outputs).iter().map(|(child, _)| *child).collect::<Vec<_>>(), [1]);
    assert_eq!(scene.exit(SHOP, Exit::Signal(15)), [Output::Boot { key: SHOP }]);
}

#[test]
fn a_template_that_dies_is_booted_again_and_its_processes_are_not_touched() {
    let mut scene = Scene::ready(false);
    scene.now = scene.now.after(seconds(60));
    let outputs = scene.exit(SHOP, Exit::Signal(9));
    assert_eq!(outputs.last(), Some(&Output::Boot { key: SHOP }), "{outputs:?}");
    assert!(matches!(notes(&outputs)[..], [(Level::Warn, text)] if text.contains("its processes go on")));
    // The second death in a row waits; a process that is wanted does not.
    scene.on(Input::Ready { key: SHOP, threads: 1 });
    assert_eq!(notes(&scene.exit(SHOP, Exit::Signal(9))).len(), 1);
    assert_eq!(scene.states(), []);
    assert_eq!(scene.pass(Duration::from_millis(99)), []);
    assert_eq!(scene.pass(Duration::from_millis(1)), [Output::Boot { key: SHOP }]);
    scene.on(Input::Ready { key: SHOP, threads: 1 });
    scene.exit(SHOP, Exit::Signal(9));
    assert_eq!(scene.want(2, 1), [Output::Boot { key: SHOP }]);
}

#[test]
fn a_template_that_cuts_its_channel_is_lost() {
    let mut scene = Scene::ready(false);
    assert_eq!(scene.on(Input::Cut { key: SHOP, how: Break::Closed }), [], "it may be ending");
    let outputs = scene.pass(seconds(3));
    assert!(
        matches!(notes(&outputs)[..], [(Level::Warn, text)] if text.contains("closed its control channel"))
    );
    assert!(outputs.contains(&Output::Leave { key: SHOP }), "{outputs:?}");
    assert_eq!(scene.want(2, 1), [], "it has to end first");
    let kill = |how| Output::Kill { key: SHOP, how };
    assert_eq!(scene.pass(seconds(12)), [kill(Kill::Term), kill(Kill::Kill)]);
    assert_eq!(scene.exit(SHOP, Exit::Signal(9)), [Output::Boot { key: SHOP }]);
}

#[test]
fn a_template_that_only_fails_when_nobody_waits_does_not_spin() {
    let mut scene = Scene::ready(false);
    scene.exit(SHOP, Exit::Signal(9));
    let mut boots = 0;
    for _ in 0..600 {
        if scene.living.contains_key(&SHOP) {
            boots += 1;
            let outputs = scene.on(Input::Failed { key: SHOP, reason: "no".to_owned() });
            assert!(matches!(notes(&outputs)[..], [(Level::Error, _)]), "{outputs:?}");
            scene.exit(SHOP, Exit::Code(3));
        }
        scene.pass(Duration::from_millis(200));
    }
    assert!((8..=14).contains(&boots), "{boots} boots in two minutes");
}

#[test]
fn threads_make_every_process_of_the_generation_plain() {
    let mut scene = Scene::new(vec![plan(1, true)]);
    scene.want(1, 1);
    let outputs = scene.on(Input::Ready { key: SHOP, threads: 3 });
    assert!(matches!(notes(&outputs)[..], [(Level::Warn, text)] if text.contains("(3 now)")), "{outputs:?}");
    assert!(outputs.contains(&Output::Plain { child: ChildId(1) }));
    assert!(outputs.contains(&Output::Leave { key: SHOP }));
    assert_eq!(scene.want(2, 1), [Output::Plain { child: ChildId(2) }]);
    assert_eq!(scene.exit(SHOP, Exit::Code(0)), []);
    assert_eq!(scene.want(3, 1), [Output::Plain { child: ChildId(3) }]);
    // The next generation is tried.
    let key = Key { generation: 2, ..SHOP };
    assert_eq!(scene.want(4, 2), [Output::Boot { key }]);
}

#[test]
fn what_stays_of_a_sleeping_app_is_configured() {
    let mut scene = Scene::ready(false);
    assert_eq!(scene.on(Input::State { pool: 1, state: PoolState::Asleep }), [Output::Leave { key: SHOP }]);
    assert_eq!(scene.want(2, 1), [], "it has to end first");
    scene.on(Input::State { pool: 1, state: PoolState::Serving });
    assert_eq!(scene.exit(SHOP, Exit::Code(0)), [Output::Boot { key: SHOP }]);
    let mut scene = Scene::ready(true);
    assert_eq!(scene.on(Input::State { pool: 1, state: PoolState::Asleep }), []);
    let mut scene = Scene::new(vec![plan(1, true)]);
    assert_eq!(scene.drain(), [Output::Boot { key: SHOP }], "from the start on");
}

#[test]
fn nothing_stays_of_an_app_that_is_stopped_by_hand() {
    let mut scene = Scene::ready(true);
    let state = |state: PoolState| Input::State { pool: 1, state };
    assert_eq!(scene.on(state(PoolState::Stopped)), [Output::Leave { key: SHOP }]);
    assert_eq!(scene.exit(SHOP, Exit::Code(0)), []);
    assert_eq!(scene.on(state(PoolState::Asleep)), [Output::Boot { key: SHOP }], "started, it is kept again");
}

#[test]
fn a_reload_switches_templates_and_a_failed_one_keeps_the_old() {
    let new = Key { generation: 2, ..SHOP };
    let mut scene = Scene::ready(false);
    assert_eq!(scene.want(2, 2), [Output::Boot { key: new }]);
    let outputs = scene.on(Input::Ready { key: new, threads: 1 });
    assert_eq!(forks(&outputs), [2]);
    scene.on(Input::Born { key: new, child: ChildId(2) });
    assert_eq!(scene.states(), [(SHOP, "ready"), (new, "ready")]);
    let mut failed =
        Scene { core: scene.core.clone(), living: scene.living.clone(), undead: Vec::new(), ..scene };
    let switch = Input::Switch { generation: 2, plans: vec![plan(1, false)] };
    assert_eq!(scene.core.poll(failed.now), None);
    scene.core.on(switch, failed.now);
    assert_eq!(scene.core.poll(failed.now), Some(Output::Leave { key: SHOP }));
    assert_eq!(scene.core.poll(failed.now), None);
    assert_eq!(failed.on(Input::Discard), [Output::Leave { key: new }]);
    failed.exit(new, Exit::Code(0));
    assert_eq!(failed.states(), [(SHOP, "ready")]);
}

#[test]
fn a_kept_template_is_there_again_after_a_reload_of_a_sleeping_app() {
    let mut scene = Scene::ready(true);
    scene.on(Input::State { pool: 1, state: PoolState::Asleep });
    let outputs = scene.on(Input::Switch { generation: 2, plans: vec![plan(1, true)] });
    let new = Key { generation: 2, ..SHOP };
    assert_eq!(outputs, [Output::Leave { key: SHOP }, Output::Boot { key: new }]);
    // And not if the new configuration does not say so.
    let outputs = scene.on(Input::Switch { generation: 3, plans: vec![] });
    assert_eq!(outputs, [Output::Kill { key: new, how: Kill::Term }]);
}

#[test]
fn restart_reads_the_code_again() {
    let mut scene = Scene::ready(false);
    assert_eq!(scene.on(Input::Renew { pool: 1 }), [Output::Leave { key: SHOP }]);
    assert_eq!(scene.want(2, 1), []);
    assert_eq!(scene.exit(SHOP, Exit::Code(0)), [Output::Boot { key: SHOP }]);
    assert_eq!(forks(&scene.on(Input::Ready { key: SHOP, threads: 1 })), [2]);
}

#[test]
fn forks_that_fail_hang_or_die_are_answered() {
    let mut scene = Scene::ready(false);
    scene.want(2, 1);
    let outputs = scene.on(Input::Unborn { key: SHOP, child: ChildId(2), reason: "EAGAIN".to_owned() });
    assert_eq!(refused(&outputs), [(2, "its template could not fork: EAGAIN")]);
    scene.want(3, 1);
    let outputs = scene.exit(SHOP, Exit::Signal(9));
    assert_eq!(refused(&outputs), [(3, "its template ended while it forked")]);
    scene.on(Input::Ready { key: SHOP, threads: 1 });
    scene.want(4, 1);
    scene.on(Input::Cancel { child: ChildId(4) });
    scene.want(5, 1);
    let outputs = scene.pass(FORK_TIMEOUT);
    assert!(outputs.contains(&Output::Kill { key: SHOP, how: Kill::Kill }), "{outputs:?}");
    assert_eq!(refused(&outputs).iter().map(|(child, _)| *child).collect::<Vec<_>>(), [5]);
}

#[test]
fn who_is_not_wanted_any_more_is_not_forked() {
    let mut scene = Scene::new(vec![plan(1, false)]);
    scene.want(1, 1);
    scene.want(2, 1);
    scene.on(Input::Cancel { child: ChildId(1) });
    assert_eq!(forks(&scene.on(Input::Ready { key: SHOP, threads: 1 })), [2]);
}

#[test]
fn a_stop_ends_every_template_once_nobody_waits() {
    let mut scene = Scene::new(vec![plan(1, true)]);
    scene.want(1, 1);
    assert_eq!(scene.on(Input::Stop), [], "a request may wait for it");
    assert_eq!(forks(&scene.on(Input::Ready { key: SHOP, threads: 1 })), [1]);
    let outputs = scene.on(Input::Born { key: SHOP, child: ChildId(1) });
    assert_eq!(outputs, [Output::Leave { key: SHOP }]);
    assert!(!scene.is_idle());
    assert_eq!(scene.pass(STOP_GRACE), [Output::Kill { key: SHOP, how: Kill::Kill }]);
    scene.exit(SHOP, Exit::Signal(9));
    assert!(scene.is_idle());
    assert_eq!((scene.core.deadline(), scene.drain()), (None, vec![]));
}

#[test]
fn a_suspended_machine_costs_nobody_time() {
    let mut scene = Scene::new(vec![plan(1, false)]);
    scene.want(1, 1);
    scene.now = scene.now.after(seconds(3600));
    scene.core.on_timeout(scene.now);
    assert_eq!(scene.drain(), []);
    assert_eq!(forks(&scene.on(Input::Ready { key: SHOP, threads: 1 })), [1]);
}

#[test]
fn only_the_template_that_was_asked_has_a_say_and_only_while_somebody_waits() {
    let mut scene = Scene::ready(false);
    assert_eq!(scene.core.asked_for(ChildId(2)), None);
    assert_eq!(forks(&scene.want(2, 1)), [2]);
    assert_eq!(scene.core.asked_for(ChildId(2)), Some(SHOP));
    let other = Key { pool: 2, ..SHOP };
    assert_eq!(scene.on(Input::Unborn { key: other, child: ChildId(2), reason: "no".to_owned() }), []);
    assert_eq!(scene.on(Input::Born { key: other, child: ChildId(2) }), []);
    assert_eq!(scene.core.asked_for(ChildId(2)), Some(SHOP));
    scene.core.renumber(5);
    assert_eq!(scene.core.asked_for(ChildId(2)), Some(Key { generation: 5, ..SHOP }), "after an upgrade");
    let shown = scene.core.status("shop1", scene.now);
    assert_eq!(shown[0].generation, 1, "the process has the code, and the title, of before");
    scene.on(Input::Cancel { child: ChildId(2) });
    assert_eq!(scene.core.asked_for(ChildId(2)), None);
}

#[test]
fn a_template_that_does_not_die_is_given_up_and_replaced_so_often() {
    let mut scene = Scene::ready(true);
    let mut refused = Vec::new();
    for round in 0..MOST + 2 {
        scene.on(Input::Renew { pool: 1 });
        // TERM, KILL, and nothing happens.
        refused.extend(scene.pass(TERM_GRACE + GIVE_UP));
        scene.pass(seconds(40));
        assert_eq!(scene.undead.len(), (round + 1).min(MOST), "{:?}", scene.states());
        let shown = scene.core.unkillable("shop1", scene.now);
        assert!(shown.iter().map(|process| process.pid).eq(scene.undead.iter().copied()), "{shown:?}");
        scene.on(Input::Ready { key: SHOP, threads: 1 });
    }
    assert_eq!(scene.states(), [], "nothing more is started");
    let outputs = scene.want(77, 1);
    let told =
        |output: &Output| matches!(output, Output::Refuse { reason, .. } if reason.contains("do not die"));
    assert!(outputs.iter().any(told), "{outputs:?}");
    let pid = scene.undead.pop().unwrap();
    scene.on(Input::Buried { pid });
    scene.want(78, 1);
    assert_eq!(scene.states(), [(SHOP, "booting")], "there is room again");
    scene.on(Input::Failed { key: SHOP, reason: "no".to_owned() });
    scene.on(Input::Stop);
    scene.pass(seconds(60));
    assert!(scene.is_idle(), "a stop does not wait for them");
}
