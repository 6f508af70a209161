//! Where the processes of an app are: their Python stacks, for `hatchery status NAME --stacks`. The hosts print them upon a
//! signal, in the way of Python's `faulthandler`, of an ASGI app also those of its tasks, among whatever else the app prints; so they are picked from the lines that
//! the master keeps of it.

use super::Failure;
use super::locate::Found;
use crate::control::command::{LogLine, PoolStatus, Request, Response};
use crate::sys::clock;
use crate::sys::poll::{Interest, Set};
use crate::timer::Time;
use std::collections::BTreeMap;
use std::time::Duration;

/// What has not come by then does not come.
const PATIENCE: Duration = Duration::from_secs(3);

/// All stacks are there when each process has begun and nothing more came for so long: longer than the master holds a
/// traceback back.
const QUIET: Duration = Duration::from_millis(400);

/// Bytes kept of each process.
const LONGEST: usize = 64 * 1024;

/// Asks the processes of this app and writes into its status what they said.
pub(super) fn fill(found: &Found, pool: &mut PoolStatus) -> Result<(), Failure> {
    let name = pool.name.clone();
    let (asked, mut after) = match found.ask(&Request::Stacks { name: name.clone() })? {
        Response::Asked { children, last } => (children, last),
        Response::Failed { text } => return Err(Failure::Failed(text)),
        _ => return Err(Failure::Failed("the master answered another question".to_owned())),
    };
    let mut stacks: BTreeMap<String, Stack> =
        asked.into_iter().map(|child| (child, Stack::default())).collect();
    let end = clock::now().after(PATIENCE);
    let mut quiet = end;
    while !stacks.is_empty()
        && let Some((lines, last)) = lines(found, &name, after, quiet)?
    {
        after = last;
        lines.iter().for_each(|line| take(&mut stacks, line));
        if stacks.values().all(|stack| !stack.text.is_empty()) {
            quiet = end.min(clock::now().after(QUIET));
        }
    }
    for child in &mut pool.children {
        let stack = stacks.get(&format!("app {name} {}", child.number)).map(|stack| stack.text.trim_end());
        child.stacks = Some(match stack {
            None => "not asked: it does not serve yet, or runs by a command, which knows no such question"
                .to_owned(),
            Some("") => format!(
                "no stacks within {}s: it is stopped, waits in the kernel, or prints too much",
                PATIENCE.as_secs()
            ),
            Some(text) => own_frames(text),
        });
    }
    Ok(())
}

/// What the app printed after that line; `None` if that is nothing by then.
fn lines(found: &Found, name: &str, after: u64, by: Time) -> Result<Option<(Vec<LogLine>, u64)>, Failure> {
    let asked = found.send(&Request::Logs { name: Some(name.to_owned()), after, wait: true })?;
    loop {
        let now = clock::now();
        let mut set = Set::new();
        set.add(asked.descriptor(), (), Interest::READ);
        let ready = set.wait(now, Some(by));
        let ready = ready.map_err(|error| Failure::Failed(format!("cannot wait for the answer: {error}")))?;
        if !ready.is_empty() {
            break;
        }
        if now >= by {
            return Ok(None);
        }
    }
    match asked.answer().map_err(Failure::Failed)? {
        Response::Logs { lines, last, .. } => Ok(Some((lines, last))),
        Response::Failed { text } => Err(Failure::Failed(text)),
        _ => Err(Failure::Failed("the master answered another question".to_owned())),
    }
}

/// What one process has said of its stacks.
#[derive(Debug, Default)]
struct Stack {
    text: String,
    /// What is cut is told once.
    cut: bool,
}

fn take(stacks: &mut BTreeMap<String, Stack>, line: &LogLine) {
    let Some(stack) = stacks.get_mut(&line.child) else { return };
    let text = line.text.as_str();
    let begins = text.ends_with(" (most recent call first):");
    let goes_on = ["  File \"", "  <", "  ..."].iter().any(|start| text.starts_with(start));
    if !begins && (stack.text.is_empty() || !goes_on) || stack.cut {
        return;
    }
    stack.cut = stack.text.len() + text.len() > LONGEST;
    stack.text.push_str(if stack.cut { "..." } else { text });
    stack.text.push('\n');
}

