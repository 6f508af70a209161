//! `limits: (…)` and `oom_score_adj` of workers, apps, daemons and cron jobs: what a process may use of the machine.

use super::located::{Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::read::Size;
use super::shape::Shape;
use crate::sys::resources::Resources;
use serde::Deserialize;

/// `limits` as written.
#[derive(Deserialize)]
pub(crate) struct RawResources<'a> {
    #[serde(borrow)]
    open_files: Option<Located<'a, u32>>,
    processes: Option<Located<'a, u32>>,
    address_space: Option<Located<'a, Size>>,
    core: Option<Located<'a, Size>>,
}

impl<'a> Raw<'a> for RawResources<'a> {}

impl Read for Resources {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawResources<'_>>(report)?;
        let open_files = at.read(raw.open_files, report);
        // Its standard streams, its two sockets, and some to import anything at all.
        if open_files.is_some_and(|count| count < 32) {
            node.complain(report, Complaint::new("`open_files` is too low to start", "at least 32"));
        }
        Some(Self {
            open_files: open_files.map(u64::from),
            processes: at.read(raw.processes, report).map(u64::from),
            address_space: at.read(raw.address_space, report).map(|size| size.0),
            core: at.read(raw.core, report).map(|size| size.0),
            oom_score_adj: None,
        })
    }
}

/// From -1000 to 1000.
#[derive(Clone, Copy)]
pub(crate) struct OomScore(pub(crate) i16);

impl Read for OomScore {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let shape = node.shape();
        let Shape::Integer(score) = shape else {
            return node.wrong(report, "a number from -1000 to 1000", &shape);
        };
        let found = i16::try_from(score).ok().filter(|score| (-1000..=1000).contains(score));
        if found.is_none() {
            let hint = "from -1000 (never ended for want of memory) to 1000 (first)";
            node.complain(report, Complaint::new(format!("{score} is out of range"), hint));
        }
        found.map(Self)
    }
}
