//! The span of a read.

use tracing::Span;

use super::{keyset, plan::Plan, select};
use crate::{row::Value, source::Query, trace};

/// A span for a read of a run. It leaves out the query's text if that has a condition of the
/// operator, which may hold values.
pub(in crate::source) fn span(within: &Span, system: &str, plan: &Plan, query: &Query) -> Span {
    let text = || plan.condition.is_none().then(|| text(plan, query));
    let table = || plan.table.replace(plan.dialect.quote, "");
    trace::sql(within, system, table, text)
}

/// The query for the rows, without those for related rows.
fn text(plan: &Plan, query: &Query) -> String {
    let after: Vec<Value<'_>> = query.after.values().collect();
    let ranges = keyset::ranges(plan.dialect, &plan.order, &after);
    let texts = ranges.iter().map(|range| select::rows(plan, range, &query.conditions).text);
    texts.collect::<Vec<_>>().join("; ")
}
