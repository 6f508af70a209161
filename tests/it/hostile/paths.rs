//! A local user in the same directory as what the master makes.
