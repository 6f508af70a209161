//! The servers of upstreams: what `status` shows of them, and what the operator wants of one.

use super::Master;
use crate::balance::{State, Wish};
use crate::config::boot::Enrolled;
use crate::config::{Upstream, suggestion};
use crate::control::command::{Response, ServerStatus, ServerWish, UpstreamStatus};
use crate::dispatch::Rows;
use crate::http::fault;
use crate::timer::Time;

impl Master {
    /// The upstreams of the configuration in use, and how their servers are.
    pub(super) fn upstreams(&self, now: Time) -> Vec<UpstreamStatus> {
        let all = self.current.config.upstreams.iter().zip(&self.current.upstreams);
        all.map(|(upstream, enrolled)| self.upstream(upstream, enrolled, now)).collect()
    }

    fn upstream(&self, upstream: &Upstream, enrolled: &Enrolled, now: Time) -> UpstreamStatus {
        let servers = upstream.servers.iter().zip(&enrolled.servers);
        let servers = servers.map(|(server, number)| {
            let roster = self.roster();
            let health = roster.health(*number);
            let state = match (roster.wish(*number), health.state) {
                (Wish::Disabled, _) => "disabled",
                (Wish::Drained, _) => "draining",
                (Wish::Enabled, State::Up) => "up",
                (Wish::Enabled, State::Resting | State::Trial | State::Failed) => "down",
            };
            ServerStatus {
                address: server.address.to_string(),
                state: state.to_owned(),
                reason: (state == "down").then(|| fault::cause(health.cause.0)),
                seconds: roster.been(*number, now).map(|been| been.as_secs()),
                weight: server.weight,
                backup: server.backup,
                in_flight: roster.in_flight(*number),
                max_connections: server.max_connections,
                requests: roster.requests(*number),
                failures: roster.failures(*number),
            }
        });
        let balance = upstream.balance.name().to_owned();
        let faults = self.faults.get(&upstream.name).cloned().unwrap_or_default();
        UpstreamStatus { name: upstream.name.clone(), balance, servers: servers.collect(), faults }
    }

    /// Takes a server out, or back in.
    pub(super) fn order_server(&mut self, name: &str, server: &str, wish: ServerWish, now: Time) -> Response {
        let failed = |text: String| Response::Failed { text };
        let config = &self.current.config;
        let Some(at) = config.upstreams.iter().position(|upstream| upstream.name == name) else {
            let names: Vec<&str> = config.upstreams.iter().map(|upstream| &*upstream.name).collect();
            return failed(unknown("upstream", name, &names));
        };
        let (Some(upstream), Some(enrolled)) = (config.upstreams.get(at), self.current.upstreams.get(at))
        else {
            return failed(unknown("upstream", name, &[]));
        };
        let addresses: Vec<String> =
            upstream.servers.iter().map(|server| server.address.to_string()).collect();
        let number = addresses.iter().position(|address| address == server);
        let Some(number) = number.and_then(|index| enrolled.servers.get(index)) else {
            let addresses: Vec<&str> = addresses.iter().map(String::as_str).collect();
            return failed(unknown(&format!("server of upstream {name}"), server, &addresses));
        };
        let (wish, done) = match wish {
            ServerWish::Drain => (Wish::Drained, "takes only requests of its sessions"),
            ServerWish::Disable => (Wish::Disabled, "takes no more requests"),
            ServerWish::Enable => (Wish::Enabled, "takes requests"),
        };
        self.roster().order(*number, wish, now);
        // Who waits for a place may find one now.
        self.poke_all(Rows::of(self.children.workers().map(|(_, worker)| worker.row)));
        let left = match (wish, self.roster().in_flight(*number)) {
            (Wish::Drained | Wish::Disabled, left @ 1..) => format!("; in flight there: {left}"),
            _ => String::new(),
        };
        let text = format!("{server} of upstream {name} {done}{left}");
        log::info!(target: "hatchery", "{text}");
        Response::Done { text }
    }
}

fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let meant =
        suggestion(name, known).map_or_else(String::new, |meant| format!("; did you mean \"{meant}\"?"));
    let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("there is no {what} \"{name}\"; there is: {there}{meant}")
}
