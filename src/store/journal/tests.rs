//! The journal over a store whose state can be put back.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;

use super::*;
use crate::{
    source::BoxFuture,
    store::{FarState, remote::Taken},
};

type Names = BTreeMap<String, Bytes>;

/// A store in memory. Steps are taken as Redis takes them, in one piece.
#[derive(Default)]
struct Table {
    names: Mutex<Names>,
    /// Whether each step is taken twice, because its first answer was lost, and others take theirs
    /// in between.
    repeats: bool,
    /// How long it takes to read.
    slow: Duration,
    calls: AtomicUsize,
}

impl Table {
    fn names(&self) -> MutexGuard<'_, Names> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.names.lock().unwrap()
    }

    fn state(&self) -> Names {
        self.names().clone()
    }

    fn put_back(&self, state: &Names) {
        *self.names() = state.clone();
    }

    fn journal(self: &Arc<Table>) -> Journal {
        self.journal_with(None)
    }

    fn journal_with(self: &Arc<Table>, secret: Option<Secret>) -> Journal {
        Journal::new(Arc::clone(self) as _, "p:", secret)
    }

    async fn step_once(&self, step: &Step<'_>) -> Stepped {
        tokio::task::yield_now().await;
        let mut names = self.names();
        let there = names.get(step.name).cloned().unwrap_or_default();
        if there != step.from {
            let kept = step.entry.as_ref().is_some_and(|(name, bytes)| names.get(*name) == Some(bytes));
            return if there == step.to { Stepped::Done } else { Stepped::Other { head: there, kept } };
        }

        if let Some((name, bytes)) = &step.entry {
            names.insert((*name).to_owned(), bytes.clone());
        }
        names.insert(step.name.to_owned(), step.to.clone());
        Stepped::Done
    }

    /// Changes the entry at a position.
    fn alter(&self, at: Token, change: impl FnOnce(&mut Vec<u8>)) {
        let mut names = self.names();
        let stored = names.get_mut(&name(at)).unwrap();
        let mut bytes = stored.to_vec();
        change(&mut bytes);
        *stored = bytes.into();
    }
}

fn name(at: Token) -> String {
    format!("p:j:{{p:}}:{}", at.place())
}

const HEAD: &str = "p:j:{p:}";

impl Remote for Table {
    fn get<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<Option<Bytes>>> {
        unreachable!("the journal does not ask for this")
    }

    fn set<'a>(&'a self, _: &'a str, _: Bytes, _: Duration) -> BoxFuture<'a, Result<()>> {
        unreachable!("the journal does not ask for this")
    }

    fn take<'a>(&'a self, _: &'a str, _: Bytes, _: Duration, _: &'a str) -> BoxFuture<'a, Result<Taken>> {
        unreachable!("the journal does not ask for this")
    }

    fn give_back<'a>(&'a self, _: &'a str, _: Bytes) -> BoxFuture<'a, Result<()>> {
        unreachable!("the journal does not ask for this")
    }

    fn copies<'a>(&'a self, _: &'a [String]) -> BoxFuture<'a, Vec<Result<Vec<Option<Bytes>>>>> {
        unreachable!("the journal does not ask for this")
    }

    fn raise_copies<'a>(&'a self, _: &'a str, _: u64) -> BoxFuture<'a, Result<()>> {
        unreachable!("the journal does not ask for this")
    }

    fn read_together<'a>(&'a self, names: &'a [String]) -> BoxFuture<'a, Result<Vec<Option<Bytes>>>> {
        Box::pin(async move {
            tokio::task::yield_now().await;
            if !self.slow.is_zero() {
                tokio::time::sleep(self.slow).await;
            }
            let there = self.names();
            Ok(names.iter().map(|name| there.get(name).cloned()).collect())
        })
    }

    fn step<'a>(&'a self, step: Step<'a>) -> BoxFuture<'a, Result<Stepped>> {
        Box::pin(async move {
            let mut answer = self.step_once(&step).await;
            if self.repeats {
                answer = self.step_once(&step).await;
            }
            Ok(answer)
        })
    }

    fn largest(&self) -> usize {
        usize::MAX
    }

    fn state(&self) -> FarState {
        FarState::default()
    }
}

