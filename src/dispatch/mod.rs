//! Which unit of which app process takes a request: claims, queues and hand-over on shared words. Pure: it sees
//! memory as `&[AtomicU64]`, never a descriptor or the clock.

pub mod board;
