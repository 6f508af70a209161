//! The upstreams as a worker sees them: what chooses among their servers, and the connections that are kept.

use super::links::{Link, Links, Peer, ServerLink};
use super::places::Waiting;
use super::spots::Spot;
use crate::balance::{Budget, Chooser, Keep, Seen, WINDOW};
use crate::config::boot::Enrolled;
use crate::config::{Config, Upstream};
use crate::slab::Key;
use crate::timer::{Time, earliest};
use crate::worker::context::{Context, Timer};
use crate::worker::owner::Owner;
use std::time::Duration;

/// Idle connections may take one of so many descriptors.
const DESCRIPTORS: u64 = 8;

/// The upstreams as this worker sees them, by index as [`Config::upstream`] has it: the apps are behind them.
pub(in crate::worker) struct Servers {
    groups: Vec<Group>,
    /// Idle connections that all of them may have together.
    most: usize,
    /// A timer will look after idle connections.
    armed: bool,
    /// A timer will look for places for who waits.
    pub(super) looks_again: bool,
}

/// The servers of one upstream.
pub(super) struct Group {
    /// Its number on the roster.
    pub(super) upstream: u16,
    /// Its servers: one for each of its places ([`Upstream::places`]), by which all know them here.
    pub(super) spots: Vec<Spot>,
    /// Some take so many requests at a time.
    pub(super) is_bounded: bool,
    pub(super) chooser: Chooser,
    pub(super) budget: Budget,
    pub(super) waiting: Waiting,
    /// What was known of the servers at the last look.
    pub(super) seen: Vec<Seen>,
    /// By server.
    pools: Vec<Pool>,
}

/// The connections to a server.
#[derive(Default)]
struct Pool {
    /// Idle ones, the most recent last.
    idle: Vec<Key>,
    keep: Keep,
}

impl Servers {
    /// Of a worker that may have so many descriptors.
    pub(in crate::worker) fn new(config: &Config, enrolled: Vec<Enrolled>, descriptors: u64) -> Self {
        let most = usize::try_from(descriptors / DESCRIPTORS).unwrap_or(usize::MAX);
        let groups = config.upstreams.iter().zip(enrolled).map(|(upstream, own)| Group::new(upstream, own));
        let nothing = Upstream::default();
        let apps = config.apps.iter().map(|_| Group::new(&nothing, Enrolled::nobody()));
        Self { groups: groups.chain(apps).collect(), most, armed: false, looks_again: false }
    }

    /// The servers of an upstream.
    pub(super) fn group(&mut self, upstream: usize) -> Option<&mut Group> {
        self.groups.get_mut(upstream)
    }

    /// The same, to be looked at.
    pub(super) fn shown(&self, upstream: usize) -> Option<&Group> {
        self.groups.get(upstream)
    }

    /// How many upstreams there are.
    pub(super) fn len(&self) -> usize {
        self.groups.len()
    }

    fn pool(&mut self, upstream: usize, server: usize) -> Option<&mut Pool> {
        self.groups.get_mut(upstream)?.pools.get_mut(server)
    }

    /// How many idle connections to a server may be kept beside those to others. `bound`: to those of its upstream.
    fn room(&self, upstream: usize, server: usize, bound: Option<u32>) -> usize {
        let Some(group) = self.groups.get(upstream) else { return 0 };
        let all = self.groups.iter().map(Group::idle).sum::<usize>();
        let own = group.pools.get(server).map_or(0, |pool| pool.idle.len());
        let bound = bound.map_or(usize::MAX, |bound| (bound as usize).saturating_sub(group.idle() - own));
        self.most.saturating_sub(all - own).min(bound)
    }
}

impl Group {
    fn new(upstream: &Upstream, Enrolled { number, servers, tags }: Enrolled) -> Self {
        // Without sessions that stay there are no tags.
        let tags = tags.into_iter().chain(std::iter::repeat_with(String::new));
        let spots = upstream.places().zip(servers).zip(tags);
        let spots: Vec<Spot> = spots.map(|((place, number), tag)| Spot::of(place, number, tag)).collect();
        let count = spots.len();
        Self {
            upstream: number,
            spots,
            is_bounded: upstream.servers.iter().any(|server| server.max_connections.is_some()),
            chooser: Chooser::new(upstream.balance.method, count),
            budget: Budget::default(),
            waiting: Waiting::default(),
            seen: Vec::with_capacity(count),
            pools: (0..count).map(|_| Pool::default()).collect(),
        }
    }

    /// Where the process of an app is that has this slot now.
    pub(super) fn seat(&mut self, slot: usize, spot: impl FnOnce() -> Spot, incarnation: u64) {
        while self.spots.len() <= slot {
            self.spots.push(Spot::nowhere());
            self.pools.push(Pool::default());
        }
        if let Some(known) = self.spots.get_mut(slot).filter(|known| known.version != Some(incarnation)) {
            *known = spot();
        }
    }

    /// The number of a server on the roster.
    pub(super) fn number(&self, index: usize) -> u16 {
        self.spots.get(index).map_or(u16::MAX, |spot| spot.number)
    }

    fn idle(&self) -> usize {
        self.pools.iter().map(|pool| pool.idle.len()).sum()
    }
}

