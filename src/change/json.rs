//! Changes as JSON: the body of `POST /changed/RESOURCE`, and the key of a row by itself.
//!
//! ```json
//! {"table": "tricks_category",
//!  "keys": [7, "dahlia", [1, "a"]],
//!  "changes": [{"key": 7, "old": {"parent_id": 3}, "new": {"parent_id": null}, "table": "other"}],
//!  "at": "0/16B3748"}
//! ```

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    marker::PhantomData,
    sync::Arc,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Change, Purge, Tell};
use crate::{
    error::{Error, Kind, Result},
    suggest,
};

/// The largest body that a server takes, in bytes.
#[cfg(feature = "server")]
pub(crate) const LARGEST: usize = 1024 * 1024;

/// The members of a body.
const BODY: &[&str] = &["keys", "changes", "table", "at"];
/// Those of an entry of the journal.
const ENTRY: &[&str] = &["keys", "changes", "table", "at", "resource", "where"];
/// The members of one change in it.
const CHANGE: &[&str] = &["key", "old", "new", "table", "at"];

const KEY: &str = "write a text, a number, true or false; for a key of several columns, an array of these";
const SCALAR: &str = "write a text, a number, true or false";

/// Reads a body. An empty list tells of no change, and is no mistake.
///
/// # Errors
/// [`Kind::Invalid`], with the place in the body (`changes[3].key`).
pub(crate) fn read(resource: &str, body: &[u8]) -> Result<Vec<Change>> {
    changes_of(&resource.into(), &members(parsed("the body", body)?, "the body", BODY)?, key_at)
}

/// The changes that the members of a body tell.
fn changes_of(resource: &Arc<str>, members: &[(String, &RawValue)], key_at: ReadKey) -> Result<Vec<Change>> {
    let member = |name: &str| members.iter().find(|(known, _)| known == name).map(|(_, value)| *value);
    let keys = member("keys");
    let changes = member("changes");
    if keys.is_none() && changes.is_none() {
        let error = invalid("the body has neither `keys` nor `changes`");
        return Err(error.remedy("write for instance {\"keys\":[7]}"));
    }

    let table = member("table").map(|table| name(table, "table")).transpose()?;
    let at = member("at").map(|at| commit(at, "at")).transpose()?;
    let same = || Change { table: table.clone(), at: at.clone(), ..Change::of(Arc::clone(resource), [""; 0]) };
    let mut all = vec![];
    for (index, value) in elements(keys, "keys")?.into_iter().enumerate() {
        let key = key_at(value, &format!("keys[{index}]"))?;
        all.push(Change { key, ..same() });
    }

    for (index, value) in elements(changes, "changes")?.into_iter().enumerate() {
        all.push(change(value, &format!("changes[{index}]"), same(), key_at)?);
    }

    Ok(all)
}

/// Reads an entry of the journal: a body with the member `resource` beside the others, or an array
/// of such bodies. In place of changes a body may have conditions (`where`).
///
/// # Errors
/// As [`read`].
pub(super) fn read_entry(entry: &[u8]) -> Result<Tell> {
    let value = parsed("the entry", entry)?;
    let bodies = if Form::of(value) == Form::Array { elements(Some(value), "the entry")? } else { vec![value] };
    let mut all = Tell::default();
    for body in bodies {
        let members = members(body, "the entry", ENTRY)?;
        let resource = members.iter().find(|(member, _)| member == "resource");
        let missing = || invalid("the entry names no `resource`").remedy("write {\"resource\":\"NAME\",\"keys\":[7]}");
        let resource = name(resource.ok_or_else(missing)?.1, "resource")?;
        match members.iter().find(|(member, _)| member == "where") {
            Some((_, value)) => all.purges.push(Purge { conditions: conditions(value)?, resource }),
            None => all.changes.extend(changes_of(&resource, &members, parts_at)?),
        }
    }
    Ok(all)
}

