//! Every complaint about a configuration has its place and a remedy, and all are reported at once.

use crate::support::{File, binary, checked, numbered, parse};

/// `line:column: message` of each complaint.
fn complaints(text: &str) -> Vec<String> {
    lines(&checked(text))
}

fn lines(rendered: &str) -> Vec<String> {
    rendered.lines().filter_map(|line| Some(line.split_once("error: chunkflow.toml:")?.1.to_owned())).collect()
}

#[test]
fn all_complaints_come_at_once_each_with_file_line_and_column() {
    let text = r#"
[server]
listen = "nowhere"
max_streams = "many"
stal_timeout = "60s"
stall_timeout = "soon"

[databases]
main = "${NOT_SET}"
other = { url = "sqlite:x", pol = 3 }

[resources.a]
database = "mian"
table = "t"
ordr = ["id"]
ttl = 5

[resources.a.fields]
url = { link = "/x/", via = "y" }
n = 7

[nonsense]
"#;
    let found = complaints(text);
    let expected = [
        "3:10: `nowhere` is no address",
        "4:15: `max_streams` is string, not a whole number",
        "5:1: unknown key `stal_timeout` in [server]",
        "6:17: `soon` is no span of time",
        "9:8: the environment variable `NOT_SET` is not set",
        "10:1: the database file x cannot be read: No such file or directory (os error 2)",
        "10:29: unknown key `pol` in [databases.other]",
        "13:12: there is no database `mian`",
        "15:1: unknown key `ordr` in [resources.a]",
        "16:7: `ttl` is integer, not a text",
        "19:1: field `url` must be of one kind",
        "20:5: `n` is integer, not a text",
        "22:2: unknown key `nonsense` here",
    ];

    assert_eq!(found, expected);
    let rendered = parse(text).unwrap_err().to_string();
    for remedy in ["did you mean `stall_timeout`?", "did you mean `main`?", "did you mean `order`?", "ttl = \"5s\""] {
        assert!(rendered.contains(remedy), "{remedy} in {rendered}");
    }
}

#[test]
fn an_admin_listener_beyond_loopback_needs_a_token() {
    let list = "[databases]\nmain = \"sqlite:x\"\n[resources.a]\ndatabase = \"main\"\ntable = \"t\"\n";
    let found = complaints(&format!("[admin]\nlisten = \"0.0.0.0:1\"\n{list}"));
    assert_eq!(found[0], "2:10: an admin listener beyond loopback needs a token");
    for right in ["listen = \"127.0.0.1:1\"", "listen = \"0.0.0.0:1\"\ntoken = \"t\""] {
        assert!(parse(&format!("[admin]\n{right}\n{list}")).is_ok(), "{right}");
    }
}

#[test]
fn what_is_wrong_in_the_text_does_not_hide_what_the_database_says() {
    let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY, place INTEGER NOT NULL)");
    let text = file.config(
        "table = \"item\"\norder = [\"plaec\"]\nchunk_bytes = \"1GiB\"\nordr = 1\n[store]\nurl = \"${UNSET_STORE}\"\n[server]\nallowed_hosts = [\"*.example.com\"]",
    );
    let expected = [
        "7:9: table `item` has no column `plaec`",
        "8:15: `chunk_bytes` is out of bounds",
        "9:1: unknown key `ordr` in [resources.list]",
        "11:7: the environment variable `UNSET_STORE` is not set",
        "13:17: `*.example.com` is no host",
    ];
    assert_eq!(complaints(&text), expected);
}

#[test]
fn an_empty_url_or_table_is_no_list_that_is_left_out_in_silence() {
    let text =
        "[databases]\nmain = \"${EMPTY}\"\nother = { url = \"\" }\n[resources.a]\ndatabase = \"main\"\ntable = \"\"\n";
    let complaints = chunkflow::server::Config::parse("chunkflow.toml", text, &|_| Some(String::new())).unwrap_err();
    assert_eq!(
        lines(&complaints.to_string()),
        ["2:8: `main` is empty", "3:17: `url` is empty", "6:9: `table` is empty"]
    );
}