impl Pool {
    /// Closes those that have been idle the longest, down to so many.
    fn trim(&mut self, most: usize, links: &mut Links) {
        let over = self.idle.len().saturating_sub(most);
        self.idle.drain(..over).for_each(|key| links.close(key));
    }
}

impl Context {
    /// A kept connection to the server that is still open. Not `may_repeat`: the request cannot be sent once more if it is
    /// closed just then.
    pub(super) fn idle_link(
        &mut self,
        upstream: usize,
        server: usize,
        may_repeat: bool,
        owner: Owner,
    ) -> Option<Key> {
        let current = self.version_of(upstream, server);
        let Self { servers, links, now, keyring, scratch, .. } = self;
        let Pool { idle, keep } = servers.pool(upstream, server)?;
        loop {
            let key = *idle.last()?;
            let mut open = false;
            if let Some(link) = links.get_mut(key)
                && let Peer::Server(ServerLink { since, until, version, .. }) = link.peer
            {
                let idle_for = now.since(since);
                if !may_repeat && !keep.is_fresh(idle_for, *now) {
                    return None;
                }
                let spoilt = match may_repeat {
                    true => link.is_spoilt(keyring, scratch),
                    false => link.is_spoilt_by_now(keyring, scratch),
                };
                if spoilt {
                    keep.closed(idle_for, *now);
                }
                // The timer may come late: it waits for the one that was kept first.
                open = *now < until && !spoilt && version == current;
            }
            idle.pop();
            if open && links.lend(key, owner).is_some() {
                keep.taken(*now);
                return Some(key);
            }
            links.close(key);
        }
    }

    pub(super) fn keep_link(&mut self, upstream: usize, server: usize, key: Key, keep: Duration) {
        let bound = self.config.upstream(upstream).and_then(|upstream| upstream.keepalive);
        let room = self.servers.room(upstream, server, bound);
        let current = self.version_of(upstream, server);
        let Self { servers, links, now, keyring, scratch, .. } = self;
        let (Some(pool), Some(link)) = (servers.pool(upstream, server), links.get_mut(key)) else { return };
        let is_there = matches!(&link.peer, Peer::Server(of) if of.version == current);
        if room == 0 || !is_there || link.is_spoilt(keyring, scratch) {
            return links.close(key);
        }
        let until = now.after(keep);
        link.peer = Peer::Server(ServerLink { upstream, server, version: current, since: *now, until });
        links.let_go(key);
        pool.idle.push(key);
        let most = pool.keep.spare(*now).min(room);
        pool.trim(most, links);
        if !servers.armed {
            servers.armed = true;
            self.timers.insert(until.min(now.after(WINDOW)), Timer::Links);
        }
    }

    /// One more connection to the server is in use.
    pub(super) fn link_taken(&mut self, upstream: usize, server: usize) {
        if let Some(pool) = self.servers.pool(upstream, server) {
            pool.keep.taken(self.now);
        }
    }

    /// One less is.
    pub(super) fn link_freed(&mut self, upstream: usize, server: usize) {
        if let Some(pool) = self.servers.pool(upstream, server) {
            pool.keep.freed(self.now);
        }
    }

    /// The server has closed an idle connection, or sent what nobody asked for.
    pub(in crate::worker) fn lose_idle_link(&mut self, key: Key) {
        let Self { servers, links, now, .. } = self;
        if let Some(Link { peer: Peer::Server(of), .. }) = links.get_mut(key)
            && let Some(pool) = servers.pool(of.upstream, of.server)
            && let Some(place) = pool.idle.iter().position(|idle| *idle == key)
        {
            pool.idle.remove(place);
            pool.keep.closed(now.since(of.since), *now);
        }
        links.close(key);
    }

    /// Closes every kept connection to a server.
    pub(super) fn close_idle_links(&mut self, upstream: usize, server: usize) {
        if let Some(pool) = self.servers.pool(upstream, server) {
            pool.trim(0, &mut self.links);
        }
    }

    /// Closes idle connections for others that find no descriptor, at most so many; how many.
    pub(in crate::worker) fn give_up_idle_links(&mut self, most: usize) -> usize {
        let mut left = most;
        for pool in self.servers.groups.iter_mut().flat_map(|group| &mut group.pools) {
            let count = pool.idle.len().min(left);
            pool.trim(pool.idle.len() - count, &mut self.links);
            left -= count;
        }
        most - left
    }

    /// Closes idle connections that have been kept long enough, and those that the load has left behind.
    pub(in crate::worker) fn expire_links(&mut self) {
        let Self { servers, links, now, .. } = self;
        let now = *now;
        let mut next: Option<Time> = None;
        for pool in servers.groups.iter_mut().flat_map(|group| &mut group.pools) {
            let most = pool.keep.spare(now);
            pool.trim(most, links);
            pool.idle.retain(|key| {
                let Some(Link { peer: Peer::Server(of), .. }) = links.get_mut(*key) else { return false };
                let until = of.until;
                if until <= now {
                    links.close(*key);
                    return false;
                }
                next = earliest(next, Some(until.min(now.after(WINDOW))));
                true
            });
        }
        servers.armed = next.is_some();
        if let Some(next) = next {
            self.timers.insert(next, Timer::Links);
        }
    }
}
