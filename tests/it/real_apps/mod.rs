//! Applications that others wrote, or that are written as their frameworks want it (`tests/apps/real`).

mod asgi;
mod frameworks;
mod wagtail;
