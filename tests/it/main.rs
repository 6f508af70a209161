//! Black-box tests: the real binary with real configurations, and scans of the source.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking, its helpers too")]

mod harness;

mod abuse;
mod access_logs;
mod acme;
mod before;
mod by_hand;
mod certificates;
mod changing_files;
mod chaos;
mod cheap;
mod commands;
mod conf;
mod cron;
mod daemons;
mod deaths;
mod differential;
mod django;
mod env_files;
mod exec;
mod fastcgi_upstream;
mod fuzz_corpora;
mod groups;
mod host;
mod hostile;
mod http2;
mod http_corpus;
mod hygiene;
mod layers;
mod leaving;
mod limits;
mod pools;
mod preload;
mod proxy;
mod proxy_headers;
mod proxy_keep;
mod proxy_paths;
mod proxy_protocol;
mod recycling;
mod refusals;
mod reload;
mod rollback;
mod sandbox;
mod scaling;
mod scgi;
mod static_files;
mod supervise;
mod systemd;
mod tls;
mod touch_reload;
mod upgrade;
mod upgrades;
mod uwsgi_upstream;
mod wsgi;
