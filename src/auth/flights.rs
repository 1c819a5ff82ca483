//! Single flight: many requests wait for the answer to one question to another server.

use std::{
    collections::HashMap,
    future::Future,
    sync::{Arc, Mutex},
};

use tokio::{sync::watch, task::JoinSet};

use super::remembered::Digest;
use crate::unpoisoned::Unpoisoned;

/// The questions under way, each a task of its own.
///
/// A question that waits for its turn ends when the last request that waits for it has left. One
/// that is asked goes on: the other server works on it anyhow, and the next request with the same
/// question gets the answer. Dropping this ends all.
pub(super) struct Flights<T> {
    board: Arc<Board<T>>,
    tasks: Mutex<JoinSet<()>>,
}

/// The questions that a request can join. The sender tells all who wait.
type Board<T> = Mutex<HashMap<Digest, watch::Sender<Option<T>>>>;

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    pub(super) fn new() -> Flights<T> {
        Flights { board: Arc::default(), tasks: Mutex::default() }
    }

    /// The answer to the question with this digest, if one is under way; else that of `ask`, which
    /// gets the turn that the future of `enter` waits for. Where there is no turn, the error of
    /// either is the answer. `None` if the question ends without one.
    ///
    /// Dropping the future harms no other request. `ask` sets a limit on its own time.
    pub(super) async fn join<W, U, A>(
        &self,
        digest: Digest,
        enter: impl FnOnce() -> Result<W, T>,
        ask: impl FnOnce(U) -> A + Send + 'static,
    ) -> Option<T>
    where
        W: Future<Output = Result<U, T>> + Send + 'static,
        A: Future<Output = T> + Send + 'static,
        U: Send + 'static,
    {
        let mut told = {
            let mut board = self.board.lock().unpoisoned();
            match board.get(&digest) {
                Some(question) => question.subscribe(),
                None => {
                    let turn = match enter() {
                        Ok(turn) => turn,
                        Err(refused) => return Some(refused),
                    };
                    let (tells, told) = watch::channel(None);
                    board.insert(digest, tells.clone());
                    self.begin(Landing { board: Arc::clone(&self.board), digest, tells }, turn, ask);
                    told
                }
            }
        };
        let said = told.wait_for(Option::is_some).await;
        said.ok().and_then(|said| said.clone())
    }

    fn begin<W, U, A>(&self, landing: Landing<T>, turn: W, ask: impl FnOnce(U) -> A + Send + 'static)
    where
        W: Future<Output = Result<U, T>> + Send + 'static,
        A: Future<Output = T> + Send + 'static,
        U: Send + 'static,
    {
        let mut tasks = self.tasks.lock().unpoisoned();
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            let turn = tokio::select! {
                turn = turn => turn,
                () = landing.all_have_left() => return,
            };
            let said = match turn {
                Ok(turn) => ask(turn).await,
                Err(refused) => refused,
            };
            landing.tells.send_replace(Some(said));
        });
    }
}

/// Takes a question off the board when it is dropped. Until then nobody else begins it.
struct Landing<T> {
    board: Arc<Board<T>>,
    digest: Digest,
    tells: watch::Sender<Option<T>>,
}

impl<T> Landing<T> {
    /// Waits until no request waits for the question any more. Then none can join it either.
    async fn all_have_left(&self) {
        loop {
            self.tells.closed().await;
            let mut board = self.board.lock().unpoisoned();
            // A request may have come in the meantime.
            if self.tells.receiver_count() == 0 {
                board.remove(&self.digest);
                return;
            }
        }
    }
}

