//! `sandbox:`, and what a sandboxed worker may still reach with a configuration.

use super::{Address, App, Config, Fallback, Files, Handler, Listens, Name, Symlinks};
use crate::sys::sandbox::Rules;
use std::path::{Path, PathBuf};

/// Whether workers give up what they do not need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sandbox {
    /// All of it, or there is no start.
    Require,
    /// As much as this kernel offers.
    Try,
    /// They keep access to files and system calls, and may leave cores: for looking for a fault.
    Off,
}

/// As they are written.
pub(crate) const SANDBOXES: [(&str, Sandbox); 3] =
    [("Require", Sandbox::Require), ("Try", Sandbox::Try), ("Off", Sandbox::Off)];

impl Sandbox {
    /// As it is written.
    #[must_use]
    pub(crate) fn name(self) -> &'static str {
        SANDBOXES.iter().find(|(_, sandbox)| *sandbox == self).map_or("", |(name, _)| name)
    }
}

impl Config {
    /// Everything that a worker opens or connects to after its start, but the sockets of apps, which the master makes. What
    /// is open already and what comes over a socket needs no rule.
    #[must_use]
    pub(crate) fn reach(&self) -> Rules {
        let mut rules = Rules { write: vec![self.temp_dir.clone()], ..Rules::default() };
        for site in &self.sites {
            let pages = site.error_pages.iter().filter_map(|(_, page)| page.parent());
            // A page that is written anew is another file: its directory is what stays.
            rules.read.extend(pages.map(Path::to_owned));
            for location in &site.locations {
                read_by(&location.handler, &mut rules.read);
                if let Fallback::Handler(handler) = &location.fallback {
                    read_by(handler, &mut rules.read);
                }
            }
        }
        self.sending.iter().for_each(|sending| read_by(&sending.handler, &mut rules.read));
        let servers = self.upstreams.iter().flat_map(|upstream| &upstream.servers);
        rules.connect = servers.clone().filter_map(|server| server.address.port()).collect();
        // The ports of services and of processes are known too late.
        let has_port =
            |app: &App| app.kind.command().is_some_and(|command| command.listens(&app.env) == Listens::Port);
        rules.connect_anywhere =
            servers.clone().any(|server| server.address.name().is_some_and(Name::is_service))
                || self.apps.iter().any(has_port);
        rules.sockets = servers.filter_map(|server| stays(server.address.address()?)).collect();
        for list in [&mut rules.read, &mut rules.write, &mut rules.sockets] {
            list.sort();
            list.dedup();
        }
        rules.connect.sort_unstable();
        rules.connect.dedup();
        rules
    }
}

/// A directory that stays while a socket in or below it comes and goes: a service's own, such as `/run/shop`, is made anew
/// whenever the service starts, and a rule would be about the one before.
fn stays(address: &Address) -> Option<PathBuf> {
    let Address::Unix(socket) = address else { return None };
    let own = socket.parent()?;
    let above = own.parent().filter(|above| above.parent().is_some());
    Some(above.unwrap_or(own).to_owned())
}

fn read_by(handler: &Handler, paths: &mut Vec<PathBuf>) {
    match handler {
        Handler::Files(files) => {
            // All fields by name: whoever adds one thinks of what it lets a worker read.
            #[rustfmt::skip]
            let Files {
                root, symlinks, stand_in: _, index: _, try_files: _, listing: _, cache: _, precompressed: _, types: _,
                dotfiles: _, allow_source: _, immutable: _, any_name: _,
            } = files;
            paths.push(root.clone());
            if let Symlinks::Follow(to) = symlinks {
                paths.extend_from_slice(to);
            }
        }
        Handler::App { .. }
        | Handler::Proxy(_)
        | Handler::Cgi(_)
        | Handler::Redirect(_)
        | Handler::Respond(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::Memory;
    use crate::config::{Sandbox, load};
    use std::path::{Path, PathBuf};

    fn loaded(text: &str) -> crate::config::Config {
        load(Path::new("/etc/hatchery/h.ron"), &Memory::default().with("h.ron", text)).unwrap()
    }

    #[test]
    fn a_worker_reaches_static_roots_the_temporary_directory_and_upstreams() {
        let config = loaded(
            r#"(temp_dir: "/spool", sandbox: Require, sites: [(listen: [":80"], locations: [
                (path: "/static/", to: Files("static")), (path: "/more/", to: Files("static")),
                (path: "/media/", to: Files("/srv/media")), (path: "/", to: Proxy("api")),
            ])],
            upstreams: {"api": (servers: ["127.0.0.1:9002", "127.0.0.1:9001", "127.0.0.2:9001", "unix:/x.sock",
                "unix:/run/x.sock", "unix:/run/shop/x.sock", "unix:/srv/shop/run/x.sock"])})"#,
        );
        let rules = config.reach();
        assert_eq!(rules.read, ["/etc/hatchery/static", "/srv/media"].map(PathBuf::from));
        assert_eq!(rules.write, [PathBuf::from("/spool")]);
        assert_eq!(rules.connect, [9001, 9002]);
        assert_eq!(rules.sockets, ["/", "/run", "/srv/shop"].map(PathBuf::from));
        assert_eq!(config.sandbox, Sandbox::Require);
    }

    #[test]
    fn a_worker_reaches_what_it_sends_for_apps_and_upstreams() {
        let config = loaded(
            r#"(sites: [(listen: [":80"], locations: [(path: "/", to: Proxy(name: "up", send_files_from: ["/srv/a"])),
                (path: "/app/", to: App("shop"))])], upstreams: {"up": (servers: ["127.0.0.1:1"])},
                apps: {"shop": (module: "shop", send_files_from: ["b"])})"#,
        );
        assert_eq!(config.reach().read, ["/etc/hatchery/b", "/srv/a"].map(PathBuf::from));
    }

    #[test]
    fn the_default_is_as_much_as_the_kernel_offers() {
        let config =
            loaded(r#"(sites: [(listen: [":80"], locations: [(path: "/", to: Respond(status: 204))])])"#);
        assert_eq!((config.sandbox, config.sandbox.name()), (Sandbox::Try, "Try"));
    }
}
