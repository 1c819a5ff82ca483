//! What is told, as an entry of the journal: JSON, so that programs in other languages can write it.
//!
//! An entry is an object as the body of `POST /changed/RESOURCE`, with the member `resource` beside
//! the others, or an array of such objects. An object with the member `where` has rows read again
//! that meet these conditions:
//!
//! ```json
//! [{"resource": "tricks", "keys": [7, 8]},
//!  {"resource": "tricks", "where": [["organisation_id", "eq.1"]]}]
//! ```

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Serialize;

use super::{Change, Purge, Tell, json};
use crate::error::{Error, Kind, Result};

/// The most bytes of an entry with several changes, and of one with a single one.
const MOST: usize = 32 * 1024;
const LONGEST: usize = 60 * 1024;

#[derive(Serialize)]
struct Group<'a> {
    resource: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    keys: Vec<&'a [String]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changes: Vec<Said<'a>>,
}

#[derive(Serialize)]
struct Said<'a> {
    key: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    old: &'a BTreeMap<String, Option<String>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    new: &'a BTreeMap<String, Option<String>>,
}

impl<'a> Group<'a> {
    /// The group of a change, without it.
    fn of(change: &'a Change) -> Group<'a> {
        Group {
            resource: &change.resource,
            table: change.table.as_deref(),
            at: change.at.as_deref(),
            keys: vec![],
            changes: vec![],
        }
    }
}

/// The entries that hold these changes and purges.
pub(crate) fn write(tell: &Tell) -> Vec<Bytes> {
    let mut entries: Vec<Bytes> = tell.purges.iter().map(purge).collect();
    let mut groups: Vec<Group<'_>> = vec![];
    let mut bytes = 0;
    for change in &tell.changes {
        let weight = weight(change);
        if bytes + weight > MOST && !groups.is_empty() {
            entries.push(written(&groups));
            groups.clear();
            bytes = 0;
        }
        bytes += weight;

        let next = Group::of(change);
        let is_same =
            |group: &Group<'_>| (group.resource, group.table, group.at) == (next.resource, next.table, next.at);
        if !groups.last().is_some_and(is_same) {
            groups.push(next);
        }
        let Some(group) = groups.last_mut() else { continue };
        if change.old.is_empty() && change.new.is_empty() {
            group.keys.push(&change.key);
        } else {
            group.changes.push(Said { key: &change.key, old: &change.old, new: &change.new });
        }
    }

    if !groups.is_empty() {
        entries.push(written(&groups));
    }
    entries
}

/// What an entry tells.
///
/// # Errors
/// [`Kind::Invalid`] if it is none.
pub(crate) fn read(entry: &[u8]) -> Result<Tell> {
    json::read_entry(entry)
}

/// Checks that a purge has room in an entry.
///
/// # Errors
/// [`Kind::Invalid`] if it has not.
pub(crate) fn check_purge(told: &Purge) -> Result<()> {
    if purge(told).len() > LONGEST {
        let error = Error::new(Kind::Invalid, "the conditions of a purge have more than 60 KiB");
        return Err(error.remedy("purge in parts"));
    }
    Ok(())
}

/// Checks that a change has room in an entry.
///
/// # Errors
/// [`Kind::Invalid`] if it has not.
pub(crate) fn check(change: &Change) -> Result<()> {
    // A character takes at most six bytes in JSON.
    if 6 * bytes(change) > LONGEST && weight(change) > LONGEST {
        let error = Error::new(Kind::Invalid, "a change has more than 60 KiB of key and values");
        return Err(error.remedy("leave out of `old` and `new` all but the columns that point to other rows"));
    }
    Ok(())
}

fn written<T: Serialize>(groups: &[T]) -> Bytes {
    serde_json::to_vec(groups).expect("texts can always be written").into()
}

/// The entry of a purge.
fn purge(purge: &Purge) -> Bytes {
    #[derive(Serialize)]
    struct Conditional<'a> {
        resource: &'a str,
        r#where: &'a [(String, String)],
    }
    written(&[Conditional { resource: &purge.resource, r#where: &purge.conditions }])
}

/// How many bytes an entry with this change alone has; with others it takes no more.
fn weight(change: &Change) -> usize {
    let said = Said { key: &change.key, old: &change.old, new: &change.new };
    written(&[Group { changes: vec![said], ..Group::of(change) }]).len()
}

/// The bytes of its texts, and of what stands between them.
fn bytes(change: &Change) -> usize {
    let values = change.old.iter().chain(&change.new);
    let values = values.map(|(column, value)| column.len() + value.as_ref().map_or(0, String::len) + 8);
    let keys = change.key.iter().map(|key| key.len() + 8);
    let more = [&change.table, &change.at].into_iter().flatten().map(|text| text.len());
    let names = change.resource.len() + more.sum::<usize>();
    names + keys.sum::<usize>() + values.sum::<usize>() + 64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change() -> impl Strategy<Value = Change> {
        let values = || prop::collection::btree_map(".{1,8}", prop::option::of(".{0,8}"), 0..3);
        let key = prop::collection::vec(".{0,12}", 0..3);
        let table = prop::option::of(".{1,6}");
        let at = prop::option::of("[ab]");
        ("[ab]", table, key, values(), values(), at).prop_map(|(resource, table, key, old, new, at)| Change {
            table: table.map(Into::into),
            old,
            new,
            at: at.map(Into::into),
            ..Change::of(resource, key)
        })
    }

    proptest! {
        #[test]
        fn the_changes_of_the_entries_are_those_that_were_told(changes in prop::collection::vec(change(), 0..40)) {
            let entries = write(&Tell::of(&changes));
            let read: Vec<Change> = entries.iter().flat_map(|entry| read(entry).unwrap().changes).collect();
            let sorted = |mut changes: Vec<Change>| {
                changes.sort_by_key(|change| format!("{change:?}"));
                changes
            };
            prop_assert_eq!(sorted(read), sorted(changes));
        }
    }

    #[test]
    fn entries_are_short_and_have_this_form() {
        let changes = [
            Change::of("tricks", ["7"]),
            Change::of("tricks", ["8"]),
            Change::of("tricks", ["9"]).in_table("tag").was("x", None::<&str>).is("x", Some("1")).at("0/16B3748"),
        ];
        let [entry] = &write(&Tell::of(&changes))[..] else { panic!() };
        let text = r#"[{"resource":"tricks","keys":[["7"],["8"]]},{"resource":"tricks","table":"tag","at":"0/16B3748","changes":[{"key":["9"],"old":{"x":null},"new":{"x":"1"}}]}]"#;
        assert_eq!(entry, text);

        let many: Vec<Change> = (0..5_000).map(|id| Change::of("tricks", [id.to_string()])).collect();
        let entries = write(&Tell::of(&many));
        assert!(entries.len() > 5 && entries.iter().all(|entry| entry.len() <= MOST), "{}", entries.len());
        assert!(write(&Tell::default()).is_empty());

        // Control characters take six bytes each.
        let escaped: Vec<Change> = (0..90).map(|_| Change::of("tricks", ["\u{1}".repeat(3_000)])).collect();
        assert!(write(&Tell::of(&escaped)).iter().all(|entry| entry.len() <= MOST));
        assert!(check(&Change::of("tricks", ["\u{1}".repeat(10_000)])).is_ok());
        assert!(check(&Change::of("tricks", ["\u{1}".repeat(11_000)])).is_err());
        assert!(check(&Change::of("tricks", ["x".repeat(60_000)])).is_ok());
    }

    #[test]
    fn a_program_may_write_one_object_or_several() {
        let changes = |entry: &[u8]| read(entry).unwrap().changes;
        assert_eq!(changes(br#"{"resource":"a","keys":[7]}"#), [Change::of("a", ["7"])]);
        let two = br#"[{"resource":"a","keys":[7]},{"resource":"b","table":"c","changes":[{"key":"x"}]}]"#;
        assert_eq!(changes(two), [Change::of("a", ["7"]), Change::of("b", ["x"]).in_table("c")]);
        for wrong in [&b"{}"[..], b"{\"keys\":[7]}", b"[7]", b"{\"resource\":7,\"keys\":[]}", b"x", b""] {
            assert!(read(wrong).is_err());
        }
    }

    #[test]
    fn a_purge_is_an_entry_of_its_own_with_its_conditions_as_requests_write_them() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let conditions = vec![pair("organisation_id", "eq.1"), pair("name", "in.(\"a,b\",c)")];
        let purge = Purge { resource: "tricks".into(), conditions };
        let tell = Tell { changes: vec![Change::of("tricks", ["7"])], purges: vec![purge] };
        let entries = write(&tell);
        let text = r#"[{"resource":"tricks","where":[["organisation_id","eq.1"],["name","in.(\"a,b\",c)"]]}]"#;
        assert_eq!(entries, [text, r#"[{"resource":"tricks","keys":[["7"]]}]"#]);

        let mut heard = Tell::default();
        entries.iter().for_each(|entry| heard.add(read(entry).unwrap()));
        assert_eq!(heard, tell);
        for wrong in ["[]", "[[]]", "[[\"a\"]]", "[[\"a\",\"b\",\"c\"]]", "[[\"a\",7]]", "{}", "\"a\"", "[\"a\"]"] {
            let entry = format!("{{\"resource\":\"a\",\"where\":{wrong}}}");
            assert!(read(entry.as_bytes()).is_err(), "{entry}");
        }
    }
}
