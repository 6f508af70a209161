//! Black-box tests.

mod layers;
