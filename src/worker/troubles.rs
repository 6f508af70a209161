//! What is wrong with apps whose code is watched (`reload_on_change`), as the master tells it.

use crate::control::worker::Trouble as Part;
use std::collections::HashMap;
use std::rc::Rc;

/// What is wrong with one.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::worker) struct Trouble {
    /// No other trouble has it.
    pub(super) serial: u64,
    /// A traceback, mostly.
    pub(super) text: String,
}

/// By pool.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    known: HashMap<u16, Rc<Trouble>>,
    /// Of which not all parts have come.
    coming: HashMap<u16, Trouble>,
}

impl Troubles {
    /// A part has come.
    pub(super) fn take(&mut self, part: Part) {
        let Part { pool, serial, part, is_last, text } = part;
        if part == 0 {
            self.coming.insert(pool, Trouble { serial, text: String::new() });
        }
        let Some(coming) = self.coming.get_mut(&pool).filter(|coming| coming.serial == serial) else {
            return;
        };
        coming.text.push_str(&text);
        if is_last && let Some(whole) = self.coming.remove(&pool) {
            self.known.insert(pool, Rc::new(whole));
        }
    }

    /// Nothing is wrong any more.
    pub(super) fn mended(&mut self, pool: u16) {
        self.known.remove(&pool);
        self.coming.remove(&pool);
    }

    /// What is wrong with the app of a pool.
    pub(super) fn of(&self, pool: u16) -> Option<Rc<Trouble>> {
        self.known.get(&pool).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trouble_is_known_once_all_of_it_has_come_and_until_it_is_mended() {
        let mut troubles = Troubles::default();
        let text = "ValueError: no\n".repeat(200);
        let mut parts = Part::parts(4, 9, &text);
        let last = parts.pop().unwrap();
        assert!(parts.len() > 1);
        parts.into_iter().for_each(|part| troubles.take(part));
        assert_eq!(troubles.of(4), None);
        troubles.take(last);
        assert_eq!(*troubles.of(4).unwrap(), Trouble { serial: 9, text });
        // One that follows replaces it.
        Part::parts(4, 10, "KeyError").into_iter().for_each(|part| troubles.take(part));
        assert_eq!(troubles.of(4).unwrap().text, "KeyError");
        assert_eq!(troubles.of(5), None);
        troubles.mended(4);
        assert_eq!(troubles.of(4), None);
    }
}
