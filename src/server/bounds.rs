//! Bounds on connections and streams, in all and for each client, and on each client's rate of
//! requests.
//!
//! A client is an address, and an identity where a request has one. An address is an IPv4 address
//! or an IPv6 network of 64 bits, since that is what one client is given. A trusted proxy may have
//! any number of connections. Its requests count for the address that it names, or for its own if
//! it names none.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    num::NonZeroU32,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use governor::{Quota, RateLimiter, clock::Clock as _, clock::DefaultClock, state::keyed::HashMapStateStore};

use crate::{
    config::RequestRate,
    error::{Error, Kind, Result},
    unpoisoned::Unpoisoned,
};

/// How many clients' rates are remembered. Beyond that, those whose rate has recovered are
/// forgotten; if that is not enough, further clients share one rate.
const CLIENTS: usize = 65_536;

/// Open files kept for databases, stores and listeners.
const OTHER_FILES: usize = 128;
/// With fewer a server would only wait for files.
const FEWEST_FILES: usize = 24;
/// How many rejections may be sent at once; beyond that a connection is just closed.
const REJECTIONS: usize = 256;

/// How many connections the limit on open files leaves room for, and how many rejections. Without a
/// spare file no client could be told that the server is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    connections: usize,
    rejections: usize,
}

impl Room {
    fn within(files: usize) -> Room {
        let others = (OTHER_FILES + REJECTIONS).min(files / 2).max(FEWEST_FILES);
        let rejections = others.saturating_sub(OTHER_FILES).max(others / 4).min(REJECTIONS);
        Room { connections: files.saturating_sub(others).max(1), rejections }
    }

    /// The room in this process, and its limit on open files.
    fn here() -> (Room, usize) {
        use rustix::process::{Resource, getrlimit};
        let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let files = usize::try_from(files).unwrap_or(usize::MAX);
        (Room::within(files), files)
    }
}

/// The configured number of connections, or fewer if the limit on open files has no room for them.
pub(super) fn connections(configured: usize) -> usize {
    let (Room { connections: most, .. }, files) = Room::here();
    if configured > most {
        tracing::warn!(
            "{most} connections at once, not {configured}: raise the limit on open files (ulimit -n, \
             LimitNOFILE), now {files}, or lower `max_connections` in [server]"
        );
    }
    configured.min(most)
}

/// How many rejections may be sent at once.
pub(super) fn rejections() -> usize {
    Room::here().0.rejections
}

/// The part of an address that tells clients apart.
pub(super) fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address => address,
    }
}

/// Tells clients apart.
pub(super) trait Client: Copy + Eq + Hash {
    /// What a client is called that has too much under way.
    const NAME: &str;
    /// Stands for all clients beyond those that are remembered.
    const OTHERS: Self;

    /// The part that tells clients apart.
    fn told_apart(self) -> Self {
        self
    }
}

impl Client for IpAddr {
    const NAME: &str = "this address";
    const OTHERS: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

    fn told_apart(self) -> IpAddr {
        client(self)
    }
}

/// An identity, by a hash of its claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Known(pub(super) u64);

impl Client for Known {
    const NAME: &str = "who asks";
    const OTHERS: Known = Known(0);
}

/// Counts what is under way, in all and for each client.
#[derive(Debug)]
pub(super) struct Count<C: Client = IpAddr> {
    all: AtomicUsize,
    each: Mutex<HashMap<C, usize>>,
}

impl<C: Client> Default for Count<C> {
    fn default() -> Count<C> {
        Count { all: AtomicUsize::new(0), each: Mutex::default() }
    }
}

/// One unit of a count, until it is dropped.
#[derive(Debug)]
pub(super) struct Permit<C: Client = IpAddr> {
    count: Arc<Count<C>>,
    client: Option<C>,
}

/// What a stream holds until it ends: its part of all, and of those of its identity.
#[derive(Debug)]
pub(super) struct StreamPermit {
    pub(super) _all: Permit,
    pub(super) _known: Option<Permit<Known>>,
}

