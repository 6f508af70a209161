//! Descriptors that nobody asked for, and files that never answer.
