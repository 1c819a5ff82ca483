//! How a database writes SQL, as far as databases differ.

/// A database's way of writing.
#[derive(Debug)]
pub(in crate::source) struct Dialect {
    /// What stands around a name.
    pub(in crate::source) quote: char,
    /// Whether parameters are `$1`, `$2` and not `?`.
    pub(in crate::source) numbered: bool,
    /// Whether NULL sorts behind every value when ascending, and before every value when
    /// descending.
    pub(in crate::source) null_is_greatest: bool,
    /// Whether `(a, b) > (x, y)` is answered by one range of an index.
    pub(in crate::source) compares_rows: bool,
    /// How to test whether a value is in a list that is one parameter; `None`: each value is a
    /// parameter.
    pub(in crate::source) in_list: Option<&'static str>,
    /// Whether columns of different collations cannot be compared unless one is said.
    pub(in crate::source) collations_must_agree: bool,
    /// The join of a join table with the related table behind it.
    pub(in crate::source) join: &'static str,
    /// How a value is made the database's own text: SQL with one `?`.
    pub(in crate::source) as_text: &'static str,
    /// How many bytes a text has: SQL with one `?`.
    pub(in crate::source) length: &'static str,
    /// The sum of whole numbers as one: SQL with one `?`.
    pub(in crate::source) sum: &'static str,
    /// A text that is NULL.
    pub(in crate::source) no_text: &'static str,
    /// What a pattern is followed by, so that `\` is a character like any other.
    pub(in crate::source) no_escape: &'static str,
}

impl Dialect {
    /// A name as an identifier.
    pub(in crate::source) fn quote(&self, name: &str) -> String {
        let quote = self.quote;
        let doubled = name.replace(quote, &format!("{quote}{quote}"));
        format!("{quote}{doubled}{quote}")
    }

    /// A column of a table or alias that is SQL already.
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
