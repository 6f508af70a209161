//! Handlers: what produces a response. Each takes a request that has been routed and admitted.

pub mod file;
