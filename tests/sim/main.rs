//! Seeded simulations.

mod connection;
