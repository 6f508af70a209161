use super::*;

const NOW: Time = Time(1_000_000_000_000);
const SINCE: Time = Time(5);

fn states() -> Vec<(&'static str, TemplateState)> {
    let later = NOW.after(Duration::from_secs(3));
    let within = Duration::from_secs(90);
    let pid = Some(42);
    let booting = |deadline, cut| TemplateState::Booting { pid, since: SINCE, deadline, within, cut };
    let ready = |cut| TemplateState::Ready { pid, since: SINCE, ready: Time(9), cut };
    let cut = Some(Cut { how: Break::Closed, until: NOW });
    let leaving = |until| TemplateState::Leaving { pid, since: SINCE, until };
    vec![
        ("Absent", TemplateState::Absent),
        ("Booting", booting(later, None)),
        ("Late", booting(NOW, None)),
        ("Ready", ready(None)),
        ("CutBooting", booting(later, cut)),
        ("CutReady", ready(cut)),
        ("Leaving", leaving(later)),
        ("Overdue", leaving(NOW)),
        ("Killed", TemplateState::Killed { pid, since: SINCE, until: later }),
        ("Unkillable", TemplateState::Killed { pid, since: SINCE, until: NOW }),
    ]
}

fn events() -> Vec<(&'static str, Event)> {
    vec![
        ("Boot", Event::Boot(Duration::from_secs(90))),
        ("Forked", Event::Forked(99)),
        ("ForkFailed", Event::ForkFailed("EAGAIN".to_owned())),
        ("Ready", Event::Ready),
        ("Failed", Event::Failed("no module".to_owned())),
        ("Cut", Event::Cut(Break::Closed)),
        ("Exited", Event::Exited(Exit::Signal(9))),
        ("Time", Event::Time),
        ("Leave", Event::Leave),
        ("Stuck", Event::Stuck),
    ]
}

/// `Leaving +Term !Refused`: the next state, what is told, what is reported.
fn row(step: &Transition) -> String {
    let mut row = match step.state {
        TemplateState::Absent => "Absent",
        TemplateState::Booting { .. } => "Booting",
        TemplateState::Ready { .. } => "Ready",
        TemplateState::Leaving { .. } => "Leaving",
        TemplateState::Killed { .. } => "Killed",
    }
    .to_owned();
    row += match step.order {
        None => "",
        Some(Order::Boot) => " +boot",
        Some(Order::Leave) => " +leave",
        Some(Order::Kill(Kill::Term)) => " +term",
        Some(Order::Kill(Kill::Kill)) => " +kill",
        Some(Order::Kill(Kill::Abort)) => " +abort",
    };
    row + match step.outcome {
        None => "",
        Some(Outcome::Refused(_)) => " !refused",
        Some(Outcome::Lost { .. }) => " !lost",
        Some(Outcome::Abandoned(_)) => " !abandoned",
    }
}

/// Every state and every event. In the order of `events`; the same state is a dot.
const TABLE: &[(&str, [&str; 10])] = &[
    ("Absent", ["Booting +boot", ".", ".", ".", ".", ".", ".", ".", ".", "."]),
    (
        "Booting",
        [
            ".",
            ".",
            "Absent !refused",
            "Ready",
            "Leaving !refused",
            ".",
            "Absent !refused",
            ".",
            "Leaving +term",
            "Leaving +term",
        ],
    ),
    (
        "Late",
        [
            "Booting",
            "Booting",
            "Absent !refused",
            "Ready",
            "Leaving !refused",
            "Booting",
            "Absent !refused",
            "Leaving +term !refused",
            "Leaving +term",
            "Leaving +term",
        ],
    ),
    ("Ready", [".", ".", ".", ".", ".", ".", "Absent !lost", ".", "Leaving +leave", "Killed +kill"]),
    (
        "CutBooting",
        [
            "Booting",
            "Booting",
            "Absent !refused",
            "Ready",
            "Leaving !refused",
            "Booting",
            "Absent !refused",
            "Leaving +term !refused",
            "Leaving +term",
            "Leaving +term",
        ],
    ),
    (
        "CutReady",
        [
            "Ready",
            "Ready",
            "Ready",
            "Ready",
            "Ready",
            "Ready",
            "Absent !lost",
            "Leaving +term !lost",
            "Leaving +leave",
            "Killed +kill",
        ],
    ),
    ("Leaving", [".", ".", "Absent", ".", ".", ".", "Absent", ".", ".", "."]),
    (
        "Overdue",
        [
            "Leaving",
            "Leaving",
            "Absent",
            "Leaving",
            "Leaving",
            "Leaving",
            "Absent",
            "Killed +kill",
            "Leaving",
            "Leaving",
        ],
    ),
    ("Killed", [".", ".", "Absent", ".", ".", ".", "Absent", ".", ".", "."]),
    (
        "Unkillable",
        [
            "Killed",
            "Killed",
            "Absent",
            "Killed",
            "Killed",
            "Killed",
            "Absent",
            "Absent !abandoned",
            "Killed",
            "Killed",
        ],
    ),
];

#[test]
fn the_table_holds_for_every_state_and_event() {
    let (states, events) = (states(), events());
    assert_eq!(states.len(), TABLE.len());
    for ((name, state), (expected_name, expected)) in states.into_iter().zip(TABLE) {
        assert_eq!(name, *expected_name);
        for ((event_name, event), expected) in events.iter().zip(expected) {
            let expected = if *expected == "." { name } else { expected };
            assert_eq!(row(&state.step(event.clone(), NOW)), expected, "{name} on {event_name}");
        }
    }
}

#[test]
fn times_and_reasons_are_right() {
    let booting = TemplateState::Absent.step(Event::Boot(Duration::from_secs(90)), NOW).state;
    assert_eq!((booting.pid(), booting.deadline()), (None, Some(NOW.after(Duration::from_secs(90)))));
    let booting = booting.step(Event::Forked(7), NOW).state;
    let ready = booting.step(Event::Ready, NOW.after(Duration::from_secs(1))).state;
    assert_eq!((ready.pid(), ready.deadline()), (Some(7), None));
    let died = ready.step(Event::Exited(Exit::Signal(9)), NOW.after(Duration::from_secs(4)));
    let Some(Outcome::Lost { reason, ready_for }) = died.outcome else { panic!("{died:?}") };
    assert_eq!(ready_for, Duration::from_secs(3));
    assert!(reason.starts_with("killed by SIGKILL"), "{reason}");
    let mut leaving = ready.step(Event::Leave, NOW).state;
    assert_eq!(leaving.deadline(), Some(NOW.after(TERM_GRACE)));
    leaving.hurry(NOW.after(Duration::from_secs(60)));
    assert_eq!(leaving.deadline(), Some(NOW.after(TERM_GRACE)), "never later than before");
    leaving.hurry(NOW.after(Duration::from_secs(1)));
    leaving.postpone(Duration::from_secs(7));
    assert_eq!(leaving.deadline(), Some(NOW.after(Duration::from_secs(8))));
    let mut booting = booting;
    booting.postpone(Duration::from_secs(10));
    assert_eq!(booting.deadline(), Some(NOW.after(Duration::from_secs(100))));
}
