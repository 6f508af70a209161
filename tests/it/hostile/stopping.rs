//! Processes that do not die.
