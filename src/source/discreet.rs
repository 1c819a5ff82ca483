//! A source that keeps its database's words out of its errors.

use std::sync::Arc;

use super::{BoxFuture, Condition, Filter, Presence, Query, Run, Source, TouchRules};
use crate::{
    cursor::Cursor,
    described::Described,
    error::{Error, Result},
    row::{Column, RowSink},
};

/// A source whose query holds secrets. Its errors are passed on without their cause, since a
/// database's message may repeat a part of the query.
pub(crate) fn discreet(source: Arc<dyn Source>) -> Arc<dyn Source> {
    Arc::new(Discreet(source))
}

struct Discreet(Arc<dyn Source>);

#[deny(clippy::missing_trait_methods)]
impl Source for Discreet {
    fn columns(&self) -> &[Column] {
        self.0.columns()
    }

    fn order(&self) -> &[String] {
        self.0.order()
    }

    fn filters(&self) -> &[Filter] {
        self.0.filters()
    }

    fn scope(&self) -> &[Filter] {
        self.0.scope()
    }

    fn described(&self) -> &[Described] {
        self.0.described()
    }

    fn fingerprint(&self) -> Vec<u8> {
        self.0.fingerprint()
    }

    fn places(&self) -> Vec<u8> {
        self.0.places()
    }

    fn takes(&self, place: &Cursor) -> bool {
        self.0.takes(place)
    }

    fn takes_sessions(&self) -> bool {
        self.0.takes_sessions()
    }

    fn touch_rules(&self) -> Option<&TouchRules> {
        self.0.touch_rules()
    }

    fn narrowed(&self, columns: &[usize]) -> Option<Arc<dyn Source>> {
        self.0.narrowed(columns).map(discreet)
    }

    fn presence(&self) -> Presence {
        self.0.presence()
    }

    fn rows<'a>(&'a self, query: Query, sink: &'a mut dyn RowSink) -> BoxFuture<'a, Result<Run>> {
        let rows = self.0.rows(query, sink);
        Box::pin(async move { rows.await.map_err(Error::without_cause) })
    }

    fn count<'a>(&'a self, conditions: Arc<[Condition]>) -> BoxFuture<'a, Option<u64>> {
        self.0.count(conditions)
    }
}