#[test]
fn an_admin_listener_without_an_address_is_on_loopback() {
    let list = "[databases]\nmain = \"sqlite:x\"\n[resources.a]\ndatabase = \"main\"\ntable = \"t\"\n";
    let config = parse(&format!("[admin]\n{list}")).unwrap();
    assert_eq!(config.admin.unwrap().listen, std::net::SocketAddr::from(([127, 0, 0, 1], 8081)).into());
}

#[test]
fn broken_toml_has_its_place() {
    let found = complaints("[server]\nlisten = \n[store\n");
    assert!(found.len() >= 2 && found[0].starts_with("2:"), "{found:?}");
}

#[test]
fn a_configuration_without_resources_says_so() {
    assert_eq!(complaints(""), ["1:1: there is no resource to serve"]);
}

#[test]
fn what_the_database_does_not_have_is_said_at_its_place() {
    let file = File::with(
        "CREATE TABLE post (id INTEGER PRIMARY KEY, title TEXT); CREATE TABLE tag (id INTEGER PRIMARY KEY, name TEXT);
         CREATE TABLE link (a INTEGER REFERENCES post, b INTEGER REFERENCES post, t INTEGER REFERENCES tag); CREATE VIEW v AS SELECT * FROM post;",
    );

    let text = file.config(
        "table = \"post\"\norder = [\"-titel\"]\nfilters = [\"nmae\"]\n[resources.list.fields]\nx = \"titl\"\ny = { link = \"/a/{slug}/\" }\nz = { link = \"a\" }
w = { through = \"link\", table = \"tag\", column = \"name\" }\nv = { via = \"title\", column = \"x\" }\nu = { from = \"tag\", column = \"name\" }
t = { through = \"link\", on = \"a\", table = \"tag\" }\n[resources.b]\ndatabase = \"main\"\ntable = \"pots\"\n[resources.c]\ndatabase = \"main\"\ntable = \"v\"
[resources.d]\ndatabase = \"main\"\ntable = \"post\"\nwhere = \"nowhere = 1\"\n[store]\nurl = \"etcd://x\"",
    );

    let found = complaints(&text);
    let expected = [
        "7:9: table `post` has no column `titel`",
        "8:11: table `post` has no column `nmae`",
        "10:5: table `post` has no column `titl`",
        "11:1: table `post` has no column `slug`",
        "12:1: the link does not start with one `/`",
        "13:1: table `link` points to `post` more than once",
        "14:1: column `title` is no foreign key",
        "15:1: table `tag` has no foreign key of one column to `post`",
        "16:1: the relation takes no column",
        "19:9: no table or view `pots`",
        "22:9: `v` has no key that tells its rows apart",
        "26:9: SQLite does not take the query: no such column: nowhere in",
        "28:7: no store of kind `etcd` here",
    ];

    for (found, expected) in found.iter().zip(&expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }

    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn check_says_which_orders_are_slow_or_can_be_null() {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, place INTEGER, made TEXT NOT NULL); CREATE INDEX item_made ON item (made DESC)",
    );

    let slow = complaints(&file.config("table = \"item\"\norder = [\"place\"]"));
    assert_eq!(slow.len(), 2, "{slow:?}");
    assert_eq!(slow[0], "7:9: column `place` of the order can be NULL");
    assert!(slow[1].starts_with("7:9: no index gives the order place, id"), "{slow:?}");
    for fast in ["order = [\"-made\"]", "order = [\"id\"]", "order = [\"-id\"]"] {
        assert_eq!(complaints(&file.config(&format!("table = \"item\"\n{fast}"))), [""; 0], "{fast}");
    }

    // The remedy works as it is printed.
    let rendered = checked(&file.config("table = \"item\"\norder = [\"-place\"]"));
    let remedy = rendered.lines().find_map(|line| Some(line.split_once("CREATE INDEX")?.1.to_owned())).unwrap();
    file.open().execute_batch(&format!("CREATE INDEX{remedy}")).unwrap();
    assert_eq!(complaints(&file.config("table = \"item\"\norder = [\"-place\"]")).len(), 1, "only that it can be NULL");
}

#[test]
fn the_commands_end_with_the_codes_of_the_contract() {
    let file = numbered(10);
    let folder = file.folder.path();
    let code = |arguments: &[&str]| binary(arguments, folder).output().unwrap().status.code().unwrap();
    std::fs::write(folder.join("right.toml"), file.config("table = \"item\"")).unwrap();
    std::fs::write(folder.join("wrong.toml"), file.config("table = \"itm\"")).unwrap();
    assert_eq!(code(&["check", "--config", "right.toml"]), 0);
    assert_eq!(code(&["check", "--config", "wrong.toml"]), 1);
    assert_eq!(code(&["serve", "--config", "wrong.toml"]), 1);
    assert_eq!(code(&["serve", "--config", "missing.toml"]), 1);
    assert_eq!(code(&["serve", "--config", "right.toml", "--listen", "nowhere"]), 2);
    assert_eq!(code(&["check", "--nonsense"]), 2);
    assert_eq!(code(&["export", "nothing", "--config", "right.toml"]), 2);
    assert_eq!(code(&["--help"]), 0);
    let output = binary(&["check", "--config", "wrong.toml"], folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("wrong.toml:6:9: no table or view `itm`") && said.contains("did you mean `item`?"), "{said}");
}

#[test]
fn the_example_configuration_is_right_and_shows_the_defaults() {
    let text = include_str!("../../chunkflow.example.toml");
    let environment = |name: &str| (name == "DATABASE_URL").then(|| "sqlite:x".to_owned());
    let shown = |text: &str| {
        let config = chunkflow::server::Config::parse("chunkflow.example.toml", text, &environment);
        format!("{:?}", config.unwrap_or_else(|complaints| panic!("{complaints}")))
    };

    let as_it_is = shown(text);
    // A commented line shows the default, unless it says that it shows another value, or stands for
    // a user's column.
    let (text, _) = text.split_once("# [admin]").unwrap();
    let others = ["main", "key", "public_url", "author", "comments", "place", "price", "status", "image"];
    let defaults = text.lines().filter_map(|line| {
        Some((line, line.strip_prefix("# ")?)).filter(|(_, line)| {
            let name = line.split_once(" = ").map_or("", |(name, _)| name);
            name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
                && !name.is_empty()
                && !others.contains(&name)
                && !line.contains("default: ")
        })
    });

    let defaults: Vec<_> = defaults.collect();
    assert!(defaults.len() > 20, "{defaults:?}");
    for (commented, line) in defaults {
        assert_eq!(shown(&text.replacen(commented, line, 1)), as_it_is, "{line}");
    }
}

#[test]
fn what_could_never_work_is_said_at_the_start() {
    let file = File::with(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, title TEXT); CREATE TABLE c (id INTEGER PRIMARY KEY, t INTEGER REFERENCES t)",
    );

    let first = |resource: &str| complaints(&file.config(resource)).first().cloned().unwrap_or_default();
    assert!(first("table = \"t\"\nwhere = \"title = ?\"").contains("`where` has a parameter"));
    assert!(first("table = \"t\"\nttl = \"2562047788015215h\"").contains("longer than ten years"));
    assert!(first("table = \"t\"\n[resources.healthz]\ndatabase = \"main\"\ntable = \"t\"").contains("server's own"));
    for name in [".", "..", "-/x"] {
        let told = first(&format!("table = \"t\"\n[resources.\"{name}\"]\ndatabase = \"main\"\ntable = \"t\""));
        assert!(told.contains("cannot be the name of a resource"), "{name}: {told}");
    }

    let slow = "table = \"t\"\n[resources.list.fields]\nid = \"id\"\nc = { from = \"c\", column = \"id\" }";
    assert!(first(slow).contains("no index finds the related rows"), "{}", first(slow));
    file.open().execute_batch("CREATE INDEX c_t ON c (t)").unwrap();
    assert_eq!(complaints(&file.config(slow)), [""; 0]);
}

