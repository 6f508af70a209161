//! HTTP vocabulary (RFC 9110): plain data and pure helpers, shared by every protocol version. No I/O, no clock.

pub mod conditional;
pub mod date;
pub mod encoding;
pub mod fault;
pub mod fields;
pub mod forwarded;
pub mod location;
pub mod message;
pub mod mime;
pub mod range;
pub mod readings;
mod scheme;
pub mod target;

pub use fields::{Fields, Span};
pub use message::{BodyLength, Method, RequestHead, ResponseHead, Status, Version};
pub use scheme::Scheme;
