//! Threads that compress: as many at once as the machine has cores, each one piece of work after the other.
//!
//! A thread that is done takes the next piece itself. Were each piece a task that waits for a permit, two cores would be idle a tenth of the time, for the turn
//! that an async thread takes in between.

use std::{
    collections::VecDeque,
    num::NonZero,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex},
};

use tokio::sync::oneshot;

use super::unpoisoned;
use crate::error::{Error, Kind, Result};

/// Work that waits, and how many threads there are for it.
pub(super) struct Presses {
    queue: Mutex<Queue>,
    most: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Box<dyn FnOnce() + Send>>,
    threads: usize,
}

impl Presses {
    pub(super) fn new() -> Arc<Presses> {
        let most = std::thread::available_parallelism().map_or(1, NonZero::get);
        Arc::new(Presses { queue: Mutex::default(), most })
    }

    /// Does something on such a thread. Dropping the future takes it back, if it is not begun. Needs a tokio runtime.
    ///
    /// # Errors
    /// When it panics, or the runtime ends first.
    pub(super) async fn run<T: Send + 'static>(
        self: &Arc<Presses>,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let wanted = move || {
            if !sender.is_closed() {
                let _ = sender.send(work());
            }
        };
        self.add(Box::new(wanted));
        receiver.await.map_err(|_| Error::new(Kind::Internal, "a chunk was not compressed"))
    }

    fn add(self: &Arc<Presses>, work: Box<dyn FnOnce() + Send>) {
        let mut queue = unpoisoned(&self.queue);
        queue.waiting.push_back(work);
        if queue.threads < self.most {
            queue.threads += 1;
            drop(queue);
            let thread = Thread { presses: Arc::clone(self), retired: false };
            tokio::task::spawn_blocking(move || thread.work());
        }
    }
}

/// A thread that is counted. It may be dropped without having worked, where the runtime ends.
struct Thread {
    presses: Arc<Presses>,
    retired: bool,
}

impl Thread {
    fn work(mut self) {
        while let Some(work) = self.next() {
            // Whoever waits for it sees that nothing came of it.
            let _ = catch_unwind(AssertUnwindSafe(work));
            // Whoever reads the rows behind comes first: all waits for that. Without it two cores spend 8 % more time on a cold list in gzip.
            std::thread::yield_now();
        }
    }

    /// The next piece of work; without one the thread is not counted any more, so that whoever adds some begins another.
    fn next(&mut self) -> Option<Box<dyn FnOnce() + Send>> {
        let mut queue = unpoisoned(&self.presses.queue);
        let next = queue.waiting.pop_front();
        if next.is_none() {
            queue.threads -= 1;
            self.retired = true;
        }
        next
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if !self.retired {
            unpoisoned(&self.presses.queue).threads -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn no_more_threads_work_at_once_than_there_are_cores_and_all_work_is_done() {
        let presses = Arc::new(Presses { queue: Mutex::default(), most: 2 });
        let (now, peak) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let work = (0..100).map(|n| {
            let (presses, now, peak) = (Arc::clone(&presses), Arc::clone(&now), Arc::clone(&peak));
            tokio::spawn(async move {
                let work = move || {
                    peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::sleep(Duration::from_millis(1));
                    now.fetch_sub(1, Ordering::SeqCst);
                    n
                };
                presses.run(work).await
            })
        });
        for (n, done) in work.collect::<Vec<_>>().into_iter().enumerate() {
            assert_eq!(done.await.unwrap().unwrap(), n);
        }
        assert_eq!(peak.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn work_that_panics_is_an_error_and_work_that_nobody_waits_for_is_not_begun() {
        let presses = Arc::new(Presses { queue: Mutex::default(), most: 1 });
        assert!(presses.run(|| panic!("of the test")).await.is_err());
        let (go, wait) = std::sync::mpsc::channel();
        let busy = presses.run(move || wait.recv());
        let begun = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&begun);
        let unwanted = presses.run(move || count.fetch_add(1, Ordering::SeqCst));
        tokio::select! {
            biased;
            _ = async { tokio::join!(busy, unwanted) } => panic!("the first one waits"),
            () = tokio::time::sleep(Duration::from_millis(20)) => {}
        }
        go.send(()).unwrap();
        assert_eq!(presses.run(|| 7).await.unwrap(), 7, "threads go on");
        assert_eq!(begun.load(Ordering::SeqCst), 0);
    }

    #[tokio::test]
    async fn a_thread_that_never_worked_is_not_counted_any_more() {
        let presses = Arc::new(Presses { queue: Mutex::new(Queue { threads: 1, ..Queue::default() }), most: 1 });
        drop(Thread { presses: Arc::clone(&presses), retired: false });
        assert_eq!(presses.run(|| 7).await.unwrap(), 7);
    }
}
