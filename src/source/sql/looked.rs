//! The last look at a database; repeated when a read finds that the database has changed.

use std::{
    sync::{Arc, RwLock},
    time::{Duration, Instant},
};

use tokio::{sync::Mutex, time::sleep};

use crate::{error::Result, unpoisoned::Unpoisoned};

/// The shortest time between two looks, so that tables that change all the time do not keep the
/// database busy with looks.
const APART: Duration = Duration::from_millis(200);

/// The last look at a database, shared by all its sources.
#[derive(Debug)]
pub(in crate::source) struct Looked<T> {
    last: RwLock<Look<T>>,
    /// Held by the task that looks.
    turn: Mutex<()>,
}

#[derive(Debug)]
struct Look<T> {
    seen: Arc<T>,
    began: Instant,
}

impl<T> Looked<T> {
    /// The result of a look that began at `began`.
    pub(in crate::source) fn new(seen: T, began: Instant) -> Looked<T> {
        Looked { last: RwLock::new(Look { seen: Arc::new(seen), began }), turn: Mutex::default() }
    }

    /// The result of the last look.
    pub(in crate::source) fn last(&self) -> Arc<T> {
        Arc::clone(&self.last.read().unpoisoned().seen)
    }

    /// The result of a look that began after `noticed`. Tasks that ask at the same moment share one
    /// look.
    ///
    /// # Errors
    /// The error of `look`; the last result then stays.
    pub(in crate::source) async fn after(
        &self,
        noticed: Instant,
        look: impl AsyncFnOnce() -> Result<T>,
    ) -> Result<Arc<T>> {
        let _turn = self.turn.lock().await;
        let last = self.last.read().unpoisoned().began;
        if last > noticed {
            return Ok(self.last());
        }
        sleep(APART.saturating_sub(last.elapsed())).await;

        let began = Instant::now();
        let seen = Arc::new(look().await?);
        *self.last.write().unpoisoned() = Look { seen: Arc::clone(&seen), began };
        Ok(seen)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn many_who_notice_a_change_at_once_look_once_and_one_who_notices_later_looks_again() {
        let looked = Looked::new(0, Instant::now());
        let looks = AtomicUsize::new(0);
        let look = async || Ok(looks.fetch_add(1, Ordering::SeqCst) + 1);
        let noticed = Instant::now();

        let all = futures_util::future::join_all((0..10).map(|_| looked.after(noticed, look))).await;
        assert!(all.into_iter().all(|seen| *seen.unwrap() == 1));
        assert_eq!(*looked.after(Instant::now(), look).await.unwrap(), 2);
        assert_eq!(*looked.last(), 2);
    }
}
