//! Rewrites of a column's values that are not shown as the database has them.
//!
//! A rewrite is chosen once for a column, when its list is planned. It is done column by column
//! after the read; lists without one do not pass here. Keys, filters and joins use the original
//! values.

mod choose;
mod file;
mod moment;
mod number;
#[cfg(test)]
mod tests;
mod to;

pub(in crate::source) use self::choose::choose;
use self::to::{Made, To, as_text};
use crate::{
    canonical::Canonical,
    described::{Described, JsonType},
    error::Error,
    row::{Form, Value, ValueBuffer},
    text,
};

/// How to rewrite a column's values.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Rewrite {
    to: To,
    /// Whether values are arrays whose elements are rewritten.
    of_elements: bool,
    /// Labels in place of rewritten values, sorted by the values.
    labels: Vec<(String, String)>,
}

impl Rewrite {
    /// No change, for a column beside others with a rewrite.
    pub(in crate::source) const SAME: Rewrite = Rewrite { to: To::Same, of_elements: false, labels: vec![] };

    /// Adds a rewritten value. A value that is not of the expected type has no form here: it
    /// becomes text.
    ///
    /// # Errors
    /// As [`ValueBuffer::close`].
    pub(in crate::source) fn write(&self, value: Value<'_>, held: &mut ValueBuffer) -> Result<(), Error> {
        let made = match value {
            Value::Null | Value::Formless(_) | Value::TooLarge | Value::List(_) => return held.add(value),
            Value::Encoded(json, _) | Value::Json(json) if self.of_elements => match self.elements(json)? {
                Some(array) => return held.push(Form::Encoded(array.flaws), &array.bytes),
                None => return held.add(value),
            },
            value => self.to.make(value),
        };

        let from = held.bytes.len();
        match made {
            Some(Made::Value(value)) => held.add(value)?,
            Some(Made::Bytes(form, bytes)) => held.push(form, &bytes)?,
            None => held.push(Form::Formless, &as_text(value))?,
        }

        let Some(label) = self.label_of(held) else { return Ok(()) };
        held.slots.pop();
        held.bytes.truncate(from);
        held.push(Form::Text, label.as_bytes())
    }

    /// The label of the last value.
    fn label_of(&self, held: &ValueBuffer) -> Option<&str> {
        if self.labels.is_empty() {
            return None;
        }
        let shown = as_text(held.value(*held.slots.last()?));
        let found = self.labels.binary_search_by(|(value, _)| value.as_bytes().cmp(&shown));
        found.ok().map(|at| &*self.labels[at].1)
    }

    /// A JSON array with each element rewritten; `None` if its elements are not single values.
    fn elements(&self, json: &[u8]) -> Result<Option<text::Output>, Error> {
        if serde_json::from_slice::<serde::de::IgnoredAny>(json).is_err() {
            return Ok(None);
        }

        let element = Rewrite { of_elements: false, ..self.clone() };
        let mut out = text::Output::default();
        let mut held = ValueBuffer::new(1);
        let mut rest = json;
        while let Some(&byte) = rest.first() {
            let length = match byte {
                b'[' | b']' | b',' | b' ' => {
                    out.bytes.push(byte);
                    1
                }
                b'"' => string_length(rest),
                b'{' => return Ok(None),
                _ => rest.iter().position(|byte| b",] ".contains(byte)).unwrap_or(rest.len()),
            };
            let (token, behind) = rest.split_at(length);
            rest = behind;
            let text: String;
            let value = match byte {
                b'[' | b']' | b',' | b' ' => continue,
                b'"' => match serde_json::from_slice(token) {
                    Ok(unescaped) => {
                        text = unescaped;
                        Value::Text(text.as_bytes())
                    }
                    Err(_) => return Ok(None),
                },
                b'n' => Value::Null,
                b't' | b'f' => Value::Bool(byte == b't'),
                _ => Value::Decimal(token),
            };
            held.clear();
            element.write(value, &mut held)?;
            text::scalar(held.value(held.slots[0]), &mut out);
        }

        Ok(Some(out))
    }

    /// The JSON type after the rewrite; `before` is the one without it.
    pub(in crate::source) fn described(&self, before: Described) -> Described {
        if self.of_elements {
            return Described::of(&[JsonType::Array]);
        }
        let made = self.to.described(before);
        if self.labels.is_empty() { made } else { Described { format: None, ..made.or(JsonType::String) } }
    }

    /// Appends all that shapes it.
    pub(in crate::source) fn write_to(&self, bytes: &mut Canonical) {
        self.to.write_to(bytes);
        bytes.flag(self.of_elements);
        bytes.each(self.labels.iter(), |bytes, (value, label)| {
            bytes.text(value);
            bytes.text(label);
        });
    }
}

/// The length of the JSON string at the beginning of a text.
fn string_length(json: &[u8]) -> usize {
    let mut at = 1;
    while let Some(byte) = json.get(at) {
        match byte {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    json.len()
}

/// Rewritten columns of a run of rows, side by side in each row.
///
/// # Errors
/// As [`ValueBuffer::close`].
pub(in crate::source) fn rewritten(rows: &ValueBuffer, columns: &[(usize, Rewrite)]) -> Result<ValueBuffer, Error> {
    let mut held = ValueBuffer::new(columns.len());
    if columns.is_empty() {
        return Ok(held);
    }
    for row in rows.slots.chunks_exact(rows.width) {
        for (column, rewrite) in columns {
            rewrite.write(rows.value(row[*column]), &mut held)?;
        }
    }
    Ok(held)
}
