//! `upstreams: {…}`.

use super::address::Address;
use super::app::ResponseBuffer;
use super::balance::{Balance, Common, Health, Queue, Stick, Sticky};
use super::located::{At, Given, Node, Report};
use super::problem::{Complaint, Place};
use super::read::status;
use super::resolver::{Name, Where};
use super::walk::{By, Choice, Form, Or, Section, Walk};
use super::{Config, UpstreamTls};
use crate::balance::Passive;
use crate::balance::roster::{SERVERS, UPSTREAMS};
use crate::gateway::fastcgi::Scripts;
use crate::gateway::{Patience, Protocol, Retries};
use crate::proxied::Version;
use std::time::Duration;

/// Servers that requests are balanced over.
#[derive(Clone, Debug, PartialEq)]
pub struct Upstream {
    /// Its key in the file.
    pub(crate) name: String,
    /// How they are spoken to; HTTP/1.1.
    pub(crate) protocol: Protocol,
    /// One or more.
    pub(crate) servers: Vec<Server>,
    /// How one is chosen; by turns.
    pub(crate) balance: Balance,
    /// Sessions stay with one; they do not.
    pub(crate) sticky: Option<Sticky>,
    /// Requests that wait while all have as many as they may.
    pub(crate) queue: Queue,
    /// When one is given up.
    pub(crate) passive: Passive,
    /// How they are asked if they are well; not at all.
    pub(crate) health: Option<Health>,
    /// How long one that comes back takes to have its whole share; it has it at once.
    pub(crate) slow_start: Option<Duration>,
    /// When a request is sent once more.
    pub(crate) retries: Retries,
    /// How long one is waited for.
    pub patience: Patience,
    /// How long nothing may come through a tunnel; 1 h.
    pub(crate) tunnel_timeout: Duration,
    /// Where the scripts are that paths name, for FastCGI; nowhere.
    pub(crate) scripts: Option<Scripts>,
    /// So many idle connections are kept per worker at most; `None`, the default: as the load has it. None to FastCGI.
    pub keepalive: Option<u32>,
    /// How it is spoken to by TLS; in the clear.
    pub(crate) tls: Option<UpstreamTls>,
    /// How it is told whose connection each is; not at all.
    pub(crate) proxy_protocol: Option<Version>,
    /// What of a response waits for a slow client before the server does.
    pub(crate) response_buffer: ResponseBuffer,
    /// It is told of the way of a request in `Forwarded` (RFC 7239), too; no.
    pub(crate) forwarded: bool,
}

/// One server of an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Where it is.
    pub(crate) address: Where,
    /// Its share; 1. SRV records say their own.
    pub(crate) weight: u32,
    /// It is only for when no other is up.
    pub(crate) backup: bool,
    /// So many requests at a time; any number.
    pub(crate) max_connections: Option<u32>,
}

