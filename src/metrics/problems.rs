//! The last problems and the last reload, for the operator.

use std::{
    collections::VecDeque,
    sync::Mutex,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

use super::Counter;
use crate::{error::Error, unpoisoned::Unpoisoned};

/// How many problems are kept.
const KEPT: usize = 20;
/// How many bytes of each text are kept.
const LONGEST: usize = 2_000;

/// A problem, and its remedy.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only the operator's listener shows them"))]
pub(crate) struct Problem {
    /// When it last occurred, in milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) list: String,
    pub(crate) database: String,
    pub(crate) what: String,
    pub(crate) remedy: String,
    /// How many times in a row.
    pub(crate) times: u64,
}

/// The outcome of a reload.
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server reloads"))]
pub(crate) struct Reloaded {
    /// When, in milliseconds since 1970.
    pub(crate) at: u64,
    pub(crate) taken: bool,
    /// Its message.
    pub(crate) told: String,
}

#[derive(Debug, Default)]
pub(super) struct Problems {
    last: Mutex<VecDeque<Problem>>,
    pub(super) reloads: Counter,
    pub(super) refused_reloads: Counter,
    #[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server reloads"))]
    last_reload: Mutex<Option<Reloaded>>,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// The beginning of a text, of the length that is kept.
fn kept(text: &str) -> String {
    let end = (0..=LONGEST.min(text.len())).rev().find(|at| text.is_char_boundary(*at));
    text[..end.unwrap_or(0)].to_owned()
}

impl Problems {
    /// Keeps a problem in place of the oldest. If it is like one of the last, that one's count goes
    /// up.
    pub(super) fn note(&self, list: &str, database: &str, error: &Error) {
        let what = kept(&error.told());
        let mut last = self.last.lock().unpoisoned();

        let same = |one: &Problem| one.list == list && one.database == database && one.what == what;
        let before = last.iter().position(same).and_then(|at| last.remove(at));
        last.truncate(KEPT - 1);
        last.push_front(Problem {
            at: now(),
            list: list.to_owned(),
            database: database.to_owned(),
            what,
            remedy: kept(error.advice().unwrap_or_default()),
            times: before.map_or(1, |before| before.times + 1),
        });
    }
}

#[cfg(feature = "server")]
impl super::Metrics {
    /// The last problems, the latest first.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        self.problems.last.lock().unpoisoned().iter().cloned().collect()
    }

    /// Notes the outcome of a reload.
    pub(crate) fn note_reload(&self, reloaded: &Result<String, String>) {
        let taken = reloaded.is_ok();
        let counter = if taken { &self.problems.reloads } else { &self.problems.refused_reloads };
        counter.inc();

        let (Ok(told) | Err(told)) = reloaded;
        *self.problems.last_reload.lock().unpoisoned() = Some(Reloaded { at: now(), taken, told: kept(told) });
    }

    /// The outcome of the last reload.
    pub(crate) fn last_reload(&self) -> Option<Reloaded> {
        self.problems.last_reload.lock().unpoisoned().clone()
    }
}
