//! A database that is not where, or not as, it was said to be.

use super::{ask, folder, told};

/// What was written for the database; what is said of it, and the remedy.
const MISTAKES: &[(&str, &str, &str)] = &[
    ("nowhere.sqlite", "nowhere.sqlite", "check that the file is there"),
    ("sqlite:nowhere.db", "nowhere.db", "check that the file is there"),
    ("./nowhere", "nowhere", "check that the file is there"),
    ("notes.txt", "notes.txt", "is no SQLite database"),
    ("sqlite:", "names no file", "write sqlite:FILE"),
    ("sqlite::memory:", "names no file", "write sqlite:FILE"),
    ("sqlite:///app.sqlite", "three slashes", "write sqlite:app.sqlite"),
    ("sqlite+aiosqlite:///app.sqlite", "no database of kind `sqlite+aiosqlite`", "write sqlite:app.sqlite"),
    ("sqlite3:app.sqlite", "no database of this kind", "write sqlite:app.sqlite"),
    ("sqlite:app.sqlite?mode=ro", "has an unknown option", "immutable=1"),
    ("file:app.sqlite", "no database of this kind", "write sqlite:app.sqlite"),
    ("jdbc:sqlite:app.sqlite", "a form of Java's", "write sqlite:app.sqlite"),
    ("jdbc:postgresql://db/shop?user=app&password=HUNTER2", "a form of Java's", "write postgresql://db/shop"),
    ("jdbc:mysql://app:HUNTER2@db/shop", "a form of Java's", "write mysql://app:PASSWORD@db/shop"),
    ("host=db dbname=shop user=app password=HUNTER2", "libpq's words", "write postgres://app:PASSWORD@db/shop"),
    ("dbname=shop", "libpq's words", "write postgres://localhost/shop"),
    (
        "postgresql+psycopg2://app:HUNTER2@db/shop",
        "no database of this kind",
        "write postgresql://app:PASSWORD@db/shop",
    ),
    ("postgresql+asyncpg://app:HUNTER2@db/shop", "no database of this kind", "write postgresql://app:PASSWORD@db/shop"),
    (
        "mysql+pymysql://app:HUNTER2@db/shop",
        "no database of kind `mysql+pymysql`",
        "write mysql://app:PASSWORD@db/shop",
    ),
    ("mysql2://app:HUNTER2@db/shop", "no database of this kind", "write mysql://app:PASSWORD@db/shop"),
    ("postgis://app:HUNTER2@db/shop", "no database of kind `postgis`", "write postgres://app:PASSWORD@db/shop"),
    ("pgsql://app:HUNTER2@db/shop", "no database of kind `pgsql`", "write postgres://app:PASSWORD@db/shop"),
    ("postgers://app:HUNTER2@db/shop", "no database of kind `postgers`", "write postgres://app:PASSWORD@db/shop"),
    ("POSTGRES://app:HUNTER2@db/shop", "no database of this kind", "write postgres://app:PASSWORD@db/shop"),
    ("mongodb://app:HUNTER2@db/shop", "no database of kind `mongodb`", "this build has sqlite, postgres"),
    ("sqlserver://app:HUNTER2@db/shop", "no database of kind `sqlserver`", "write for instance sqlite:"),
    ("http://app:HUNTER2@db/shop", "no database of kind `http`", "write for instance sqlite:"),
    ("app:HUNTER2@db/shop", "no database of this kind", "postgres://user:password@localhost/app"),
    ("localhost/shop", "no database of this kind", "postgres://user:password@localhost/app"),
    ("shop", "no database of this kind", "sqlite:tricks.sqlite"),
    ("postgres://app:HUN@TER2@127.0.0.1:1/shop", "a character that ends it", "%40 for @"),
    ("postgres://app:HUN/TER2@127.0.0.1:1/shop", "a character that ends it", "%2F for /"),
    ("postgres://app:HUN#TER2@127.0.0.1:1/shop", "a character that ends it", "%23 for #"),
    ("mysql://app:HUN@TER2@127.0.0.1:1/shop", "a character that ends it", "mysql://app:PASSWORD@127.0.0.1:1/shop"),
    ("mysql://app:HUN/TER2@127.0.0.1:1/shop", "a character that ends it", "%2F for /"),
    ("mariadb://app:HUN?TER2@127.0.0.1:1/shop", "a character that ends it", "%3F for ?"),
    ("postgres://app:HUNTER2@127.0.0.1:1/shop", "PostgreSQL cannot be reached", "see that it runs"),
    (
        "postgres://app:HUNTER2@nowhere.invalid/shop",
        "PostgreSQL's host has no address",
        "see the host in the database's URL",
    ),
    (
        "postgres://app:HUNTER2@127.0.0.1:port/shop",
        "cannot be read",
        "write postgres://USER:PASSWORD@HOST:PORT/DATABASE",
    ),
    ("postgres://app:HUNTER2@127.0.0.1:1/shop?sslmode=yes", "no sslmode `yes`", "use disable, allow, prefer"),
    ("postgres://app:HUNTER2@127.0.0.1:1/shop?ssl=true", "unknown option `ssl`", "write sslmode=require"),
    ("postgres://app:HUNTER2@127.0.0.1:1/shop?schema=sales", "unknown option `schema`", "leave `schema` out"),
    ("postgres://app:HUNTER2@127.0.0.1:1/shop?pgbouncer=true", "unknown option `pgbouncer`", "leave `pgbouncer` out"),
    (
        "postgres://app:HUNTER2@127.0.0.1:1/shop?sslmode=verify-full&sslrootcert=nowhere.pem",
        "nowhere.pem cannot be used",
        "sslrootcert=",
    ),
    ("postgres:", "cannot be read", "write postgres://"),
    ("mysql://app:HUNTER2@127.0.0.1:1/shop", "MySQL cannot be reached", "see that it runs"),
    ("mysql://app:HUNTER2@127.0.0.1:1", "names no database", "write mysql://USER:PASSWORD@HOST:PORT/DATABASE"),
    ("mysql://app:HUNTER2@127.0.0.1:1/shop?ssl-mode=yes", "no ssl-mode `yes`", "use disabled, preferred"),
    ("mysql://app:HUNTER2@127.0.0.1:1/shop?charset=utf8mb4", "`charset'", "leave `charset` out"),
    ("mysql://app:HUNTER2@127.0.0.1:1/shop?sslmode=require", "`sslmode'", "write ssl-mode=required"),
    ("mariadb://app:HUNTER2@127.0.0.1:1/shop?useSSL=true", "`useSSL'", "write ssl-mode=required"),
];

