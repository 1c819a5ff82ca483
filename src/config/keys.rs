//! The file of API keys that `[auth.keys]` names: a table for each key, named like its owner.
//!
//! ```toml
//! [partner]
//! sha256 = "…"
//! claims = { org = 7 }
//! expires = "2027-06-30"
//! ```

use std::{
    collections::HashSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use jiff::Timestamp;

use super::{
    complaint::Complaints,
    filled::Surroundings,
    read::{Reader, Section},
};
use crate::auth::{ApiKey, ApiKeys, MOST_KEYS, digest_of_key};

/// The longest name of a key, in characters.
const NAME: usize = 100;

/// The keys of a file.
///
/// # Errors
/// Everything that is wrong in it.
pub(crate) fn read(file: &str, text: &str) -> Result<ApiKeys, Complaints> {
    let reader = Reader::new(Surroundings::of(file, &|_| None));
    let (root, errors) = toml::de::DeTable::parse_recoverable(text);
    reader.complain_of_toml(&errors);

    let mut root = Section::new(&reader, String::new(), root.span(), root.get_ref());
    let names = root.keys();
    if names.len() > MOST_KEYS {
        let message = format!("the file has {} keys, and may have {MOST_KEYS}", names.len());
        reader.complain(0..0, message, "give programs of one owner one key, or take out those that have expired");
    }

    let mut keys: Vec<ApiKey> = vec![];
    let mut digests = HashSet::new();
    for name in names.iter().take(MOST_KEYS) {
        let Some(mut table) = root.section(name) else { continue };
        if name.trim().is_empty() || name.chars().count() > NAME || name.chars().any(char::is_control) {
            table.complain("", "this is no name of a key", "name who has the key, with up to 100 characters");
        }

        let digest = digest(&mut table);
        let claims = if table.has("claims") { table.json("claims").unwrap_or_default() } else { Default::default() };
        let expires = expires(&mut table);
        let Some(digest) = digest else {
            table.finish();
            continue;
        };
        if !digests.insert(digest) {
            table.complain("sha256", "the same key stands in this file before", "make one of its own for each name");
        }
        table.finish();
        keys.push(ApiKey::new(name, digest, claims, expires));
    }

    root.finish();
    let (_, discretion, complaints) = reader.finish();
    if complaints.is_empty() {
        Ok(ApiKeys::new(keys))
    } else {
        Err(Complaints::new(file, text, &discretion, complaints))
    }
}

fn digest(table: &mut Section<'_, '_>) -> Option<[u8; 32]> {
    let remedy = "let `chunkflow key new NAME` make a key, and put what it prints here";
    let text = table.required("sha256", remedy);
    let digit = |at: usize| u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok();
    let is_digest = text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate().filter(|_| is_digest) {
        *byte = digit(at)?;
    }

    if text.is_empty() {
        return None;
    }
    if !is_digest || digest == digest_of_key(b"") {
        table.complain("sha256", "`sha256` is no digest of a key: 64 hexadecimal digits", remedy);
        return None;
    }
    Some(digest)
}

fn expires(table: &mut Section<'_, '_>) -> Option<SystemTime> {
    let text = table.string("expires")?;
    let moment = moment(&text);
    if moment.is_none() {
        let remedy = "write expires = \"2027-06-30\" (it ends as that day begins, in UTC) or \"2027-06-30T18:00:00Z\"";
        table.complain("expires", "`expires` is no moment", remedy);
    }
    moment
}

/// The moment that a text names: a date, or a time with its zone (RFC 3339).
pub(crate) fn moment(text: &str) -> Option<SystemTime> {
    let of_day = || format!("{text}T00:00:00Z").parse::<Timestamp>().ok().filter(|_| !text.contains([':', 'T']));
    let stamp = text.parse::<Timestamp>().ok().or_else(of_day)?;
    let seconds = u64::try_from(stamp.as_second()).ok()?;
    Some(UNIX_EPOCH + Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";

    #[test]
    fn a_file_names_keys_with_their_claims_and_their_end() {
        let text = format!(
            "[partner]\nsha256 = \"{DIGEST}\"\nclaims = {{ org = 7, role = [\"reader\", \"x\"], \"odd name\" = true }}\n\
             expires = \"2027-06-30\"\n[\"another one\"]\nsha256 = \"{}\"\n",
            DIGEST.replace('2', "3").to_uppercase()
        );
        let keys = format!("{:?}", read("keys.toml", &text).unwrap());
        assert!(keys.contains(r#"["odd name", "org", "role", "sub"]"#) && keys.contains(r#"["sub"]"#), "{keys}");
        assert!(!keys.contains(DIGEST), "{keys}");
        assert!(read("keys.toml", "").is_ok());
    }

    #[test]
    fn what_is_wrong_is_told_at_its_place_without_a_digest() {
        let other = DIGEST.replace('2', "3");
        for (text, place, what) in [
            ("[a]\nsha256 = \"abc\"".to_owned(), ":2:10:", "no digest"),
            ("[a]\n".to_owned(), ":1:", "`sha256` is missing"),
            ("a = 1".to_owned(), ":1:", "not a table"),
            (format!("[a]\nsha256 = \"{DIGEST}\"\nclaim = 1"), ":3:1:", "unknown key `claim`"),
            (format!("[a]\nsha256 = \"{DIGEST}\"\nexpires = \"soon\""), ":3:11:", "no moment"),
            (format!("[a]\nsha256 = \"{DIGEST}\"\n[b]\nsha256 = \"{DIGEST}\""), ":4:10:", "before"),
            (format!("[a]\nsha256 = \"{other}\"\nclaims = 7"), ":3:10:", "not a table"),
            (format!("[\"\"]\nsha256 = \"{other}\""), ":1:", "no name"),
            (
                format!(
                    "[a]\nsha256 = \"{}\"",
                    crate::auth::digest_of_key(b"").map(|byte| format!("{byte:02x}")).concat()
                ),
                ":2:10:",
                "no digest",
            ),
        ] {
            let told = read("keys.toml", &text).unwrap_err().to_string();
            assert!(told.contains(place) && told.contains(what), "{text}: {told}");
            assert!(!told.contains(DIGEST) && !told.contains(&other), "{told}");
        }
    }

    #[test]
    fn a_moment_is_a_day_or_a_time_with_its_zone() {
        let seconds = |text| moment(text).map(|at| at.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(seconds("1970-01-02"), Some(86_400));
        assert_eq!(seconds("1970-01-01T01:00:00+01:00"), Some(0));
        assert_eq!([seconds("soon"), seconds("1970-01-02T00:00:00"), seconds("")], [None; 3]);
    }
}
