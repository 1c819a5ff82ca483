//! The names of members that come from columns.

use std::collections::HashSet;

use crate::{
    described::Described,
    error::{Error, Kind, Result},
    row::{Column, Shape},
};

/// How the names of columns become names of members. A name that the configuration gives to a
/// member stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Case {
    /// As the database has them.
    #[default]
    Database,
    /// `created_at` becomes `createdAt`.
    Camel,
}

impl Case {
    /// All names in a configuration.
    #[cfg(feature = "server")]
    pub(crate) const NAMES: &[&str] = &["database", "camel"];

    /// The case with this name in a configuration.
    #[cfg(feature = "server")]
    pub(crate) fn named(name: &str) -> Option<Case> {
        match name {
            "database" => Some(Case::Database),
            "camel" => Some(Case::Camel),
            _ => None,
        }
    }

    /// The name of a member for a column.
    pub(super) fn of(self, column: &str) -> String {
        match self {
            Case::Database => column.to_owned(),
            Case::Camel => camel(column),
        }
    }

    /// The same values, where the members of related rows, which are named after columns, have
    /// these names.
    pub(super) fn of_shape(self, column: Column) -> Column {
        let all = |names: Vec<String>| names.iter().map(|name| self.of(name)).collect();
        let shape = match column.shape {
            Shape::Object(names) => Shape::Object(all(names)),
            Shape::Objects(names) => Shape::Objects(all(names)),
            plain => plain,
        };
        Column { shape, ..column }
    }

    /// The same description with these names.
    pub(super) fn of_described(self, described: Described) -> Described {
        let member = |(name, member): (String, Described)| (self.of(&name), self.of_described(member));
        Described {
            members: described.members.into_iter().map(member).collect(),
            items: described.items.map(|items| Box::new(self.of_described(*items))),
            ..described
        }
    }
}

/// A name in camel case: a letter or digit behind underscores loses them and becomes a capital.
/// Underscores at the ends stay, and so does a name without small letters.
fn camel(name: &str) -> String {
    if !name.chars().any(char::is_lowercase) {
        return name.to_owned();
    }

    let inner = name.trim_matches('_');
    let begin = name.len() - name.trim_start_matches('_').len();
    let mut words = inner.split('_').filter(|word| !word.is_empty());
    let mut camel = name[..begin].to_owned();
    camel.extend(words.next());
    for word in words {
        let mut chars = word.chars();
        camel.extend(chars.next().into_iter().flat_map(char::to_uppercase));
        camel.push_str(chars.as_str());
    }

    camel + &name[begin + inner.len()..]
}

/// Refuses members with one name.
///
/// # Errors
/// [`Kind::Config`] if two members of a row, or of a related row, have the same name.
pub(super) fn check_names(members: &[Column]) -> Result<()> {
    let own: Vec<&str> = members.iter().map(|member| &*member.name).collect();
    let related = members.iter().filter_map(|member| match &member.shape {
        Shape::Object(names) | Shape::Objects(names) => Some(names.iter().map(|name| &**name).collect()),
        _ => None,
    });

    for names in std::iter::once(own).chain(related) {
        let mut seen = HashSet::new();
        if let Some(twice) = names.into_iter().find(|name| !seen.insert(*name)) {
            return Err(Error::new(Kind::Config, format!("two columns would both be the member `{twice}`"))
                .remedy("name the members with `fields`, or leave `case` out"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_their_underscores_and_begin_with_capitals() {
        for (column, member) in [
            ("created_at", "createdAt"),
            ("id", "id"),
            ("line_2", "line2"),
            ("a__b", "aB"),
            ("_id", "_id"),
            ("__first_name_", "__firstName_"),
            ("alreadyCamel", "alreadyCamel"),
            ("user_ID", "userID"),
            ("CREATED_AT", "CREATED_AT"),
            ("größe_ß", "größeSS"),
            ("_", "_"),
            ("", ""),
        ] {
            assert_eq!(Case::Camel.of(column), member);
            assert_eq!(Case::Database.of(column), column);
        }
    }
}
