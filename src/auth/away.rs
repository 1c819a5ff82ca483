//! Whether another server answers, and when the log says so.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use crate::unpoisoned::Unpoisoned;

/// How far two lines about one server are apart at least.
const APART: Duration = Duration::from_secs(60);

/// Whether another server answers. The log gets at most one line a minute about it, also
/// where the server goes away and comes back all the time.
#[derive(Debug, Default)]
pub(super) struct Away(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_away: bool,
    /// Questions without an answer since the last line.
    failed: u64,
    /// Whether the last line says that the server is away.
    told_away: bool,
    told: Seldom,
}

/// What the log is to say now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// The server does not answer.
    Away,
    /// It answers again. So many questions got no answer since the last line.
    Back { failed: u64 },
}

impl Away {
    /// Whether the last question got no answer.
    pub(super) fn is_away(&self) -> bool {
        self.0.lock().unpoisoned().is_away
    }

    /// Notes that a question got no answer.
    pub(super) fn failed(&self) -> Option<Line> {
        self.note(true, Instant::now())
    }

    /// Notes that a question got an answer.
    pub(super) fn answered(&self) -> Option<Line> {
        self.note(false, Instant::now())
    }

    fn note(&self, is_away: bool, now: Instant) -> Option<Line> {
        let mut state = self.0.lock().unpoisoned();
        state.is_away = is_away;
        state.failed += u64::from(is_away);
        if state.told_away == is_away || !state.told.is_time(now) {
            return None;
        }

        state.told_away = is_away;
        let failed = std::mem::take(&mut state.failed);
        Some(if is_away { Line::Away } else { Line::Back { failed } })
    }
}

/// Lets something be told at most once a minute.
#[derive(Debug, Default)]
pub(super) struct Seldom(Option<Instant>);

impl Seldom {
    /// Whether it may be told at this moment. If so, it counts as told.
    pub(super) fn is_time(&mut self, now: Instant) -> bool {
        let is_time = self.0.is_none_or(|told| now.saturating_duration_since(told) >= APART);
        if is_time {
            self.0 = Some(now);
        }
        is_time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_server_that_goes_away_and_comes_back_all_the_time_there_is_a_line_a_minute() {
        let away = Away::default();
        let began = Instant::now();
        let mut lines = vec![];
        // Ten minutes, four questions a second.
        for question in 0..2_400_u64 {
            let at = Duration::from_millis(250 * question);
            lines.extend(away.note(question % 2 == 1, began + at).map(|line| (at, line)));
        }
        assert!(lines.len() > 5, "it is told: {lines:?}");
        assert!(lines.windows(2).all(|two| two[1].0 - two[0].0 >= APART), "{lines:?}");
        assert!(lines.windows(2).all(|two| two[0].1 != two[1].1), "{lines:?}");
    }

    #[test]
    fn what_the_log_said_last_becomes_true_again_when_the_minute_is_over() {
        let away = Away::default();
        let began = Instant::now();
        let note = |is_away, seconds| away.note(is_away, began + Duration::from_secs(seconds));
        assert_eq!(note(false, 0), None, "an answer at the start is nothing to tell");
        assert_eq!(note(true, 1), Some(Line::Away));
        assert_eq!(note(true, 2), None);
        assert_eq!((note(false, 3), away.is_away()), (None, false));
        assert_eq!((note(true, 4), away.is_away()), (None, true));
        assert_eq!(note(false, 5), None);
        assert_eq!(note(false, 61), Some(Line::Back { failed: 2 }));
        assert_eq!(note(true, 90), None);
        assert_eq!(note(true, 121), Some(Line::Away));
        assert_eq!(note(true, 100_000), None, "it is told once");
    }
}
