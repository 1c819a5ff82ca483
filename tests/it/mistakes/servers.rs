//! Servers that do not let one in, each with what is missing.

use std::fs;

use super::{MARK, ask, folder, told};
use crate::servers::{Kind, Server};

fn config(url: &str) -> String {
    format!("[databases]\nmain = \"{url}\"\n[resources.item]\ndatabase = \"main\"\ntable = \"item\"\n")
}

#[test]
fn postgresql_says_which_password_database_or_certificate_is_missing() {
    let folder = folder();
    let server = Server::start(Kind::Postgres);
    let port = server.port;
    let trusted = format!("postgres://chunkflow@127.0.0.1:{port}/postgres");
    let psql = |sql: &str| {
        let output = std::process::Command::new("psql").args(["-X", "-q", "-c", sql, &trusted]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };

    psql("CREATE TABLE item (id int PRIMARY KEY); CREATE ROLE locked LOGIN");
    psql(&format!("ALTER ROLE locked PASSWORD '{MARK} @/'"));
    psql("GRANT SELECT ON item TO locked");
    let rules = server.folder.path().join("data/pg_hba.conf");
    let old = fs::read_to_string(&rules).unwrap();
    fs::write(&rules, format!("host all locked 127.0.0.1/32 scram-sha-256\n{old}")).unwrap();
    psql("SELECT pg_reload_conf()");
    let at = |user: &str, rest: &str| format!("postgres://{user}@127.0.0.1:{port}/{rest}");
    crate::support::until("a password is asked for", || {
        ask(folder.path(), "", &["init", &at("locked", "postgres")], &[]).code == Some(1)
    });

    let ca = server.folder.path().join("ca.pem").display().to_string();
    for (url, what, remedy) in [
        (at("locked", "postgres"), "asks for a password, and the database's URL has none", "set PGPASSWORD"),
        (at("locked:HUNTER2x", "postgres"), "does not let this user in", "see the user and password"),
        (at("nobody", "postgres"), "does not let this user in", "see the user and password"),
        (at("chunkflow", "nowhere"), "has no such database", "see the database's URL"),
        (at("chunkflow", "postgres?sslmode=verify-full"), "an authority that is not known here", "sslrootcert=FILE"),
        (at("chunkflow", "postgres?sslmode=verify-ca"), "an authority that is not known here", "sslrootcert=FILE"),
        (
            at("chunkflow", &format!("postgres?sslmode=verify-full&sslrootcert={ca}")),
            "is for another name",
            "sslmode=verify-ca",
        ),
    ] {
        told(&ask(folder.path(), "", &["init", &url], &[]), 1, &[what, remedy], &url);
        told(&ask(folder.path(), &config(&url), &["check"], &[]), 1, &["chunkflow.toml:2:8: ", what, remedy], &url);
    }

    // The environment's password is read, in whichever way the database is named.
    let password = format!("{MARK} @/");
    let url = at("locked", "postgres");
    let environment = [("PGPASSWORD", &*password), ("DATABASE_URL", &*url)];
    told(&ask(folder.path(), "", &["init", &url], &environment), 0, &["[resources.item]"], "init");
    told(&ask(folder.path(), "", &["check"], &environment), 0, &["nothing is wrong"], "check");
    told(&ask(folder.path(), &config(&url), &["check"], &environment), 0, &["nothing is wrong"], "a file");
    let wrong = [("PGPASSWORD", "HUNTER2x")];
    told(&ask(folder.path(), &config(&url), &["check"], &wrong), 1, &["does not let this user in"], "a wrong one");
}

#[test]
fn mysql_says_which_password_or_database_is_missing() {
    let folder = folder();
    let server = Server::shared(Kind::MariaDb);
    let database = server.database();
    let name = database.url().rsplit_once('/').unwrap().1.to_owned();
    database.execute(&format!(
        "CREATE TABLE item (id INT PRIMARY KEY); CREATE USER IF NOT EXISTS locked@'127.0.0.1' IDENTIFIED BY '{MARK} @/';
         GRANT SELECT ON {name}.* TO locked@'127.0.0.1'"
    ));
    let at = |user: &str, rest: &str| format!("mysql://{user}@127.0.0.1:{}/{rest}", server.port);
    for (url, what, remedy) in [
        (at("locked", &name), "asks for a password, and the database's URL has none", "set MYSQL_PWD"),
        (at("locked:HUNTER2x", &name), "does not let this user in", "see the user and password"),
        (at("chunkflow", "nowhere"), "has no such database", "see the database's URL"),
        (at("chunkflow", &format!("{name}?ssl-mode=verify_identity")), "MySQL", "ssl"),
    ] {
        told(&ask(folder.path(), "", &["init", &url], &[]), 1, &[what, remedy], &url);
        told(&ask(folder.path(), &config(&url), &["check"], &[]), 1, &["chunkflow.toml:2:8: ", what, remedy], &url);
    }

    let password = format!("{MARK} @/");
    let url = at("locked", &name);
    told(&ask(folder.path(), "", &["init", &url], &[("MYSQL_PWD", &password)]), 0, &["[resources.item]"], "init");
    told(
        &ask(folder.path(), &config(&url), &["check"], &[("MYSQL_PWD", &password)]),
        0,
        &["nothing is wrong"],
        "a file",
    );
}

#[test]
fn redis_says_that_its_password_is_wrong_or_missing() {
    let folder = folder();
    let server = Server::start(Kind::Redis);
    let admin = std::process::Command::new("redis-cli")
        .args(["-p", &server.port.to_string(), "config", "set", "requirepass", MARK])
        .output()
        .unwrap();
    assert!(admin.status.success());
    for (user, what, remedy) in [
        ("", "Redis asks for a password", "write redis://USER:PASSWORD@HOST"),
        (":HUNTER2x@", "Redis does not know this user with this password", "see both in the URL"),
        ("app:HUNTER2@", "Redis does not know this user with this password", "see both in the URL"),
    ] {
        let store = format!("[store]\nurl = \"redis://{user}127.0.0.1:{}\"\n", server.port);
        let ended = ask(folder.path(), &(config("sqlite:app.sqlite") + &store), &["check"], &[]);
        told(&ended, 1, &["chunkflow.toml:7:7: ", what, remedy], user);
    }
}