impl<C: Client> Count<C> {
    /// Takes a permit if fewer than `all` are taken and, with a client, fewer than `each` for it;
    /// 0: no bound.
    ///
    /// # Errors
    /// [`Kind::Busy`] if too many are taken in all, [`Kind::RateLimited`] if the client has too
    /// many.
    pub(super) fn enter(self: &Arc<Self>, what: &str, all: usize, client: Option<C>, each: usize) -> Result<Permit<C>> {
        // Dropped again, and so given back, if the client has too many.
        let mut place = Permit { count: Arc::clone(self), client: None };
        if self.all.fetch_add(1, Ordering::Relaxed) >= all {
            return Err(Error::new(Kind::Busy, format!("too many {what} are under way")));
        }

        if let Some(client) = client.filter(|_| each > 0).map(C::told_apart) {
            let mut counts = self.each.lock().unpoisoned();
            let count = counts.entry(client).or_default();
            if *count >= each {
                return Err(Error::new(Kind::RateLimited, format!("{} has too many {what} under way", C::NAME)));
            }
            *count += 1;
            place.client = Some(client);
        }

        Ok(place)
    }
}

impl<C: Client> Drop for Permit<C> {
    fn drop(&mut self) {
        self.count.all.fetch_sub(1, Ordering::Relaxed);
        let Some(client) = self.client else { return };
        let mut counts = self.count.each.lock().unpoisoned();
        if let Entry::Occupied(mut count) = counts.entry(client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// How often each client may ask.
pub(super) struct Rates<C: Client = IpAddr> {
    limiter: RateLimiter<C, HashMapStateStore<C>, DefaultClock>,
    pruned: Mutex<Option<std::time::Instant>>,
}

impl<C: Client> Rates<C> {
    pub(super) fn new(rate: RequestRate) -> Rates<C> {
        let quota = Quota::with_period(rate.per / rate.requests.get()).unwrap_or(Quota::per_second(NonZeroU32::MIN));
        let limiter = RateLimiter::hashmap(quota.allow_burst(rate.requests));
        Rates { limiter, pruned: Mutex::default() }
    }

    /// Counts a request.
    ///
    /// # Errors
    /// [`Kind::RateLimited`] when the client asks too often.
    pub(super) fn ask(&self, client: C) -> Result<()> {
        if self.limiter.len() >= CLIENTS {
            self.prune();
        }
        let full = self.limiter.len() >= CLIENTS;
        let client = if full { C::OTHERS } else { client.told_apart() };
        self.limiter.check_key(&client).map_err(|early| {
            let wait = early.wait_time_from(DefaultClock::default().now()).as_secs() + 1;
            let message = format!("{} asks too often; there is room again in {wait} s", C::NAME);
            Error::new(Kind::RateLimited, message).retry_in(wait)
        })
    }

    /// Forgets the clients whose rate has recovered, at most once a second.
    fn prune(&self) {
        let mut pruned = self.pruned.lock().unpoisoned();
        if pruned.is_none_or(|pruned| pruned.elapsed() >= Duration::from_secs(1)) {
            self.limiter.retain_recent();
            *pruned = Some(std::time::Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_64_bits_is_one_client_and_a_mapped_address_is_what_it_maps() {
        let of = |text: &str| client(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), of("2001:db8:1:2::1"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
    }

    #[test]
    fn places_are_given_back_and_nothing_is_kept_of_those_who_left() {
        let count = Arc::new(Count::default());
        let address = |last| Some(IpAddr::from([192, 0, 2, last]));
        let enter = |last| count.enter("streams", 3, address(last), 2);
        let kept = (enter(1).unwrap(), enter(1).unwrap());
        assert_eq!(enter(1).unwrap_err().kind(), Kind::RateLimited);
        let other = enter(2).unwrap();
        assert_eq!(enter(3).unwrap_err().kind(), Kind::Busy);
        drop(other);
        assert!(enter(3).is_ok() && count.enter("streams", 3, None, 2).is_ok());
        drop(kept);
        assert_eq!((count.all.load(Ordering::Relaxed), count.each.lock().unwrap().len()), (0, 0));
    }

    #[test]
    fn rates_of_ever_more_addresses_take_no_more_room() {
        let rates: Rates<IpAddr> =
            Rates::new(RequestRate { requests: NonZeroU32::MIN, per: Duration::from_secs(3600) });
        for at in 0..CLIENTS as u32 + 1_000 {
            let _ = rates.ask(Ipv4Addr::from_bits(0x0a00_0000 + at).into());
        }
        assert!(rates.limiter.len() <= CLIENTS + 1);
        assert_eq!(
            rates.ask(Ipv4Addr::new(192, 0, 2, 1).into()).unwrap_err().kind(),
            Kind::RateLimited,
            "the rest share one"
        );
    }
}
