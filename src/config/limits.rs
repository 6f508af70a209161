//! `limits: (…)`.

use super::located::{Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::read::{Positive, Size};
use crate::h1::Settings;
use serde::Deserialize;

/// Limits of what clients may send (research, web-servers §6.1).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Those of one connection.
    pub(crate) connection: Settings,
    /// Connections of one client address in one worker; no limit (0), 429.
    pub(crate) connections_per_client: u32,
}

/// `limits` as written.
#[derive(Deserialize)]
pub(crate) struct RawLimits<'a> {
    #[serde(borrow)]
    request_line: Option<Located<'a, Size>>,
    head: Option<Located<'a, Size>>,
    fields: Option<Located<'a, u32>>,
    header_timeout: Option<Located<'a, Positive>>,
    body_timeout: Option<Located<'a, Positive>>,
    body_rate: Option<Located<'a, Size>>,
    body_grace: Option<Located<'a, Positive>>,
    keepalive_timeout: Option<Located<'a, Positive>>,
    keepalive_requests: Option<Located<'a, u32>>,
    connections_per_client: Option<Located<'a, u32>>,
}

impl<'a> Raw<'a> for RawLimits<'a> {}

/// A head is held in memory as one piece.
const MOST_HEAD: usize = 1 << 20;

impl Read for Limits {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawLimits<'_>>(report)?;
        let default = Settings::default();
        let size = |bytes: usize| Size(bytes as u64);
        let bytes = |size: Size| u32::try_from(size.0).unwrap_or(u32::MAX);
        let head = bytes(at.or(raw.head, size(default.head), report)) as usize;
        let line_default = default.request_line.min(head);
        let connection = Settings {
            request_line: bytes(at.or(raw.request_line, size(line_default), report)) as usize,
            head,
            fields: at.or(raw.fields, default.fields as u32, report) as usize,
            header_timeout: at.or(raw.header_timeout, Positive(default.header_timeout), report).0,
            body_timeout: at.or(raw.body_timeout, Positive(default.body_timeout), report).0,
            body_rate: bytes(at.or(raw.body_rate, Size(default.body_rate.into()), report)),
            body_grace: at.or(raw.body_grace, Positive(default.body_grace), report).0,
            keepalive_timeout: at.or(raw.keepalive_timeout, Positive(default.keepalive_timeout), report).0,
            keepalive_requests: at.or(raw.keepalive_requests, default.keepalive_requests, report),
        };
        let connections_per_client = at.or(raw.connections_per_client, 0, report);
        if !(1024..=MOST_HEAD).contains(&head) {
            node.complain(report, Complaint::new("`head` is out of range", "from \"1KiB\" to \"1MiB\""));
        }
        if connection.request_line > head || connection.request_line < 64 {
            let hint = "the request line is part of the head: from \"64B\" to the size of `head`";
            node.complain(report, Complaint::new("`request_line` is out of range", hint));
        }
        if connection.fields == 0 || connection.fields > 10_000 {
            node.complain(report, Complaint::new("`fields` is out of range", "from 1 to 10000"));
        }
        Some(Self { connection, connections_per_client })
    }
}
