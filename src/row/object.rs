//! Rows that are JSON objects already.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Column, RowBatch, Value};
use crate::error::{Error, Kind, Result};

impl RowBatch {
    /// Adds a row that is a JSON object already. Each column takes the member of its name, as it
    /// stands; a missing one is NULL, and other members are left out. A string becomes text, so
    /// that CSV shows it without JSON's quotes.
    ///
    /// # Errors
    /// [`Kind::Data`] if it is no JSON object; else as [`push`](RowBatch::push).
    pub fn push_object(&mut self, key: &[Value<'_>], columns: &[Column], object: &str) -> Result<()> {
        let members: Members<'_> = serde_json::from_str(object).map_err(unwritable)?;
        let raw: Vec<Option<&str>> = columns.iter().map(|column| members.raw(&column.name)).collect();

        let text =
            |raw: &Option<&str>| raw.filter(|raw| raw.starts_with('"')).and_then(|raw| serde_json::from_str(raw).ok());
        let texts: Vec<Option<String>> = raw.iter().map(text).collect();

        let values = raw.iter().zip(&texts).map(|(raw, text)| match (raw, text) {
            (_, Some(text)) => Value::Text(text.as_bytes()),
            (None | Some("null"), None) => Value::Null,
            (Some(raw), None) => Value::Json(raw.as_bytes()),
        });
        self.push(key, &values.collect::<Vec<_>>())
    }
}

/// The error of a row that serde cannot write, or that is no object.
pub(crate) fn unwritable(error: serde_json::Error) -> Error {
    Error::new(Kind::Data, "a row cannot be written as a JSON object").caused_by(error)
}

/// The members of a JSON object, each with its JSON text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl Members<'_> {
    fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(member, _)| member == name).map(|(_, raw)| raw.get())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Object<'a> {
            type Value = Members<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'a>, M::Error> {
                let mut members = vec![];
                while let Some((name, raw)) = map.next_entry::<String, &'de RawValue>()? {
                    members.push((name, raw));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object(PhantomData))
    }
}
