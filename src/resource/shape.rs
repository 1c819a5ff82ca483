//! What the configuration and a request determine of a list's bytes, as bytes for its keys.

use crate::{
    boundary::Sizes,
    canonical::Canonical,
    row::{Column, Field, Fields, Part},
    source::{Comparison, Condition, Source},
};

/// Conditions as bytes.
pub(crate) fn written(conditions: &[Condition]) -> Vec<u8> {
    let mut bytes = Canonical::of("conditions 1");
    bytes.each(conditions.iter(), write_condition);
    bytes.into_bytes()
}

/// A comparison begins with its column and its operator. In the same places a tree has no name and
/// a word that is no operator.
fn write_condition(bytes: &mut Canonical, condition: &Condition) {
    let (word, parts) = match condition {
        Condition::Is(comparison) => return write_comparison(bytes, comparison),
        Condition::All(parts) => ("all", parts),
        Condition::Any(parts) => ("any", parts),
    };
    bytes.text("");
    bytes.text(word);
    bytes.each(parts.iter(), write_condition);
}

fn write_comparison(bytes: &mut Canonical, comparison: &Comparison) {
    bytes.text(&comparison.column);
    bytes.text(comparison.operator.word());
    bytes.each(comparison.values.iter(), |bytes, value| bytes.text(value));
}

/// What the configuration determines of the bytes of a resource's rows.
pub(super) fn shape(name: &str, source: &dyn Source, fields: &Fields, columns: &[Column], sizes: Sizes) -> Vec<u8> {
    let mut bytes = Canonical::of("shape 1");
    bytes.text(name);
    bytes.each(source.order().iter(), |bytes, column| bytes.text(column));
    bytes.each(columns.iter(), |bytes, column| {
        let (kind, members) = column.shape.parts();
        bytes.text(&column.name);
        bytes.text(kind);
        bytes.each(members.iter(), |bytes, member| bytes.text(member));
    });

    bytes.each(fields.iter(), |bytes, (name, field)| {
        bytes.text(name);
        match field {
            Field::Column(column) => {
                bytes.text("column");
                bytes.number(*column);
            }
            Field::Cursor => bytes.text("cursor"),
            Field::Link(parts) => {
                bytes.text("link");
                bytes.each(parts.iter(), |bytes, part| match part {
                    Part::Literal(text) => bytes.text(text),
                    Part::Column(column) => {
                        bytes.text("");
                        bytes.number(*column);
                    }
                });
            }
        }
    });

    bytes.number(sizes.rows as usize);
    bytes.number(sizes.bytes as usize);
    bytes.into_bytes()
}
