//! What changes a response on its way out (docs/decisions/0033-policies.md): pure cores, which are given a head or a piece of a body
//! and say or give what leaves instead. `worker::filters` keeps their state beside the response and has them asked.

pub(crate) mod coding;
pub(crate) mod encoder;
