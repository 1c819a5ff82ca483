//! Every state that each row has had, what was told of it, and what a list may show.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use crate::{
    change::Token,
    source::pretended::{Item, Tables, place},
};

/// On other servers a change shows after this long.
const ELSEWHERE: Duration = Duration::from_secs(2);
/// The same if a failover has lost it: a server that knows of it must look first.
const AFTER_LOSS: Duration = Duration::from_secs(3);
/// After the time for which a standby may lag, what was told is looked up within this.
const LOOKED_UP: Duration = Duration::from_millis(700);

/// A thing that has states of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Entity {
    Item(i64),
    Author(i64),
    /// The tags of an item.
    Tags(i64),
}

/// A state of an entity.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// An item, unless it is not there.
    Item(Option<Item>),
    Author(i64),
    Tags(Vec<i64>),
}

/// A change that was told.
#[derive(Clone, Copy, Debug)]
struct Told {
    server: usize,
    /// When telling began and when it was over, counted in events of the run.
    began: u64,
    ended: u64,
    at: Instant,
    token: Token,
    /// When a failover has lost it.
    lost: Option<Instant>,
    /// Whether its commit was told too, so that no server shows the standby from before.
    is_awaited: bool,
}

/// A server, from its start to its end.
#[derive(Clone, Copy, Debug)]
struct Life {
    began: Instant,
    is_over: bool,
    /// Until when it was kept from hearing of changes, or from looking them up.
    trouble: Instant,
}

#[derive(Default)]
pub(super) struct History {
    /// The states of each entity, each with the change that made it.
    states: BTreeMap<Entity, Vec<(State, Option<usize>)>>,
    /// All changes, once they are told.
    changes: Vec<Option<Told>>,
    lives: Vec<Life>,
    /// Whether the journal was ever lost as a whole.
    has_lost_journal: bool,
    /// The events after which the store went back.
    failovers: Vec<(u64, Instant)>,
    events: u64,
    lists: u64,
    digest: DefaultHasher,
    began: Option<Instant>,
    /// What has happened, for a failure's message.
    log: Vec<String>,
    lag: Duration,
}

/// A list that a client asks for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) server: usize,
    /// The change whose token is sent along.
    pub(super) at_least: Option<usize>,
    pub(super) only: Only,
    /// Behind this place.
    pub(super) behind: Option<(i64, i64)>,
    pub(super) target: String,
}

/// The condition of a list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Only {
    All,
    Group(i64),
    FromRank(i64),
    GroupOrFromRank(i64, i64),
    AuthorsOfParity(i64),
}

/// The first state of each entity that a list may show.
pub(super) struct Floor(BTreeMap<Entity, usize>);

impl Only {
    /// Whether the list has an item whose author has this version.
    fn has(self, item: &Item, author_version: i64) -> bool {
        match self {
            Only::All => true,
            Only::Group(group) => item.group == group,
            Only::FromRank(rank) => item.rank >= rank,
            Only::GroupOrFromRank(group, rank) => item.group == group || item.rank >= rank,
            Only::AuthorsOfParity(parity) => author_version % 2 == parity,
        }
    }
}

impl History {
    pub(super) fn new(lag: Duration) -> History {
        History { lag, ..History::default() }
    }

    /// Notes what happens.
    pub(super) fn note(&mut self, what: &str) {
        let began = *self.began.get_or_insert_with(Instant::now);
        self.log.push(format!("{:>9.3} {what}", began.elapsed().as_secs_f64()));
    }

    fn event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    /// How many lists were checked, and a digest of all that happened.
    pub(super) fn outcome(&self) -> (u64, u64) {
        (self.lists, self.digest.finish())
    }

    /// Begins the life of a server.
    pub(super) fn begin_life(&mut self) -> usize {
        self.lives.push(Life { began: Instant::now(), is_over: false, trouble: Instant::now() });
        self.lives.len() - 1
    }

    pub(super) fn end_life(&mut self, server: usize) {
        self.lives[server].is_over = true;
    }

