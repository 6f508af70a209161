//! A real nginx, beside the server or in front of it.

use super::{Directory, Process, spawn};
use nix::sys::signal::Signal;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

/// One that is ended with the test.
#[derive(Debug)]
pub(crate) struct Nginx {
    pub(crate) address: SocketAddr,
    child: Child,
    directory: Directory,
}

/// It takes sockets over that a variable names, as of a binary that is replaced by another.
const PASS_LISTENER: &str = r#"exec 3<&0 </dev/null; NGINX="3;" exec "$0" "$@""#;

impl Nginx {
    /// With this text in `http`, and this in its only `server`.
    pub(crate) fn start(http: &str, server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, directory) = (listener.local_addr().unwrap(), Directory::new());
        let place = directory.path().display();
        let temporary = ["client_body", "proxy", "fastcgi", "scgi", "uwsgi"]
            .map(|name| format!("{name}_temp_path {place}/{name};"))
            .concat();
        let text = format!(
            "daemon off; worker_processes 1; user root; pid {place}/pid; error_log {place}/error.log info;\nevents {{ }}\n\
             http {{ access_log off; {temporary} {http}\nserver {{ listen {address}; {server} }} }}\n"
        );
        let file = directory.write("nginx.conf", text);
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig=TERM", "--", "sh", "-c", PASS_LISTENER, "/usr/sbin/nginx", "-c"])
            .arg(file);
        command.arg("-e").arg(directory.path().join("early.log"));
        command.stdin(OwnedFd::from(listener)).stdout(Stdio::null()).stderr(Stdio::null());
        Self { address, child: spawn(command).unwrap(), directory }
    }

    /// What it has found wrong with requests and servers.
    pub(crate) fn log(&self) -> String {
        ["early.log", "error.log"]
            .map(|name| std::fs::read_to_string(self.directory.path().join(name)).unwrap_or_default())
            .concat()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- log of nginx\n{}--- end of the log", self.log());
        }
        // Killed it would leave its worker.
        if let Some(process) = Process::of(self.child.id()) {
            process.signal(Signal::SIGTERM);
        }
        drop(self.child.wait());
    }
}
