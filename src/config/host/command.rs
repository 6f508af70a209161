//! Any command: a server that is started here and speaks a protocol of upstreams, as gunicorn, uvicorn, node, Puma and
//! php-fpm do (docs/decisions/0026-commands.md).

use super::super::daemon::Signal;
use super::super::located::{Given, Report};
use super::super::problem::Complaint;
use super::super::proxy::Proxy;
use super::super::read::command;
use super::super::upstream::{self, PROTOCOLS, Upstream};
use super::super::walk::{By, Choice, Walk};
use crate::dispatch::board::THREADS;
use crate::gateway::Protocol;

/// An app that is a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Program and arguments.
    pub(crate) command: Vec<String>,
    /// Requests that one of its processes is given at a time; tunnels are not counted.
    pub(crate) max_connections: u32,
    /// Asks a process to end.
    pub(crate) stop_signal: Signal,
    /// How it is spoken to: what requests to it have in common with those to servers. Without servers, which are its
    /// processes.
    pub(crate) upstream: Upstream,
    /// What it sees of a request, and what of its response the client sees.
    pub(crate) proxy: Proxy,
}

/// How a process gets its listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listens {
    /// It inherits one, as from systemd (sd_listen_fds(3)).
    Inherited,
    /// It makes the Unix socket whose path it is told.
    Socket,
    /// It listens on the port of 127.0.0.1 that it is told.
    Port,
}

/// So many requests at a time a server takes as a rule.
const CONNECTIONS: u32 = 64;

/// What stands for the path, or the port, in its arguments and environment.
pub(crate) const SOCKET: &str = "{socket}";
pub(crate) const PORT: &str = "{port}";

impl Default for Command {
    fn default() -> Self {
        Self {
            command: Vec::new(),
            max_connections: CONNECTIONS,
            stop_signal: Signal::Term,
            upstream: Upstream::default(),
            proxy: Proxy::default(),
        }
    }
}

impl Command {
    pub(super) fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("command", "[\"gunicorn\", \"config.wsgi\"]", &mut By(&mut self.command, command));
        keys.key("protocol", &mut Choice(&mut self.upstream.protocol, &PROTOCOLS, &[]));
        upstream::walk_scripts(&mut self.upstream.scripts, keys);
        keys.key("max_connections", &mut self.max_connections);
        keys.key("tunnel_timeout", &mut self.upstream.tunnel_timeout);
        keys.key("stop_signal", &mut self.stop_signal);
    }

    pub(super) fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        self.upstream.check_scripts(given, report);
        self.upstream.check_tunnels(given, report);
        // One process of PHP serves one connection, and how many there are stands in its own configuration.
        if self.upstream.protocol == Protocol::FastCgi {
            self.upstream.keepalive = Some(0);
        }
        if self.max_connections == 0 || self.max_connections as usize > THREADS {
            let complaint =
                Complaint::new("`max_connections` is out of range", format!("from 1 to {THREADS}"));
            report.add(&given.place_of("max_connections"), complaint);
        }
    }

    /// How its processes get their sockets; `env` is their environment.
    #[must_use]
    pub(crate) fn listens(&self, env: &[(String, String)]) -> Listens {
        match (self.says(SOCKET, env), self.says(PORT, env)) {
            (true, _) => Listens::Socket,
            (false, true) => Listens::Port,
            (false, false) => Listens::Inherited,
        }
    }

    fn says(&self, what: &str, env: &[(String, String)]) -> bool {
        self.command.iter().chain(env.iter().map(|(_, value)| value)).any(|text| text.contains(what))
    }

    /// Refuses both at once: nothing would listen at one of them.
    pub(super) fn check_listens(&self, env: &[(String, String)], given: &Given<'_>, report: &mut Report<'_>) {
        if self.says(SOCKET, env) && self.says(PORT, env) {
            let what = "both `{socket}` and `{port}`: a process is connected to at one of them";
            report.add(&given.place_of("command"), Complaint::new(what, "keep one"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_inherits_its_socket_unless_it_is_told_where_to_listen() {
        let of = |words: &[&str]| Command {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            ..Command::default()
        };
        let env = |value: &str| vec![("PORT".to_owned(), value.to_owned())];
        assert_eq!(of(&["gunicorn", "app"]).listens(&[]), Listens::Inherited);
        assert_eq!(of(&["gunicorn", "--bind", "unix:{socket}"]).listens(&[]), Listens::Socket);
        assert_eq!(of(&["uvicorn", "--port={port}"]).listens(&[]), Listens::Port);
        assert_eq!(of(&["node", "app.js"]).listens(&env("{port}")), Listens::Port);
    }
}
