//! SQL conditions for the rows after a cursor. Pure text; no database is asked.
//!
//! The rows after the key values `(x, y)` in the order `(a, b)` are two ranges, one after the
//! other: `a = x AND b > y`, then `a > x`. Each range has equalities first and one inequality last.
//! An index on `(a, b)` answers that without reading a row in vain, for any mix of directions; it
//! cannot for the usual `a > x OR (a = x AND b > y)`. If all columns have one direction and none
//! can be NULL, some databases answer `(a, b) > (x, y)` by one range, and one query is better than
//! two. NULL sorts where the database sorts it.

use super::{catalogue::comparison, dialect::Dialect};
use crate::{cursor::Cursor, row::Value};

/// A column of a list's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct KeyColumn {
    /// The column as SQL: quoted and qualified.
    pub(in crate::source) sql: String,
    /// How to bind a value that is compared with it: SQL with one `?`.
    pub(in crate::source) bind: String,
    /// The template for [`comparison`], if plain signs would not find the type's operators.
    pub(in crate::source) operator: Option<String>,
    /// Whether larger values come first.
    pub(in crate::source) descending: bool,
    /// Whether it can be NULL.
    pub(in crate::source) nullable: bool,
}

/// A part of a condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Piece {
    /// Literal SQL.
    Sql(String),
    /// The key value at this index of the cursor.
    Key(usize),
}

/// A condition for one range of a list's remaining rows; empty for all rows.
pub(in crate::source) type Range = Vec<Piece>;

