//! Telling systemd what we do: sd_notify(3), without its library.

use crate::timer::Time;
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where notifications go.
#[derive(Debug)]
pub(super) struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// Takes the address from NOTIFY_SOCKET and removes the variable, so that no child uses it. Nothing is sent
    /// without one.
    pub(super) fn from_environment() -> Self {
        let address = std::env::var_os("NOTIFY_SOCKET");
        crate::sys::process::forget_variable(c"NOTIFY_SOCKET");
        Self(address.and_then(|address| Self::to(&address).ok()))
    }

    fn to(address: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
        let address = match address.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(address)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        Ok((socket, address))
    }

    /// The server serves: at the start, and at the end of a reload.
    pub(super) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={status}\nMAINPID={}", std::process::id()));
    }

    /// A reload begins.
    pub(super) fn reloading(&self, now: Time) {
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}\nSTATUS=reloading", now.0 / 1000));
    }

    /// The stop begins.
    pub(super) fn stopping(&self) {
        self.send("STOPPING=1\nSTATUS=stopping");
    }

    fn send(&self, text: &str) {
        if let Some((socket, address)) = &self.0 {
            // Best effort: systemd's own time-outs tell when it is lost.
            let _ = socket.send_to_addr(text.as_bytes(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_reach_an_abstract_socket() {
        let name = format!("hatchery-notify-{}", std::process::id());
        let receiver = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let notify = Notify(Some(Notify::to(&format!("@{name}").into()).unwrap()));
        notify.reloading(Time(5_000_000));
        notify.ready("running");
        let mut buffer = [0; 256];
        let length = receiver.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"RELOADING=1\nMONOTONIC_USEC=5000\nSTATUS=reloading");
        let length = receiver.recv(&mut buffer).unwrap();
        assert!(buffer[..length].starts_with(b"READY=1\nSTATUS=running\n"));
    }
}
