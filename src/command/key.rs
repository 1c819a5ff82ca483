//! `chunkflow key new`

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::Write as _,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};

use super::{
    Exit, note,
    part::{self, Part},
    say,
};
use crate::{
    auth::{digest_of_key, new_key},
    config::{moment, read_keys},
};

pub(super) fn run(name: &str, claims: &[String], expires: Option<&str>, file: Option<&Path>) -> Result<Exit> {
    let claims = match read_claims(claims) {
        Ok(claims) => claims,
        Err(wrong) => {
            note(&wrong);
            return Ok(Exit::Usage);
        }
    };

    if expires.is_some_and(|expires| moment(expires).is_none()) {
        note("--expires takes a day, 2027-06-30, or a time with its zone, 2027-06-30T18:00:00Z");
        return Ok(Exit::Usage);
    }

    let key = new_key();
    let entry = entry(name, &key, &claims, expires);
    // So that what is printed is right too.
    let name_of_it = file.unwrap_or(Path::new("the new key"));
    if let Err(complaints) = read_keys(&name_of_it.display().to_string(), &entry) {
        bail!("this cannot be a key: {complaints}")
    }

    let Some(file) = file else {
        say(&format!("{key}\n\nThe entry for the file that [auth.keys] names:\n\n{entry}"))?;
        return Ok(Exit::Done);
    };

    // The key is printed once its entry is safe.
    append(file, &entry)?;
    say(&key)?;
    note(&format!("its entry is in {}; `chunkflow reload` makes the running server read it", file.display()));
    Ok(Exit::Done)
}

/// The claims of `NAME=VALUE` each. A value that is JSON is one; any other is a text.
fn read_claims(texts: &[String]) -> Result<Map<String, Value>, String> {
    let mut claims = Map::new();
    for text in texts {
        let Some((name, value)) = text.split_once('=').filter(|(name, _)| !name.is_empty()) else {
            return Err(format!("`{text}` is no claim: write --claim org=7"));
        };

        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        if value.is_null() {
            return Err(format!("`{name}` is null: leave the claim out"));
        }
        if claims.insert(name.to_owned(), value).is_some() {
            return Err(format!(
                "the claim `{name}` stands twice; for several values write a list: 'role=[\"a\",\"b\"]'"
            ));
        }
    }
    Ok(claims)
}

/// The entry of a key.
fn entry(name: &str, key: &str, claims: &Map<String, Value>, expires: Option<&str>) -> String {
    let digest: String = digest_of_key(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let mut entry = format!("[{}]\nsha256 = \"{digest}\"\n", toml_key(name));
    if !claims.is_empty() {
        let _ = writeln!(entry, "claims = {}", toml(&Value::Object(claims.clone())));
    }
    if let Some(expires) = expires {
        let _ = writeln!(entry, "expires = {}", toml_text(expires));
    }
    entry
}

/// A value as TOML writes it on one line.
fn toml(value: &Value) -> String {
    match value {
        Value::String(text) => toml_text(text),
        Value::Array(values) => format!("[{}]", values.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(members) => {
            let member = |(name, value): (&String, &Value)| format!("{} = {}", toml_key(name), toml(value));
            format!("{{ {} }}", members.iter().map(member).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

fn toml_key(name: &str) -> String {
    let is_bare = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte));
    if is_bare { name.to_owned() } else { toml_text(name) }
}

/// JSON's escapes are TOML's too; TOML wants one more.
fn toml_text(text: &str) -> String {
    Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// Adds an entry to the end of a file, which is never seen half written. A new file is its user's
/// alone; one that is there keeps its owner, group and mode.
fn append(file: &Path, entry: &str) -> Result<()> {
    let name = part::at_the_end_of_links(PathBuf::from(file));
    let shown = file.display();
    let unwritable = || format!("{shown} cannot be written");

    // Of two commands at once, the second reads what the first has written.
    let above = name.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(above).with_context(unwritable)?;
    folder.lock().with_context(|| format!("the folder of {shown} cannot be locked"))?;

    let there = match fs::metadata(&name) {
        Ok(there) if !there.is_file() => bail!("{shown} is no file"),
        Ok(there) => Some(there),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(unwritable),
    };

    let before = match there {
        Some(_) => fs::read_to_string(&name).with_context(|| format!("{shown} cannot be read"))?,
        None => String::new(),
    };
    let between = match before.trim_end() {
        "" => "",
        _ if before.ends_with('\n') => "\n",
        _ => "\n\n",
    };
    let text = format!("{before}{between}{entry}");
    read_keys(&shown.to_string(), &text)?;

    let Some(path) = part::beside(&name) else { bail!("{shown} is no name of a file") };
    let opened = File::options().write(true).create_new(true).mode(0o600).open(&path);
    let mut opened = opened.with_context(unwritable)?;
    part::hold(&opened);
    let part = Part(path);
    if let Some(there) = there {
        part::take_rights(&opened, &there).with_context(unwritable)?;
    }

    opened.write_all(text.as_bytes()).with_context(unwritable)?;
    opened.sync_all().with_context(unwritable)?;
    fs::rename(&part.0, &name).with_context(unwritable)?;
    // So that a key that was printed is there after a crash.
    folder.sync_all().with_context(unwritable)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    fn claims(texts: &[&str]) -> Result<Map<String, Value>, String> {
        read_claims(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn a_claim_is_of_the_type_that_it_is_written_in() {
        let all =
            claims(&["org=7", "name=anna", "zip=\"007\"", "code=007", "role=[\"a\",\"b\"]", "x=a=b", "y="]).unwrap();
        let expected = serde_json::json!({
            "org": 7, "name": "anna", "zip": "007", "code": "007", "role": ["a", "b"], "x": "a=b", "y": ""
        });
        assert_eq!(Value::from(all), expected);
        for wrong in [&["org"][..], &["=7"], &["org=null"], &["org=7", "org=8"]] {
            assert!(claims(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_entry_reads_back_with_any_name_and_any_claims() {
        let all = claims(&["a b=\"\\u007f\\\"\\n\"", "o={\"x\":[1.5,true]}", "é=1e30"]).unwrap();
        for name in ["partner", "a partner", "a.b", "\"", "ü\\"] {
            let entry = entry(name, &new_key(), &all, Some("2027-06-30"));
            assert!(read_keys("keys.toml", &entry).is_ok(), "{entry}");
        }
        assert!(read_keys("keys.toml", &entry("", &new_key(), &all, None)).is_err());
    }

    #[test]
    fn entries_are_added_to_a_file_of_the_users_own_and_no_name_twice() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("keys.toml");
        let add = |name: &str| append(&file, &entry(name, &new_key(), &Map::new(), None));

        add("a").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        add("b").unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);

        let text = fs::read_to_string(&file).unwrap();
        assert!(add("a").is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), text);
        assert!(text.contains("\n\n[b]\n") && !text.contains("cfk_"), "{text}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn entries_that_are_added_at_once_are_all_there() {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("keys.toml");
        let names: Vec<String> = (0..20).map(|number| format!("k{number}")).collect();
        std::thread::scope(|scope| {
            for name in &names {
                scope.spawn(|| append(&file, &entry(name, &new_key(), &Map::new(), None)).unwrap());
            }
        });

        let text = fs::read_to_string(&file).unwrap();
        for name in names {
            assert!(text.contains(&format!("[{name}]\n")), "{name}: {text}");
        }
    }
}
