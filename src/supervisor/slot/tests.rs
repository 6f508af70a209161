use super::*;

const NOW: Time = Time(1_000_000_000_000);
const CHILD: ChildId = ChildId(7);

fn process(opened: bool) -> Process {
    Process {
        child: CHILD,
        pid: Some(42),
        generation: 3,
        gate: None,
        spawned: Time(5),
        opened,
        load: super::super::Load::Low,
        cut: None,
    }
}

fn states() -> Vec<(&'static str, State)> {
    let later = NOW.after(Duration::from_secs(3));
    let booting = |role| State::Booting {
        process: process(false),
        role,
        deadline: later,
        within: Duration::from_secs(30),
    };
    let ready = |role, opened| State::Ready { process: process(opened), role, since: Time(9) };
    let cut = |mut state: State, until| {
        let process = state.process_mut().unwrap();
        process.cut = Some(Cut { how: Break::Closed, until });
        state
    };
    let killing = |until, cause| State::Killing { process: process(true), since: Time(9), until, cause };
    let killed = |until, cause| State::Killed { process: process(true), since: Time(9), until, cause };
    let failed = Cause::Failed { role: Role::Current, ready_for: Duration::ZERO };
    vec![
        ("Empty", State::EMPTY),
        ("Waiting", State::Empty { retry: Some(NOW) }),
        ("Booting", booting(Role::Current)),
        ("BootingNext", booting(Role::Next)),
        ("BootingProof", booting(Role::Proof)),
        ("BootingRelief", booting(Role::Relief)),
        (
            "Late",
            State::Booting {
                process: process(false),
                role: Role::Current,
                deadline: NOW,
                within: Duration::from_secs(30),
            },
        ),
        ("Ready", ready(Role::Current, true)),
        ("ReadyNext", ready(Role::Next, false)),
        ("CutBooting", cut(booting(Role::Next), NOW)),
        ("CutReady", cut(ready(Role::Current, true), NOW)),
        ("CutReadyNext", cut(ready(Role::Next, false), NOW)),
        ("JustCut", cut(ready(Role::Current, true), later)),
        ("Draining", State::Draining { process: process(true), since: Time(9), until: later, idle: false }),
        ("Overdue", State::Draining { process: process(true), since: Time(9), until: NOW, idle: false }),
        ("Lingering", State::Draining { process: process(true), since: Time(9), until: NOW, idle: true }),
        ("Killing", killing(later, Cause::Ordered)),
        ("KillingLate", killing(NOW, Cause::Ordered)),
        ("Failing", killing(later, failed)),
        ("FailingLate", killing(NOW, failed)),
        ("Killed", killed(later, Cause::Ordered)),
        ("Unkillable", killed(NOW, Cause::Ordered)),
        ("FailedUnkillable", killed(NOW, failed)),
    ]
}

fn events() -> Vec<(&'static str, Event)> {
    let second = Duration::from_secs(1);
    let boot = Boot {
        child: ChildId(8),
        pool: 1,
        slot: 0,
        generation: 4,
        gate: None,
        role: Role::Next,
        within: Duration::from_secs(30),
    };
    vec![
        ("Forked", Event::Forked(99)),
        ("ForkFailed", Event::ForkFailed("EAGAIN".to_owned())),
        ("Ready", Event::Ready),
        ("Failed", Event::Failed("no module".to_owned())),
        ("Unready", Event::Unready("503".to_owned())),
        ("Background", Event::Background),
        ("Cut", Event::Cut(Break::Closed)),
        ("Hung", Event::Hung),
        ("Exited", Event::Exited(Exit::Code(1))),
        ("Time", Event::Time),
        ("Boot", Event::Boot(boot)),
        ("Open", Event::Open),
        ("Drain", Event::Drain { within: second, hurry: true, until: NOW.after(second) }),
        ("Kill", Event::Kill { until: NOW.after(second) }),
        ("KillNow", Event::KillNow),
        ("Idle", Event::Idle { until: NOW.after(second) }),
    ]
}

fn state_name(state: &State) -> String {
    match state {
        State::Empty { retry: None } => "Empty".to_owned(),
        State::Empty { retry: Some(_) } => "Waiting".to_owned(),
        State::Booting { .. } => "Booting".to_owned(),
        State::Ready { process, .. } => if process.opened { "Open" } else { "Ready" }.to_owned(),
        State::Draining { .. } => "Draining".to_owned(),
        State::Killing { cause: Cause::Failed { .. }, .. } => "Failing".to_owned(),
        State::Killing { .. } => "Killing".to_owned(),
        State::Killed { cause: Cause::Failed { .. }, .. } => "FailedKilled".to_owned(),
        State::Killed { .. } => "Killed".to_owned(),
    }
}