async fn tell(journal: &Journal, body: &str) -> Token {
    journal.tell(body.to_owned().into()).await.unwrap()
}

async fn head(journal: &Journal) -> Token {
    journal.news(None).await.unwrap().head
}

/// What a reader at `since` hears, and where it is then.
async fn heard(journal: &Journal, since: Token) -> (Option<Vec<Bytes>>, Token) {
    let news = journal.news(Some(since)).await.unwrap();
    (news.entries, news.head)
}

#[tokio::test]
async fn servers_hear_what_others_tell_in_order_and_a_look_without_news_is_one_call() {
    let table = Arc::new(Table::default());
    let [one, other] = [table.journal(), table.journal()];
    let start = head(&other).await;
    assert_eq!(start.number, 0);

    tell(&one, "a").await;
    tell(&other, "b").await;
    let last = tell(&one, "c").await;
    assert_eq!((last.epoch, last.number), (start.epoch, 3));
    assert_eq!(heard(&other, start).await, (Some(vec!["a".into(), "b".into(), "c".into()]), last));

    let calls = table.calls.load(Ordering::Relaxed);
    assert_eq!(heard(&other, last).await, (Some(vec![]), last));
    assert_eq!(table.calls.load(Ordering::Relaxed), calls + 1);
}

#[tokio::test]
async fn tellers_at_the_same_time_never_share_a_number_and_none_of_their_entries_is_missing() {
    eight_tell(Arc::default()).await;
}

#[tokio::test]
async fn an_entry_whose_answer_was_lost_is_not_written_twice() {
    eight_tell(Arc::new(Table { repeats: true, ..Table::default() })).await;
}

