//! The changes that were told, and whether they touch a chunk.
//!
//! No change looks for the chunks that it touches. Each chunk knows up to which change it was
//! judged, and before it is served it is judged by the changes since. So a chunk that nobody
//! remembers is judged too: one that another server wrote late, one that a limit cut.
//!
//! When changes are lost, everything that was judged before counts as touched.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    ops::Range,
    sync::{
        Arc, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    count::{Count, End, FIRST},
    later::{Later, News},
    touch::{Row, Touch, Verdict},
};
use crate::{
    change::Token,
    chunk::{Chunk, Position},
    list::List,
    resource::Resource,
    unpoisoned::Unpoisoned,
};

/// How many touches are remembered of all resources, and how many bytes of them. A row that is told
/// alone takes some 560 bytes: at a thousand a second that is half a minute.
const TOUCHES: usize = 65_536;
const BYTES: usize = 16 * 1024 * 1024;
/// For how many resources touches are remembered.
const RESOURCES: usize = 4_096;

/// The changes that were told.
pub(super) struct Changes {
    /// How many were heard.
    head: AtomicU64,
    state: RwLock<State>,
}

struct State {
    count: Count,
    /// In one order, so that a run of a test can be repeated.
    logs: BTreeMap<[u8; 16], Log>,
    /// All touches that are remembered: their numbers, resources and bytes, the oldest first.
    order: VecDeque<(u64, [u8; 16], usize)>,
    bytes: usize,
    /// What concerns resources that are asked later.
    later: Later,
}

/// The changes that concern one resource. Those that were heard together are one touch, with the
/// number of the last.
struct Log {
    subject: Subject,
    /// Chunks that were judged before this count as touched.
    since: u64,
    touches: VecDeque<(u64, Touch)>,
}

/// What a change may concern.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) name: Arc<str>,
    /// Its database; `None` if its source is over no table.
    pub(super) database: Option<Arc<[u8]>>,
    /// Whether its database has not answered since the start, so that its tables are not known.
    pub(super) is_away: bool,
    /// After this long its database shows every change that was told; zero: at once.
    pub(super) settle: Duration,
    /// Whether its rows are looked up when a chunk is needed, and not when a change is told.
    pub(super) asks_later: bool,
    resource: Weak<Resource>,
}

impl Changes {
    /// `is_alone`: no other process shares the chunks, so this one counts by itself.
    pub(super) fn new(is_alone: bool) -> Changes {
        let state = State {
            count: Count::new(is_alone),
            logs: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            later: Later::new(FIRST),
        };
        Changes { head: AtomicU64::new(FIRST), state: RwLock::new(state) }
    }

    /// How many changes were heard. A request that begins now must see them all.
    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// The position of a read that begins now.
    pub(super) fn position(&self) -> Position {
        self.state.read().unpoisoned().count.position()
    }

    /// Whether a chunk shows every change up to `known` that concerns it.
    pub(super) fn verdict(&self, list: &List, chunk: &Chunk, known: u64) -> Verdict {
        self.verdict_with(list, chunk, known, &mut |_| {})
    }

    /// The same, with each row of which only the database knows whether it belongs in the chunk.
    pub(super) fn verdict_with(
        &self,
        list: &List,
        chunk: &Chunk,
        known: u64,
        doubtful: &mut dyn FnMut(&Arc<Row>),
    ) -> Verdict {
        if chunk.shown.judged() >= known {
            return Verdict::Shown;
        }
        self.judge(list, chunk, known, doubtful)
    }

