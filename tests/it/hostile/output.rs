//! What children print and say.
