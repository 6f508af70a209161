//! Heirs: what a child has started may live on after it, and prints to where the child did. It is read until nobody can
//! print there any more: whoever prints to nobody is ended by SIGPIPE.

use super::Token;
use super::journal::Journal;
use super::output::Output;
use crate::sys::poll::Set;
use crate::timer::Time;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// So many are read, the last ones: children that leave heirs without end must not use up our descriptors.
const MOST: usize = 64;

/// Outputs of children that have ended.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Heirs {
    next: u64,
    outputs: BTreeMap<u64, (String, Output)>,
}

impl Heirs {
    /// A child has ended; `output`: somebody can still print there.
    pub(super) fn add(&mut self, name: &str, output: Option<Output>) {
        let Some(output) = output else { return };
        self.outputs.insert(self.next, (name.to_owned(), output));
        self.next += 1;
        if self.outputs.len() > MOST
            && let Some((_, (name, _))) = self.outputs.pop_first()
        {
            log::warn!(
                target: "hatchery",
                "{name}: what it had started is not listened to any more: more than {MOST} processes have left such \
                 behind; whatever is to outlive an app should print to a file of its own"
            );
        }
    }

    pub(super) fn watch<'a>(&'a self, set: &mut Set<'a, Token>) {
        self.outputs.iter().for_each(|(number, (_, output))| output.watch(set, Token::Heir(*number)));
    }

    /// Logs what has come.
    pub(super) fn read(&mut self, number: u64, journal: &mut Journal, now: Time) {
        let Some((name, mut output)) = self.outputs.remove(&number) else { return };
        output.read(&name, journal, now);
        let rest = if output.is_over() { output.finish(&name, journal, now) } else { Some(output) };
        if let Some(output) = rest {
            self.outputs.insert(number, (name, output));
        }
    }

    pub(super) fn outputs(&self) -> impl Iterator<Item = &Output> {
        self.outputs.values().map(|(_, output)| output)
    }

    pub(super) fn outputs_mut(&mut self) -> impl Iterator<Item = (&String, &mut Output)> {
        self.outputs.values_mut().map(|(name, output)| (&*name, output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Write as _;

    #[test]
    fn what_outlives_a_child_is_heard_to_its_end_and_bounded() {
        let (mut heirs, mut journal, now) = (Heirs::default(), Journal::default(), Time(1_000_000_000));
        let mut writers = Vec::new();
        for _ in 0..=MOST {
            let (read, write) = crate::sys::channel::from_child().unwrap();
            let rest = Output::new("x", read).finish("app x 0", &mut journal, now);
            assert!(rest.is_some(), "somebody can still print");
            heirs.add("app x 0", rest);
            writers.push(File::from(write));
        }
        assert!(heirs.outputs.len() == MOST && writers[0].write_all(b"to nobody").is_err());
        let (last, mut writer) = (u64::try_from(MOST).unwrap(), writers.pop().unwrap());
        for text in ["one\n", "two\nthree"] {
            writer.write_all(text.as_bytes()).unwrap();
            heirs.read(last, &mut journal, now);
        }
        drop(writer);
        heirs.read(last, &mut journal, now);
        let lines: Vec<_> = journal.after(None, 0).into_iter().map(|line| line.text).collect();
        assert_eq!(lines, ["one", "two", "three"]);
        assert_eq!(heirs.outputs.len(), MOST - 1);
    }
}
