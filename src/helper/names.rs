//! Looks up the names of servers. What the system says about names is read for each order: it may have changed.

use super::Master;
use crate::control::helper::{Answer, Located, SERVICE};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, Resolver, TokioResolver, system_conf};
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// One name, with all questions that belong to it.
const LONGEST: Duration = Duration::from_secs(5);
/// A name server has so long for one question, unless /etc/resolv.conf says otherwise.
const PATIENCE: Duration = Duration::from_secs(2);
/// What /etc/hosts says is believed so long, in seconds.
const OF_FILE: u64 = 60;
/// Of a name: no more are told.
const MOST: usize = 64;

/// Answers for each name, as soon as it can. `has_read`: this process could read what the system says.
///
/// # Errors
/// The master does not listen.
pub(super) async fn look_up(
    servers: &[SocketAddr],
    names: Vec<String>,
    has_read: &mut bool,
    master: &mut Master,
) -> io::Result<()> {
    let system = match System::read(servers) {
        Ok(system) => Arc::new(system),
        // The sandbox is from before a file was replaced: another process can read it.
        Err(error) if *has_read && error.kind() == io::ErrorKind::PermissionDenied => {
            return master.tell(&Answer::Stale);
        }
        Err(error) => {
            let failed = |name| Answer::NotFound { name, reason: error.to_string() };
            return names.into_iter().map(failed).try_for_each(|answer| master.tell(&answer));
        }
    };
    *has_read = true;
    let mut running: JoinSet<Answer> = JoinSet::new();
    for name in names {
        running.spawn(answer(Arc::clone(&system), name));
    }
    while let Some(answer) = running.join_next().await {
        master.tell(&answer.map_err(io::Error::other)?)?;
    }
    Ok(())
}

/// Why names cannot be looked up here, of those that cannot.
///
/// # Errors
/// For the operator: none can.
pub(crate) fn unknown(servers: &[SocketAddr], names: Vec<String>) -> Result<Vec<(String, String)>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot be set up: {error}"))?;
    let system = Arc::new(System::read(servers).map_err(|error| error.to_string())?);
    let answers = runtime.block_on(async {
        let mut running: JoinSet<Answer> =
            names.into_iter().map(|name| answer(Arc::clone(&system), name)).collect();
        let mut answers = Vec::new();
        while let Some(answer) = running.join_next().await {
            answers.extend(answer);
        }
        answers
    });
    let failed = answers.into_iter().filter_map(|answer| match answer {
        Answer::NotFound { name, reason } => Some((name, reason)),
        _ => None,
    });
    Ok(failed.collect())
}

/// Who knows names.
struct System {
    resolver: TokioResolver,
    hosts: Hosts,
}

/// Addresses, and for how many seconds they are good.
type Addresses = (Vec<IpAddr>, u64);

impl System {
    fn read(servers: &[SocketAddr]) -> io::Result<Self> {
        let mut hosts = Hosts::default();
        // What is not understood of it is left out, as by others.
        let _understood = hosts.read_hosts_conf(read("/etc/hosts")?.as_slice());
        let (config, mut options) = if servers.is_empty() { configured()? } else { ours(servers) };
        options.use_hosts_file = ResolveHosts::Never;
        options.cache_size = 0;
        options.preserve_intermediates = true;
        let mut builder = Resolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        let resolver = builder.build().map_err(io::Error::other)?;
        Ok(Self { resolver, hosts })
    }

    async fn service(&self, name: &str) -> Result<(Vec<Located>, u64), String> {
        let lookup = self
            .resolver
            .lookup(parsed(name)?, RecordType::SRV)
            .await
            .map_err(|error| reason(&error, SERVICES))?;
        let records = lookup.answers().iter().filter_map(|record| match &record.data {
            RData::SRV(record) if !record.target.is_root() && record.port != 0 => Some(record.clone()),
            _ => None,
        });
        let records: Vec<SRV> = records.take(MOST).collect();
        let (mut found, mut ttl, mut why) = (Vec::new(), ttl_of(&lookup), None);
        for SRV { priority, weight, port, target, .. } in records {
            match self.addresses(target.clone()).await {
                Ok((addresses, seconds)) => {
                    ttl = ttl.min(seconds);
                    let located = |ip| Located { ip, port, priority, weight };
                    found.extend(addresses.into_iter().map(located));
                }
                Err(reason) => why = Some(format!("its server {target}: {reason}")),
            }
        }
        match why {
            Some(why) if found.is_empty() => Err(why),
            None if found.is_empty() => Err("it names no server".to_owned()),
            _ => Ok((found, ttl)),
        }
    }

