use super::*;

/// A mode and how to get there.
type Entry = (&'static str, fn() -> Scene);

fn modes() -> Vec<Entry> {
    fn pools() -> Plan {
        plan(vec![workers(1, 2), app(1, "shop", 1, 2)])
    }
    vec![
        ("starting", || Scene::new(pools())),
        ("running", || Scene::serving(pools())),
        ("asleep", || Scene::new(plan(vec![workers(0, 2)]))),
        ("loading", || {
            let mut scene = Scene::serving(pools());
            scene.on(Input::Signal(Signal::Hup));
            scene
        }),
        ("booting", || {
            let mut scene = Scene::serving(pools());
            scene.on(Input::Signal(Signal::Hup));
            scene.on(Input::Loaded(pools()));
            scene
        }),
        ("trying", || {
            let mut scene = Scene::serving(pools());
            scene.on(Input::Signal(Signal::Usr2));
            scene
        }),
        ("executing", || {
            let mut scene = Scene::serving(pools());
            scene.on(Input::Signal(Signal::Usr2));
            scene.on(Input::Tried(Ok(())));
            scene
        }),
        ("rolling", || {
            let mut scene = Scene::serving(pools());
            scene.on(Input::Signal(Signal::Usr2));
            scene.on(Input::Tried(Ok(())));
            scene.on(Input::Executed(Ok(())));
            scene
        }),
        ("stopping", || {
            let mut scene = Scene::serving(pools());
            scene.on(Input::Signal(Signal::Term));
            scene
        }),
        ("fast", || {
            let mut scene = Scene::serving(pools());
            scene.on(Input::Signal(Signal::Int));
            scene
        }),
    ]
}

/// What is no business of one child, and the columns of `TABLE`.
fn inputs() -> Vec<Input> {
    vec![
        Input::Signal(Signal::Hup),
        Input::Signal(Signal::Term),
        Input::Signal(Signal::Quit),
        Input::Signal(Signal::Int),
        Input::Signal(Signal::Ttin),
        Input::Signal(Signal::Ttou),
        Input::Readable,
        Input::Wanted { pool: 0 },
        Input::Wanted { pool: 1 },
        Input::Activity { pool: 0, last: Time::ZERO },
        Input::Loaded(plan(vec![workers(1, 1)])),
        Input::Rejected { reason: "no".to_owned() },
        Input::Reload { ticket: Ticket(1), wait: true, prove: false },
        Input::Reload { ticket: Ticket(1), wait: false, prove: true },
        Input::Stop { fast: false },
        Input::Stop { fast: true },
        Input::Signal(Signal::Usr2),
        Input::Tried(Ok(())),
        Input::Executed(Ok(())),
    ]
}

/// First letter: the mode after (the same, sTopping, Reloading, uPgrading, rUnning, eXit); then what was said of
/// interest: Load, Discard, an Answer, a Kill, dRain, Spawn, Watch, trY, Give up, Execute.
const TABLE: [(&str, [&str; 19]); 10] = [
    // hup term quit int | ttin ttou read want0 want1 idle | loaded reject reload reload! stop stop! | usr2 tried executed
    (
        "starting",
        [
            "=", "TK", "TK", "TK", "=", "=", "=", "=", "=", "=", "=D", "=", "=", "=A", "TK", "TK", "=", "=",
            "=",
        ],
    ),
    (
        "running",
        [
            "RL", "TR", "TR", "TK", "=S", "=", "=", "=S", "=S", "=", "=D", "=", "RL", "RAL", "TR", "TK",
            "PY", "=", "=",
        ],
    ),
    (
        "asleep",
        [
            "RL", "XW", "XW", "XW", "=", "=", "USW", "USW", "=", "=", "=D", "=", "RL", "RAL", "XW", "XW",
            "PY", "=", "=",
        ],
    ),
    (
        "loading",
        [
            "=", "TR", "TR", "TK", "=S", "=", "=", "=S", "=S", "=", "=S", "U", "=", "=A", "TR", "TK", "=",
            "=", "=",
        ],
    ),
    (
        "booting",
        [
            "=", "TDKR", "TDKR", "TDK", "=S", "=", "=", "=S", "=S", "=", "=", "=", "=", "=A", "TDKR", "TDK",
            "=", "=", "=",
        ],
    ),
    (
        "trying",
        [
            "=", "TRG", "TRG", "TKG", "=S", "=", "=", "=S", "=S", "=", "=D", "=", "=", "=A", "TRG", "TKG",
            "=", "=E", "=",
        ],
    ),
    (
        "executing",
        [
            "=", "TR", "TR", "TK", "=S", "=", "=", "=S", "=S", "=", "=D", "=", "=", "=A", "TR", "TK", "=",
            "=", "=S",
        ],
    ),
    (
        "rolling",
        [
            "=", "TKR", "TKR", "TK", "=S", "=", "=", "=S", "=S", "=", "=D", "=", "=", "=A", "TKR", "TK", "=",
            "=", "=",
        ],
    ),
    (
        "stopping",
        [
            "=", "=K", "=K", "=K", "=", "=", "=", "=", "=", "=", "=D", "=", "=A", "=A", "=K", "=K", "=", "=",
            "=",
        ],
    ),
    (
        "fast",
        ["=", "=", "=", "=", "=", "=", "=", "=", "=", "=", "=D", "=", "=A", "=A", "=", "=", "=", "=", "="],
    ),
];

fn cell(before: &str, after: &str, outputs: &[Output]) -> String {
    let over = outputs.iter().any(|output| matches!(output, Output::Exit { .. }));
    let mut cell = match after {
        _ if over => 'X',
        same if same == before => '=',
        "stopping" => 'T',
        "reloading" => 'R',
        "running" => 'U',
        "upgrading" => 'P',
        other => panic!("nothing leads to {other}"),
    }
    .to_string();
    let letter = |output: &Output| match output {
        Output::Load => Some('L'),
        Output::Discard => Some('D'),
        Output::Answer { .. } => Some('A'),
        Output::Kill { .. } => Some('K'),
        Output::Drain { .. } => Some('R'),
        Output::Spawn { .. } => Some('S'),
        Output::Watch(_) => Some('W'),
        Output::Try => Some('Y'),
        Output::GiveUp => Some('G'),
        Output::Execute => Some('E'),
        _ => None,
    };
    let mut said: Vec<char> = outputs.iter().filter_map(letter).collect();
    said.sort_unstable();
    said.dedup();
    cell.extend(said);
    cell
}

#[test]
fn every_pair_of_mode_and_input() {
    let mut wrong = Vec::new();
    for ((name, enter), (row, wanted)) in modes().into_iter().zip(TABLE) {
        assert_eq!(name, row);
        for (input, wanted) in inputs().into_iter().zip(wanted) {
            let mut scene = enter();
            let before = scene.mode();
            let outputs = scene.on(input.clone());
            let mut wanted: Vec<char> = wanted.chars().collect();
            wanted[1..].sort_unstable();
            let got = cell(before, scene.mode(), &outputs);
            if got != wanted.into_iter().collect::<String>() {
                wrong.push(format!("{name} x {input:?}: {got}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
