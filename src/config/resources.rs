//! `limits: (…)` and `oom_score_adj` of workers, apps, daemons and cron jobs: what a process may use of the machine.

use super::located::{Given, Node, Report};
use super::problem::Complaint;
use super::shape::Shape;
use super::walk::{Form, Section, Walk};
use super::written::Written;
use crate::sys::resources::Resources;

/// The two keys of a program.
pub(crate) fn walk(of: &mut Resources, keys: &mut dyn Walk) {
    keys.key("limits", of);
    keys.key("oom_score_adj", &mut of.oom_score_adj);
}

/// `limits`.
impl Section for Resources {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("open_files", &mut self.open_files);
        keys.key("processes", &mut self.processes);
        keys.key("address_space", &mut self.address_space);
        keys.key("core", &mut self.core);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        // Its standard streams, its two sockets, and some to import anything at all.
        if self.open_files.is_some_and(|count| count < 32) {
            given.complain(report, Complaint::new("`open_files` is too low to start", "at least 32"));
        }
    }
}

/// `oom_score_adj`.
impl Form for i16 {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let Shape::Integer(score) = node.shape() else {
            return node.wrong(report, "a number from -1000 to 1000", &node.shape());
        };
        let found = Self::try_from(score).ok().filter(|score| (-1000..=1000).contains(score));
        if found.is_none() {
            let hint = "from -1000 (never ended for want of memory) to 1000 (first)";
            node.complain(report, Complaint::new(format!("{score} is out of range"), hint));
        }
        found
    }

    fn write(&self) -> Written {
        Written::plain(self)
    }
}
