//! Chooses a column's rewrite: by the configuration, else by the column's type.

use super::{
    Rewrite, To,
    file::Base,
    moment::{Precision, Zone},
};
use crate::source::{
    Complaint, Style, ValueType, Values,
    sql::catalogue::{Holds, TableColumn},
};

/// The rewrite of a column's values.
#[derive(Debug, Default)]
pub(in crate::source) struct Choice {
    /// `None`: the values are shown as the database has them.
    pub(in crate::source) rewrite: Option<Rewrite>,
    /// A note, if the choice rests on a guess.
    pub(in crate::source) guess: Option<Complaint>,
}

/// Chooses by a column's style. `around` is the format for values whose style names none. A column
/// that `refers` to rows is never a duration.
pub(in crate::source) fn choose(
    style: &Style,
    around: Values,
    column: &TableColumn,
    refers: bool,
    at: &str,
) -> Result<Choice, Complaint> {
    let said = said(style, column, at)?;
    let values = style.values.unwrap_or(around);
    let known = column.holds.as_ref();
    let guess = match (values, said, known) {
        (Values::Django { .. }, None, Some(known)) => guess(column, known, refers, at),
        _ => None,
    };

    let to = match base(style, column, at)? {
        Some(base) => To::File(base),
        None => to(style, values, said, known),
    };

    let mut labels = style.labels.clone();
    labels.sort();
    let is_same = to == To::Same && labels.is_empty();
    let of_elements = known.is_some_and(|known| known.is_array);
    let rewrite = Rewrite { to, of_elements, labels };
    Ok(Choice { rewrite: (!is_same).then_some(rewrite), guess })
}

/// What the values are by the configuration, if the column's type can hold that.
fn said(style: &Style, column: &TableColumn, at: &str) -> Result<Option<ValueType>, Complaint> {
    let (said, key) = match (style.holds, style.decimals) {
        (Some(said), _) => (said, "as"),
        (None, Some(_)) => (ValueType::Decimal, "decimals"),
        (None, None) => return Ok(None),
    };

    match &column.holds {
        Some(known) if !can_be(known.holds, said) => {
            let (name, is, wanted) = (&column.name, known.holds.name(), said.name());
            let usual: Vec<String> = ALL.iter().filter(|other| can_be(known.holds, **other)).map(quoted).collect();
            Err(Complaint::new(
                format!("{at}.{key}"),
                format!("column `{name}` cannot hold values of the type {wanted}: its own type is one for {is}"),
                format!("leave `{key}` out; of this type it can be {}", usual.join(", ")),
            ))
        }
        _ => Ok(Some(said)),
    }
}

fn quoted(holds: &ValueType) -> String {
    format!("as = \"{}\"", holds.name())
}

const ALL: [ValueType; 12] = [
    ValueType::Integer,
    ValueType::Decimal,
    ValueType::Float,
    ValueType::Boolean,
    ValueType::Text,
    ValueType::Date,
    ValueType::Time,
    ValueType::DateTime,
    ValueType::Duration,
    ValueType::Uuid,
    ValueType::Json,
    ValueType::Bytes,
];

/// Whether the values of one type can be those of another.
fn can_be(known: ValueType, said: ValueType) -> bool {
    use ValueType::*;
    known == said
        || match said {
            Integer => matches!(known, Decimal | Float | Boolean),
            Decimal => matches!(known, Integer | Float | Text),
            Float => matches!(known, Integer | Decimal),
            Boolean => matches!(known, Integer | Decimal | Text),
            Text => known != Bytes,
            Date | Time | DateTime | Json | Bytes => known == Text,
            Duration => matches!(known, Integer | Time),
            Uuid => matches!(known, Text | Bytes),
        }
}

fn base(style: &Style, column: &TableColumn, at: &str) -> Result<Option<Base>, Complaint> {
    let Some(text) = &style.base else { return Ok(None) };
    let at = format!("{at}.base");
    if let Some(known) = column.holds.as_ref().filter(|known| known.holds != ValueType::Text) {
        let (name, is) = (&column.name, known.holds.name());
        let message = format!("column `{name}` holds no paths of files: its type is one for {is}");
        return Err(Complaint::new(at, message, "leave `base` out, or name the column that holds the path"));
    }
    let wrong = || {
        let remedy = "write a path or URL that paths of files are relative to, for instance base = \"/media/\"";
        Complaint::new(at, "`base` is neither a path from the root nor a URL", remedy)
    };
    Base::parse(text).ok_or_else(wrong).map(Some)
}

fn to(style: &Style, values: Values, said: Option<ValueType>, known: Option<&Holds>) -> To {
    let (precision, as_django) = match values {
        Values::Database => (Precision::All, false),
        Values::Django { .. } => (Precision::Milliseconds, true),
    };

    let typed = known.filter(|_| as_django);
    let Some(holds) = said.or(typed.map(|known| known.holds)) else { return To::Same };
    match holds {
        // A column whose type is for these values needs no rewrite.
        ValueType::Integer | ValueType::Text | ValueType::Json | ValueType::Bytes if said.is_none() => match typed {
            Some(Holds { perhaps: Some(ValueType::Uuid), .. }) => To::Uuid { is_sure: false },
            _ => To::Same,
        },
        ValueType::Integer => To::Integer,
        ValueType::Text => To::Text,
        ValueType::Bytes => To::Bytes,
        ValueType::Decimal => To::Decimal {
            decimals: style.decimals.or(known.and_then(|known| known.decimals)),
            fifteen_digits: as_django && known.is_some_and(|known| known.as_doubles),
            as_text: as_django,
        },
        ValueType::Float => To::Float,
        ValueType::Boolean => To::Boolean,
        ValueType::Date => To::Date,
        ValueType::Time => To::Time(precision),
        ValueType::DateTime => To::DateTime(precision, zone(values, known.and_then(|known| known.has_offset))),
        ValueType::Duration => To::Duration,
        ValueType::Uuid => To::Uuid { is_sure: true },
        ValueType::Json => To::Json,
    }
}

/// `has_offset`: whether the column's times have an offset, if its type says it.
fn zone(values: Values, has_offset: Option<bool>) -> Zone {
    match (values, has_offset) {
        (Values::Database, _) | (_, Some(false)) => Zone::AsItStands,
        (Values::Django { use_tz: true }, _) => Zone::Utc,
        (Values::Django { use_tz: false }, _) => Zone::Naive,
    }
}

/// What a column's values are guessed to be, if its type does not say it.
fn guess(column: &TableColumn, known: &Holds, refers: bool, at: &str) -> Option<Complaint> {
    let name = &column.name;
    let (message, remedy) = match known.perhaps {
        _ if known.holds == ValueType::Decimal && known.as_doubles && known.decimals.is_none() => (
            format!(
                "the type of column `{name}` does not say how many decimals its numbers have: 1.50 is shown as \"1.5\""
            ),
            format!("write {{ column = \"{name}\", decimals = 2 }}, with the field's `decimal_places`"),
        ),
        Some(ValueType::Uuid) => (
            format!("column `{name}` may hold UUIDs: texts of 32 hexadecimal digits are taken for them"),
            format!("write {{ column = \"{name}\", as = \"uuid\" }}, or as = \"text\" where they are none"),
        ),
        Some(ValueType::Duration) if !refers => (
            format!("column `{name}` may hold spans of time (`DurationField`): its values are taken for numbers"),
            format!("write {{ column = \"{name}\", as = \"duration\" }}, or as = \"integer\" where they are none"),
        ),
        _ => return None,
    };

    Some(Complaint::note(at, message, remedy))
}
