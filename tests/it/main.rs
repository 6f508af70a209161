//! Black-box tests.

mod host;
