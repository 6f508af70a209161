//! The helper: the process for what needs threads, a resolver or an async client. The master starts it as `hatchery helper`
//! when there is an errand, and ends it when there is none: one process for certificates, another one for names. It has one channel to hear orders (`control::helper`) and one to
//! answer, no files to write and no sockets to listen on.
//!
//! | file | what |
//! |---|---|
//! | `acme` | an order, from the account to the certificate; when to renew |
//! | `client` | requests to the authority: bounded in time and size |
//! | `names` | where the names of servers lead to |
//! | `probe` | whether a process of a command serves: a process of its own, without any of the above |
//! | `words` | what went wrong, and what the operator can do about it |

mod acme;
mod client;
mod names;
mod probe;
mod words;

pub(crate) use names::unknown;
pub(crate) use probe::run as probe;

use crate::control::helper::{Answer, LONGEST, Order, Reader, encode};
use crate::sys::sandbox::{self, Rules};
use crate::sys::{exec, inherited, process, title};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::RawFd;
use std::path::PathBuf;
use words::Failure;

/// Where the master put the channels.
const EAR: RawFd = 3;
const VOICE: RawFd = 4;

/// What a resolver and the check of certificates read, as far as there is such.
const READ: [&str; 16] = [
    "/etc/resolv.conf",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/nsswitch.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/ld.so.cache",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/local/share/ca-certificates",
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
];

/// Sockets of services that look names up.
const RESOLVERS: [&str; 2] = ["/run/systemd/resolve", "/run/nscd"];

/// DNS over TCP, for long answers.
const DNS: u16 = 53;

/// Both ends of what it shares with the master.
struct Master {
    ear: File,
    heard: Vec<u8>,
    voice: File,
}

/// Does what the master says until that closes the channel. Of TCP, these ports may be connected to.
///
/// # Errors
/// For the operator who has started it by hand, or for the log.
pub(crate) fn run(ports: &[u16]) -> Result<u8, String> {
    let (Some(ear), Some(voice)) = (inherited::take(EAR), inherited::take(VOICE)) else {
        return Err("the server itself starts this command, for certificates (`tls: Acme(…)`) and names of servers; there is nothing to be \
                    done with it by hand"
            .to_owned());
    };
    exec::name_process(c"hatchery");
    let _untitled = title::prepare();
    title::set("hatchery: helper");
    let lacking = confine(ports);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot be set up: {error}"))?;
    let mut master = Master { ear: ear.into(), heard: Vec::new(), voice: voice.into() };
    let broken = |error: io::Error| format!("the master is not understood: {error}");
    lacking.into_iter().try_for_each(|what| master.tell(&Answer::Note(what))).map_err(broken)?;
    master.tell(&Answer::Ready).map_err(broken)?;
    let mut has_read = false;
    while let Some(order) = master.hear().map_err(broken)? {
        let answer = match order {
            Order::LookUp { servers, names } => {
                runtime
                    .block_on(names::look_up(&servers, names, &mut has_read, &mut master))
                    .map_err(broken)?;
                continue;
            }
            Order::Issue(order) => runtime.block_on(acme::issue(&order, &mut master)),
            Order::Look { directory, certificate } => runtime.block_on(acme::look(&directory, &certificate)),
            // Nothing waits for it any more.
            Order::Placed => continue,
        };
        let told = match master.tell(&answer.unwrap_or_else(Into::into)) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                master.tell(&Failure::new(error.to_string()).into())
            }
            told => told,
        };
        told.map_err(broken)?;
    }
    Ok(0)
}

/// Gives up what it does not need, before the first thread. What cannot be given up is told, unless this kernel has no such
/// thing, which the master has said for the workers.
fn confine(ports: &[u16]) -> Vec<String> {
    let rules = Rules {
        read: READ.iter().map(PathBuf::from).collect(),
        connect: [ports, &[DNS]].concat(),
        connect_anywhere: false,
        sockets: RESOLVERS.iter().map(PathBuf::from).collect(),
        write: Vec::new(),
    };
    let steps = [
        ("core dumps", sandbox::set_dumpable(false)),
        ("capabilities", sandbox::drop_capabilities()),
        ("no new privileges", process::no_new_privileges()),
        ("Landlock", sandbox::restrict_files(&rules).map(drop)),
        ("seccomp", sandbox::restrict_calls_of_helper()),
    ];
    let failed = steps.into_iter().filter_map(|(what, result)| Some((what, result.err()?)));
    let told = failed.filter(|(_, error)| error.kind() != io::ErrorKind::Unsupported);
    told.map(|(what, error)| format!("goes on without a part of the sandbox ({what}): {error}")).collect()
}

impl Master {
    fn tell(&mut self, answer: &Answer) -> io::Result<()> {
        let message = encode(answer);
        if message.0.len() > LONGEST {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the authority says more than is listened to",
            ));
        }
        self.voice.write_all(&message.0)
    }

    /// Waits for the next order; `None`: the master wants no more.
    fn hear(&mut self) -> io::Result<Option<Order>> {
        let mut buffer = [0; 8 * 1024];
        loop {
            let mut reader = Reader::from(std::mem::take(&mut self.heard));
            let order = reader.poll().map_err(|error| io::Error::other(format!("{error:?}")))?;
            self.heard = reader.into_rest();
            if order.is_some() {
                return Ok(order);
            }
            match self.ear.read(&mut buffer) {
                Ok(0) => return Ok(None),
                Ok(length) => self.heard.extend_from_slice(buffer.get(..length).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
            debug_assert!(self.heard.len() <= LONGEST + buffer.len(), "a whole order is taken at once");
        }
    }
}
