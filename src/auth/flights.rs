//! Single flight: many requests wait for the answer to one question to another server.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared, WeakShared},
};

use super::remembered::Digest;
use crate::unpoisoned::Unpoisoned;

type Question<T> = BoxFuture<'static, T>;

/// The questions under way.
///
/// A question belongs to all requests that wait for it: one of them drives it at a time, another
/// goes on with it when that one leaves, and it stops when the last has left.
pub(super) struct Flights<T: Clone>(Arc<Mutex<UnderWay<T>>>);

struct UnderWay<T: Clone> {
    questions: HashMap<Digest, (u64, WeakShared<Question<T>>)>,
    next: u64,
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn new() -> Flights<T> {
        Flights(Arc::new(Mutex::new(UnderWay { questions: HashMap::new(), next: 0 })))
    }

    /// The answer to the question with this digest: of the one under way, or of `ask`.
    ///
    /// Dropping the future harms no other request.
    pub(super) async fn join<F>(&self, digest: Digest, ask: impl FnOnce() -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
    {
        let question = self.board(digest, ask);
        question.await
    }

    fn board<F>(&self, digest: Digest, ask: impl FnOnce() -> F) -> Shared<Question<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut under_way = self.0.lock().unpoisoned();
        let found = under_way.questions.get(&digest).and_then(|(_, question)| question.upgrade());
        if let Some(question) = found {
            return question;
        }

        let number = under_way.next;
        under_way.next += 1;
        let landing = Landing { flights: Arc::clone(&self.0), digest, number };
        let asked = ask();
        let question = async move {
            // Dropped at the end, and also if everybody leaves.
            let _landing = landing;
            asked.await
        };

        let question = question.boxed().shared();
        if let Some(weak) = question.downgrade() {
            under_way.questions.insert(digest, (number, weak));
        }
        question
    }
}

/// Takes a question off the board.
struct Landing<T: Clone> {
    flights: Arc<Mutex<UnderWay<T>>>,
    digest: Digest,
    number: u64,
}

impl<T: Clone> Drop for Landing<T> {
    fn drop(&mut self) {
        let mut under_way = self.flights.lock().unpoisoned();
        // Where all had left, the same question may be under way again.
        if under_way.questions.get(&self.digest).is_some_and(|(number, _)| *number == self.number) {
            under_way.questions.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    #[tokio::test]
    async fn a_question_is_asked_once_and_one_who_leaves_harms_nobody() {
        let flights = Arc::new(Flights::new());
        let asked = Arc::new(AtomicU32::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let join = || {
            let (flights, asked, gate) = (Arc::clone(&flights), Arc::clone(&asked), Arc::clone(&gate));
            tokio::spawn(async move {
                let ask = || async move {
                    asked.fetch_add(1, Ordering::Relaxed);
                    drop(gate.acquire().await);
                    "answer"
                };
                flights.join([1; 32], ask).await
            })
        };

        let first = join();
        while asked.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let others = [join(), join(), join()];
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());

        gate.add_permits(10);
        for other in others {
            assert_eq!(other.await.unwrap(), "answer");
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(flights.0.lock().unwrap().questions.is_empty());
    }

    #[tokio::test]
    async fn a_question_that_all_have_left_stops_and_can_be_asked_again() {
        let flights = Flights::new();
        let held = Arc::new(());
        let for_ever = || {
            let held = Arc::clone(&held);
            async move {
                let _held = held;
                std::future::pending::<u8>().await
            }
        };

        let mut left = Box::pin(flights.join([1; 32], for_ever));
        assert!((&mut left).now_or_never().is_none());
        drop(left);
        assert_eq!(Arc::strong_count(&held), 1);
        assert!(flights.0.lock().unwrap().questions.is_empty());
        assert_eq!(flights.join([1; 32], || async { 7 }).await, 7);
    }
}
