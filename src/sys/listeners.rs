//! Who listens on a port of this machine, as the kernel shows it to everybody (proc_pid_net(5), `/proc/net/tcp`).

/// The state of a socket that listens.
const LISTEN: &str = "0A";

/// The users of all sockets that a connection to this port of 127.0.0.1 could come to.
#[must_use]
pub(crate) fn users_of(port: u16) -> Vec<u32> {
    let tables = ["/proc/self/net/tcp", "/proc/self/net/tcp6"];
    let tables = tables.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    tables.flat_map(|table| in_table(&table, port)).collect()
}

fn in_table(table: &str, port: u16) -> Vec<u32> {
    let user = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let (address, own) = words.next()?.split_once(':')?;
        let listens = words.nth(1)? == LISTEN;
        let user = words.nth(3)?.parse().ok()?;
        (listens && own == format!("{port:04X}") && is_reached(address)).then_some(user)
    };
    table.lines().skip(1).filter_map(user).collect()
}

/// Whether 127.0.0.1 leads there: that itself, any address, the like of either in IPv6.
fn is_reached(address: &str) -> bool {
    let ours = u32::from_ne_bytes([127, 0, 0, 1]);
    let mapped = u32::from_ne_bytes([0, 0, 0xff, 0xff]);
    let loopback = format!("{ours:08X}");
    [loopback.clone(), "0".repeat(8), "0".repeat(32), format!("{}{mapped:08X}{loopback}", "0".repeat(16))]
        .iter()
        .any(|leads| leads == address)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::user;
    use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};

    #[test]
    fn whoever_listens_is_found_by_the_port() {
        for bound in [
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap(),
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap(),
            TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).unwrap(),
        ] {
            let port = bound.local_addr().unwrap().port();
            assert_eq!(users_of(port), [user::uid()], "{bound:?}");
            drop(bound);
            assert!(users_of(port).is_empty());
        }
    }

    #[test]
    fn a_connection_or_another_address_is_none_that_listens() {
        let table =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0
   1: 0100007F:1F90 0100007F:9999 01 00000000:00000000 00:00000000 00000000  1001        0 2 1 0 100 0 0 10 0
   2: 0200007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1002        0 3 1 0 100 0 0 10 0
   3: 0100007F:1F91 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1003        0 4 1 0 100 0 0 10 0
";
        if cfg!(target_endian = "little") {
            assert_eq!(in_table(table, 8080), [1000]);
        }
    }
}
