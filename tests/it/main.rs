//! Black-box tests.

mod http_corpus;
