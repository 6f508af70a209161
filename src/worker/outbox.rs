//! What the worker says to the master: at once if the channel has room, else in order as soon as it has.

use crate::control::worker::ToMaster;
use crate::sys::fd;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

/// So many messages wait at most. Most that wait already are not repeated, and of those there are fewer than this; only
/// long requests (`Runs`, `Ran`) can be more, under a master that is held up for long.
const MOST: usize = 16 * 1024;

/// What was logged waits behind so few at most, as the log has it anyway: beyond them it is lost. That is not
/// told, as it would be logged, and be lost, too.
const FEW: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: VecDeque<ToMaster>,
}

impl Outbox {
    /// Sends a message, or keeps it until [`Outbox::flush`].
    pub(super) fn send(&mut self, channel: &OwnedFd, message: &ToMaster) {
        let is_logged = matches!(message, ToMaster::Logged(_));
        if self.waiting.is_empty() {
            match fd::write_whole(channel.as_fd(), &message.encode()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(()) => return,
                // The master is dead, and so is this worker in a moment.
                Err(_) if is_logged => return,
                Err(error) => return log::debug!("worker: cannot tell the master: {error}"),
            }
        }
        if self.waiting.len() < if is_logged { FEW } else { MOST } {
            if !self.repeats(message) {
                self.waiting.push_back(message.clone());
            }
        } else if !is_logged {
            log::error!("worker: the master does not listen: a message to it is lost");
        }
    }

    /// Whether the same waits already and once is enough; the last word on the load is what counts.
    fn repeats(&mut self, message: &ToMaster) -> bool {
        if let ToMaster::Load(_) = message {
            self.waiting.retain(|waiting| !matches!(waiting, ToMaster::Load(_)));
            return false;
        }
        // What begins and ends must be told in pairs.
        let is_once = matches!(message, ToMaster::Runs { .. } | ToMaster::Ran { .. });
        !is_once && self.waiting.contains(message)
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self, channel: &OwnedFd) {
        while let Some(message) = self.waiting.front() {
            match fd::write_whole(channel.as_fd(), &message.encode()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                _ => self.waiting.pop_front(),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::worker::{Complaint, Load, Unit};

    /// One message, as the length says that goes before it.
    fn receive(pipe: &OwnedFd) -> Option<ToMaster> {
        let mut length = [0; 2];
        nix::unistd::read(pipe, &mut length).ok()?;
        let mut message = vec![0; u16::from_le_bytes(length).into()];
        nix::unistd::read(pipe, &mut message).unwrap();
        ToMaster::decode(&message)
    }

    #[test]
    fn nothing_is_lost_in_a_full_channel_and_nothing_is_said_twice() {
        let (masters, ours) = fd::pipe().unwrap();
        let mut outbox = Outbox::default();
        let left = |slot| ToMaster::Left { pool: 1, slot };
        let mut sent = 0;
        while outbox.waiting.is_empty() {
            outbox.send(&ours, &left(sent));
            sent += 1;
            assert!(sent < u16::MAX, "the channel never filled up");
        }
        let at = Unit { pool: 2, slot: 1, thread: 0, incarnation: 1 };
        let stuck = ToMaster::Stuck { at, complaint: Complaint::Late, reason: "GET /".to_owned() };
        for message in [ToMaster::Load(Load::High), stuck.clone(), left(sent - 1), ToMaster::Load(Load::Low)]
        {
            outbox.send(&ours, &message);
        }
        let mut heard = Vec::new();
        while heard.len() < usize::from(sent) + 2 {
            heard.push(receive(&masters).expect("a message"));
            outbox.flush(&ours);
        }
        let mut expected: Vec<ToMaster> = (0..sent).map(left).collect();
        expected.extend([stuck, ToMaster::Load(Load::Low)]);
        assert_eq!(heard, expected);
        assert_eq!((receive(&masters), outbox.waiting.len()), (None, 0));
    }

    #[test]
    fn what_begins_again_ends_again() {
        let (masters, ours) = fd::pipe().unwrap();
        let mut outbox = Outbox::default();
        outbox.waiting.push_back(ToMaster::Closed);
        let at = Unit { pool: 1, slot: 2, incarnation: 3, thread: 4 };
        let runs = ToMaster::Runs { at, since: 5, request: "GET /".to_owned() };
        let told = [ToMaster::Ran { at }, runs, ToMaster::Ran { at }];
        told.iter().for_each(|message| outbox.send(&ours, message));
        outbox.flush(&ours);
        let heard: Vec<_> = std::iter::from_fn(|| receive(&masters)).skip(1).collect();
        assert_eq!(heard, told);
    }

    #[test]
    fn what_is_logged_displaces_nothing_and_its_loss_is_not_logged() {
        let (_masters, ours) = fd::pipe().unwrap();
        let mut outbox = Outbox::default();
        outbox.waiting.push_back(ToMaster::Closed);
        for number in 0..=MOST {
            outbox.send(&ours, &ToMaster::Logged(format!("DEBUG {number}")));
        }
        assert_eq!(outbox.waiting.len(), FEW);
        let wanted = ToMaster::Want { pool: 7 };
        outbox.send(&ours, &wanted);
        assert_eq!(outbox.waiting.back(), Some(&wanted));
    }

    #[test]
    fn a_master_that_is_gone_fills_nothing() {
        let (masters, ours) = fd::pipe().unwrap();
        drop(masters);
        let mut outbox = Outbox::default();
        outbox.send(&ours, &ToMaster::Closed);
        assert!(outbox.waiting.is_empty());
    }
}
