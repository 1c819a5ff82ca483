//! `chunkflow key new`

use std::os::unix::fs::PermissionsExt;

use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::support::binary;

/// What the command says, and its exit code.
fn key(arguments: &[&str], folder: &TempDir) -> (String, String, i32) {
    let output = binary(&[&["key", "new"], arguments].concat(), folder.path()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr), output.status.code().unwrap())
}

#[test]
fn a_key_is_printed_once_and_its_entry_holds_only_its_digest() {
    let folder = TempDir::new().unwrap();
    let (said, noted, code) = key(&["partner", "--claim", "org=7", "--expires", "2099-01-01"], &folder);
    assert_eq!((noted.as_str(), code), ("", 0));
    let made = said.lines().next().unwrap();
    assert!(made.starts_with("cfk_"), "{said}");
    assert_eq!(said.matches(made).count(), 1, "{said}");
    let digest: String = Sha256::digest(made).iter().map(|byte| format!("{byte:02x}")).collect();
    let entry = format!("[partner]\nsha256 = \"{digest}\"\nclaims = {{ org = 7 }}\nexpires = \"2099-01-01\"\n");
    assert!(said.contains(&entry), "{said}");
}

#[test]
fn an_entry_is_added_to_its_file_which_others_cannot_read() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("keys.toml");
    let (first, noted, _) = key(&["a", "--file", "keys.toml"], &folder);
    assert!(noted.contains("keys.toml") && first.lines().count() == 1, "{first} {noted}");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    key(&["b", "--claim", "role=[\"reader\"]", "--file", "keys.toml"], &folder);

    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("[a]\n") && text.contains("[b]\n") && text.contains("role = [\"reader\"]"), "{text}");
    assert!(!text.contains("cfk_"), "{text}");

    let (said, told, code) = key(&["a", "--file", "keys.toml"], &folder);
    assert_eq!((said.as_str(), code), ("", 1), "{told}");
    assert!(told.contains("duplicate key"), "{told}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), text);
}

#[test]
fn what_is_no_claim_and_no_moment_is_wrong_usage() {
    let folder = TempDir::new().unwrap();
    for arguments in [
        &["a", "--claim", "org"][..],
        &["a", "--claim", "org=null"],
        &["a", "--claim", "org=7", "--claim", "org=8"],
        &["a", "--expires", "soon"],
    ] {
        let (said, told, code) = key(arguments, &folder);
        assert_eq!((said.as_str(), code), ("", 2), "{arguments:?}: {told}");
    }
    assert_eq!(key(&[""], &folder).2, 1);
}
