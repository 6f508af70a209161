//! Seeded simulations.

mod supervisor;