/// The conditions of a purge: `[["organisation_id", "eq.1"]]`.
fn conditions(value: &RawValue) -> Result<Vec<(String, String)>> {
    let remedy = "write [[\"organisation_id\",\"eq.1\"]]";
    let read: Vec<(String, String)> = serde_json::from_str(value.get())
        .map_err(|error| invalid(format!("`where` holds no conditions: {error}")).remedy(remedy))?;
    // Without any it would be a purge of everything, which is told otherwise.
    if read.is_empty() { Err(invalid("`where` holds no condition").remedy(remedy)) } else { Ok(read) }
}

/// Reads the key of a row: a scalar, or an array of scalars.
///
/// # Errors
/// [`Kind::Invalid`] if the text is neither.
pub(crate) fn key(text: &str) -> Result<Vec<String>> {
    key_at(parsed("the key", text.as_bytes())?, "key")
}

/// A change; `change` has what all of its body have.
fn change(value: &RawValue, place: &str, mut change: Change, key_at: ReadKey) -> Result<Change> {
    let mut has_key = false;
    for (member, value) in members(value, &format!("`{place}`"), CHANGE)? {
        let place = format!("{place}.{member}");
        match &*member {
            "key" => {
                change.key = key_at(value, &place)?;
                has_key = true;
            }
            "old" => change.old = columns(value, &place)?,
            "new" => change.new = columns(value, &place)?,
            "at" => change.at = Some(commit(value, &place)?),
            _ => change.table = Some(name(value, &place)?),
        }
    }

    if !has_key {
        return Err(invalid(format!("`{place}` has no `key`")).remedy("add the value of the row's primary key"));
    }

    Ok(change)
}

/// Reads the values of a key's columns, which are at this place.
type ReadKey = fn(&RawValue, &str) -> Result<Vec<String>>;

/// The values of a key's columns, at least one.
fn key_at(value: &RawValue, place: &str) -> Result<Vec<String>> {
    let parts = parts_at(value, place)?;
    if parts.is_empty() { Err(invalid(format!("`{place}` is an empty array")).remedy(KEY)) } else { Ok(parts) }
}

/// The same; none where any row of the table may have changed, which only a program can tell.
fn parts_at(value: &RawValue, place: &str) -> Result<Vec<String>> {
    if Form::of(value) != Form::Array {
        return Ok(vec![part(value, place, KEY)?]);
    }

    let parts = elements(Some(value), place)?.into_iter().enumerate();
    parts.map(|(at, value)| part(value, &format!("{place}[{at}]"), SCALAR)).collect()
}

/// The value of one column of a key.
fn part(value: &RawValue, place: &str, remedy: &str) -> Result<String> {
    match scalar(value, place, remedy)? {
        Some(part) => Ok(part),
        None => {
            let error = invalid(format!("`{place}` is null, and no key holds NULL"));
            Err(error.remedy("name the row by the values of its primary key"))
        }
    }
}

/// Values of columns, by their names.
fn columns(value: &RawValue, place: &str) -> Result<BTreeMap<String, Option<String>>> {
    let remedy = "write a text, a number, true, false or null";
    let columns = members(value, &format!("`{place}`"), &[])?.into_iter();
    columns
        .map(|(column, value)| {
            let value = scalar(value, &format!("{place}.{column}"), remedy)?;
            Ok((column, value))
        })
        .collect()
}

/// A name: of a table, or of a resource.
fn name(value: &RawValue, place: &str) -> Result<Arc<str>> {
    let remedy = "write the name of a table of the resource's database";
    match Form::of(value) {
        Form::Text => {}
        form => return Err(invalid(format!("`{place}` is {}, not a text", form.told())).remedy(remedy)),
    }

    let name = text(value, place)?;
    if name.is_empty() { Err(invalid(format!("`{place}` is empty")).remedy(remedy)) } else { Ok(name.into()) }
}

