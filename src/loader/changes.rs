//! The changes that were told, and whether they touch a chunk.
//!
//! No change looks for the chunks that it touches. Each chunk knows up to which change it was
//! judged, and before it is served it is judged by the changes since. So a chunk that nobody
//! remembers is judged too: one that another server wrote late, one that a limit cut.
//!
//! Changes have one count in this process. A store that is shared counts in epochs of its own; when
//! changes are lost there, everything that was judged before counts as touched.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
    sync::{
        Arc, RwLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    change::Token,
    chunk::{Chunk, Position},
    cursor::Cursor,
    list::List,
    resource::Resource,
    source::TouchRules,
    unpoisoned::Unpoisoned,
};

/// How many touches are remembered of all resources, and how many bytes of them. At a thousand
/// changes a second, each told alone, that is a minute.
const TOUCHES: usize = 65_536;
const BYTES: usize = 16 * 1024 * 1024;
/// The count of this process before the first change: 0 is the count of a chunk that was not judged.
const FIRST: u64 = 1;
/// How many times that something was entered once more are remembered.
const REPEATS: usize = 4_096;
/// For how many resources touches are remembered.
const RESOURCES: usize = 4_096;

/// The changes that were told.
pub(super) struct Changes {
    /// How many were heard.
    head: AtomicU64,
    state: RwLock<State>,
}

struct State {
    /// The last change, by the store's count.
    last: Token,
    /// How many this process had heard when it came to `last`.
    at: u64,
    /// How many it has heard.
    head: u64,
    /// How many this process had heard when this epoch began.
    began: u64,
    /// The store's numbers after which something was entered once more, in order: this process
    /// counts one more for each.
    repeats: VecDeque<u64>,
    /// Smaller numbers of the store cannot be converted.
    certain_from: u64,
    /// The count of a chunk that says nothing of changes: it was made before any was told. 0 if
    /// changes were told before this process heard of them.
    origin: u64,
    logs: HashMap<[u8; 16], Log>,
    /// All touches that are remembered: their numbers, resources and bytes, the oldest first.
    order: VecDeque<(u64, [u8; 16], usize)>,
    bytes: usize,
}

/// The changes that concern one resource.
struct Log {
    subject: Subject,
    /// Chunks that were judged before this count as touched.
    since: u64,
    touches: VecDeque<(u64, Touch)>,
}

/// What a change may concern.
#[derive(Clone)]
pub(super) struct Subject {
    pub(super) name: String,
    /// Its database; `None` if its source is over no table.
    pub(super) database: Option<Vec<u8>>,
    /// After this long its database shows every change that was told; zero: at once.
    pub(super) settle: Duration,
    resource: Weak<Resource>,
}

/// What some changes touch of one resource.
#[derive(Clone, Debug)]
pub(super) enum Touch {
    /// Every chunk.
    All,
    /// The chunks that show one of these keys, and those where one of these rows belongs now.
    Some { keys: Vec<u32>, rows: Vec<Arc<Row>> },
}

/// What the changes that were heard mean for a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It shows them all.
    Shown,
    /// One of them touches it.
    Touched,
    /// Only the database knows whether a row belongs there now.
    InDoubt,
}

/// A row as it is after its change.
#[derive(Clone, Debug)]
pub(super) struct Row {
    /// Its place in the order.
    pub(super) place: Cursor,
    /// The values of the columns that conditions are on, in the order of the rules; as cursors of
    /// one value. `None` if it was not read.
    pub(super) filters: Vec<Option<Cursor>>,
    /// Keys as they were told. The row was found by one of them.
    pub(super) told: Arc<[Vec<String>]>,
}

impl Changes {
    /// `is_alone`: no other process shares the chunks, so this one counts by itself.
    pub(super) fn new(is_alone: bool) -> Changes {
        let last = if is_alone { Token { epoch: fastrand::u64(1..), number: 0 } } else { Token::default() };
        let state = State {
            last,
            at: FIRST,
            head: FIRST,
            began: FIRST,
            origin: FIRST,
            repeats: VecDeque::new(),
            certain_from: 0,
            logs: HashMap::new(),
            order: VecDeque::new(),
            bytes: 0,
        };
        Changes { head: AtomicU64::new(FIRST), state: RwLock::new(state) }
    }

