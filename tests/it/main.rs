//! Black-box tests.

mod conf;
