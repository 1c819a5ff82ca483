//! Changes that a standby may show only after a while: what they touch is touched once more then.

use std::{
    collections::HashMap,
    slice,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{sync::Semaphore, time::Instant};

use super::{
    Loader,
    changes::Subject,
    hearing::{Told, touch_of},
    touch::Touch,
};
use crate::{
    change::{Tell, Token},
    unpoisoned::Unpoisoned,
};

/// How many tells wait at once to be repeated one by one.
const REPEATS: usize = 256;

/// What is told once more, where a standby may show it only later.
pub(super) struct Repeats {
    room: Arc<Semaphore>,
    /// When all lists of such databases are touched once more, if there was no room, or if changes
    /// were lost.
    due: Mutex<Option<Due>>,
}

/// All lists of such databases are touched once more then.
#[derive(Clone, Copy)]
struct Due {
    at: Instant,
    /// Changes up to this position were lost: until then lists may not show them.
    lost: Option<Token>,
}

impl Default for Repeats {
    fn default() -> Repeats {
        Repeats { room: Arc::new(Semaphore::new(REPEATS)), due: Mutex::default() }
    }
}

impl Loader {
    /// Has what is touched touched once more, where a standby may show the changes only later.
    pub(super) fn repeat_when_settled(
        self: &Arc<Loader>,
        entries: &[Tell],
        subjects: &[([u8; 16], Subject)],
        touched: &HashMap<[u8; 16], Option<Touch>>,
    ) {
        let is_touched = |digest: &[u8; 16]| matches!(touched.get(digest), Some(Some(_)));
        let late: Vec<_> = subjects
            .iter()
            .filter(|(digest, subject)| is_touched(digest) && !subject.settle.is_zero())
            .cloned()
            .collect();
        let Some(settle) = late.iter().map(|(_, subject)| subject.settle).max() else { return };
        let Ok(room) = Arc::clone(&self.repeats.room).try_acquire_owned() else {
            return self.repeat_all_after(settle, None);
        };

        let tell = Tell::all(entries);
        let all = subjects.to_vec();
        // A weak reference: a loader that nobody uses any more is not kept for it.
        let loader = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(settle).await;
            drop(room);
            let Some(loader) = loader.upgrade() else { return };
            let told = Told::all(slice::from_ref(&tell), &all);
            let touched = late.iter().map(async |(digest, subject)| Some((*digest, touch_of(subject, &told).await?)));
            let touched = futures_util::future::join_all(touched).await;
            loader.changes.repeat(touched.into_iter().flatten().collect());
        });
    }

    /// Has all lists touched once more whose database may show changes only later that are not known
    /// here: told before this server began to listen, or lost. `lost` is the position of the last.
    pub(super) fn repeat_all_when_settled(self: &Arc<Loader>, lost: Option<Token>) {
        let subjects = self.changes.subjects();
        let settle = subjects.iter().map(|(_, subject)| subject.settle).max().unwrap_or_default();
        if !settle.is_zero() && tokio::runtime::Handle::try_current().is_ok() {
            self.repeat_all_after(settle, lost);
        }
    }

    /// Whether nothing up to this position was lost that a standby may show only later.
    pub(super) fn is_settled(&self, at: Token) -> bool {
        let due = self.repeats.due.lock().unpoisoned();
        let Some(lost) = due.and_then(|due| due.lost) else { return true };
        at.epoch == lost.epoch && at.number > lost.number
    }

    /// The same where too many changes wait to be repeated: every chunk of the lists of all such
    /// databases counts as touched once more, this long after the last of them.
    fn repeat_all_after(self: &Arc<Loader>, settle: Duration, lost: Option<Token>) {
        let due = {
            let mut there = self.repeats.due.lock().unpoisoned();
            let before = *there;
            let lost = lost.or(before.and_then(|due| due.lost));
            let due = Due { at: Instant::now() + settle, lost };
            *there = Some(due);
            if before.is_some() {
                return;
            }
            due.at
        };

        let loader = Arc::downgrade(self);
        tokio::spawn(async move {
            let mut due = due;
            loop {
                tokio::time::sleep_until(due).await;
                let Some(loader) = loader.upgrade() else { return };
                let subjects = loader.changes.subjects().into_iter();
                let late = subjects.filter(|(_, subject)| !subject.settle.is_zero());
                loader.changes.repeat(late.map(|(digest, _)| (digest, Touch::All)).collect());

                let mut next = loader.repeats.due.lock().unpoisoned();
                match *next {
                    Some(later) if later.at > due => due = later.at,
                    _ => {
                        *next = None;
                        return;
                    }
                }
            }
        });
    }
}
