//! What produces a response from a request and nothing else: files and fixed answers. Gateways to apps and upstreams
//! are in `worker::upstream`.

pub(crate) mod file;
pub(crate) mod fixed;
mod looks;
pub(crate) mod pages;
pub(crate) mod trouble;
