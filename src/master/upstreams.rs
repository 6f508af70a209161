//! The servers of upstreams: what `status` shows of them, and what the operator wants of one.

use super::Master;
use crate::balance::{Spot, State, Wish};
use crate::config::boot::Enrolled;
use crate::config::{Server, Upstream, suggestion};
use crate::control::command::{Response, ServerStatus, ServerWish, UpstreamStatus};
use crate::http::fault;
use crate::timer::Time;

impl Master {
    /// The upstreams of the configuration in use, and how their servers are.
    pub(super) fn upstreams(&self, now: Time) -> Vec<UpstreamStatus> {
        let all = self.current.config.upstreams.iter().zip(&self.current.upstreams);
        all.map(|(upstream, enrolled)| self.upstream(upstream, enrolled, now)).collect()
    }

    fn upstream(&self, upstream: &Upstream, enrolled: &Enrolled, now: Time) -> UpstreamStatus {
        let entries = enrolled.entries(upstream);
        let servers = entries.flat_map(|(server, numbers)| self.servers(server, numbers, now));
        let balance = upstream.balance.name().to_owned();
        let faults = self.faults.get(&upstream.name).cloned().unwrap_or_default();
        UpstreamStatus { name: upstream.name.clone(), balance, servers: servers.collect(), faults }
    }

    /// What an entry comes to: of a name each of its addresses, or that it leads to none.
    fn servers(&self, server: &Server, numbers: &[u16], now: Time) -> Vec<ServerStatus> {
        let Some(name) = server.address.name() else {
            let of = |number| self.server(server, server.address.to_string(), number, now);
            return numbers.iter().map(|number| of(*number)).collect();
        };
        let why = self.names.reason(name);
        let places = numbers.iter().filter_map(|number| Some((*number, self.roster().spot(*number)?)));
        let found = places.map(|(number, Spot { address, weight, backup, .. })| {
            let status = self.server(server, address.to_string(), number, now);
            let weight = if weight > 0 { u32::from(weight) } else { status.weight };
            let stale = || why.map(|why| format!("last known address: {why}"));
            let reason = status.reason.clone().or_else(stale);
            let backup = status.backup || backup;
            ServerStatus { name: Some(name.to_string()), weight, backup, reason, ..status }
        });
        let found: Vec<ServerStatus> = found.collect();
        if !found.is_empty() {
            return found;
        }
        let unresolved = ServerStatus {
            address: name.to_string(),
            state: "unresolved".to_owned(),
            reason: Some(why.unwrap_or(if self.names.is_open(name) { OPEN } else { NOWHERE }).to_owned()),
            weight: server.weight,
            backup: server.backup,
            max_connections: server.max_connections,
            ..ServerStatus::default()
        };
        vec![unresolved]
    }

    fn server(&self, server: &Server, address: String, number: u16, now: Time) -> ServerStatus {
        let roster = self.roster();
        let health = roster.health(number);
        let state = match (roster.wish(number), health.state) {
            (Wish::Disabled, _) => "disabled",
            (Wish::Drained, _) => "draining",
            (Wish::Enabled, State::Up) => "up",
            (Wish::Enabled, State::Resting | State::Trial | State::Failed) => "down",
        };
        ServerStatus {
            address,
            name: None,
            state: state.to_owned(),
            reason: (state == "down").then(|| fault::cause(health.cause.0)),
            seconds: roster.been(number, now).map(|been| been.as_secs()),
            weight: server.weight,
            backup: server.backup,
            in_flight: roster.in_flight(number),
            max_connections: server.max_connections,
            requests: roster.requests(number),
            failures: roster.failures(number),
        }
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
        let roster = self.roster();
        let places = enrolled.entries(upstream).flat_map(|(entry, numbers)| {
            let is_name = entry.address.name().is_some();
            let address = move |number: &u16| match is_name {
                true => roster.spot(*number).map(|spot| spot.address.to_string()),
                false => Some(entry.address.to_string()),
            };
            numbers.iter().filter_map(move |number| Some((address(number)?, *number)))
        });
        let places: Vec<(String, u16)> = places.collect();
        // Two names may lead to the same address.
        let own = places.iter().filter(|(address, _)| address == server);
        let numbers: Vec<u16> = own.map(|(_, number)| *number).collect();
        if numbers.is_empty() {
            let addresses: Vec<&str> = places.iter().map(|(address, _)| address.as_str()).collect();
            return failed(unknown(&format!("server of upstream {name}"), server, &addresses));
        }
        let (wish, done) = match wish {
            ServerWish::Drain => (Wish::Drained, "takes only requests of its sessions"),
            ServerWish::Disable => (Wish::Disabled, "takes no more requests"),
            ServerWish::Enable => (Wish::Enabled, "takes requests"),
        };
        numbers.iter().for_each(|number| roster.order(*number, wish, now));
        // Who waits for a place may find one now.
        self.poke_workers();
        let left = numbers.iter().map(|number| roster.in_flight(*number)).sum();
        let left: String = match (wish, left) {
            (Wish::Drained | Wish::Disabled, left @ 1..) => format!("; in flight there: {left}"),
            _ => String::new(),
        };
        let text = format!("{server} of upstream {name} {done}{left}");
        log::info!(target: "hatchery", "{text}");
        Response::Done { text }
    }
}

const OPEN: &str = "it is being looked up";
const NOWHERE: &str = "it leads to no address";

pub(super) fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    let meant =
        suggestion(name, known).map_or_else(String::new, |meant| format!("; did you mean \"{meant}\"?"));
    let there = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    format!("there is no {what} \"{name}\"; there is: {there}{meant}")
}
