//! Black-box tests.

mod http_corpus;
mod layers;
