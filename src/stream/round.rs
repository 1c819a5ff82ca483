//! Detects chunks that lead back to a place that the stream has passed.
//!
//! Each chunk says where the next one begins, always further on in the list's order, so no list
//! goes round. But stored chunks that were forged, or mixed up from several lists, can; such a
//! stream would never end. Only the database knows the order, but a place that comes twice is seen
//! here.

use std::{sync::Arc, time::Duration};

use crate::{
    cursor::Cursor,
    error::{Error, Kind},
    list::List,
    loader::Loader,
};

/// Forgetting the chunks takes at most this long; then the stream ends anyway.
const FORGETTING: Duration = Duration::from_secs(3);

/// The places that a stream has passed, in constant memory (Brent, An improved Monte Carlo
/// factorization algorithm, BIT 20, 1980). Each place is compared with one noted before; after 1,
/// 2, 4, … places the noted one is replaced. Where `n` different places lead into a round, the
/// round is found after at most `3 n` steps.
#[derive(Clone, Debug)]
pub(super) struct Way {
    passed: Cursor,
    steps: u64,
    replaced_after: u64,
}

impl Way {
    /// A way from the place where a stream begins.
    pub(super) fn from(start: Cursor) -> Way {
        Way { passed: start, steps: 0, replaced_after: 1 }
    }

    /// Goes on to the next place. False if a repeat is seen.
    pub(super) fn goes_on_to(&mut self, next: &Cursor) -> bool {
        if *next == self.passed {
            return false;
        }

        self.steps += 1;
        if self.steps == self.replaced_after {
            self.passed = next.clone();
            self.steps = 0;
            self.replaced_after *= 2;
        }
        true
    }
}

/// Forgets all chunks of the list's resource, since nobody can tell which are wrong, and returns
/// the error that ends the stream. The next request gets rows from the source.
pub(super) async fn forget(loader: Arc<Loader>, list: Arc<List>) -> Error {
    let resource = list.resource();
    loader.metrics().damaged.inc();

    let digest = resource.digest();
    let forgetting = loader.forget(&digest);
    let forgotten = matches!(tokio::time::timeout(FORGETTING, forgetting).await, Ok(Ok(())));
    tracing::error!(
        resource = resource.name(),
        forgotten,
        "stored chunks lead round in a circle: somebody has written to the store what no server wrote"
    );

    Error::new(Kind::Unavailable, "the stored chunks of this list lead round in a circle")
        .remedy("ask again: they are forgotten, and the rows are read anew")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::row::Value;

    fn place(n: usize) -> Cursor {
        Cursor::after(&[Value::Integer(n as i64)]).unwrap()
    }

    /// Steps until a way from place 0 along `next` ends or is found to go round.
    fn steps(next: &[Option<usize>]) -> (usize, bool) {
        let mut way = Way::from(place(0));
        let mut at = 0;
        let mut steps = 0;
        while let Some(to) = next[at] {
            steps += 1;
            if !way.goes_on_to(&place(to)) {
                return (steps, true);
            }
            at = to;
            assert!(steps < 1_000_000, "it goes round for ever");
        }
        (steps, false)
    }

    proptest! {
        #[test]
        fn a_way_that_goes_round_is_found_within_three_times_its_places(places in 1usize..300, back in 0usize..300) {
            let next: Vec<_> = (1..places).chain([back % places]).map(Some).collect();
            let (steps, round) = steps(&next);
            prop_assert!(round && steps <= 3 * places, "{steps} steps for {places} places");
        }

        #[test]
        fn any_chain_ends(ends in prop::collection::vec(prop::option::weighted(0.95, any::<prop::sample::Index>()), 1..200)) {
            let next: Vec<_> = ends.iter().map(|end| end.map(|end| end.index(ends.len()))).collect();
            prop_assert!(steps(&next).0 <= 3 * next.len());
        }

        #[test]
        fn a_list_is_never_taken_for_one_that_goes_round(places in 1usize..5_000) {
            let next: Vec<_> = (1..places).map(Some).chain([None]).collect();
            prop_assert_eq!(steps(&next), (places - 1, false));
        }
    }
}
