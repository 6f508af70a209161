//! Directories that take long to list.