impl<T> Drop for Landing<T> {
    fn drop(&mut self) {
        let mut board = self.board.lock().unpoisoned();
        // Where all had left, the same question may be under way again.
        if board.get(&self.digest).is_some_and(|question| question.same_channel(&self.tells)) {
            board.remove(&self.digest);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::poll;
    use tokio::sync::{Semaphore, oneshot};

    use super::*;

    type Turn = std::future::Ready<Result<(), &'static str>>;

    /// A turn that is there at once.
    fn at_once() -> Result<Turn, &'static str> {
        Ok(std::future::ready(Ok(())))
    }

    #[tokio::test]
    async fn a_question_is_asked_once_and_one_who_leaves_harms_nobody() {
        let flights = Arc::new(Flights::new());
        let asked = Arc::new(AtomicU32::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let join = || {
            let (flights, asked, gate) = (Arc::clone(&flights), Arc::clone(&asked), Arc::clone(&gate));
            tokio::spawn(async move {
                let ask = |()| async move {
                    asked.fetch_add(1, Ordering::Relaxed);
                    drop(gate.acquire().await);
                    "answer"
                };
                flights.join([1; 32], at_once, ask).await
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
            assert_eq!(other.await.unwrap(), Some("answer"));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        assert!(flights.board.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_question_that_is_asked_goes_on_when_all_have_left_and_the_next_gets_its_answer() {
        let flights = Flights::new();
        let (answer, said) = oneshot::channel::<&str>();
        let mut left = Box::pin(flights.join([1; 32], at_once, |()| async { said.await.unwrap() }));
        assert!(poll!(&mut left).is_pending());
        tokio::task::yield_now().await;
        drop(left);
        tokio::task::yield_now().await;

        let again = flights.join([1; 32], at_once, |()| async { "asked again" });
        answer.send("answer").unwrap();
        assert_eq!(again.await, Some("answer"));
        assert_eq!(flights.join([1; 32], at_once, |()| async { "asked again" }).await, Some("asked again"));
    }

    #[tokio::test]
    async fn a_question_that_waits_for_its_turn_leaves_the_line_when_all_have_left() {
        let flights = Flights::new();
        let (turn, waits) = oneshot::channel::<()>();
        let never_asked = |()| async { panic!("nobody waits for the answer") };
        let line = || Ok(async { waits.await.map_err(|_| "no turn") });
        let mut one = Box::pin(flights.join([1; 32], line, never_asked));
        let mut other = Box::pin(flights.join([1; 32], at_once, never_asked));
        assert!(poll!(&mut one).is_pending() && poll!(&mut other).is_pending());
        tokio::task::yield_now().await;
        drop(one);
        tokio::task::yield_now().await;
        assert!(!turn.is_closed(), "one still waits");

        drop(other);
        while !turn.is_closed() {
            tokio::task::yield_now().await;
        }
        assert!(flights.board.lock().unwrap().is_empty());
        assert_eq!(flights.join([1; 32], at_once, |()| async { "new" }).await, Some("new"));
    }

    #[tokio::test]
    async fn without_a_place_or_a_turn_a_question_is_not_asked_and_can_come_again() {
        let flights = Flights::new();
        let never_asked = |()| async { panic!("it has no turn") };
        let no_place = || Err::<Turn, _>("no place");
        assert_eq!(flights.join([1; 32], no_place, never_asked).await, Some("no place"));
        let no_turn = || Ok(std::future::ready(Err("no turn")));
        assert_eq!(flights.join([1; 32], no_turn, never_asked).await, Some("no turn"));
        assert_eq!(flights.join([1; 32], at_once, |()| async { "answer" }).await, Some("answer"));
        assert!(flights.board.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_question_that_breaks_off_keeps_nobody_waiting_and_all_end_with_what_asks() {
        let flights = Flights::new();
        assert_eq!(flights.join([1; 32], at_once, |()| async { panic!("a fault") }).await, None::<&str>);
        assert!(flights.board.lock().unwrap().is_empty());

        let (held, ended) = oneshot::channel::<()>();
        let asking = async move |()| {
            let _held = held;
            std::future::pending::<&str>().await
        };
        let mut left = Box::pin(flights.join([1; 32], at_once, asking));
        assert!(poll!(&mut left).is_pending());
        drop(left);
        drop(flights);
        assert!(ended.await.is_err());
    }
}