    /// Until then a server may be kept from hearing of changes.
    pub(super) fn trouble(&mut self, server: usize, until: Instant) {
        let trouble = &mut self.lives[server].trouble;
        *trouble = (*trouble).max(until);
    }

    /// Notes what a transaction has changed. Returns the number of the change.
    pub(super) fn committed(&mut self, before: &Tables, after: &Tables) -> usize {
        let change = self.changes.len();
        self.changes.push(None);
        let by = if before.authors.is_empty() { None } else { Some(change) };
        let mut changed = vec![];
        let mut enter = |entity, state: State| {
            let states = self.states.entry(entity).or_default();
            let first = if matches!(state, State::Item(_)) { State::Item(None) } else { State::Tags(vec![]) };
            if states.is_empty() && by.is_some() {
                states.push((first, None));
            }
            if states.last().is_none_or(|(last, _)| *last != state) {
                changed.push(format!("{entity:?} is {state:?}"));
                states.push((state, by));
            }
        };

        for id in before.items.keys().chain(after.items.keys()) {
            enter(Entity::Item(*id), State::Item(after.items.get(id).cloned()));
            enter(Entity::Tags(*id), State::Tags(after.tags_of(*id).into_iter().collect()));
        }
        for (id, version) in &after.authors {
            enter(Entity::Author(*id), State::Author(*version));
        }
        self.note(&format!("change {change}: {}", changed.join(", ")));
        change
    }

    /// Notes that telling a change begins.
    pub(super) fn tells(&mut self, change: usize, server: usize) -> u64 {
        self.note(&format!("change {change} is told to server {server}"));
        self.event()
    }

    /// Notes that a change was told; `is_awaited`: with its commit.
    pub(super) fn told(&mut self, change: usize, server: usize, began: u64, token: Token, is_awaited: bool) {
        let with = if is_awaited { ", with its commit" } else { "" };
        self.note(&format!("change {change} was told as {token}{with}"));
        let ended = self.event();
        let failover = self.failovers.iter().find(|(event, _)| (began..ended).contains(event));
        let lost = failover.map(|(_, at)| *at);
        let at = Instant::now();
        self.changes[change] = Some(Told { server, began, ended, at, token, lost, is_awaited });
        (change, server, began, ended, token.number).hash(&mut self.digest);
    }

    /// Notes that the journal is lost as a whole.
    pub(super) fn lost_journal(&mut self) {
        self.has_lost_journal = true;
    }

    /// A moment to which the store may go back.
    pub(super) fn moment(&mut self) -> u64 {
        self.event()
    }

    /// Notes that the store went back to a moment.
    pub(super) fn went_back(&mut self, to: u64) {
        let now = Instant::now();
        for told in self.changes.iter_mut().flatten().filter(|told| told.ended > to) {
            told.lost = Some(now);
        }
        let event = self.event();
        self.failovers.push((event, now));
    }

    /// A change that was told lately, and its token.
    pub(super) fn recent(&self) -> Option<(usize, Token)> {
        let told: Vec<(usize, Token)> =
            self.changes.iter().enumerate().filter_map(|(change, told)| Some((change, told.as_ref()?.token))).collect();
        let back = fastrand::usize(0..4);
        told.len().checked_sub(1 + back).map(|at| told[at])
    }

    /// Whether a list that is asked for now must show a change.
    fn is_due(&self, told: &Told, change: usize, asked: &Asked) -> bool {
        let now = Instant::now();
        let reader = self.lives[asked.server];
        let is_here = told.server == asked.server;
        let shows_at_once = self.lag.is_zero() || told.is_awaited;
        if is_here && shows_at_once {
            return true;
        }

        let lag = if self.lag.is_zero() { Duration::ZERO } else { self.lag + LOOKED_UP };
        if is_here && now >= told.at.max(reader.trouble) + lag {
            return true;
        }

        // A server that began since then knows of no change, and a standby may not have shown it
        // yet.
        if !self.lag.is_zero() && self.has_lost_journal && reader.began >= told.at {
            return false;
        }

        let teller = self.lives[told.server];
        if let Some(lost) = told.lost {
            let since = told.at.max(lost).max(reader.trouble).max(teller.trouble);
            return !teller.is_over && now >= since + AFTER_LOSS + lag;
        }

        if let Some(least) = asked.at_least
            && let Some(named) = &self.changes[least]
            && named.lost.is_none()
            && shows_at_once
        {
            let is_before = named.token.epoch == told.token.epoch && told.token.number <= named.token.number;
            if change == least || told.ended < named.began || is_before {
                return true;
            }
        }

        let lag = if shows_at_once { Duration::ZERO } else { lag };
        now >= told.at.max(reader.trouble) + ELSEWHERE + lag
    }