async fn eight_tell(table: Arc<Table>) {
    let journals: Vec<Journal> = (0..8).map(|_| table.journal()).collect();
    let start = head(&journals[0]).await;
    let tellers = journals.iter().enumerate().map(async |(teller, journal)| {
        let mut told = vec![];
        for n in 0..50 {
            let body = format!("{teller} {n}");
            told.push((tell(journal, &body).await.number, Bytes::from(body)));
        }
        told
    });
    let mut told = join_all(tellers).await.concat();
    told.sort_unstable();

    let expected: Vec<u64> = (1..=400).collect();
    assert_eq!(told.iter().map(|(number, _)| *number).collect::<Vec<_>>(), expected);
    let (entries, _) = heard(&journals[3], start).await;
    assert_eq!(entries.unwrap(), told.into_iter().map(|(_, body)| body).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_missing_altered_or_moved_entry_is_a_loss_and_the_next_one_is_heard_again() {
    let table = Arc::new(Table::default());
    let journal = table.journal();
    for wrong in 0..3 {
        let start = tell(&journal, "before").await;
        let middle = tell(&journal, "wrong").await;
        let last = tell(&journal, "after").await;
        let foreign = table.state()[&name(last)].clone();
        match wrong {
            0 => drop(table.names().remove(&name(middle))),
            1 => table.alter(middle, |bytes| bytes[50] ^= 1),
            _ => table.alter(middle, |bytes| *bytes = foreign.to_vec()),
        }

        assert_eq!(heard(&journal, start).await, (None, last), "{wrong}");
        assert_eq!(heard(&journal, middle).await, (Some(vec!["after".into()]), last), "{wrong}");
        let next = tell(&journal, "next").await;
        assert_eq!(heard(&journal, last).await, (Some(vec!["next".into()]), next), "{wrong}");
    }
}

#[tokio::test]
async fn a_journal_that_is_gone_begins_another_epoch_with_the_next_look_so_that_two_losses_never_look_like_none() {
    let table = Arc::new(Table::default());
    let [one, other] = [table.journal(), table.journal()];
    let start = tell(&one, "a").await;
    let mut since = start;
    for _ in 0..3 {
        table.names().clear();
        let (entries, next) = heard(&other, since).await;
        assert!(entries.is_none() && next.epoch != since.epoch && next.number == 0, "{next}");
        tell(&one, "b").await;
        since = next;
    }

    // Lost before anybody has read it: the teller has told it all the same.
    table.names().clear();
    let told = tell(&one, "c").await;
    assert!(told.epoch != since.epoch && told.number == 1, "{told}");
    let (entries, next) = heard(&other, since).await;
    assert_eq!((entries, next), (None, told));
    assert_eq!(heard(&other, Token { number: 0, ..told.unmarked() }).await.0, Some(vec!["c".into()]));
}

#[tokio::test]
async fn what_is_no_head_counts_as_none() {
    let table = Arc::new(Table::default());
    let journal = table.journal();
    for garbage in ["", "x", "17", "0000000000000000.1.0000000000000000", "ffffffffffffffff.18446744073709551616.0"] {
        let start = tell(&journal, "a").await;
        table.names().insert(HEAD.into(), garbage.into());
        let (entries, next) = heard(&journal, start).await;
        assert!(entries.is_none() && next.epoch != start.epoch, "{garbage}");
    }
}

#[tokio::test]
async fn a_store_that_went_back_and_was_written_over_is_a_loss_to_every_server() {
    for others in [1, 2, 5] {
        let table = Arc::new(Table::default());
        let [knows, late] = [table.journal(), table.journal()];
        let start = tell(&late, "a").await;
        let earlier = table.state();
        tell(&knows, "b").await;
        let since = tell(&knows, "c").await;
        assert_eq!(heard(&knows, start).await.1, since);

        table.put_back(&earlier);
        // One server has not heard of the later entries, and writes under their numbers.
        for n in 0..others {
            let told = tell(&late, "other").await;
            assert_eq!((told.epoch, told.number), (start.epoch, start.number + 1 + n));
        }

        let (entries, next) = heard(&knows, since).await;
        assert!(entries.is_none() && next.epoch != start.epoch, "{others}: {next}");
        let (entries, same) = heard(&late, start).await;
        assert_eq!((entries, same), (None, next), "{others}: the other server hears of it");
        let last = tell(&late, "d").await;
        assert_eq!(heard(&knows, next).await, (Some(vec!["d".into()]), last), "{others}");
    }
}

#[tokio::test]
async fn a_position_of_what_a_store_lost_is_never_taken_for_what_is_told_under_its_number_later() {
    let table = Arc::new(Table::default());
    let [knows, late] = [table.journal(), table.journal()];
    let start = tell(&late, "a").await;
    let earlier = table.state();
    let lost = [tell(&knows, "b").await, tell(&knows, "c").await];
    drop(knows);

    table.put_back(&earlier);
    let again = [tell(&late, "d").await, tell(&late, "e").await];
    for (lost, again) in lost.into_iter().zip(again) {
        assert_eq!(lost.place(), again.place());
        assert_eq!(heard(&late, lost).await.0, None, "it is asked for with the mark of what was lost");
        assert!(heard(&late, again).await.0.is_some());
    }

    let News { entries, marks, .. } = late.news(Some(start.unmarked())).await.unwrap();
    assert_eq!(entries.unwrap().len() + 1, marks.len(), "each entry has a mark, and so has the position");
    assert_eq!(marks[..3], [start.mark, again[0].mark, again[1].mark]);
}

/// What a server does that notices that the store went back.
#[derive(Clone, Copy, Debug)]
enum Notices {
    Looks,
    Tells,
}

#[tokio::test]
async fn what_a_store_lost_that_went_back_is_put_back_by_the_first_server_that_knows_it_and_is_no_loss() {
    for repeats in [false, true] {
        for (by, notices) in
            [(0, Notices::Looks), (0, Notices::Tells), (1, Notices::Looks), (1, Notices::Tells), (2, Notices::Looks)]
        {
            let table = Arc::new(Table { repeats, ..Table::default() });
            let [told, heard, late] = [table.journal(), table.journal(), table.journal()];
            let start = tell(&told, "a").await;
            assert_eq!(heard_by(&late, Token { number: 0, ..start.unmarked() }).await, ["a"]);
            let earlier = table.state();
            tell(&told, "b").await;
            let last = tell(&told, "c").await;
            assert_eq!(heard_by(&heard, start).await, ["b", "c"]);
            let whole = table.state();

            table.put_back(&earlier);
            assert_eq!(heard_by(&late, start).await, [""; 0], "who never heard of them cannot know");
            match (by, notices) {
                (0, Notices::Looks) => assert_eq!(heard_by(&told, last).await, [""; 0]),
                (1, Notices::Looks) => assert_eq!(heard_by(&heard, last).await, [""; 0]),
                (0, Notices::Tells) => assert_eq!(tell(&told, "d").await.number, last.number + 1),
                (1, Notices::Tells) => assert_eq!(tell(&heard, "d").await.number, last.number + 1),
                // Both at once.
                _ => {
                    let (one, other) = tokio::join!(heard_by(&told, last), heard_by(&heard, last));
                    assert_eq!((one, other), (vec![], vec![]));
                }
            }

            let more: &[&str] = if matches!(notices, Notices::Tells) { &["b", "c", "d"] } else { &["b", "c"] };
            assert_eq!(heard_by(&late, start).await, more, "{by} {notices:?}");
            assert!(whole.keys().all(|name| table.state().contains_key(name)));
        }
    }
}

/// The texts of the entries behind a position, which must be there.
async fn heard_by(journal: &Journal, since: Token) -> Vec<String> {
    let (entries, _) = heard(journal, since).await;
    entries.unwrap().iter().map(|entry| String::from_utf8(entry.to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn a_server_that_does_not_have_all_that_was_lost_begins_another_epoch() {
    for missing in ["head alone", "too many"] {
        let table = Arc::new(Table::default());
        let [told, knows] = [table.journal(), table.journal()];
        let start = tell(&told, "a").await;
        let earlier = table.state();
        let mut since = start;
        for _ in 0..if missing == "too many" { 1025 } else { 2 } {
            since = tell(&told, "b").await;
        }
        // It has seen the head, and none of the entries.
        let reader = if missing == "too many" { &told } else { &knows };
        assert_eq!(head(reader).await, since);

        table.put_back(&earlier);
        let (entries, next) = heard(reader, since).await;
        assert!(entries.is_none() && next.epoch != start.epoch, "{missing}: {next}");
        let told = tell(&told, "c").await;
        assert_eq!((told.epoch, told.number), (next.epoch, 1), "{missing}: nobody puts it back later");
    }
}

#[tokio::test]
async fn an_epoch_that_was_over_and_comes_back_is_a_loss() {
    let table = Arc::new(Table::default());
    let [knows, late] = [table.journal(), table.journal()];
    let start = tell(&knows, "a").await;
    let earlier = table.state();
    table.names().clear();
    let since = tell(&knows, "b").await;
    table.put_back(&earlier);
    assert_eq!(heard(&late, start).await, (Some(vec![]), start), "who has not heard of the other cannot know");

    let (entries, next) = heard(&knows, since).await;
    assert!(entries.is_none() && ![start.epoch, since.epoch].contains(&next.epoch), "{next}");
    assert_eq!(heard(&late, start).await, (None, next), "but hears it from a server that has");
}

#[tokio::test]
async fn what_a_client_makes_up_as_a_position_begins_no_epoch() {
    let table = Arc::new(Table::default());
    let journal = table.journal();
    let head = tell(&journal, "a").await;
    let first = Token { number: 0, mark: 1, ..head };
    let other = Token { mark: 1, ..head };
    let elsewhere = Token { epoch: 1, number: 0, mark: 0 };
    for made_up in [Token { number: u64::MAX, ..head }, elsewhere, first, other, Token::default()] {
        assert_eq!(heard(&journal, made_up).await, (None, head));
    }
}

#[tokio::test]
async fn more_than_a_reader_takes_at_once_is_a_loss() {
    let table = Arc::new(Table::default());
    let journal = table.journal();
    let start = head(&journal).await;
    let long = "x".repeat(LONGEST);
    for _ in 0..MOST_BYTES / LONGEST {
        tell(&journal, &long).await;
    }
    assert_eq!(heard(&journal, start).await.0.unwrap().len(), MOST_BYTES / LONGEST);
    tell(&journal, "and one").await;
    let (entries, begin) = heard(&journal, start).await;
    assert_eq!(entries, None, "too many bytes");

    for _ in 0..MOST {
        tell(&journal, "").await;
    }
    let (entries, _) = heard(&journal, begin).await;
    assert_eq!(entries.unwrap().len() as u64, MOST);
    tell(&journal, "").await;
    assert_eq!(heard(&journal, begin).await.0, None, "too many entries");

    let error = journal.tell(vec![0; LONGEST + 1].into()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid);
}

/// The texts of the last entries that can be read, and the position before them.
async fn recent(journal: &Journal) -> (Vec<String>, Token) {
    let News { head, entries, marks } = journal.recent().await.unwrap();
    let entries = entries.unwrap();
    assert_eq!(marks.len(), entries.len() + 1, "each entry has a mark, and so has the position before");
    assert_eq!(marks.last(), Some(&head.mark));
    let before = Token { number: head.number - entries.len() as u64, mark: marks[0], ..head };
    (entries.iter().map(|entry| String::from_utf8(entry.to_vec()).unwrap()).collect(), before)
}

#[tokio::test]
async fn a_server_that_begins_reads_back_to_the_first_entry_that_is_gone_damaged_or_of_another_history() {
    for count in [1_usize, 2, 63, 64, 65, 300] {
        for wrong in 0..4 {
            let table = Arc::new(Table::default());
            let journal = table.journal();
            let mut told = vec![head(&journal).await];
            for n in 1..=count {
                told.push(tell(&journal, &n.to_string()).await);
            }
            assert_eq!(recent(&table.journal()).await, ((1..=count).map(|n| n.to_string()).collect(), told[0]));

            // What is before it can be read, but is not known to be all.
            let at = (count * 2).div_ceil(3);
            let gone = told[at];
            match wrong {
                0 => drop(table.names().remove(&name(gone))),
                1 => table.alter(gone, |bytes| bytes[48] ^= 1),
                2 => {
                    let other = Entry { head: Head(Token { mark: 1, ..gone }), before: 2, body: Bytes::new() };
                    table.names().insert(name(gone), other.seal(None));
                }
                _ => (1..=at).for_each(|n| drop(table.names().remove(&name(told[n])))),
            }
            let readable = (at + 1..=count).map(|n| n.to_string()).collect();
            let late = table.journal();
            assert_eq!(recent(&late).await, (readable, gone), "{count} {wrong}");
            let last = tell(&journal, "next").await;
            assert_eq!(heard(&late, told[count]).await, (Some(vec!["next".into()]), last), "it goes on");
        }
    }
}

#[tokio::test]
async fn a_server_that_begins_reads_as_many_entries_and_bytes_as_a_reader_takes_at_once() {
    let table = Arc::new(Table::default());
    let journal = table.journal();
    let long = "x".repeat(LONGEST);
    for _ in 0..=MOST_BYTES / LONGEST {
        tell(&journal, &long).await;
    }
    assert_eq!(recent(&table.journal()).await.0.len(), MOST_BYTES / LONGEST);

    for _ in 0..=MOST {
        tell(&journal, "").await;
    }
    assert_eq!(recent(&table.journal()).await.0.len() as u64, MOST);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_begins_over_a_slow_store_goes_on_with_the_entries_that_it_has_read() {
    let table = Arc::new(Table { slow: Duration::from_millis(140), ..Table::default() });
    let journal = table.journal();
    for n in 0..1_000 {
        tell(&journal, &n.to_string()).await;
    }
    let (entries, before) = recent(&table.journal()).await;
    assert_eq!(entries.last().map(String::as_str), Some("999"));
    assert_eq!((entries.len() as u64 + before.number, entries.len() as u64), (1_000, 3 * AT_ONCE));
}

#[tokio::test]
async fn with_a_secret_what_others_write_is_a_loss_and_never_an_entry() {
    let secret = |text: &str| Some(Secret::new(&[format!("{text}, a secret of thirty-two bytes or more")]).unwrap());
    let table = Arc::new(Table::default());
    let ours = table.journal_with(secret("a"));
    for theirs in [None, secret("b")] {
        let theirs = table.journal_with(theirs);
        let start = tell(&ours, "a").await;
        let last = tell(&theirs, "forged").await;
        assert_eq!(heard(&ours, start).await, (None, last));
        let next = tell(&ours, "b").await;
        assert_eq!(heard(&ours, last).await, (Some(vec!["b".into()]), next));
    }
}
