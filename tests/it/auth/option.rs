//! `--auth FILE`

use std::fs;

use super::tickets::{JSON, KEY, keyed, post};
use crate::support::{Process, ask, binary, output_in_time};

#[test]
fn a_database_without_a_configuration_is_served_with_the_ways_of_a_file() {
    let file = keyed("");
    let folder = file.folder.path();
    fs::remove_file(folder.join("chunkflow.toml")).unwrap();
    fs::write(folder.join("auth.toml"), "[auth.keys]\nfile = \"keys.toml\"\n").unwrap();
    let server = Process::serve(&["serve", "test.sqlite", "--auth", "auth.toml"], folder);
    for (key, status) in [(KEY, 200), ("wrong", 401)] {
        let reply = post(server.address, &[JSON, ("x-api-key", key)], "{\"list\":\"/item.sse\"}");
        assert_eq!(reply.status, status);
        assert_eq!(ask(server.address, "GET", "/item", &[("x-api-key", key)]).status, status);
    }
    assert_eq!(server.get("/item").status, 401, "each list is for those who say who they are");
}

#[test]
fn what_is_wrong_with_the_file_is_told_at_its_place_in_it() {
    let file = keyed("");
    for (text, told) in [
        ("[auth.keys]\nfile = \"gone.toml\"", "auth.toml:2:8: `gone.toml` cannot be read"),
        ("[auth.jwt]\nsecret = \"short\"", "auth.toml:2:10: the secret is shorter than 32 bytes"),
        ("[server]\n[auth.keys]\nfile = \"keys.toml\"", "auth.toml:1:2: unknown key `server`"),
        ("", "auth.toml:1:1: the file has no table `[auth]`"),
        ("auth = 1", "auth.toml:1:8: `auth` is integer, not a table"),
    ] {
        fs::write(file.folder.path().join("auth.toml"), text).unwrap();
        let output = output_in_time(&mut binary(&["serve", "--auth", "auth.toml"], file.folder.path()));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(1) && said.contains(told), "{text}: {said}");
    }

    let output = output_in_time(&mut binary(&["serve", "--auth", "gone.toml"], file.folder.path()));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("--auth: gone.toml cannot be read"), "{said}");
}
