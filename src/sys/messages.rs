//! The last messages of this process, as it has logged them, until whoever shows them to operators fetches them.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Bytes that are kept.
const KEPT: usize = 64 * 1024;

static MESSAGES: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

fn messages() -> MutexGuard<'static, VecDeque<String>> {
    MESSAGES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a message; in the place of the oldest ones if there are too many.
pub(crate) fn keep(text: String) {
    let mut messages = messages();
    messages.push_back(text);
    let mut bytes: usize = messages.iter().map(String::len).sum();
    while bytes > KEPT
        && let Some(oldest) = messages.pop_front()
    {
        bytes -= oldest.len();
    }
}

/// Those since the last call.
pub(crate) fn take() -> VecDeque<String> {
    std::mem::take(&mut *messages())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_messages_are_kept_and_taken_once() {
        let long = "x".repeat(1000);
        (0..100).for_each(|number| keep(format!("{number} {long}")));
        let taken = take();
        assert!(taken.len() > 60 && taken.iter().map(String::len).sum::<usize>() <= KEPT);
        assert!(taken.back().unwrap().starts_with("99 "));
        assert!(take().is_empty());
    }
}
