//! HTTP vocabulary (RFC 9110): plain data and pure helpers, shared by every protocol version. No I/O, no clock.

pub(crate) mod changes;
pub(crate) mod conditional;
pub mod date;
pub(crate) mod encoding;
pub mod fault;
pub(crate) mod fields;
pub mod forwarded;
pub(crate) mod location;
pub(crate) mod message;
pub(crate) mod mime;
pub mod network;
mod pace;
pub(crate) mod percent;
pub(crate) mod phase;
pub(crate) mod range;
pub(crate) mod readings;
mod scheme;
pub mod secure;
pub mod serving;
pub(crate) mod target;
pub(crate) mod text;
pub(crate) mod written;

pub(crate) use changes::Changes;
pub(crate) use fields::Names;
pub use fields::{Fields, Span};
pub use message::{BodyLength, Method, RequestHead, ResponseHead, Status, Version};
pub use network::Network;
pub(crate) use pace::Pace;
pub use scheme::Scheme;