impl Default for Upstream {
    fn default() -> Self {
        Self {
            name: String::new(),
            protocol: Protocol::Http,
            servers: Vec::new(),
            balance: Balance::default(),
            sticky: None,
            queue: Queue::default(),
            passive: Passive::default(),
            health: None,
            slow_start: None,
            retries: Retries::default(),
            patience: Patience::default(),
            tunnel_timeout: Duration::from_secs(60 * 60),
            scripts: None,
            keepalive: None,
            tls: None,
            response_buffer: ResponseBuffer::default(),
            proxy_protocol: None,
            forwarded: false,
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self { address: Where::At(Address::Any(0)), weight: 1, backup: false, max_connections: None }
    }
}

const VERSIONS: [(&str, Option<Version>); 2] = [("V1", Some(Version::V1)), ("V2", Some(Version::V2))];

pub(super) const PROTOCOLS: [(&str, Protocol); 4] = [
    ("Http", Protocol::Http),
    ("Scgi", Protocol::Scgi),
    ("Uwsgi", Protocol::Uwsgi),
    ("FastCgi", Protocol::FastCgi),
];

/// What `index` is if only `root` is given.
const INDEX: &str = "index.php";

impl Section for Upstream {
    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.key("protocol", &mut Choice(&mut self.protocol, &PROTOCOLS, &[]));
        walk_scripts(&mut self.scripts, keys);
        keys.need("servers", "[\"127.0.0.1:9000\"]", &mut By(&mut self.servers, servers));
        keys.key("balance", &mut self.balance);
        keys.key("sticky", &mut self.sticky);
        keys.key("queue", &mut self.queue);
        keys.key("max_fails", &mut self.passive.max_fails);
        keys.key("fail_timeout", &mut self.passive.fail_timeout);
        keys.key("health", &mut self.health);
        keys.key("slow_start", &mut self.slow_start);
        keys.key("tries", &mut self.retries.tries);
        keys.key("retry_timeout", &mut self.retries.within);
        keys.key("retry_statuses", &mut By(&mut self.retries.statuses, statuses));
        keys.key("connect_timeout", &mut self.patience.connect);
        keys.key("send_timeout", &mut self.patience.send);
        keys.key("first_byte_timeout", &mut self.patience.first_byte);
        keys.key("timeout", &mut self.patience.silence);
        keys.key("total_timeout", &mut self.patience.total);
        keys.key("tunnel_timeout", &mut self.tunnel_timeout);
        keys.key("keepalive", &mut Or(&mut self.keepalive, "Auto"));
        keys.key("tls", &mut self.tls);
        keys.key("response_buffer", &mut self.response_buffer);
        keys.key("proxy_protocol", &mut Choice(&mut self.proxy_protocol, &VERSIONS, &[]));
        keys.key("forwarded", &mut self.forwarded);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if given.is_empty_list("servers") {
            given.complain(report, Complaint::new("no server", "for example servers: [\"127.0.0.1:9000\"]"));
        }
        self.check_balance(given, report);
        self.check_tunnels(given, report);
        self.check_scripts(given, report);
        self.check_names(given, report);
        // A process of PHP serves one connection, and no other while that is kept: so only for who knows how many there are.
        if self.protocol == Protocol::FastCgi && !given.has("keepalive") {
            self.keepalive = Some(0);
        }
        if self.proxy_protocol.is_some() {
            if given.has("keepalive") && self.keepalive != Some(0) {
                let what = "with `proxy_protocol` a connection is of one client, and not kept for others";
                report.add(&given.place_of("keepalive"), Complaint::new(what, "remove it"));
            }
            self.keepalive = Some(0);
        }
    }
}

impl Upstream {
    /// Whether what some server sends can go through a pipe, unread: that of a Unix socket would be copied once more.
    pub(crate) fn can_be_piped(&self) -> bool {
        let is_local = |server: &Server| matches!(server.address, Where::At(Address::Unix(_)));
        self.tls.is_none() && !self.servers.iter().all(is_local)
    }

    /// Its places: of each which entry of `servers` it is of. An address has one, a name has [`crate::balance::PLACES`].
    pub(crate) fn places(&self) -> impl Iterator<Item = (usize, &Server)> {
        let all = self.servers.iter().enumerate();
        all.flat_map(|(entry, server)| std::iter::repeat_n((entry, server), server.address.places()))
    }

    fn check_balance(&self, given: &Given<'_>, report: &mut Report<'_>) {
        if !self.servers.is_empty() && self.servers.iter().all(|server| server.backup) {
            let what = "every server is a `backup`";
            report.add(&given.place_of("servers"), Complaint::new(what, "leave it out of one at least"));
        }
        let is_bounded = self.servers.iter().any(|server| server.max_connections.is_some());
        if self.queue != Queue::default() && !is_bounded {
            let what = "nothing ever waits: no server has `max_connections`";
            report.warn(&given.place_of("queue"), Complaint::new(what, "give them one, or remove `queue`"));
        }
        if !(1..=100).contains(&self.retries.tries) {
            let hint = "from 1, which is no second try, to 100";
            report.add(&given.place_of("tries"), Complaint::new("`tries` is out of range", hint));
        }
        if self.sticky.as_ref().is_some_and(|sticky| sticky.mode == Stick::Prefix)
            && self.balance.by.as_ref().is_some_and(|by| matches!(by, Common::Cookie(_)))
        {
            let what = "`sticky` and a hash of a cookie both say where a session is";
            report.add(&given.place_of("sticky"), Complaint::new(what, "keep one of them"));
        }
    }

    /// The name of a server that has none by its address.
    fn check_names(&self, given: &Given<'_>, report: &mut Report<'_>) {
        let Some(tls) = &self.tls else { return };
        if let Some(server) = self.servers.iter().find(|server| tls.name_of(server).is_none()) {
            let what = format!("nothing says what name the certificate of {} must have", server.address);
            let hint = "give it, for example tls: (name: \"api.internal\")";
            report.add(&given.place_of("tls"), Complaint::new(what, hint));
        }
    }

    pub(super) fn check_tunnels(&self, given: &Given<'_>, report: &mut Report<'_>) {
        // The default may be given: it is what is written of one that is not.
        if self.tunnel_timeout != Self::default().tunnel_timeout && self.protocol != Protocol::Http {
            let what = "no other protocol than HTTP can become a tunnel";
            report.add(&given.place_of("tunnel_timeout"), Complaint::new(what, "remove it"));
        }
    }

