//! Seeded simulations.

mod connection;
mod supervisor;