#[test]
fn a_database_that_is_none_is_told_by_every_command_and_in_the_file_at_its_place() {
    let folder = folder();
    for (text, what, remedy) in MISTAKES {
        for (arguments, environment) in
            [(&["serve", text][..], None), (&["init"], Some(*text)), (&["check"], Some(*text))]
        {
            let environment: Vec<(&str, &str)> = environment.iter().map(|text| ("DATABASE_URL", *text)).collect();
            let ended = ask(folder.path(), "", arguments, &environment);
            told(&ended, 1, &[what, remedy], &format!("{arguments:?} {environment:?}"));
        }
        let list = "[resources.item]\ndatabase = \"main\"\ntable = \"item\"\n";
        let config = format!("[databases]\nmain = {{ url = \"{text}\" }}\n{list}");
        told(&ask(folder.path(), &config, &["check"], &[]), 1, &["chunkflow.toml:2:", what, remedy], text);
        // What was filled in is told of by its name alone.
        let config = format!("[databases]\nmain = \"${{URL}}\"\n{list}");
        told(&ask(folder.path(), &config, &["check"], &[("URL", text)]), 1, &["chunkflow.toml:2:8: "], text);
    }
}

#[test]
fn plain_names_of_files_are_taken_wherever_a_database_is_named() {
    let folder = folder();
    std::fs::copy(folder.path().join("app.sqlite"), folder.path().join("x.db")).unwrap();
    std::fs::copy(folder.path().join("app.sqlite"), folder.path().join("data")).unwrap();
    let absolute = folder.path().join("app.sqlite").display().to_string();
    for name in ["app.sqlite", "./x.db", "data", &absolute, "sqlite:app.sqlite", "sqlite://app.sqlite"] {
        let ended = ask(folder.path(), "", &["init", name], &[]);
        told(&ended, 0, &["[resources.item]", "lists to serve"], name);
        // What it prints works as it is.
        let printed: String =
            ended.said.lines().filter(|line| !line.contains("to serve,")).map(|line| line.to_owned() + "\n").collect();
        told(&ask(folder.path(), &printed, &["check"], &[]), 0, &["nothing is wrong"], name);
        told(&ask(folder.path(), "", &["check"], &[("DATABASE_URL", name)]), 0, &["nothing is wrong: item"], name);
    }
}
