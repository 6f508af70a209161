//! What a worker that was taken over can write to shared memory.
