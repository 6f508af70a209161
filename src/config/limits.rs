//! `limits: (…)`.

use super::limit;
use super::located::{Given, Report};
use super::problem::Complaint;
use super::walk::{By, Section, Walk};
use crate::h1::Settings;
use crate::h2;
use crate::policy::limit::{Limit, table};

/// Limits of what clients may send (research, web-servers §6.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Those of one connection.
    pub(crate) connection: Settings,
    /// Those of HTTP/2 besides; no streams: it is not spoken.
    pub(crate) http2: h2::Settings,
    /// Connections of one client address; no limit (0), 429.
    pub(crate) connections_per_client: u32,
    /// Clients that close their side and go on reading are served like others.
    pub(crate) half_close: bool,
    /// Bytes of the table that all limits of rates share.
    pub(crate) table: u64,
    /// Limits that places have by name, sorted.
    pub(crate) classes: Vec<(String, Limit)>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connection: Settings::default(),
            http2: h2::Settings::default(),
            connections_per_client: 0,
            half_close: false,
            table: 8 << 20,
            classes: Vec::new(),
        }
    }
}

/// A head is held in memory as one piece.
const MOST_HEAD: usize = 1 << 20;

/// What a client may have running at once is bounded by this, and no longer by its connections.
const MOST_STREAMS: u32 = 10_000;

impl Section for Limits {
    fn walk(&mut self, keys: &mut dyn Walk) {
        let of = &mut self.connection;
        keys.key("head", &mut of.head);
        // Part of the head: a smaller head alone makes it smaller, too.
        of.request_line = of.request_line.min(of.head);
        keys.key("request_line", &mut of.request_line);
        keys.key("fields", &mut of.fields);
        keys.key("header_timeout", &mut of.header_timeout);
        keys.key("body_timeout", &mut of.body_timeout);
        keys.key("body_rate", &mut of.body_rate);
        keys.key("body_grace", &mut of.body_grace);
        keys.key("keepalive_timeout", &mut of.keepalive_timeout);
        keys.key("keepalive_requests", &mut of.keepalive_requests);
        keys.key("streams", &mut self.http2.streams);
        keys.key("connections_per_client", &mut self.connections_per_client);
        keys.key("half_close", &mut self.half_close);
        keys.key("table", &mut self.table);
        keys.key("classes", &mut By(&mut self.classes, limit::classes));
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        let Settings { head, request_line, fields, .. } = self.connection;
        if !(1024..=MOST_HEAD).contains(&head) {
            given.complain(report, Complaint::new("`head` is out of range", "from \"1KiB\" to \"1MiB\""));
        }
        if request_line > head || request_line < 64 {
            let hint = "the request line is part of the head: from \"64B\" to the size of `head`";
            given.complain(report, Complaint::new("`request_line` is out of range", hint));
        }
        if fields == 0 || fields > 10_000 {
            given.complain(report, Complaint::new("`fields` is out of range", "from 1 to 10000"));
        }
        if !(table::SMALLEST..=table::LARGEST).contains(&self.table) {
            let complaint = Complaint::new("`table` is out of range", "from \"64KiB\" to \"4GiB\"");
            report.add(&given.place_of("table"), complaint);
        }
        if self.http2.streams > MOST_STREAMS {
            let hint = "from 1 to 10000, or 0: HTTP/2 is not spoken";
            given.complain(report, Complaint::new("`streams` is out of range", hint));
        }
    }
}