/// Begins the frames of our host program and what is below them: it is read from standard input, and compiles what only an ASGI
/// app needs under a name of its own.
const HOST: [&str; 2] = ["  File \"<stdin>\", line ", "  File \"<asgi>\", line "];

/// Stacks of threads without the frames of the host, below those of the app. A thread with none of the app's waits for a request, or
/// for a signal.
fn own_frames(text: &str) -> String {
    let mut shown: Vec<&str> = Vec::new();
    let (mut below, mut bare) = (false, false);
    for line in text.lines() {
        let begins = !line.starts_with(' ');
        if !below && HOST.iter().any(|host| line.starts_with(host)) {
            below = true;
            if bare {
                shown.push("  waits: nothing of the app runs in it");
            }
        }
        below &= !begins;
        bare = begins;
        if !below {
            shown.push(line);
        }
    }
    shown.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_stack_the_frames_of_the_app_are_shown() {
        let text = "Thread 0x1 [worker] (most recent call first):\n  File \"shop.py\", line 5 in lock\n  File \"shop.py\", line 9 in view\n  \
                    File \"<stdin>\", line 7 in answer\n  File \"threading.py\", line 1 in run\n\
                    Thread 0x2 (most recent call first):\n  File \"<stdin>\", line 3 in loop\n  File \"threading.py\", line 1 in run\n\
                    Thread 0x3 (most recent call first):\n  File \"queue.py\", line 1 in get\n  File \"threading.py\", line 1 in run\n\
                    Thread 0x5 (most recent call first):\n  File \"<asgi>\", line 9 in run\n  File \"<stdin>\", line 1 in main\n\
                    Current thread 0x4 (most recent call first):\n  <no Python frame>\n\
                    Task GET /a (request 1-2) (most recent call first):\n  File \"shop.py\", line 5 in view";
        let shown = "Thread 0x1 [worker] (most recent call first):\n  File \"shop.py\", line 5 in lock\n  File \"shop.py\", line 9 in view\n\
                     Thread 0x2 (most recent call first):\n  waits: nothing of the app runs in it\n\
                     Thread 0x3 (most recent call first):\n  File \"queue.py\", line 1 in get\n  File \"threading.py\", line 1 in run\n\
                     Thread 0x5 (most recent call first):\n  waits: nothing of the app runs in it\n\
                     Current thread 0x4 (most recent call first):\n  <no Python frame>\n\
                     Task GET /a (request 1-2) (most recent call first):\n  File \"shop.py\", line 5 in view";
        assert_eq!(own_frames(text), shown);
    }

    #[test]
    fn stacks_are_picked_from_what_an_app_prints() {
        let mut stacks = BTreeMap::from([("app shop 0".to_owned(), Stack::default())]);
        let mut print = |child: &str, text: &str| {
            take(
                &mut stacks,
                &LogLine { child: child.to_owned(), text: text.to_owned(), ..LogLine::default() },
            );
        };
        for text in [
            "  File \"before.py\"",
            "Thread 0x00007f [worker] (most recent call first):",
            "  File \"a.py\", line 1 in wait",
            "GET /",
            "  <no Python frame>",
            "",
            "Current thread 0x00007e (most recent call first):",
            "  File \"b.py\", line 2 in main",
            "an app prints (most recent call last):",
        ] {
            print("app shop 0", text);
            print("app shop 1", text);
        }
        let expected = "Thread 0x00007f [worker] (most recent call first):\n  File \"a.py\", line 1 in wait\n  <no Python frame>\n\
                        Current thread 0x00007e (most recent call first):\n  File \"b.py\", line 2 in main\n";
        assert_eq!((stacks.len(), stacks["app shop 0"].text.as_str()), (1, expected));
    }

    #[test]
    fn what_a_process_says_is_bounded() {
        let mut stacks = BTreeMap::from([("app shop 0".to_owned(), Stack::default())]);
        let text = "Thread 0x0 (most recent call first):".to_owned();
        let line = LogLine { child: "app shop 0".to_owned(), text, ..LogLine::default() };
        (0..LONGEST).for_each(|_| take(&mut stacks, &line));
        let stack = &stacks["app shop 0"].text;
        assert!(stack.len() <= LONGEST + line.text.len() && stack.ends_with("\n...\n"));
    }
}
