//! The access log: one record an exchange, rendered to one line. Pure: no I/O, no clock.

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object.
    Json,
    /// The combined log format, with request time and id at the end.
    Combined,
}
