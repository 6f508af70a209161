//! Requests that two implementations could read in two ways.
