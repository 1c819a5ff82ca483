//! The columns behind members: what nobody may name in a parameter from whom a member is hidden.
//!
//! A column of a related row has several names: by each member that shows such a row, and by the
//! column that points there. So it is known by that column and its own, not by a name.

use crate::{
    row::{Column, Field, Part},
    source::{FieldSpec, Spec},
};

/// The columns behind each member of a resource, in the order of the members.
#[derive(Clone, Debug, Default)]
pub(super) struct Behind(Vec<Member>);

/// What is behind one member.
#[derive(Clone, Debug)]
struct Member {
    name: String,
    /// The column by which it shows one related row.
    via: Option<String>,
    shows: Vec<Shows>,
}

/// A column of which a member shows something.
#[derive(Clone, Debug)]
struct Shows {
    column: ColumnPath,
    /// Whether it shows the values apart, so that there is nothing to find out.
    is_plain: bool,
}

/// A column of the table, or of the row that a column of the table points to.
#[derive(Clone, Debug)]
struct ColumnPath {
    via: Option<String>,
    column: String,
}

impl ColumnPath {
    fn own(column: &str) -> ColumnPath {
        ColumnPath { via: None, column: column.to_owned() }
    }

    /// Whether both may be the same column: databases find one by its name in other letters too.
    fn may_be(&self, other: &ColumnPath) -> bool {
        let same_via = match (&self.via, &other.via) {
            (Some(one), Some(other)) => one.eq_ignore_ascii_case(other),
            (one, other) => one.is_none() && other.is_none(),
        };
        same_via && self.column.eq_ignore_ascii_case(&other.column)
    }

    fn is(&self, other: &ColumnPath) -> bool {
        self.via == other.via && self.column == other.column
    }
}

impl Behind {
    /// Behind the members of a source without a specification.
    pub(super) fn of_fields(fields: &[(String, Field)], columns: &[Column]) -> Behind {
        let own = |index: usize| columns.get(index).map(|column| ColumnPath::own(&column.name));
        let of_part = |part: &Part| match part {
            Part::Literal(_) => None,
            Part::Column(index) => Some(Shows { column: own(*index)?, is_plain: false }),
        };
        let member = |(name, field): &(String, Field)| {
            let shows = match field {
                Field::Column(index) => {
                    own(*index).map(|column| Shows { column, is_plain: true }).into_iter().collect()
                }
                Field::Link(parts) => parts.iter().filter_map(of_part).collect(),
                Field::Cursor => vec![],
            };
            Member { name: name.clone(), via: None, shows }
        };
        Behind(fields.iter().map(member).collect())
    }

    /// Behind the members of a specification; `None` if its members are the table's columns.
    pub(super) fn of_spec(spec: &Spec) -> Option<Behind> {
        Some(Behind(spec.fields.as_ref()?.iter().map(|(name, field)| Member::of_spec(name, field)).collect()))
    }

    /// Behind some of the members, by their indexes.
    pub(super) fn of(&self, members: &[usize]) -> Behind {
        Behind(members.iter().map(|member| self.0[*member].clone()).collect())
    }

    /// What cannot be named by somebody from whom these members are hidden.
    pub(super) fn closed_by(&self, hidden: &[&str]) -> Closed {
        let (closed, open): (Vec<&Member>, Vec<&Member>) =
            self.0.iter().partition(|member| hidden.contains(&&*member.name));
        let is_shown = |column: &ColumnPath| {
            let plain = open.iter().flat_map(|member| &member.shows).filter(|shows| shows.is_plain);
            plain.map(|shows| &shows.column).any(|shown| shown.is(column))
        };

        let behind = closed.iter().flat_map(|member| &member.shows).map(|shows| &shows.column);
        let plain = open.iter().flat_map(|member| &member.shows).filter(|shows| shows.is_plain);
        Closed {
            columns: behind.filter(|column| !is_shown(column)).cloned().collect(),
            shown: plain.map(|shows| shows.column.clone()).collect(),
            members: closed.iter().map(|member| member.name.clone()).collect(),
            vias: self.0.iter().filter_map(|member| Some((member.name.clone(), member.via.clone()?))).collect(),
        }
    }
}

impl Member {
    fn of_spec(name: &str, field: &FieldSpec) -> Member {
        let mut member = Member { name: name.to_owned(), via: None, shows: vec![] };
        match field {
            FieldSpec::Column(column) => {
                let is_plain = column.style.tells_values_apart();
                member.shows.push(Shows { column: ColumnPath::own(&column.name), is_plain });
            }
            FieldSpec::Link(template) => {
                let parts = template.split('{').skip(1);
                let columns = parts.filter_map(|part| Some(part.split_once('}')?.0));
                member.shows.extend(columns.map(|name| Shows { column: ColumnPath::own(name), is_plain: false }));
            }
            FieldSpec::Via { via, related } => {
                member.via = Some(via.clone());
                member.shows.push(Shows { column: ColumnPath::own(via), is_plain: false });
                member.shows.extend(related.columns.iter().map(|column| Shows {
                    column: ColumnPath { via: Some(via.clone()), column: column.name.clone() },
                    is_plain: column.style.tells_values_apart(),
                }));
            }
            FieldSpec::Cursor | FieldSpec::Through { .. } | FieldSpec::From { .. } => {}
        }
        member
    }
}

