//! `limits: (…)`.

use super::located::{Located, Node, Raw, Read, Report};
use super::problem::Complaint;
use super::read::{Positive, Size};
use serde::Deserialize;
use std::time::Duration;

/// Limits of what clients may send (research, web-servers §6.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of the request line; 8 KiB, 414.
    pub(crate) request_line: u32,
    /// Bytes of the whole head; 32 KiB, 431.
    pub(crate) head: u32,
    /// Number of fields; 100, 431.
    pub(crate) fields: u32,
    /// From the first byte (or the accept) to the end of the head, absolute; 15 s, 408.
    pub(crate) header_timeout: Duration,
    /// Between two reads of a body, and between two writes of a response; 60 s.
    pub(crate) body_timeout: Duration,
    /// Bytes a second of a request body, at least; 512, 408. 0: no minimum.
    pub(crate) body_rate: u32,
    /// How far a request body may lag behind `body_rate`; 30 s.
    pub(crate) body_grace: Duration,
    /// An idle kept-alive connection; 65 s.
    pub(crate) keepalive_timeout: Duration,
    /// Requests on one connection; 1000. 0: no limit.
    pub(crate) keepalive_requests: u32,
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

impl Default for Limits {
    fn default() -> Self {
        Self {
            request_line: 8 << 10,
            head: 32 << 10,
            fields: 100,
            header_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(60),
            body_rate: 512,
            body_grace: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(65),
            keepalive_requests: 1000,
            connections_per_client: 0,
        }
    }
}

/// A head is held in memory as one piece.
const MOST_HEAD: u64 = 1 << 20;

impl Read for Limits {
    fn read(node: &Node<'_>, report: &mut Report<'_>) -> Option<Self> {
        let (raw, at) = node.fields::<RawLimits<'_>>(report)?;
        let default = Self::default();
        let bytes = |size: Size| u32::try_from(size.0).unwrap_or(u32::MAX);
        let head = bytes(at.or(raw.head, Size(default.head.into()), report));
        let line_default = default.request_line.min(head);
        let limits = Self {
            request_line: bytes(at.or(raw.request_line, Size(line_default.into()), report)),
            head,
            fields: at.or(raw.fields, default.fields, report),
            header_timeout: at.or(raw.header_timeout, Positive(default.header_timeout), report).0,
            body_timeout: at.or(raw.body_timeout, Positive(default.body_timeout), report).0,
            body_rate: bytes(at.or(raw.body_rate, Size(default.body_rate.into()), report)),
            body_grace: at.or(raw.body_grace, Positive(default.body_grace), report).0,
            keepalive_timeout: at.or(raw.keepalive_timeout, Positive(default.keepalive_timeout), report).0,
            keepalive_requests: at.or(raw.keepalive_requests, default.keepalive_requests, report),
            connections_per_client: at.or(raw.connections_per_client, default.connections_per_client, report),
        };
        if u64::from(limits.head) > MOST_HEAD || limits.head < 1024 {
            node.complain(report, Complaint::new("`head` is out of range", "from \"1KiB\" to \"1MiB\""));
        }
        if limits.request_line > limits.head || limits.request_line < 64 {
            let hint = "the request line is part of the head: from \"64B\" to the size of `head`";
            node.complain(report, Complaint::new("`request_line` is out of range", hint));
        }
        if limits.fields == 0 || limits.fields > 10_000 {
            node.complain(report, Complaint::new("`fields` is out of range", "from 1 to 10000"));
        }
        Some(limits)
    }
}