    pub(super) fn check_scripts(&self, given: &Given<'_>, report: &mut Report<'_>) {
        for key in ["root", "index"].into_iter().filter(|key| given.has(key)) {
            if self.protocol != Protocol::FastCgi {
                let what = format!("`{key}` is for `protocol: FastCgi`");
                report.add(&given.place_of(key), Complaint::new(what, "remove it, or give the protocol"));
            } else if !given.has("root") {
                let what = "`index` without a `root` that its scripts are in";
                report.add(&given.place_of(key), Complaint::new(what, "give `root`, or remove it"));
            }
        }
    }
}

/// The keys that say where the scripts are that paths name.
pub(super) fn walk_scripts(scripts: &mut Option<Scripts>, keys: &mut dyn Walk) {
    let (mut root, mut index) = scripts.take().map(|scripts| (scripts.root, scripts.index)).unzip();
    keys.key("root", &mut root);
    keys.key("index", &mut By(&mut index, index_of));
    let index = index.unwrap_or_else(|| INDEX.to_owned());
    *scripts = root.map(|root| Scripts { root, index });
}

/// A script's name, or its path.
fn index_of(node: &Node<'_>, report: &mut Report<'_>) -> Option<Option<String>> {
    node.parse(report, "the name of a script in quotes", |text| {
        let mut segments = text.strip_prefix('/').unwrap_or(text).split('/');
        if text.contains('\0') || segments.any(|segment| ["", ".", ".."].contains(&segment)) {
            return Err(Complaint::new(
                format!("`{}` is no script", text.escape_debug()),
                "write \"index.php\" for paths that end in `/`, or \"/index.php\" for all that name no script",
            ));
        }
        Ok(Some(text.to_owned()))
    })
}

/// Whether there is room for all of them on the roster.
pub(super) fn check_all(config: &Config, report: &mut Report<'_>) {
    let servers = config.upstreams.iter().flat_map(|upstream| &upstream.servers);
    let places: usize = servers.map(|server| server.address.places()).sum();
    let counts =
        [("upstreams", config.upstreams.len(), UPSTREAMS), ("servers of upstreams", places, SERVERS)];
    for (what, count, most) in counts {
        if count > most {
            let complaint = Complaint::new(
                format!("{count} {what} are more than the {most} that are possible"),
                "a server with a name counts as 16",
            );
            report.add(&Place::named(&config.origin, "upstreams"), complaint);
        }
    }
}

/// Statuses after which another server is asked.
fn statuses(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<u16>> {
    node.each(report, |node, report| {
        status(node, "a status of an error", |status| (400..600).contains(&status), "from 400 to 599", report)
    })
}

/// Each once.
fn servers(node: &Node<'_>, report: &mut Report<'_>) -> Option<Vec<Server>> {
    let servers = Vec::<At<Server>>::read(node, report)?;
    for (index, server) in servers.iter().enumerate() {
        let first = servers.iter().take(index).find(|other| other.value.address == server.value.address);
        if let Some(first) = first {
            let what = format!("the same server as {}", first.place.mention());
            report.add(&server.place, Complaint::new(what, "give it once, with a larger `weight`"));
        }
    }
    Some(servers.into_iter().map(|server| server.value).collect())
}

/// `"127.0.0.1:9000"` or `(address: "127.0.0.1:9000", weight: 2)`.
impl Section for Server {
    const SHORT: Option<&'static str> = Some("address");

    fn walk(&mut self, keys: &mut dyn Walk) {
        keys.need("address", "\"127.0.0.1:9000\"", &mut self.address);
        keys.key("weight", &mut self.weight);
        keys.key("backup", &mut self.backup);
        keys.key("max_connections", &mut self.max_connections);
    }

    fn check(&mut self, given: &Given<'_>, report: &mut Report<'_>) {
        if self.weight != 1 && self.address.name().is_some_and(Name::is_service) {
            let what = "`weight` of a service: its SRV records say the weights";
            report.add(&given.place_of("weight"), Complaint::new(what, "remove it"));
        }
        if self.weight == 0 || self.weight > 10_000 {
            given.complain(report, Complaint::new("`weight` is out of range", "from 1 to 10000"));
        }
        if self.max_connections == Some(0) {
            let hint = "1 or more; `hatchery upstream NAME SERVER disable` takes a server out";
            let what = "`max_connections` of 0 leaves the server nothing";
            report.add(&given.place_of("max_connections"), Complaint::new(what, hint));
        }
    }
}
