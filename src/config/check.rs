//! What the environment must have for a configuration to work.
