//! Loads that wait for the journal, over a pretended store and by a clock that stands still.

use super::*;
use crate::{
    change::Change,
    loader::system_clock,
    store::{
        Store,
        pretended::{Machine, Pause, open},
    },
};

/// How long a call to the store takes each server.
#[derive(Clone, Default)]
struct Pace(Arc<Mutex<Duration>>);

impl Pace {
    fn set(&self, time: Duration) {
        *self.0.lock().unpoisoned() = time;
    }

    /// Each call pauses twice.
    fn pause(&self) -> Pause {
        let pace = self.clone();
        Arc::new(move || {
            let time = *pace.0.lock().unpoisoned() / 2;
            Box::pin(async move {
                tokio::time::sleep(time).await;
                Ok(())
            })
        })
    }
}

fn server(machine: &Arc<Machine>, pace: &Pace) -> Arc<Loader> {
    let store: Store = open(machine, pace.pause(), false, 0);
    Arc::new(Loader::new(store, system_clock(), Arc::default()).without_threads())
}

/// A server that has told a change, its position, and another that has not heard of it yet and for
/// which a call now takes this long.
async fn behind(time: Duration) -> (Arc<Loader>, Token, Pace) {
    let machine = Arc::new(Machine::default());
    let pace = Pace::default();
    let [teller, late] = [&Pace::default(), &pace].map(|pace| server(&machine, pace));
    teller.first_look().await;
    late.first_look().await;
    // The task that listens has looked too, and waits.
    tokio::time::sleep(LOOK / 2).await;
    pace.set(time);
    let mut tell = Tell::default();
    tell.changes.push(Change::of("list", ["1"]));
    let told = teller.tell(tell, &[]).await.unwrap();
    assert!(late.changes.is_ahead(told));
    (late, told, pace)
}

#[tokio::test(start_paused = true)]
async fn a_load_waits_until_the_change_is_heard_and_not_for_the_next_look() {
    let (late, told, _) = behind(Duration::from_millis(10)).await;
    let began = Instant::now();
    late.catch_up(told).await;
    assert_eq!(late.changes.has(told), Some(true));
    assert!(began.elapsed() < LOOK / 2);
}

#[tokio::test(start_paused = true)]
async fn a_load_waits_for_a_slow_journal_no_longer_than_for_a_look() {
    let (late, told, _) = behind(STORE_TIMEOUT * 10).await;
    let began = Instant::now();
    late.catch_up(told).await;
    assert_eq!(began.elapsed().as_millis(), LOOK.as_millis());
    assert_eq!(late.changes.has(told), Some(false));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_does_not_end_the_look_that_its_load_has_waited_for() {
    let (late, told, pace) = behind(Duration::from_millis(100)).await;
    // It leaves at the end of the second of the two calls.
    let left = tokio::time::timeout(Duration::from_millis(160), late.catch_up(told)).await;
    assert!(left.is_err());
    // No other look could end so soon.
    pace.set(STORE_TIMEOUT * 10);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(late.changes.has(told), Some(true));
}

#[tokio::test(start_paused = true)]
async fn a_load_whose_chunk_is_of_changes_that_the_store_has_lost_waits_for_two_looks_at_most() {
    let (late, told, _) = behind(Duration::from_millis(20)).await;
    let lost = Token { number: told.number + 1, mark: 1, ..told };
    let began = Instant::now();
    late.catch_up(lost).await;
    assert!(late.changes.is_ahead(lost) && late.changes.has(told) == Some(true));
    assert!(began.elapsed() < LOOK);
}
