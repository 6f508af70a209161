//! The embedded Python host program against the worker's own codec: the test plays worker and master.
//!
//! `HATCHERY_TEST_PYTHON` chooses the interpreter; `python3` without it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod ahead;
mod asgi_harness;
mod asgi_http;
mod asgi_interface;
mod asgi_life;
mod asgi_websocket;
mod boot;
mod harness;
mod leave;
mod wsgi;
