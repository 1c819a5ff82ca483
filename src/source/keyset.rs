//! The rows after a cursor, as SQL text: pure, with no database near.
//!
//! The rows after the key values `(x, y)` in the order `(a, b)` are two ranges, one behind the other:
//! `a = x AND b > y`, then `a > x`. Each has equal values first and one range last, which an index on `(a, b)` answers without
//! reading a row in vain, whatever the mix of directions; the usual `a > x OR (a = x AND b > y)` does not. NULL has its rank:
//! before every value when ascending, after every value when descending, as SQLite and MySQL sort by themselves.

use crate::row::Value;

/// A column of a list's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct KeyColumn {
    /// The column as SQL: quoted and qualified.
    pub(super) sql: String,
    /// Whether larger values come first.
    pub(super) descending: bool,
    /// Whether it can be NULL.
    pub(super) nullable: bool,
}

/// One of the ranges that make up the rest of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    /// The condition, with one `?` for each bound key value; empty for all rows.
    pub(super) condition: String,
    /// Which key values are bound, by their place in the cursor, in the order of the `?`.
    pub(super) binds: Vec<usize>,
}

/// The ranges after the row with these key values, in the order in which to read them; all rows where `after` is empty.
pub(super) fn ranges(order: &[KeyColumn], after: &[Value<'_>]) -> Vec<Range> {
    if after.is_empty() {
        return vec![Range { condition: String::new(), binds: vec![] }];
    }
    let mut ranges = vec![];
    for at in (0..order.len()).rev() {
        for (beyond, bound) in beyond(&order[at], after[at]) {
            let mut conditions = vec![];
            let mut binds = vec![];
            for (index, column) in order[..at].iter().enumerate() {
                match after[index] {
                    Value::Null => conditions.push(format!("{} IS NULL", column.sql)),
                    _ => {
                        conditions.push(format!("{} = ?", column.sql));
                        binds.push(index);
                    }
                }
            }
            conditions.push(beyond);
            if bound {
                binds.push(at);
            }
            ranges.push(Range { condition: conditions.join(" AND "), binds });
        }
    }
    ranges
}

/// What lies beyond `value` in one column, and whether the text binds the value.
fn beyond(column: &KeyColumn, value: Value<'_>) -> Vec<(String, bool)> {
    let sql = &column.sql;
    match (value, column.descending) {
        (Value::Null, false) => vec![(format!("{sql} IS NOT NULL"), false)],
        (Value::Null, true) => vec![],
        (_, false) => vec![(format!("{sql} > ?"), true)],
        (_, true) if column.nullable => vec![(format!("{sql} < ?"), true), (format!("{sql} IS NULL"), false)],
        (_, true) => vec![(format!("{sql} < ?"), true)],
    }
}

/// The `ORDER BY` list.
pub(super) fn order_by(order: &[KeyColumn]) -> String {
    let terms = order.iter().map(|column| format!("{}{}", column.sql, if column.descending { " DESC" } else { "" }));
    terms.collect::<Vec<_>>().join(", ")
}

/// A name as an SQL identifier.
pub(super) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(sql: &str, descending: bool, nullable: bool) -> KeyColumn {
        KeyColumn { sql: sql.into(), descending, nullable }
    }

    #[test]
    fn the_rest_of_a_list_is_equal_values_then_one_range_each() {
        let order = [column("a", true, true), column("b", false, false)];
        let texts =
            |after: &[Value<'_>]| ranges(&order, after).into_iter().map(|r| (r.condition, r.binds)).collect::<Vec<_>>();
        assert_eq!(texts(&[]), [(String::new(), vec![])]);
        assert_eq!(
            texts(&[Value::Integer(1), Value::Integer(2)]),
            [("a = ? AND b > ?".into(), vec![0, 1]), ("a < ?".into(), vec![0]), ("a IS NULL".into(), vec![])]
        );
        assert_eq!(texts(&[Value::Null, Value::Integer(2)]), [("a IS NULL AND b > ?".into(), vec![1])]);
        assert_eq!(order_by(&order), "a DESC, b");
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
    }
}
