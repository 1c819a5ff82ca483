//! Decides which tables are not served unless the configuration names them, and why: tables with
//! secrets, by name or columns; views over these; and tables that cannot be lists. In doubt a table
//! is left out.

use std::collections::HashMap;

use super::{known::known, secrets::Vocabulary};
use crate::source::{TableInfo, ViewReads};

/// Why each table is left out; `None` for those that are not.
pub(super) fn left_out(tables: &[TableInfo]) -> Vec<Option<String>> {
    let vocabulary = Vocabulary::new();
    let judge = Judge { vocabulary: &vocabulary, tables: tables.iter().map(|info| (&*info.name, info)).collect() };
    let mut reasons: Vec<Option<String>> = tables.iter().map(|info| judge.secret(info)).collect();

    // Repeated until nothing more is found, since a view may read a view.
    loop {
        let views = tables.iter().zip(&reasons).filter(|(_, reason)| reason.is_none());
        let more: Vec<(String, String)> = views
            .filter_map(|(info, _)| {
                let left =
                    |name: &str| tables.iter().position(|table| table.name == name).filter(|at| reasons[*at].is_some());
                Some((info.name.clone(), judge.secret_read(info.reads.as_ref()?, left)?))
            })
            .collect();
        if more.is_empty() {
            break;
        }
        for (name, reason) in more {
            let at = tables.iter().position(|info| info.name == name);
            at.into_iter().for_each(|at| reasons[at] = Some(reason.clone()));
        }
    }

    // Reasons that can be remedied come last: a key would not make a table with secrets servable.
    reasons.into_iter().zip(tables).map(|(reason, info)| reason.or_else(|| unfit(info))).collect()
}

/// Why a table cannot be a list as it is.
fn unfit(info: &TableInfo) -> Option<String> {
    let written = |name: &str| name.contains("${");
    if written(&info.name) || info.columns.iter().any(|(name, _)| written(name)) {
        return Some("a name in it reads like a variable of the environment".into());
    }
    if info.is_part {
        return Some("it is a part of another table".into());
    }
    if info.key.is_empty() {
        return Some("it has no key that tells its rows apart; name the columns that do with key = [\"…\"]".into());
    }
    None
}

struct Judge<'a> {
    vocabulary: &'a Vocabulary,
    tables: HashMap<&'a str, &'a TableInfo>,
}

impl Judge<'_> {
    /// Why a table may hold secrets: as a whole, or in a column.
    fn secret(&self, info: &TableInfo) -> Option<String> {
        if let Some(reason) = known(info) {
            return Some(reason);
        }
        if let Some((column, _)) = info.columns.iter().find(|(name, _)| self.is_secret(info, name)) {
            return Some(format!("its column `{column}` may hold a secret; name the fields that may be seen"));
        }
        self.is_secret_table(info)
            .then(|| "its rows may be secrets, by its name; name the fields that may be seen".to_owned())
    }

    fn is_secret(&self, info: &TableInfo, column: &str) -> bool {
        let number = info.is_number(column);
        self.vocabulary.is_secret(column, number) || self.vocabulary.is_secret_of(bare(info), column, number)
    }

    /// Whether a table's name is one of secrets, and a column may hold them.
    fn is_secret_table(&self, info: &TableInfo) -> bool {
        let telling = |(name, _): &(String, bool)| !info.is_number(name) && !self.vocabulary.ends_harmless(name);
        self.vocabulary.is_secret_table(bare(info)) && info.columns.iter().any(telling)
    }

    /// Why a view is not served because of what it reads. `left` returns the index of a table or
    /// view that is left out.
    fn secret_read(&self, reads: &ViewReads, left: impl Fn(&str) -> Option<usize>) -> Option<String> {
        if let Some(doubt) = &reads.doubt {
            return Some(format!("{doubt}; name the fields that may be seen"));
        }

        let secret = |table: &str, column: Option<&str>| -> bool {
            let Some(info) = self.tables.get(table) else {
                // A table that this user may not read can only be judged by its name.
                let unseen = TableInfo { name: table.to_owned(), ..TableInfo::default() };
                let column = column.filter(|column| !column.is_empty());
                return known(&unseen).is_some()
                    || self.vocabulary.is_secret_table(bare(&unseen))
                    || column.is_some_and(|column| self.vocabulary.is_secret(column, false));
            };
            if info.reads.is_some() {
                return left(table).is_some();
            }
            let whole = known(info).is_some() || self.is_secret_table(info);
            let named = |name: &str| self.is_secret(info, name);
            whole || column.map_or_else(|| info.columns.iter().any(|(name, _)| named(name)), named)
        };

        let (table, column) = reads.columns.iter().find(|(table, column)| secret(table, column.as_deref()))?;
        let what = match column.as_deref().filter(|column| !column.is_empty() && column != table) {
            Some(column) => format!("`{column}` of `{table}`"),
            None => format!("`{table}`"),
        };

        Some(format!("it reads {what}, which may hold a secret; name the fields that may be seen"))
    }

    /// The columns of a table whose names show that they are not secret.
    fn harmless<'i>(&self, info: &'i TableInfo) -> Vec<&'i str> {
        let names = info.columns.iter().map(|(name, _)| &**name);
        names.filter(|name| !self.is_secret(info, name)).collect()
    }
}

/// The columns of a table whose names show that they are not secret.
pub(super) fn harmless(info: &TableInfo) -> Vec<&str> {
    let vocabulary = Vocabulary::new();
    Judge { vocabulary: &vocabulary, tables: HashMap::new() }.harmless(info)
}

fn bare(info: &TableInfo) -> &str {
    info.name.rsplit_once('.').map_or(&info.name, |(_, bare)| bare)
}