#[test]
fn passwords_are_never_shown() {
    for secret in ["postgres://app:s/cr@ret@db/x", "mysql:app:s/cr@ret@db", "rediss//:s/cr@ret@h"] {
        let text = format!(
            "[databases]\nmain = \"{secret}\"\n[resources.a]\ndatabase = \"main\"\ntable = \"t\"\n[admin]\nlisten = \"x\"\ntoken = \"s/cr@ret\"\n"
        );
        let shown = parse(&text).unwrap_err().to_string();
        assert!(shown.contains("is no address") && !shown.contains("s/cr@ret"), "{shown}");
        let checked = checked(&text.replace("listen = \"x\"", "listen = \"127.0.0.1:1\""));
        assert!(checked.contains("error: chunkflow.toml:2:8: ") && !checked.contains("s/cr@ret"), "{checked}");
    }
    let text = "[databases]\nmain = \"postgres://app:s3cret@127.0.0.1:1/x\"\n[resources.a]\ndatabase = \"main\"\ntable = \"t\"\n";
    let config = parse(text).unwrap();
    let shown = format!("{}{config:?}", checked(text));
    assert!(shown.contains("PostgreSQL cannot be reached") && !shown.contains("s3cret"), "{shown}");
}

#[test]
fn a_key_that_guards_something_is_never_empty() {
    let text = |section: &str, key: &str, value: &str| {
        let list = "[databases]\nmain = \"sqlite:x\"\n[resources.a]\ndatabase = \"main\"\ntable = \"t\"\n";
        let (before, after) = if section == "resources.a" { ("", "") } else { ("[", "]\n") };
        let head = if before.is_empty() { String::new() } else { format!("{before}{section}{after}") };
        if head.is_empty() { format!("{list}{key} = {value}\n") } else { format!("{head}{key} = {value}\n{list}") }
    };

    let texts = ["\"\"", "\" \"", "\"\\t\\n\"", "\"${EMPTY}\"", "\"${BLANK}${EMPTY}\""];
    let environment = |name: &str| Some(if name == "BLANK" { "  " } else { "" }.to_owned());
    let refused = |text: &str| {
        let complaints = chunkflow::server::Config::parse("chunkflow.toml", text, &environment).err();
        complaints.unwrap_or_else(|| panic!("it is taken: {text}")).to_string()
    };

    for (section, key) in [
        ("admin", "token"),
        ("admin", "listen"),
        ("server", "listen"),
        ("server", "public_url"),
        ("server", "request_rate"),
        ("store", "prefix"),
        ("resources.a", "where"),
    ] {
        for value in texts {
            let said = refused(&text(section, key, value));
            assert_eq!(said.matches("error: ").count(), 1, "{said}");
        }
    }

    for (section, key, values) in [
        ("server", "allowed_hosts", &["[]", "[\"\"]", "[\"${EMPTY}\"]"][..]),
        ("server", "trusted_proxies", &["[\"\"]", "[\"${EMPTY}\"]"]),
        (
            "server",
            "cors",
            &["{}", "{ origins = [] }", "{ origins = [\"\"] }", "{ origins = [\"*\", \"https://a.example\"] }"],
        ),
        (
            "server",
            "cors",
            &[
                "{ origins = [\"*\"], credentials = true }",
                "{ origins = [\"https://a.example/\"] }",
                "{ origins = [\"a.example\"] }",
                "{ origins = [\"null\"] }",
            ],
        ),
        ("server", "tls", &["{}", "{ cert = \" \", key = \"${EMPTY}\" }"]),
        ("resources.a", "fields", &["{}"]),
    ] {
        for value in values {
            assert!(refused(&text(section, key, value)).contains(key), "{key} = {value}");
        }
    }

    let said = refused(&text("admin", "token", "\"a b\""));
    assert!(said.contains("cannot carry") && said.contains("openssl rand"), "{said}");
}