    /// How many changes were heard. A request that begins now must see them all.
    pub(super) fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// The position of a read that begins now.
    pub(super) fn position(&self) -> Position {
        let state = self.state.read().unpoisoned();
        Position { token: state.last, number: state.head }
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
            let known = known.min(state.head);
            let judged = chunk.shown.judged().max(state.number_of(chunk.shown.since));
            if judged >= known {
                chunk.shown.note_judged(known);
                return Verdict::Shown;
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
        let known = known.min(state.head);
        if let Some(log) = state.logs.get_mut(resource) {
            log.since = log.since.max(known);
        }
    }

    /// Remembers from now on what concerns a resource.
    pub(super) fn register(&self, resource: &Arc<Resource>) {
        let mut state = self.state.write().unpoisoned();
        let since = state.head;
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
    /// anything. Of a resource that nobody asked about they touch every chunk. `told` is their
    /// position by the store's count; `None` if only this process counts.
    pub(super) fn enter(&self, told: Option<Token>, mut touched: HashMap<[u8; 16], Option<Touch>>) -> Token {
        let mut state = self.state.write().unpoisoned();
        let last = told.unwrap_or(Token { number: state.last.number + 1, ..state.last });
        // As many as the store counts, so that its positions can be converted.
        let number = state.head + last.number.saturating_sub(state.last.number).max(1);
        for (digest, log) in &mut state.logs {
            if let Some(touch) = touched.remove(digest).unwrap_or(Some(Touch::All)) {
                log.enter(number, touch);
            }
        }

        state.remember(number);
        state.advance(number, last);
        self.head.store(number, Ordering::Release);
        state.last
    }

    /// Enters once more what changes touch that were told before, for resources whose database may
    /// not have shown them at once.
    pub(super) fn repeat(&self, touched: Vec<([u8; 16], Touch)>) {
        let mut state = self.state.write().unpoisoned();
        let number = state.head + 1;
        for (digest, touch) in touched {
            if let Some(log) = state.logs.get_mut(&digest) {
                log.enter(number, touch);
            }
        }

        state.remember(number);
        let last = state.last;
        state.advance(number, last);
        state.repeats.push_back(last.number);
        if state.repeats.len() > REPEATS
            && let Some(forgotten) = state.repeats.pop_front()
        {
            state.certain_from = forgotten + 1;
        }
        self.head.store(number, Ordering::Release);
    }

    /// The position of the last change that was heard, by the store's count.
    pub(super) fn last(&self) -> Token {
        self.state.read().unpoisoned().last
    }

    /// Whether the change at this position was heard.
    pub(super) fn has(&self, at: Token) -> bool {
        let last = self.last();
        last.epoch == at.epoch && last.number >= at.number
    }

    /// Begins to hear changes behind this position. Unless that is the beginning of an epoch, what
    /// was read before may have been touched.
    pub(super) fn begin(&self, at: Token) {
        if at.number > 0 {
            return self.lose(at);
        }
        let mut state = self.state.write().unpoisoned();
        state.last = at;
    }

    /// Counts everything that was read before as touched, since changes up to `told` are not known.
    pub(super) fn lose(&self, told: Token) {
        let mut state = self.state.write().unpoisoned();
        let number = state.head + 1;
        state.logs.values_mut().for_each(|log| log.enter(number, Touch::All));
        state.order.clear();
        state.bytes = 0;
        state.began = number;
        state.origin = 0;
        state.repeats.clear();
        state.certain_from = 0;
        state.advance(number, told);
        self.head.store(number, Ordering::Release);
    }
}

impl State {
    /// Comes to a position. If that is the last one again, what was read there before is older.
    fn advance(&mut self, number: u64, last: Token) {
        if last != self.last {
            self.at = number;
        }
        self.head = number;
        self.last = last;
    }

    /// A position by this process's count; 0 if it is of an epoch that is over, or too old to be
    /// counted.
    fn number_of(&self, token: Token) -> u64 {
        let behind = self.last.number.checked_sub(token.number);
        match behind {
            _ if token == Token::default() => self.origin,
            _ if token.epoch != self.last.epoch => 0,
            // It holds changes that were not heard here yet.
            None => self.head,
            _ if token.number < self.certain_from => 0,
            Some(behind) => self
                .at
                .checked_sub(behind + self.repeats_behind(token))
                .filter(|number| *number >= self.began)
                .unwrap_or(0),
        }
    }

    /// How often something was entered once more behind a position, before the store counted on.
    fn repeats_behind(&self, token: Token) -> u64 {
        let from = self.repeats.partition_point(|number| *number < token.number);
        let to = self.repeats.partition_point(|number| *number < self.last.number);
        to.saturating_sub(from) as u64
    }

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
        let mut verdict = Verdict::Shown;
        for (_, touch) in news {
            match touch.verdict(rules, list, chunk, doubtful) {
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
            name: resource.name().to_owned(),
            database: rules.map(|rules| rules.database.clone()),
            settle: rules.map_or(Duration::ZERO, |rules| rules.settle),
            resource: Arc::downgrade(resource),
        }
    }

    /// The resource, while it is in use.
    pub(super) fn resource(&self) -> Option<Arc<Resource>> {
        self.resource.upgrade()
    }
}

impl Touch {
    fn verdict(&self, rules: &TouchRules, list: &List, chunk: &Chunk, doubtful: &mut dyn FnMut(&Arc<Row>)) -> Verdict {
        let Touch::Some { keys, rows } = self else { return Verdict::Touched };
        if chunk.shown.has_any(keys) {
            return Verdict::Touched;
        }

        // A key without a cursor is none of a list: nothing is known of its place.
        let Some(start) = chunk.key.start() else { return Verdict::Touched };
        let mut verdict = Verdict::Shown;
        for row in rows {
            let is_within = [
                row.meets(rules, list),
                row.is_behind(rules, &start),
                chunk.next.as_ref().map_or(Some(true), |next| Some(!row.is_behind(rules, next)?)),
            ];
            if is_within.contains(&Some(false)) {
                continue;
            }
            if !is_within.contains(&None) {
                return Verdict::Touched;
            }
            verdict = Verdict::InDoubt;
            doubtful(row);
        }
        verdict
    }

    fn bytes(&self) -> usize {
        match self {
            Touch::All => 0,
            Touch::Some { keys, rows } => keys.len() * 4 + rows.iter().map(|row| row.bytes()).sum::<usize>(),
        }
    }
}

impl Row {
    /// Its key.
    pub(super) fn key(&self, rules: &TouchRules) -> Option<Cursor> {
        rules.key_at(&self.place)
    }

    /// Whether it meets the list's conditions; `None` if only the database knows.
    fn meets(&self, rules: &TouchRules, list: &List) -> Option<bool> {
        let mut meets = Some(true);
        for condition in list.conditions().iter() {
            let at = rules.filters.iter().position(|filter| filter.column == condition.column);
            let value = at.and_then(|at| self.filters.get(at)?.as_ref()?.values().next());
            match value.and_then(|value| rules.meets(condition, value)) {
                Some(true) => {}
                Some(false) => return Some(false),
                None => meets = None,
            }
        }
        meets
    }

    /// Whether its place is behind this one; `None` if only the database knows.
    fn is_behind(&self, rules: &TouchRules, place: &Cursor) -> Option<bool> {
        if place.is_start() {
            return Some(true);
        }
        rules.compare(self.place.values(), place.values()).map(|order| order.is_gt())
    }

    fn bytes(&self) -> usize {
        let filters = self.filters.iter().flatten().map(|filter| filter.canonical().len());
        let told = self.told.iter().flatten().map(|text| size_of::<String>() + text.len());
        // Rows that were told together may share what was told.
        let told = told.sum::<usize>() / self.told.len().max(1);
        size_of::<Row>() + self.place.canonical().len() + filters.sum::<usize>() + told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number_of(changes: &Changes, position: Position) -> u64 {
        changes.state.read().unpoisoned().number_of(position.token)
    }

    #[test]
    fn a_position_by_the_store_s_count_is_never_taken_for_a_later_one_here() {
        for is_alone in [true, false] {
            let changes = Changes::new(is_alone);
            if !is_alone {
                changes.begin(Token { epoch: 7, number: 0 });
            }
            let mut positions = vec![changes.position()];
            for step in 0..60u64 {
                match step % 5 {
                    0 | 3 => changes.repeat(vec![]),
                    step => {
                        let last = changes.last();
                        let next = Token { number: last.number + step, ..last };
                        changes.enter((!is_alone).then_some(next), HashMap::new());
                    }
                }
                positions.push(changes.position());
                for position in &positions {
                    let number = number_of(&changes, *position);
                    assert!(number <= position.number, "{position:?} is {number} at step {step}");
                    assert!(number > 0 && position.number - number <= 2, "{position:?} is {number} at step {step}");
                }
            }
        }
    }

    #[test]
    fn what_was_read_before_changes_were_lost_counts_as_before_all_of_them() {
        let changes = Changes::new(false);
        changes.begin(Token { epoch: 7, number: 0 });
        assert_eq!(number_of(&changes, Position::default()), FIRST, "before anything was told");
        let before = changes.position();
        changes.lose(Token { epoch: 7, number: 5 });
        assert_eq!(number_of(&changes, before), 0);
        assert_eq!(number_of(&changes, Position::default()), 0);
        let after = changes.position();
        assert_eq!(number_of(&changes, after), after.number);

        changes.lose(changes.last());
        assert!(number_of(&changes, after) < changes.head(), "the same position again");
        changes.lose(Token { epoch: 8, number: 1 });
        assert_eq!(number_of(&changes, after), 0, "of another epoch");
    }

    #[test]
    fn positions_from_before_the_repeats_that_are_remembered_are_not_converted() {
        let changes = Changes::new(true);
        let first = changes.position();
        for _ in 0..=REPEATS {
            changes.repeat(vec![]);
            changes.enter(None, HashMap::new());
        }
        assert_eq!(number_of(&changes, first), 0);
        let last = changes.position();
        assert_eq!(number_of(&changes, last), last.number);
    }
}
