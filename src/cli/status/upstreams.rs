//! The upstreams in `status`: a line each, and one for each server that is not up, or for all.

use super::{Health, Page};
use crate::control::command::{ServerStatus, UpstreamStatus};
use crate::control::text::{self, about};

pub(super) fn show(upstreams: &[UpstreamStatus], page: &mut Page) {
    for UpstreamStatus { name, balance, servers, faults } in upstreams {
        let up = servers.iter().filter(|server| server.state == "up").count();
        let line = text::line(&format!("  {name}  {up} of {} up  {balance}", servers.len()));
        let health = match (up, servers.len()) {
            (0, _) => Health::Failed,
            (up, all) if up < all => Health::Ailing,
            _ => Health::Good,
        };
        page.line_of(health, &line);
        let width = servers.iter().map(|server| server_name(server).chars().count()).max().unwrap_or(0);
        let is_verbose = page.look.verbose;
        for server in servers.iter().filter(|server| is_verbose || server.state != "up") {
            let health = if server.state == "up" { Health::Good } else { Health::Ailing };
            page.line_of(health, &text::line(&server_line(server, width)));
        }
        if is_verbose && !faults.is_empty() {
            let faults: Vec<_> = faults.iter().map(|(word, count)| format!("{word} {count}")).collect();
            page.line(&format!("    faults: {}", faults.join(", ")));
        }
    }
}

fn server_name(ServerStatus { name, address, .. }: &ServerStatus) -> String {
    name.as_ref().map_or_else(|| address.clone(), |name| format!("{name} {address}"))
}

/// `    127.0.0.1:9001  down      for 12s: connection refused  requests 10  failures 3  in flight 0`
fn server_line(server: &ServerStatus, width: usize) -> String {
    let ServerStatus { state, reason, seconds, in_flight, requests, failures, .. } = server;
    let address = server_name(server);
    let backup = if server.backup { "  backup" } else { "" };
    let since = seconds.map_or_else(String::new, |seconds| format!("  for {}", about(seconds)));
    let reason = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
    let most = server.max_connections.map_or_else(String::new, |most| format!(" of {most}"));
    format!(
        "    {address:width$}  {state:<8}{backup}{since}{reason}  requests {requests}  failures {failures}  \
         in flight {in_flight}{most}"
    )
}
