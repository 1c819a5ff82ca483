//! Secrets that stand in files of their own.

use std::{fs, path::Path};

use crate::{
    machines::cli,
    servers::{Kind, Server},
    support::{Process, binary, until},
};

const ROWS: usize = 2_000;

fn command(arguments: &[&str], folder: &Path) -> (bool, String) {
    let output = binary(arguments, folder).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    (output.status.success(), text)
}

#[test]
fn passwords_of_database_and_store_change_by_a_reload_and_without_a_restart() {
    let (maria, redis) = (Server::shared(Kind::MariaDb), Server::start(Kind::Redis));
    let database = maria.database();
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    let user = format!("rotated_{name}@'127.0.0.1'");
    let values: Vec<String> = (1..=ROWS).map(|id| format!("({id})")).collect();
    database.execute(&format!(
        "CREATE TABLE item (id INT PRIMARY KEY); INSERT INTO item VALUES {};
         CREATE USER {user} IDENTIFIED BY 'first-1'; GRANT SELECT ON {name}.* TO {user}",
        values.join(", ")
    ));
    cli(&redis, &["acl", "setuser", "app", "on", ">first-2", "~*", "+@all"]);

    let folder = tempfile::TempDir::new().unwrap();
    let secret = |of: &str, value: &str| fs::write(folder.path().join("secrets").join(of), value).unwrap();
    fs::create_dir(folder.path().join("secrets")).unwrap();
    // As editors and `echo` leave them.
    secret("database", "first-1\n");
    secret("store", "first-2\r\n");
    let admin = crate::servers::free_port();
    let text = format!(
        "[admin]\nlisten = \"127.0.0.1:{admin}\"\n[databases]\n\
         main = {{ url = \"mysql://rotated_{name}:${{file:secrets/database}}@127.0.0.1:{}/{name}\", identity = \"shop\" }}\n\
         [store]\nurl = \"redis://app:${{file:secrets/store}}@127.0.0.1:{}\"\nnear = \"0\"\n\
         [resources.item]\ndatabase = \"main\"\ntable = \"item\"\n",
        maria.port, redis.port
    );
    fs::write(folder.path().join("chunkflow.toml"), text).unwrap();
    let (well, said) = command(&["check"], folder.path());
    assert!(well, "{said}");
    let server = Process::serve(&["serve", "--log", "info"], folder.path());
    assert_eq!(server.get("/item").results().len(), ROWS);

    database.execute(&format!("SET PASSWORD FOR {user} = PASSWORD('second-1')"));
    cli(&redis, &["acl", "setuser", "app", "resetpass", ">second-2"]);
    for (file, value, told) in [("database", "second-1", "does not let this user in"), ("store", "second-2", "store")] {
        let (well, said) = command(&["check"], folder.path());
        assert!(!well && said.contains(told), "before {file} is written: {said}");
        assert!(!said.contains("first-") && !said.contains("second-"), "{said}");
        secret(file, value);
    }
    let (well, said) = command(&["reload"], folder.path());
    assert!(well && said.contains("reloaded"), "{said}");

    // Nothing that came in with the old passwords goes on.
    cli(&redis, &["client", "kill", "user", "app"]);
    assert_eq!(server.get("/item?id=gt.5").results().len(), ROWS - 5, "read anew");
    until("the store keeps chunks again", || server.get("/item?id=gt.6").header("cache-status").contains("; hit"));
}

#[test]
fn what_a_file_holds_is_in_no_complaint() {
    let folder = tempfile::TempDir::new().unwrap();
    fs::write(folder.path().join("url"), "postgres://app:hunter2@127.0.0.1:1/shop\n").unwrap();
    let text = "[databases]\nmain = \"${file:url}\"\n[resources.item]\ndatabase = \"main\"\ntable = \"item\"\n";
    fs::write(folder.path().join("chunkflow.toml"), text).unwrap();
    let (well, said) = command(&["check"], folder.path());
    assert!(!well && said.contains("cannot be reached"), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}
