//! Secrets in files of their own.

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
    let maria = Server::shared(Kind::MariaDb);
    let redis = Server::start(Kind::Redis);
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
    // With the newline that editors and `echo` add.
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

    // No connection with the old passwords stays open.
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

#[test]
fn a_file_that_holds_no_value_is_told_and_a_reload_goes_on_with_the_one_before() {
    let redis = Server::start(Kind::Redis);
    cli(&redis, &["acl", "setuser", "app", "on", ">s3cret", "~*", "+@all"]);
    let file = crate::support::numbered(ROWS as u64);
    // The configuration is not in the folder where the server starts; its paths are relative to its
    // own folder.
    let configured = file.folder.path().join("etc");
    fs::create_dir(&configured).unwrap();
    let secret = configured.join("store");
    fs::write(&secret, "\u{feff}s3cret\r\n").unwrap();
    let admin = crate::servers::free_port();
    let text = format!(
        "[admin]\nlisten = \"127.0.0.1:{admin}\"\n{}\n[store]\n\
         url = \"redis://app:${{file:store}}@127.0.0.1:{}\"\nnear = \"0\"\n",
        file.config("table = \"item\""),
        redis.port
    );

    fs::write(configured.join("chunkflow.toml"), text).unwrap();
    let run = |what: &'static str| command(&[what, "--config", "etc/chunkflow.toml"], file.folder.path());
    let (well, said) = run("check");
    assert!(well, "{said}");
    let server = Process::serve(&["serve", "--config", "etc/chunkflow.toml"], file.folder.path());
    let is_kept = || server.get("/list").header("cache-status").contains("; hit");
    until("the store keeps chunks", is_kept);

    let mistakes: [(&[u8], &str); 5] = [
        (b"", "the file `store` is empty"),
        (b"\n", "the file `store` is empty"),
        (b"\r\n", "the file `store` is empty"),
        (b"s\x003\x00c\x00r\x00e\x00t\x00\xff\xfe", "it is not UTF-8"),
        (&[b'x'; 100_000], "it has 100000 bytes"),
    ];

    let refused = |told: &str| {
        for what in ["check", "reload"] {
            let (well, said) = run(what);
            assert!(!well && said.contains(told) && said.contains("help:"), "{what}: {told}: {said}");
            assert!(said.contains("chunkflow.toml:") && !said.contains("s3cret"), "{what}: {said}");
        }
        assert!(is_kept(), "{told}: what was there goes on");
    };

    for (bytes, told) in mistakes {
        fs::write(&secret, bytes).unwrap();
        refused(told);
    }

    fs::remove_file(&secret).unwrap();
    refused("No such file");
    fs::create_dir(&secret).unwrap();
    refused("no regular file");
    fs::remove_dir(&secret).unwrap();

    fs::write(&secret, "s3cret").unwrap();
    let (well, said) = run("reload");
    assert!(well && said.contains("reloaded"), "{said}");
    assert!(is_kept());
}
