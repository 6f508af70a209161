//! The worker: connections, exchanges and the handlers that answer them.

pub mod handler;