/// What somebody cannot name in a parameter.
#[derive(Clone, Debug, Default)]
pub(crate) struct Closed {
    columns: Vec<ColumnPath>,
    /// Columns that members show which are not hidden.
    shown: Vec<ColumnPath>,
    /// The hidden members.
    members: Vec<String>,
    /// Members that show one related row, each with the column that points there.
    vias: Vec<(String, String)>,
}

impl Closed {
    /// Whether this name of a parameter leads to a column that may be named.
    pub(super) fn lets(&self, name: &str) -> bool {
        let is_closed = |column: &ColumnPath| self.columns.iter().any(|closed| closed.may_be(column));
        let leads_to_closed = |(dot, _)| {
            let pointing = &name[..dot];
            let by_member = self.vias.iter().find(|(member, _)| member == pointing);
            let via = by_member.map_or(pointing, |(_, via)| via);
            let path = ColumnPath { via: Some(via.to_owned()), column: name[dot + 1..].to_owned() };

            let is_hidden = self.members.iter().any(|member| member == pointing);
            // A column of the related row, its key above all, tells where the closed one points.
            let is_pointed_at = is_closed(&ColumnPath::own(via)) && !self.shown.iter().any(|shown| shown.is(&path));
            is_hidden || is_pointed_at || is_closed(&path)
        };
        !is_closed(&ColumnPath::own(name)) && !name.match_indices('.').any(leads_to_closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Related;

    fn field(column: &str) -> FieldSpec {
        FieldSpec::Column(column.into())
    }

    fn via(via: &str, columns: &[&str]) -> FieldSpec {
        let related = Related::default().with(|related| {
            related.columns = columns.iter().map(|column| (*column).into()).collect();
        });
        FieldSpec::Via { via: via.into(), related }
    }

    /// Which of these names are closed where some members are hidden.
    fn closed(fields: &[(&str, FieldSpec)], hidden: &[&str], names: &[&'static str]) -> Vec<&'static str> {
        let fields = fields.iter().map(|(name, field)| ((*name).to_owned(), field.clone())).collect();
        let spec = Spec::of("item").with(|spec| spec.fields = Some(fields));
        let closed = Behind::of_spec(&spec).unwrap().closed_by(hidden);
        names.iter().copied().filter(|name| !closed.lets(name)).collect()
    }

    #[test]
    fn a_column_is_closed_by_each_of_its_names() {
        let fields = [
            ("id", field("id")),
            ("pointer", field("author_id")),
            ("author", via("author_id", &["email"])),
            ("writer", via("author_id", &["name"])),
            ("editor", via("editor_id", &["email"])),
        ];
        let names = [
            "id",
            "author_id",
            "author.email",
            "author.name",
            "author.age",
            "writer.email",
            "writer.name",
            "writer.EMAIL",
            "author_id.email",
            "AUTHOR_ID.email",
            "author_id.name",
            "editor.email",
            "editor_id",
            "editor_id.email",
        ];
        let by_author = [
            "author.email",
            "author.name",
            "author.age",
            "writer.email",
            "writer.EMAIL",
            "author_id.email",
            "AUTHOR_ID.email",
        ];
        assert_eq!(closed(&fields, &["author"], &names), by_author, "`pointer` shows where it points");
        assert_eq!(closed(&fields, &["editor"], &names), ["editor.email", "editor_id", "editor_id.email"]);

        let without_pointer: Vec<_> = fields.iter().filter(|(name, _)| *name != "pointer").cloned().collect();
        let more =
            closed(&without_pointer, &["author"], &["author_id", "author_id.age", "author_id.name", "writer.id"]);
        assert_eq!(more, ["author_id", "author_id.age", "writer.id"], "`writer` shows the name");
        let pointing =
            closed(&fields, &["pointer", "editor"], &["author_id", "author.id", "author.email", "writer.id"]);
        assert_eq!(pointing, ["author_id", "author.id", "writer.id"], "the key tells where it points");
    }

    #[test]
    fn a_column_that_another_member_shows_is_open_and_one_that_only_a_link_shows_is_not() {
        let fields = [
            ("a", field("name")),
            ("b", field("name")),
            ("page", FieldSpec::Link("/{slug}/{name}/".into())),
            ("c", field("Code")),
        ];
        assert_eq!(closed(&fields, &["a"], &["name", "slug"]), [""; 0]);
        assert_eq!(closed(&fields, &["a", "b"], &["name", "NAME", "slug"]), ["name", "NAME"]);
        assert_eq!(closed(&fields, &["page"], &["name", "slug"]), ["slug"]);
        assert_eq!(closed(&fields, &["c"], &["code", "Code", "codes"]), ["code", "Code"]);
    }
}