/// `Killing +Term !Refused`: the next state, what is told, what is reported.
fn row(step: &Transition) -> String {
    let mut row = state_name(&step.state);
    for output in &step.outputs {
        row += match output {
            Output::Spawn { .. } => " +spawn",
            Output::Open { .. } => " +open",
            Output::Drain { .. } => " +drain",
            Output::Kill { how: Kill::Term, .. } => " +term",
            Output::Kill { how: Kill::Abort, .. } => " +abort",
            Output::Kill { how: Kill::Kill, .. } => " +kill",
            other => panic!("a slot never says {other:?}"),
        };
    }
    for outcome in &step.outcomes {
        row += match outcome {
            Outcome::Refused { .. } => " !refused",
            Outcome::Lost { .. } => " !lost",
            Outcome::Died { .. } => " !died",
            Outcome::Passed { .. } => " !passed",
            Outcome::Gone { .. } => " !gone",
            Outcome::Abandoned { .. } => " !abandoned",
        };
    }
    row
}

/// In the order of `events`; `=` is: nothing happens.
const TABLE: [(&str, [&str; 16]); 23] = [
    ("Empty", ["=", "=", "=", "=", "=", "=", "=", "=", "=", "=", "Booting +spawn", "=", "=", "=", "=", "="]),
    (
        "Waiting",
        [
            "=",
            "=",
            "=",
            "=",
            "=",
            "=",
            "=",
            "=",
            "=",
            "=",
            "Booting +spawn",
            "=",
            "Empty",
            "Empty",
            "Empty",
            "=",
        ],
    ),
    (
        "Booting",
        [
            "Booting",
            "Empty !refused !died",
            "Open +open",
            "Failing !refused",
            "Failing +term !refused",
            "Empty !refused !died",
            "Booting",
            "Failing +abort !refused",
            "Empty !refused !died",
            "=",
            "=",
            "=",
            "Killing +term",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "BootingNext",
        [
            "Booting",
            "Empty !refused !died",
            "Ready",
            "Failing !refused",
            "Failing +term !refused",
            "Empty !refused !died",
            "Booting",
            "Failing +abort !refused",
            "Empty !refused !died",
            "=",
            "=",
            "=",
            "Killing +term",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "BootingProof",
        [
            "Booting",
            "Empty !refused !died",
            "Draining +drain",
            "Failing !refused",
            "Failing +term !refused",
            "Empty !refused !died",
            "Booting",
            "Failing +abort !refused",
            "Empty !refused !died",
            "=",
            "=",
            "=",
            "Killing +term",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "BootingRelief",
        [
            "Booting",
            "Empty !refused !died",
            "Open +open",
            "Failing !refused",
            "Failing +term !refused",
            "Empty !refused !died",
            "Booting",
            "Failing +abort !refused",
            "Empty !refused !died",
            "=",
            "=",
            "=",
            "Killing +term",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "Late",
        [
            "Booting",
            "Empty !refused !died",
            "Open +open",
            "Failing !refused",
            "Failing +term !refused",
            "Empty !refused !died",
            "Booting",
            "Failing +abort !refused",
            "Empty !refused !died",
            "Failing +term !refused",
            "=",
            "=",
            "Killing +term",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "Ready",
        [
            "=",
            "=",
            "=",
            "Failing !refused",
            "=",
            "Empty !refused !died",
            "Open",
            "Failing +abort !refused",
            "Empty !died",
            "=",
            "=",
            "=",
            "Draining +drain",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "ReadyNext",
        [
            "=",
            "=",
            "=",
            "Failing !refused",
            "=",
            "Empty !refused !died",
            "Ready",
            "Failing +abort !refused",
            "Empty !died",
            "=",
            "=",
            "Open +open",
            "Draining +drain",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "CutBooting",
        [
            "Booting",
            "Empty !refused !died",
            "Ready",
            "Failing !refused",
            "Failing +term !refused",
            "Empty !refused !died",
            "=",
            "Failing +abort !refused",
            "Empty !refused !died",
            "Failing +term !refused",
            "=",
            "=",
            "Killing +term",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "CutReady",
        [
            "=",
            "=",
            "=",
            "Failing !refused",
            "=",
            "Empty !refused !died",
            "=",
            "Failing +abort !refused",
            "Empty !died",
            "Draining +drain !lost",
            "=",
            "=",
            "Draining +drain",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "CutReadyNext",
        [
            "=",
            "=",
            "=",
            "Failing !refused",
            "=",
            "Empty !refused !died",
            "=",
            "Failing +abort !refused",
            "Empty !died",
            "Failing +term !refused",
            "=",
            "Open +open",
            "Draining +drain",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "JustCut",
        [
            "=",
            "=",
            "=",
            "Failing !refused",
            "=",
            "Empty !refused !died",
            "=",
            "Failing +abort !refused",
            "Empty !died",
            "=",
            "=",
            "=",
            "Draining +drain",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "Draining",
        [
            "Draining",
            "Empty !gone",
            "=",
            "=",
            "=",
            "Empty !gone",
            "=",
            "Killing +abort",
            "Empty !gone",
            "=",
            "=",
            "=",
            "Draining +drain",
            "Killing +term",
            "Killed +kill",
            "Draining",
        ],
    ),
    (
        "Overdue",
        [
            "Draining",
            "Empty !gone",
            "=",
            "=",
            "=",
            "Empty !gone",
            "=",
            "Killing +abort",
            "Empty !gone",
            "Killing +term",
            "=",
            "=",
            "Draining +drain",
            "Killing +term",
            "Killed +kill",
            "Draining",
        ],
    ),
    (
        "Lingering",
        [
            "Draining",
            "Empty !gone",
            "=",
            "=",
            "=",
            "Empty !gone",
            "=",
            "Killing +abort",
            "Empty !gone",
            "Killed +kill",
            "=",
            "=",
            "Draining +drain",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "Killing",
        [
            "Killing",
            "Empty !gone",
            "=",
            "=",
            "=",
            "Empty !gone",
            "=",
            "Killing +abort",
            "Empty !gone",
            "=",
            "=",
            "=",
            "Killing",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "KillingLate",
        [
            "Killing",
            "Empty !gone",
            "=",
            "=",
            "=",
            "Empty !gone",
            "=",
            "Killing +abort",
            "Empty !gone",
            "Killed +kill",
            "=",
            "=",
            "=",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "Failing",
        [
            "Failing",
            "Empty !died",
            "=",
            "=",
            "=",
            "Empty !died",
            "=",
            "Failing +abort",
            "Empty !died",
            "=",
            "=",
            "=",
            "Killing",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "FailingLate",
        [
            "Failing",
            "Empty !died",
            "=",
            "=",
            "=",
            "Empty !died",
            "=",
            "Failing +abort",
            "Empty !died",
            "FailedKilled +kill",
            "=",
            "=",
            "Killing",
            "Killing +term",
            "Killed +kill",
            "=",
        ],
    ),
    (
        "Killed",
        [
            "Killed",
            "Empty !gone",
            "=",
            "=",
            "=",
            "Empty !gone",
            "=",
            "=",
            "Empty !gone",
            "=",
            "=",
            "=",
            "=",
            "=",
            "=",
            "=",
        ],
    ),
    (
        "Unkillable",
        [
            "Killed",
            "Empty !gone",
            "=",
            "=",
            "=",
            "Empty !gone",
            "=",
            "=",
            "Empty !gone",
            "Empty !abandoned !gone",
            "=",
            "=",
            "=",
            "=",
            "=",
            "=",
        ],
    ),
    (
        "FailedUnkillable",
        [
            "FailedKilled",
            "Empty !died",
            "=",
            "=",
            "=",
            "Empty !died",
            "=",
            "=",
            "Empty !died",
            "Empty !abandoned !died",
            "=",
            "=",
            "Killed",
            "Killed",
            "Killed",
            "=",
        ],
    ),
];

#[test]
fn every_pair_of_state_and_event() {
    let (states, events) = (states(), events());
    assert_eq!(states.len(), TABLE.len());
    for ((name, state), (row_name, wanted)) in states.into_iter().zip(TABLE) {
        assert_eq!(name, row_name);
        for ((event_name, event), wanted) in events.iter().zip(wanted) {
            let step = state.clone().step(event.clone(), NOW);
            let same = step.state == state && step.outputs.is_empty() && step.outcomes.is_empty();
            let got = if same { "=".to_owned() } else { row(&step) };
            assert_eq!(got, wanted, "{name} x {event_name}");
            let about = step.outputs.iter().all(|output| match output {
                Output::Spawn { child, .. } => *child == ChildId(8),
                Output::Open { child } | Output::Drain { child, .. } | Output::Kill { child, .. } => {
                    *child == CHILD
                }
                _ => false,
            });
            assert!(about, "{name} x {event_name} speaks of another child");
        }
    }
}

#[test]
fn a_boot_that_takes_too_long_says_how_long_it_had() {
    let (_, late) = states().swap_remove(6);
    let step = late.step(Event::Time, NOW);
    let reason = "did not become ready within 30s".to_owned();
    assert_eq!(step.outcomes, [Outcome::Refused { role: Role::Current, reason }]);
    let step = step.state.step(Event::Time, NOW.after(TERM_GRACE));
    assert_eq!(step.outputs, [Output::Kill { child: CHILD, how: Kill::Kill }]);
    assert_eq!(step.state.deadline(), Some(NOW.after(TERM_GRACE + GIVE_UP)));
    let step = step.state.step(Event::Time, NOW.after(TERM_GRACE + GIVE_UP));
    assert_eq!((step.state, step.outputs), (State::EMPTY, Vec::new()), "nothing else ends it");
}

#[test]
fn an_order_never_lengthens_a_bound() {
    let second = Duration::from_secs(1);
    for (name, state) in states() {
        let before = state.deadline();
        if !matches!(state, State::Draining { .. } | State::Killing { .. }) {
            continue;
        }
        let far = NOW.after(Duration::from_secs(1000));
        for event in [Event::Drain { within: second, hurry: false, until: far }, Event::Kill { until: far }] {
            let kills = matches!(event, Event::Kill { .. }) && matches!(state, State::Draining { .. });
            let after = state.clone().step(event, NOW).state.deadline();
            assert!(kills || after <= before, "{name}: {after:?} > {before:?}");
        }
    }
}

#[test]
fn a_suspended_machine_costs_nobody_time() {
    let lost = Duration::from_secs(3600);
    for (name, state) in states() {
        let mut later = state.clone();
        later.postpone(lost, NOW.after(lost));
        match (state.deadline(), later.deadline()) {
            (None, None) => {}
            (Some(before), Some(after)) => assert_eq!(after, before.after(lost), "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
}

#[test]
fn the_end_of_a_process_goes_before_the_end_of_its_channel() {
    let (_, ready) = states().swap_remove(7);
    let marked = ready.step(Event::Cut(Break::Closed), NOW).state;
    assert_eq!(marked.deadline(), Some(NOW.after(CUT_GRACE)));
    // Said twice, it counts from the first time; a liar is not waited for.
    let again = marked.clone().step(Event::Cut(Break::Garbled), NOW.after(Duration::from_secs(1))).state;
    assert_eq!(again, marked);
    let died = marked.clone().step(Event::Exited(Exit::Signal(11)), NOW.after(Duration::from_secs(1)));
    let Outcome::Died { reason: Some(reason), .. } = &died.outcomes[0] else { panic!("{died:?}") };
    assert!(reason.starts_with("killed by SIGSEGV"), "{reason}");
    let lost = marked.step(Event::Time, NOW.after(CUT_GRACE));
    let Outcome::Lost { reason, .. } = &lost.outcomes[0] else { panic!("{lost:?}") };
    assert_eq!(reason, "closed its control channel while it ran");
    let (_, ready) = states().swap_remove(7);
    assert_eq!(ready.step(Event::Cut(Break::Garbled), NOW).state.deadline(), Some(NOW));
}

#[test]
fn a_gate_has_its_end_for_a_success_and_anything_else_for_a_failed_boot() {
    let gate = || {
        let process = Process { gate: Some(0), ..process(false) };
        let (deadline, within) = (NOW, Duration::from_secs(30));
        State::Booting { process, role: Role::Next, deadline, within }
    };
    for (event, becomes) in [
        (Event::Exited(Exit::Code(0)), "Empty !passed"),
        (Event::Exited(Exit::Code(1)), "Empty !refused !died"),
        (Event::Exited(Exit::Signal(9)), "Empty !refused !died"),
        (Event::Failed("exit 1".to_owned()), "Failing !refused"),
        (Event::Time, "Failing +term !refused"),
        (Event::Kill { until: NOW }, "Killing +term"),
    ] {
        assert_eq!(row(&gate().step(event.clone(), NOW)), becomes, "{event:?}");
    }
}
