//! The differences in how databases write SQL.

/// One database's way of writing SQL.
#[derive(Debug)]
pub(in crate::source) struct Dialect {
    /// The quotation mark around names.
    pub(in crate::source) quote: char,
    /// Whether parameters are `$1`, `$2` instead of `?`.
    pub(in crate::source) numbered: bool,
    /// Whether NULL comes after all values in ascending order, and before them in descending order.
    pub(in crate::source) null_is_greatest: bool,
    /// Whether the database answers `(a, b) > (x, y)` by one range of an index.
    pub(in crate::source) compares_rows: bool,
    /// How to test for a value in a list that is one parameter; `None`: each value is a parameter.
    pub(in crate::source) in_list: Option<&'static str>,
    /// Whether columns of different collations can be compared only if one is named.
    pub(in crate::source) collations_must_agree: bool,
    /// Whether a query in the place of a value compares without its column's collation.
    pub(in crate::source) queries_lose_collations: bool,
    /// Whether the planner may answer `EXISTS` from the side of the related table, and knows when
    /// the first rows of an order are found sooner from the other side. MariaDB joins and sorts all
    /// rows of a list for each of its chunks.
    pub(in crate::source) joins_exists: bool,
    /// How to join a join table with the related table.
    pub(in crate::source) join: &'static str,
    /// How to turn a value into the database's own text: SQL with one `?`.
    pub(in crate::source) as_text: &'static str,
    /// The bytes of a text: SQL with one `?`.
    pub(in crate::source) length: &'static str,
    /// The sum of whole numbers, as a whole number: SQL with one `?`.
    pub(in crate::source) sum: &'static str,
    /// A NULL of the type text.
    pub(in crate::source) no_text: &'static str,
    /// How to compare with a pattern without regard to case: what stands before the column, between
    /// it and the pattern, and behind that.
    pub(in crate::source) ilike: [&'static str; 3],
    /// Follows a pattern, so that `\` has no special meaning in it.
    pub(in crate::source) no_escape: &'static str,
}

impl Dialect {
    /// A name as an identifier.
    pub(in crate::source) fn quote(&self, name: &str) -> String {
        let quote = self.quote;
        let doubled = name.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{doubled}{quote}")
    }

    /// A column of a table or alias whose name is SQL already.
    pub(in crate::source) fn column(&self, table: &str, name: &str) -> String {
        format!("{table}.{}", self.quote(name))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::source::sqlite::DIALECT;

    proptest! {
        #[test]
        fn a_quoted_name_ends_where_it_should_whatever_it_holds(name: String) {
            let quoted = DIALECT.quote(&name);
            let inner = &quoted[1..quoted.len() - 1];
            prop_assert_eq!(inner.replace("\"\"", "").contains('"'), false);
            prop_assert_eq!(inner.replace("\"\"", "\""), name);
        }
    }
}
