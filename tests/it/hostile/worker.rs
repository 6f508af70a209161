//! What a worker that was taken over can still call.
