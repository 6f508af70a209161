//! Hostile neighbours: an app, a worker or a local user that has been taken over, and what a client, an upstream or an
//! operator's slip could make of what is published. Each test plays one of them against the real binary.

mod apps;
mod containers;
mod descriptors;
mod fuse;
mod listings;
mod mutants;
mod output;
mod page;
mod paths;
mod peers;
mod published;
mod stopping;
mod strict;
mod words;
mod worker;
mod wsgi;