    /// The same, where the chunk was not judged so far before.
    fn judge(&self, list: &List, chunk: &Chunk, known: u64, doubtful: &mut dyn FnMut(&Arc<Row>)) -> Verdict {
        let resource = list.resource();
        let digest = resource.digest();
        {
            let state = self.state.read().unpoisoned();
            let known = known.min(state.count.head());
            let judged = chunk.shown.judged().max(state.count.number_of(chunk.shown.since));
            if judged >= known {
                chunk.shown.note_judged(known);
                return Verdict::Shown;
            }

            if let Some(rules) = resource.source().touch_rules().filter(|rules| rules.asks_later) {
                let verdict = state.later.verdict(rules, list, chunk, judged..known, doubtful);
                if verdict == Verdict::Shown {
                    chunk.shown.note_judged(known);
                }
                return verdict;
            }

            let log = state.logs.get(&digest);
            if let Some(log) = log.filter(|log| log.subject.resource.strong_count() > 0) {
                let verdict = log.verdict(list, chunk, judged..known, doubtful);
                if verdict == Verdict::Shown {
                    chunk.shown.note_judged(known);
                }
                return verdict;
            }
            if log.is_none() {
                // What was told before the resource was known here may have touched it.
                drop(state);
                self.register(resource);
                return Verdict::Touched;
            }
        }

        // The resource was made again: its log goes on.
        self.register(resource);
        self.judge(list, chunk, known, doubtful)
    }

    /// Counts every chunk of a resource that shows less than `known` as touched: the database does
    /// not say which are.
    pub(super) fn give_up(&self, resource: &[u8; 16], known: u64) {
        let mut state = self.state.write().unpoisoned();
        let known = known.min(state.count.head());
        match state.logs.get_mut(resource) {
            Some(log) => log.since = log.since.max(known),
            None => state.later.give_up(*resource, known),
        }
    }

    /// Remembers from now on what concerns a resource, which is the same for all selections of
    /// its members.
    pub(super) fn register(&self, resource: &Arc<Resource>) {
        let resource = &resource.whole();
        let mut state = self.state.write().unpoisoned();
        let since = state.count.head();
        if state.logs.len() >= RESOURCES {
            state.logs.retain(|_, log| log.subject.resource.strong_count() > 0);
        }
        if state.logs.len() >= RESOURCES {
            return;
        }

        let subject = Subject::of(resource);
        let log = state.logs.entry(resource.digest()).or_insert_with(|| Log {
            subject: subject.clone(),
            since,
            touches: VecDeque::new(),
        });
        // An equal resource that was made later lives longer.
        log.subject = subject;
    }

    /// All that changes may concern.
    pub(super) fn subjects(&self) -> Vec<([u8; 16], Subject)> {
        let state = self.state.read().unpoisoned();
        state.logs.iter().map(|(digest, log)| (*digest, log.subject.clone())).collect()
    }

    /// Enters what changes touch: for each resource that was asked about, what they touch of it, if
    /// anything. Of a resource that nobody asked about they touch every chunk. `told` is their end
    /// by the store's count; `None` if only this process counts.
    ///
    /// `news`: what was told, for resources that are asked later.
    pub(super) fn enter(
        &self,
        told: Option<End<'_>>,
        mut touched: HashMap<[u8; 16], Option<Touch>>,
        news: Option<News>,
    ) -> Token {
        let mut state = self.state.write().unpoisoned();
        state.count.add(told);
        let number = state.count.head();
        for (digest, log) in &mut state.logs {
            if let Some(touch) = touched.remove(digest).unwrap_or(Some(Touch::All)) {
                log.enter(number, touch);
            }
        }

        match news {
            Some(news) => state.later.enter(number, news),
            // No such resource was known.
            None => state.later.lose(number),
        }
        state.remember(number);
        self.head.store(number, Ordering::Release);
        state.count.last()
    }

    /// Enters once more what changes touch that were told before, for resources whose database may
    /// not have shown them at once.
    pub(super) fn repeat(&self, touched: Vec<([u8; 16], Touch)>) {
        let mut state = self.state.write().unpoisoned();
        state.count.repeat();
        let number = state.count.head();
        for (digest, touch) in touched {
            if let Some(log) = state.logs.get_mut(&digest) {
                log.enter(number, touch);
            }
        }

        state.remember(number);
        self.head.store(number, Ordering::Release);
    }

    /// The position of the last change that was heard, by the store's count.
    pub(super) fn last(&self) -> Token {
        self.state.read().unpoisoned().count.last()
    }

    /// Whether the change at this position was heard; `None` if it is too old for that to be known.
    pub(super) fn has(&self, at: Token) -> Option<bool> {
        self.state.read().unpoisoned().count.has(at)
    }

    /// Whether another change was heard under the number of this position.
    pub(super) fn has_other(&self, at: Token) -> bool {
        let state = self.state.read().unpoisoned();
        at.epoch == state.count.last().epoch && !state.count.is_ahead(at) && state.count.has(at) == Some(false)
    }