/// The ranges after the row with these key values, in reading order; all rows if `after` is empty.
pub(in crate::source) fn ranges(dialect: &Dialect, order: &[KeyColumn], after: &[Value<'_>]) -> Vec<Range> {
    if after.is_empty() {
        return vec![vec![]];
    }

    // A comparison of rows uses one sign for all columns.
    let alike =
        |column: &KeyColumn| column.descending == order[0].descending && !column.nullable && column.operator.is_none();
    let one_way = order.iter().all(alike);
    if dialect.compares_rows && one_way && order.len() > 1 && !after.contains(&Value::Null) {
        return vec![row_comparison(order)];
    }

    let mut ranges = vec![];
    for at in (0..order.len()).rev() {
        for beyond in beyond(dialect, order, at, after[at]) {
            let mut range = vec![];
            for (index, column) in order[..at].iter().enumerate() {
                range.extend(equal(column, index, after[index]));
                range.push(Piece::Sql(" AND ".into()));
            }
            range.extend(beyond);
            ranges.push(range);
        }
    }

    ranges
}

fn row_comparison(order: &[KeyColumn]) -> Range {
    let columns: Vec<&str> = order.iter().map(|column| &*column.sql).collect();
    let sign = if order[0].descending { '<' } else { '>' };
    let mut range = vec![Piece::Sql(format!("({}) {sign} (", columns.join(", ")))];
    for index in 0..order.len() {
        range.extend((index > 0).then(|| Piece::Sql(", ".into())));
        range.push(Piece::Key(index));
    }
    range.push(Piece::Sql(")".into()));
    range
}

/// The rows beyond a value of one column.
fn beyond(dialect: &Dialect, order: &[KeyColumn], at: usize, value: Value<'_>) -> Vec<Range> {
    let KeyColumn { sql, operator, descending, nullable, .. } = &order[at];
    let is = |what: &str| vec![Piece::Sql(format!("{sql} IS {what}"))];
    let nulls_last = dialect.null_is_greatest != *descending;
    match value {
        Value::Null if nulls_last => vec![],
        Value::Null => vec![is("NOT NULL")],
        _ => {
            let sign = comparison(operator.as_deref(), if *descending { "<" } else { ">" });
            let values = vec![Piece::Sql(format!("{sql} {sign} ")), Piece::Key(at)];
            let nulls = (nulls_last && *nullable).then(|| is("NULL"));
            [values].into_iter().chain(nulls).collect()
        }
    }
}

/// The row with these key values.
pub(in crate::source) fn exactly(order: &[KeyColumn], key: &Cursor) -> Range {
    let mut range = vec![];
    for (at, (column, value)) in order.iter().zip(key.values()).enumerate() {
        if at > 0 {
            range.push(Piece::Sql(" AND ".into()));
        }
        range.extend(equal(column, at, value));
    }
    range
}

/// A column equals the value at this index of the cursor.
fn equal(column: &KeyColumn, at: usize, value: Value<'_>) -> Range {
    match value {
        Value::Null => vec![Piece::Sql(format!("{} IS NULL", column.sql))],
        _ => {
            let equal = comparison(column.operator.as_deref(), "=");
            vec![Piece::Sql(format!("{} {equal} ", column.sql)), Piece::Key(at)]
        }
    }
}

/// The `ORDER BY` list.
pub(in crate::source) fn order_by(order: &[KeyColumn]) -> String {
    let terms = order.iter().map(|column| format!("{}{}", column.sql, if column.descending { " DESC" } else { "" }));
    terms.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sqlite::DIALECT;

    const OTHER: Dialect = Dialect {
        quote: '"',
        numbered: true,
        null_is_greatest: true,
        compares_rows: true,
        in_list: None,
        collations_must_agree: false,
        queries_lose_collations: false,
        joins_exists: false,
        join: "JOIN",
        as_text: "?",
        length: "length(?)",
        sum: "sum(?)",
        no_text: "NULL",
        ilike: ["", " LIKE ", ""],
        no_escape: "",
    };

    fn column(sql: &str, descending: bool, nullable: bool) -> KeyColumn {
        KeyColumn { sql: sql.into(), bind: "?".into(), operator: None, descending, nullable }
    }

    fn texts(dialect: &Dialect, order: &[KeyColumn], after: &[Value<'_>]) -> Vec<String> {
        let text = |range: Range| {
            let piece = |piece: Piece| match piece {
                Piece::Sql(sql) => sql,
                Piece::Key(index) => format!("{{{index}}}"),
            };
            range.into_iter().map(piece).collect::<String>()
        };
        ranges(dialect, order, after).into_iter().map(text).collect()
    }

    #[test]
    fn the_rest_of_a_list_is_equal_values_then_one_range_each() {
        let order = [column("a", true, true), column("b", false, false)];
        let one = Value::Integer(1);
        let two = Value::Integer(2);
        assert_eq!(texts(&DIALECT, &order, &[]), [""]);
        assert_eq!(texts(&DIALECT, &order, &[one, two]), ["a = {0} AND b > {1}", "a < {0}", "a IS NULL"]);
        assert_eq!(texts(&DIALECT, &order, &[Value::Null, two]), ["a IS NULL AND b > {1}"]);
        assert_eq!(order_by(&order), "a DESC, b");
    }

    #[test]
    fn null_has_the_rank_that_the_database_gives_it() {
        let order = [column("a", true, true), column("b", false, true)];
        let one = Value::Integer(1);
        let two = Value::Integer(2);
        assert_eq!(texts(&OTHER, &order, &[one, two]), ["a = {0} AND b > {1}", "a = {0} AND b IS NULL", "a < {0}"]);
        assert_eq!(texts(&OTHER, &order, &[Value::Null, Value::Null]), ["a IS NOT NULL"]);
    }

    #[test]
    fn a_type_whose_signs_are_not_to_be_seen_is_compared_by_its_own_operators() {
        let own = KeyColumn { operator: Some("OPERATOR(ext.?)".into()), ..column("a", false, false) };
        let order = [own, column("b", false, false)];
        assert_eq!(
            texts(&OTHER, &order, &[Value::Integer(1), Value::Integer(2)]),
            ["a OPERATOR(ext.=) {0} AND b > {1}", "a OPERATOR(ext.>) {0}"]
        );
    }

    #[test]
    fn one_comparison_of_rows_does_where_all_columns_go_one_way() {
        let order = [column("a", true, false), column("b", true, false)];
        assert_eq!(texts(&OTHER, &order, &[Value::Integer(1), Value::Integer(2)]), ["(a, b) < ({0}, {1})"]);
    }
}