    /// What a list may show that is asked for now.
    pub(super) fn floor(&self, asked: &Asked) -> Floor {
        let is_due = |change: &Option<usize>| {
            change
                .is_none_or(|change| self.changes[change].as_ref().is_some_and(|told| self.is_due(told, change, asked)))
        };
        let first = |states: &Vec<(State, Option<usize>)>| {
            states.iter().rposition(|(_, change)| is_due(change)).expect("the first state is known to all")
        };
        Floor(self.states.iter().map(|(entity, states)| (*entity, first(states))).collect())
    }

    /// The states that a list may show of an entity.
    fn allowed(&self, floor: &Floor, entity: Entity) -> &[(State, Option<usize>)] {
        let first = floor.0.get(&entity).copied().unwrap_or(0);
        self.states.get(&entity).map_or(&[], |states| &states[first..])
    }

    /// Checks the rows of a list, or of its beginning.
    pub(super) fn check(&mut self, asked: &Asked, floor: &Floor, rows: &[Value], is_whole: bool) -> Option<(i64, i64)> {
        self.lists += 1;
        let mut last = asked.behind;
        let mut seen = vec![];
        for row in rows {
            let number = |value: &Value| value.as_i64().expect("a number");
            let [id, rank, group, version] = ["id", "rank", "grp", "version"].map(|name| number(&row[name]));
            let [author, author_version] = ["id", "version"].map(|name| number(&row["author"][name]));
            let tags: Vec<i64> = row["tags"].as_array().expect("a list").iter().map(number).collect();
            (id, rank, group, version, author_version, &tags).hash(&mut self.digest);

            let item = Item { rank, group, author, version };
            assert!(asked.only.has(&item, author_version), "{asked:?}: {row} is of another list; {}", self.story());
            for (entity, state) in [
                (Entity::Item(id), State::Item(Some(item))),
                (Entity::Author(author), State::Author(author_version)),
                (Entity::Tags(id), State::Tags(tags)),
            ] {
                let allowed = self.allowed(floor, entity);
                assert!(
                    allowed.iter().any(|(one, _)| *one == state),
                    "{asked:?}: {row} is not as it should be: {allowed:?}; {}",
                    self.story()
                );
            }

            let place = place(id, rank);
            assert!(
                last.is_none_or(|last| last < place),
                "{asked:?}: {row} is not in its place, behind {last:?}; {}",
                self.story()
            );
            last = Some(place);
            seen.push(id);
        }

        for (entity, states) in &self.states {
            let Entity::Item(id) = entity else { continue };
            let [(State::Item(Some(item)), _)] = self.allowed(floor, *entity) else { continue };
            let authors = self.allowed(floor, Entity::Author(item.author));
            let has =
                |(state, _): &(State, _)| matches!(state, State::Author(version) if asked.only.has(item, *version));
            let is_surely_in = !authors.is_empty() && authors.iter().all(has);
            let place = place(*id, item.rank);
            let is_behind = asked.behind.is_none_or(|behind| place > behind);
            let is_within = is_whole || last.is_some_and(|last| place <= last);
            assert!(
                !(is_surely_in && is_behind && is_within) || seen.contains(id),
                "{asked:?}: item {id} is missing: {states:?}; {}",
                self.story()
            );
        }
        last
    }

    /// What has happened, for a failure's message.
    fn story(&self) -> String {
        format!("what has happened:\n{}", self.log.join("\n"))
    }
}