    /// Whether a position is of changes that were not heard here yet.
    pub(super) fn is_ahead(&self, at: Token) -> bool {
        self.state.read().unpoisoned().count.is_ahead(at)
    }

    /// An earlier position in the epoch of this one, if it is remembered.
    pub(super) fn earlier(&self, at: Token, number: u64) -> Option<Token> {
        let earlier = self.state.read().unpoisoned().count.token_at(number);
        earlier.filter(|earlier| earlier.epoch == at.epoch)
    }

    /// Begins to hear changes behind this position. Unless that is the beginning of an epoch, what
    /// was read before may have been touched.
    pub(super) fn begin(&self, at: Token) {
        if at.number > 0 {
            return self.lose(at);
        }
        self.state.write().unpoisoned().count.begin(at);
    }

    /// Counts everything that was read before as touched, since changes up to `told` are not known.
    pub(super) fn lose(&self, told: Token) {
        let mut state = self.state.write().unpoisoned();
        state.count.lose(told);
        let number = state.count.head();
        state.logs.values_mut().for_each(|log| log.enter(number, Touch::All));
        state.order.clear();
        state.bytes = 0;
        state.later.lose(number);
        self.head.store(number, Ordering::Release);
    }
}

impl State {
    /// Counts the touches that were entered as this number, and forgets the oldest beyond the
    /// bounds.
    fn remember(&mut self, number: u64) {
        for (digest, log) in &self.logs {
            if let Some((last, touch)) = log.touches.back()
                && *last == number
            {
                let bytes = touch.bytes();
                self.bytes += bytes;
                self.order.push_back((number, *digest, bytes));
            }
        }

        while (self.order.len() > TOUCHES || self.bytes > BYTES)
            && let Some((number, digest, bytes)) = self.order.pop_front()
        {
            self.bytes -= bytes;
            if let Some(log) = self.logs.get_mut(&digest)
                && log.touches.front().is_some_and(|(first, _)| *first <= number)
            {
                log.touches.pop_front();
                log.since = log.since.max(number);
            }
        }
    }
}

impl Log {
    fn enter(&mut self, number: u64, touch: Touch) {
        match touch {
            Touch::All => {
                self.since = number;
                self.touches.clear();
            }
            touch => self.touches.push_back((number, touch)),
        }
    }

    /// What the changes behind the first number and up to the last mean for a chunk.
    fn verdict(&self, list: &List, chunk: &Chunk, numbers: Range<u64>, doubtful: &mut dyn FnMut(&Arc<Row>)) -> Verdict {
        if numbers.start < self.since {
            return Verdict::Touched;
        }

        let from = self.touches.partition_point(|(number, _)| *number <= numbers.start);
        let mut news = self.touches.range(from..).take_while(|(number, _)| *number <= numbers.end).peekable();
        if news.peek().is_none() {
            return Verdict::Shown;
        }

        let Some(rules) = list.resource().source().touch_rules() else { return Verdict::Touched };
        // Which rows a policy shows, only the database knows.
        if list.session().is_some() {
            return Verdict::Touched;
        }
        let mut verdict = Verdict::Shown;
        for (number, touch) in news {
            match touch.verdict(rules, list, chunk, number - numbers.start, doubtful) {
                Verdict::Shown => {}
                Verdict::Touched => return Verdict::Touched,
                Verdict::InDoubt => verdict = Verdict::InDoubt,
            }
        }
        verdict
    }
}

impl Subject {
    fn of(resource: &Arc<Resource>) -> Subject {
        let rules = resource.source().touch_rules();
        Subject {
            name: resource.name().into(),
            database: rules.map(|rules| Arc::clone(&rules.database)),
            is_away: rules.is_none() && resource.source().presence().is_away,
            settle: rules.map_or(Duration::ZERO, |rules| rules.settle),
            asks_later: rules.is_some_and(|rules| rules.asks_later),
            resource: Arc::downgrade(resource),
        }
    }

    /// The resource, while somebody uses it.
    pub(super) fn resource(&self) -> Option<Arc<Resource>> {
        self.resource.upgrade()
    }
}