/// The position of a commit: a text, or a number as it is written.
fn commit(value: &RawValue, place: &str) -> Result<Arc<str>> {
    let remedy = "write the position of the commit as the database writes it: \"0/16B3748\"";
    match scalar(value, place, remedy)? {
        Some(at) if !at.is_empty() => Ok(at.into()),
        _ => Err(invalid(format!("`{place}` is null or empty")).remedy(remedy)),
    }
}

/// A scalar as text: a number as it is written, NULL as `None`.
fn scalar(value: &RawValue, place: &str, remedy: &str) -> Result<Option<String>> {
    match Form::of(value) {
        Form::Null => Ok(None),
        Form::Number | Form::Boolean => Ok(Some(value.get().to_owned())),
        Form::Text => text(value, place).map(Some),
        form => Err(invalid(format!("`{place}` is {}, not a scalar", form.told())).remedy(remedy)),
    }
}

fn text(value: &RawValue, place: &str) -> Result<String> {
    serde_json::from_str(value.get()).map_err(|error| {
        let error = invalid(format!("`{place}` is no text that can be read: {error}"));
        error.remedy("write each half of a surrogate pair (\\ud83d\\ude00), or the character itself")
    })
}

/// The elements of an array; none of one that is not there.
fn elements<'a>(value: Option<&'a RawValue>, place: &str) -> Result<Vec<&'a RawValue>> {
    let Some(value) = value else { return Ok(vec![]) };
    match Form::of(value) {
        Form::Array => serde_json::from_str(value.get()).map_err(|error| not_json(place, &error)),
        form => Err(invalid(format!("`{place}` is {}, not an array", form.told())).remedy("write […]")),
    }
}

/// The members of an object, each of them once; only `known` ones, if there are any. `told` is the
/// object in messages.
fn members<'a>(value: &'a RawValue, told: &str, known: &[&str]) -> Result<Vec<(String, &'a RawValue)>> {
    match Form::of(value) {
        Form::Object => {}
        form => return Err(invalid(format!("{told} is {}, not an object", form.told())).remedy("write {…}")),
    }

    let Members(members) = serde_json::from_str(value.get()).map_err(|error| not_json(told, &error))?;
    let mut seen = HashSet::new();
    for (member, _) in &members {
        if !known.is_empty() && !known.contains(&&**member) {
            let remedy = suggest::remedy("members", member, known);
            return Err(invalid(format!("{told} has an unknown member `{member}`")).remedy(remedy));
        }
        if !seen.insert(&**member) {
            let error = invalid(format!("{told} has the member `{member}` twice"));
            return Err(error.remedy("write it once: which one is meant is not clear"));
        }
    }

    Ok(members)
}

/// The one JSON value of a text.
fn parsed<'a>(place: &str, bytes: &'a [u8]) -> Result<&'a RawValue> {
    let text = std::str::from_utf8(bytes);
    let text = text.map_err(|_| invalid(format!("{place} is not UTF-8")).remedy("send JSON, as RFC 8259 says"))?;
    serde_json::from_str(text).map_err(|error| not_json(place, &error))
}

fn not_json(place: &str, error: &serde_json::Error) -> Error {
    invalid(format!("{place} is no JSON: {error}")).remedy("send JSON, as RFC 8259 says")
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

/// The kinds of JSON values.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Null,
    Boolean,
    Number,
    Text,
    Array,
    Object,
}

impl Form {
    /// By the first byte, which is enough for a value that is known to be JSON.
    fn of(value: &RawValue) -> Form {
        match value.get().as_bytes().first() {
            Some(b'n') => Form::Null,
            Some(b't' | b'f') => Form::Boolean,
            Some(b'"') => Form::Text,
            Some(b'[') => Form::Array,
            Some(b'{') => Form::Object,
            _ => Form::Number,
        }
    }

    fn told(self) -> &'static str {
        match self {
            Form::Null => "null",
            Form::Boolean => "true or false",
            Form::Number => "a number",
            Form::Text => "a text",
            Form::Array => "an array",
            Form::Object => "an object",
        }
    }
}

/// The members of an object in their order, also those that come twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct All<'a>(PhantomData<&'a ()>);

        impl<'de> Visitor<'de> for All<'de> {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = vec![];
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(All(PhantomData))
    }
}

