//! The client side of the protocols spoken to upstreams and apps: one small codec each. Pure: bytes in, events out.