    async fn addresses(&self, name: Name) -> Result<Addresses, String> {
        let of_file = |kind| self.hosts.lookup_static_host(&Query::query(name.clone(), kind));
        let of_file = [RecordType::A, RecordType::AAAA].into_iter().filter_map(of_file);
        let of_file: Vec<IpAddr> = of_file
            .flat_map(|lookup| {
                lookup.answers().iter().filter_map(|record| record.data.ip_addr()).collect::<Vec<_>>()
            })
            .collect();
        if !of_file.is_empty() {
            return Ok((of_file, OF_FILE));
        }
        let lookup = self.resolver.lookup_ip(name).await.map_err(|error| reason(&error, ADDRESSES))?;
        let addresses: Vec<IpAddr> = lookup.iter().collect();
        if addresses.is_empty() {
            Err(format!("it has no {ADDRESSES}"))
        } else {
            Ok((addresses, ttl_of(lookup.as_lookup())))
        }
    }
}

/// The least of all of its records, those of other names for it included.
fn ttl_of(lookup: &Lookup) -> u64 {
    u64::from(lookup.answers().iter().map(|record| record.ttl).min().unwrap_or(0))
}

const ADDRESSES: &str = "address";
const SERVICES: &str = "SRV record";

async fn answer(system: Arc<System>, name: String) -> Answer {
    let found = async {
        match name.strip_prefix(SERVICE) {
            Some(service) => system.service(service).await,
            None => {
                let (addresses, ttl) = system.addresses(parsed(&name)?).await?;
                let located = |ip| Located { ip, port: 0, priority: 0, weight: 0 };
                Ok((addresses.into_iter().map(located).collect(), ttl))
            }
        }
    };
    let found = tokio::time::timeout(LONGEST, found).await;
    match found.unwrap_or_else(|_| Err(SILENCE.to_owned())) {
        Ok((mut servers, ttl)) => {
            servers.truncate(MOST);
            Answer::Found { name, servers, ttl }
        }
        Err(reason) => Answer::NotFound { name, reason },
    }
}

const SILENCE: &str = "no name server answers";

fn parsed(name: &str) -> Result<Name, String> {
    Name::from_ascii(name).map_err(|error| error.to_string())
}

/// Why not, for the operator.
fn reason(error: &NetError, what: &str) -> String {
    match error {
        error if error.is_nx_domain() => "there is no such name".to_owned(),
        NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NoError, ..
        })) => {
            format!("it has no {what}")
        }
        NetError::Dns(DnsError::ResponseCode(code)) => format!("the name server has failed ({code})"),
        NetError::Dns(DnsError::NoRecordsFound(none)) => {
            format!("the name server has failed ({})", none.response_code)
        }
        NetError::Timeout | NetError::NoConnections => SILENCE.to_owned(),
        error => error.to_string(),
    }
}

/// One that is not there is empty.
fn read(path: &str) -> io::Result<Vec<u8>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => read.map_err(|error| io::Error::new(error.kind(), format!("{path} cannot be read: {error}"))),
    }
}

/// As /etc/resolv.conf says; without it, a name server of this machine (resolv.conf(5)).
fn configured() -> io::Result<(ResolverConfig, ResolverOpts)> {
    let text = read("/etc/resolv.conf")?;
    match system_conf::parse_resolv_conf(&text) {
        Ok(all) => Ok(all),
        Err(_) => Ok(ours(&[SocketAddr::from((Ipv4Addr::LOCALHOST, super::DNS))])),
    }
}

fn ours(servers: &[SocketAddr]) -> (ResolverConfig, ResolverOpts) {
    let servers = servers.iter().map(|server| {
        let mut config = NameServerConfig::udp_and_tcp(server.ip());
        config
            .connections
            .iter_mut()
            .for_each(|connection: &mut ConnectionConfig| connection.port = server.port());
        config
    });
    let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
    let mut options = ResolverOpts::default();
    options.timeout = PATIENCE;
    (config, options)
}