/// Reads any bytes as a body, for the fuzz target: they are changes or are refused, and a key that
/// was read is read again from what it is written as.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz_changes(bytes: &[u8]) {
    match read("list", bytes) {
        Ok(changes) => {
            for change in changes {
                assert!(*change.resource == *"list" && !change.key.is_empty());
                let written = serde_json::to_string(&change.key).expect("texts can be written");
                assert_eq!(key(&written).expect("an array of texts is a key"), change.key);
            }
        }
        Err(error) => assert!(error.kind() == Kind::Invalid && error.advice().is_some(), "{error}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refused(body: &str) -> String {
        let error = read("tricks", body.as_bytes()).expect_err(body);
        format!("{}; {}", error.message(), error.advice().unwrap_or_default())
    }

    #[test]
    fn keys_are_kept_as_they_are_written() {
        let body = r#"{"keys": [7, "dahlia", [1, "a"], 1.0, 12345678901234567890, -0, 1e5, true, "\u00e9\n", ""]}"#;
        let keys: Vec<Vec<String>> =
            read("tricks", body.as_bytes()).unwrap().into_iter().map(|change| change.key).collect();
        let one = |key: &str| vec![key.to_owned()];
        let both = vec!["1".to_owned(), "a".to_owned()];
        let mut wanted = vec![one("7"), one("dahlia"), both];
        wanted.extend(["1.0", "12345678901234567890", "-0", "1e5", "true", "é\n", ""].map(one));
        assert_eq!(keys, wanted);
    }

    #[test]
    fn a_change_holds_its_columns_and_its_own_table_or_that_of_the_body() {
        let body = r#"{"changes": [{"key": 7, "old": {"category_id": 3, "x": null}, "new": {"category_id": "4"}},
                                   {"table": "other", "key": [1, 2]}],
                       "table": "tricks_category", "keys": [9]}"#;
        let nine = Change::of("tricks", ["9"]).in_table("tricks_category");
        let seven = Change::of("tricks", ["7"]).in_table("tricks_category");
        let seven = seven.was("category_id", Some("3")).was("x", None::<&str>).is("category_id", Some("4"));
        let other = Change::of("tricks", ["1", "2"]).in_table("other");
        assert_eq!(read("tricks", body.as_bytes()).unwrap(), [nine, seven, other]);
    }

    #[test]
    fn a_commit_is_a_text_or_a_number_of_the_body_or_of_one_change() {
        let body = r#"{"at": 7341, "keys": [9], "changes": [{"key": 7}, {"key": 8, "at": "0/16B3748"}]}"#;
        let at = |key: &str, commit: &str| Change::of("tricks", [key]).at(commit);
        assert_eq!(read("tricks", body.as_bytes()).unwrap(), [at("9", "7341"), at("7", "7341"), at("8", "0/16B3748")]);
        for wrong in ["null", "\"\"", "[7]", "{}"] {
            assert!(refused(&format!("{{\"keys\":[7],\"at\":{wrong}}}")).contains("`at` is "), "{wrong}");
            assert!(
                refused(&format!("{{\"changes\":[{{\"key\":7,\"at\":{wrong}}}]}}")).contains("`changes[0].at` is ")
            );
        }
    }

    #[test]
    fn an_empty_list_is_no_change() {
        for body in [r#"{"keys":[]}"#, r#"{"changes":[]}"#, r#" {"keys":[],"changes":[],"table":"x"} "#] {
            assert_eq!(read("tricks", body.as_bytes()).unwrap(), []);
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place_and_a_remedy() {
        for (body, told) in [
            ("", "the body is no JSON: EOF"),
            ("{\"keys\":[7]", "the body is no JSON: EOF"),
            ("{\"keys\":[7]} x", "trailing characters at line 1 column 14"),
            ("{\"keys\":[07]}", "the body is no JSON"),
            ("{\"keys\":[NaN]}", "the body is no JSON"),
            ("[7]", "the body is an array, not an object"),
            ("7", "the body is a number, not an object"),
            ("{}", "neither `keys` nor `changes`"),
            (r#"{"table":"x"}"#, "neither `keys` nor `changes`"),
            (r#"{"key":[7]}"#, "unknown member `key`; did you mean `keys`? members here: keys, changes, table, at"),
            (r#"{"keys":[],"zebra":1}"#, "unknown member `zebra`; members here: keys, changes, table, at"),
            (r#"{"keys":[],"keys":[]}"#, "the body has the member `keys` twice"),
            (r#"{"keys":[],"k\u0065ys":[]}"#, "the body has the member `keys` twice"),
            (r#"{"keys":7}"#, "`keys` is a number, not an array"),
            (r#"{"keys":null}"#, "`keys` is null, not an array"),
            (r#"{"keys":[1,null]}"#, "`keys[1]` is null"),
            (r#"{"keys":[1,{"a":1}]}"#, "`keys[1]` is an object, not a scalar"),
            (r#"{"keys":[[1,null]]}"#, "`keys[0][1]` is null"),
            (r#"{"keys":[[1,[2]]]}"#, "`keys[0][1]` is an array, not a scalar"),
            (r#"{"keys":[[]]}"#, "`keys[0]` is an empty array"),
            (r#"{"keys":["\ud800"]}"#, "`keys[0]` is no text that can be read"),
            (r#"{"keys":[],"table":7}"#, "`table` is a number, not a text"),
            (r#"{"keys":[],"table":null}"#, "`table` is null, not a text"),
            (r#"{"keys":[],"table":""}"#, "`table` is empty"),
            (r#"{"changes":{}}"#, "`changes` is an object, not an array"),
            (r#"{"changes":[7]}"#, "`changes[0]` is a number, not an object"),
            (r#"{"changes":[{"key":1},{}]}"#, "`changes[1]` has no `key`"),
            (r#"{"changes":[{"key":1},{"key":null}]}"#, "`changes[1].key` is null"),
            (r#"{"changes":[{"key":{}}]}"#, "`changes[0].key` is an object"),
            (r#"{"changes":[{"key":1,"key":1}]}"#, "`changes[0]` has the member `key` twice"),
            (r#"{"changes":[{"key":1,"was":{}}]}"#, "unknown member `was`; members here: key, old, new, table"),
            (r#"{"changes":[{"key":1,"old":[]}]}"#, "`changes[0].old` is an array, not an object"),
            (r#"{"changes":[{"key":1,"new":{"a":{}}}]}"#, "`changes[0].new.a` is an object, not a scalar"),
            (r#"{"changes":[{"key":1,"new":{"a":1,"a":2}}]}"#, "`changes[0].new` has the member `a` twice"),
            (r#"{"changes":[{"key":1,"table":false}]}"#, "`changes[0].table` is true or false, not a text"),
        ] {
            let refused = refused(body);
            assert!(refused.contains(told) && !refused.ends_with("; "), "{body}: {refused}");
        }
    }

    #[test]
    fn a_body_of_many_levels_is_refused_and_takes_no_stack() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let deep = format!("{{\"keys\":[{}1{}]}}", open.repeat(200_000), close.repeat(200_000));
            refused(&deep);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_changes_or_are_refused(bytes: Vec<u8>) {
            fuzz_changes(&bytes);
        }

        #[test]
        fn any_text_like_a_body_is_changes_or_is_refused(
            text in "(\\{|\\}|\\[|\\]|,|:|\"keys\":|\"changes\":|\"key\":|\"old\":|\"table\":|null|true|1\\.0|\"a\"|\\\\u| ){0,24}",
        ) {
            fuzz_changes(text.as_bytes());
            fuzz_changes(format!("{{\"keys\":[{text}]}}").as_bytes());
            fuzz_changes(format!("{{\"changes\":[{{\"key\":1,{text}}}]}}").as_bytes());
        }
    }
}
