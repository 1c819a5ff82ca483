//! A configuration that says something else than was meant.

use super::{ask, folder, told};

const HEAD: &str =
    "[databases]\nmain = \"sqlite:app.sqlite\"\n[resources.item]\ndatabase = \"main\"\ntable = \"item\"\n";

/// What stands behind the head, from line 6 on; where the complaint is, what is said, and the
/// remedy.
const MISTAKES: &[(&str, &str, &str, &str)] = &[
    // Times, sizes, numbers, truths: what was meant, as it is written.
    ("ttl = 300", "6:7", "`ttl` is integer, not a text", "ttl = \"300s\""),
    ("ttl = \"300\"", "6:7", "`300` is no span of time", "ttl = \"300s\""),
    ("stale = 3600", "6:9", "`stale` is integer", "stale = \"3600s\""),
    ("ttl = \"soon\"", "6:7", "`soon` is no span of time", "\"5m\""),
    ("ttl = \"-5m\"", "6:7", "`-5m` is no span of time", "\"5m\""),
    ("ttl = 5m", "6:7", "must be quoted", "put the value in quotes"),
    ("chunk_bytes = 65536", "6:15", "`chunk_bytes` is integer", "chunk_bytes = \"65536B\""),
    ("chunk_bytes = \"64Ko\"", "6:15", "`64Ko` is no size", "64KiB"),
    ("chunk_bytes = \"1GiB\"", "6:15", "out of bounds", "1MiB at most"),
    ("chunk_rows = \"50\"", "6:14", "`chunk_rows` is string", "chunk_rows = 50"),
    ("chunk_rows = 0", "6:14", "out of bounds", "from 1 to 100000"),
    ("count = \"no\"", "6:9", "`count` is string", "count = false"),
    ("count = \"yes\"", "6:9", "`count` is string", "count = true"),
    ("count = 1", "6:9", "`count` is integer", "count = true"),
    ("where = \"${file:nowhere}\"", "6:9", "the file `nowhere` cannot be read", "goes on from the folder"),
    ("where = \"${file:empty.sqlite}\"", "6:9", "the file `empty.sqlite` is empty", "write the value into it"),
    ("where = \"${file:.}\"", "6:9", "it is no regular file", "goes on from the folder"),
    ("where = \"${file:nowhere\"", "6:9", "is not closed", "${file:PATH}"),
    // Orders and columns.
    ("order = \"made\"", "6:9", "not a list of texts", "order = [\"made\"]"),
    ("filters = \"made\"", "6:11", "not a list of texts", "filters = [\"made\"]"),
    ("order = [\"made DESC\"]", "6:9", "no column `made DESC`", "write \"-made\""),
    ("order = [\"made asc\"]", "6:9", "no column `made asc`", "write \"made\""),
    ("order = [\"item.made\"]", "6:9", "no column `item.made`", "write \"made\""),
    (
        "order = [\"through.id\"]",
        "6:9",
        "no column `through.id`",
        "write \"id\": `through.` names a column of the join table",
    ),
    ("order = [\"maed\"]", "6:9", "no column `maed`", "did you mean `made`?"),
    ("order = [\"name\"]", "6:9", "no index gives the order", "CREATE INDEX"),
    ("order = [\"made\", \"-made\"]", "6:9", "stands twice", "once"),
    ("filters = [\"naem\"]", "6:11", "no column `naem`", "did you mean `name`?"),
    ("key = [\"naem\"]", "6:7", "no column `naem`", "did you mean `name`?"),
    // Fields.
    (
        "fields = [\"id\", \"name\"]",
        "6:10",
        "`fields` is array, not a table",
        "fields = { id = \"id\", name = \"name\" }",
    ),
    ("fields = {}", "6:1", "`fields` is empty", "take `fields` out"),
    ("[resources.item.fields]\ntitle = \"naem\"", "7:9", "no column `naem`", "did you mean `name`?"),
    ("[resources.item.fields]\nid = 5", "7:6", "`id` is integer", "id = "),
    (
        "[resources.item.fields]\nurl = { link = \"/items/{slug}/\" }",
        "7:1",
        "no column `slug`",
        "columns here: id, name, made",
    ),
    ("[resources.item.fields]\nurl = { link = \"items/{id}/\" }", "7:1", "does not start with one `/`", "/"),
    ("[resources.item.fields]\nurl = { lnik = \"/{id}\" }", "7:1", "must be of one kind", "write { link = "),
    (
        "[resources.item.fields]\ntags = { through = \"item_tags\", table = \"tag\", column = \"name\" }",
        "7:1",
        "no table or view `item_tags`",
        "did you mean `item_tag`?",
    ),
    ("[resources.item.fields]\ntags = { through = \"item_tag\", table = \"tag\" }", "7:1", "takes no column", "column"),
    (
        "[resources.item.fields]\ntags = { via = \"name\", column = \"name\" }",
        "7:1",
        "`name` is no foreign key",
        "table",
    ),
    ("[resources.item.fields]\ntags = { from = \"tag\", column = \"name\" }", "7:1", "no foreign key", "on"),
    // How values are written.
    ("values = \"djago\"", "6:10", "no values as `djago` writes them", "did you mean `django`?"),
    ("values = true", "6:10", "`values` is boolean, not a text", "values = "),
    ("values = { use_tz = false }", "6:1", "`framework` is missing", "framework = \"django\""),
    (
        "values = { framework = \"database\", use_tz = false }",
        "6:45",
        "a setting of Django",
        "write framework = \"django\"",
    ),
    ("values = { framework = \"django\", use_zt = false }", "6:34", "unknown key `use_zt`", "did you mean `use_tz`?"),
    ("[resources.item.fields]\nid = { column = \"mad\" }", "7:17", "no column `mad`", "did you mean `made`?"),
    ("[resources.item.fields]\nid = { column = \"id\", a = \"x\" }", "7:23", "unknown key `a`", "did you mean `as`?"),
    (
        "[resources.item.fields]\nid = { column = \"name\", as = \"uid\" }",
        "7:30",
        "there is no type `uid`",
        "did you mean `uuid`? types here: integer, decimal",
    ),
    (
        "[resources.item.fields]\nid = { column = \"id\", as = \"uuid\" }",
        "7:28",
        "column `id` cannot hold values of the type uuid: its own type is one for integer",
        "as = \"duration\"",
    ),
    (
        "[resources.item.fields]\nid = { via = \"id\", table = \"tag\", columns = [\"id\", { column = \"id\", as = \"date\" }] }",
        "7:74",
        "cannot hold values of the type date",
        "leave `as` out",
    ),
    ("[resources.item.fields]\nid = { column = \"id\", decimals = 101 }", "7:34", "out of bounds", "from 0 to 100"),
    ("[resources.item.fields]\nid = { column = \"id\", decimals = -1 }", "7:34", "out of bounds", "from 0 to 100"),
    (
        "[resources.item.fields]\nid = { column = \"id\", decimals = \"2\" }",
        "7:34",
        "`decimals` is string",
        "decimals = 2",
    ),
    (
        "[resources.item.fields]\nid = { column = \"id\", as = \"text\", decimals = 2 }",
        "7:47",
        "is of decimal numbers",
        "as = \"decimal\"",
    ),
    (
        "[resources.item.fields]\nid = { column = \"name\", labels = [\"a\"] }",
        "7:34",
        "`labels` is array, not a table",
        "labels = {",
    ),
    ("[resources.item.fields]\nid = { column = \"name\", labels = {} }", "7:25", "`labels` is empty", "Published"),
    (
        "[resources.item.fields]\nid = { column = \"name\", labels = { a = 1 } }",
        "7:40",
        "`a` is integer, not a text",
        "a = \"…\"",
    ),
    (
        "[resources.item.fields]\nid = { via = \"id\", table = \"tag\", columns = [\"id\"], labels = { a = \"b\" } }",
        "7:62",
        "`labels` is of one column, and this relation has several",
        "columns = [{ column = ",
    ),
    (
        "[resources.item.fields]\nid = { via = \"id\", columns = [{ as = \"text\" }] }",
        "7:31",
        "`column` is missing",
        "name the column",
    ),
    (
        "[resources.item.fields]\nid = { column = \"name\", base = 7 }",
        "7:32",
        "`base` is integer, not a text",
        "base = ",
    ),
    ("[resources.item.fields]\nid = { column = \"name\", base = \"\" }", "7:32", "`base` is empty", "/media/"),
    (
        "[resources.item.fields]\nid = { column = \"name\", base = \"media\" }",
        "7:32",
        "neither a path from the root nor a URL",
        "/media/",
    ),
    (
        "[resources.item.fields]\nid = { column = \"id\", base = \"/media/\" }",
        "7:30",
        "holds no paths of files",
        "leave `base` out",
    ),
    (
        "[resources.item.fields]\nid = { column = \"name\", base = \"/media/\", as = \"text\" }",
        "7:32",
        "`base` and `as` exclude each other",
        "keep `base`",
    ),
    (
        "[resources.item.fields]\nid = { link = \"/{id}/\", as = \"text\" }",
        "7:25",
        "unknown key `as`",
        "keys here: link",
    ),
    // Keys, tables and databases that are not there, or twice.
    ("ordr = [\"id\"]", "6:1", "unknown key `ordr`", "did you mean `order`?"),
    ("TTL = \"5m\"", "6:1", "unknown key `TTL`", "did you mean `ttl`?"),
    ("ttl = \"1m\"\nttl = \"2m\"", "7:1", "duplicate key", "stands once"),
    ("[resources.item]\nttl = \"1m\"", "6:12", "duplicate key", "stands once"),
    ("[databases]\nother = \"sqlite:app.sqlite\"", "6:2", "duplicate key", "stands once"),
    ("[resources.other]\ndatabase = \"mian\"\ntable = \"item\"", "7:12", "no database `mian`", "did you mean `main`?"),
    (
        "[resources.other]\ndatabase = \"main\"\ntable = \"itme\"",
        "8:9",
        "no table or view `itme`",
        "did you mean `item`?",
    ),
    ("[resources.other]\ndatabase = \"main\"\ntable = \"\"", "8:9", "`table` is empty", "name the table"),
    ("[resources.other]\ntable = \"item\"", "6:12", "`database` is missing", "database = \"main\""),
    ("[resources.healthz]\ndatabase = \"main\"\ntable = \"item\"", "6:12", "server's own", "another name"),
    ("[resource.x]\ntable = \"item\"", "6:2", "unknown key `resource`", "did you mean `resources`?"),
    // Conditions.
    ("where = \"\"", "6:9", "`where` is empty", "take `where` out"),
    ("where = \"${COND}\"", "6:9", "`COND` is not set", "set it"),
    ("where = \"${COND\"", "6:9", "is not closed", "${NAME}"),
    ("where = 'nope = 1'", "6:9", "no such column", "works as `SELECT"),
    ("where = 'id = ?'", "6:9", "has a parameter", "write the value itself"),
    ("where = id = 1", "6:9", "invalid float", "put the value in quotes"),
    // [server]
    ("[server]\nlisten = 8080", "7:10", "`listen` is integer", "listen = \"127.0.0.1:8080\""),
    ("[server]\nlisten = \"9000\"", "7:10", "`9000` is no address", "\"127.0.0.1:9000\""),
    ("[server]\nlisten = \"localhost\"", "7:10", "`localhost` is no address", "write IP:PORT"),
    ("[server]\nlisten = \"example.com:80\"", "7:10", "is no address", "write IP:PORT"),
    ("[server]\nlisten = \"127.0.0.1:99999\"", "7:10", "is no address", "write IP:PORT"),
    ("[server]\nport = 8080", "7:1", "unknown key `port`", "listen, tls"),
    ("[server]\nallowed_hosts = \"example.com\"", "7:17", "not a list of texts", "allowed_hosts = [\"example.com\"]"),
    ("[server]\nallowed_hosts = [\"https://example.com\"]", "7:17", "is no host", "\"www.example.com\""),
    ("[server]\nallowed_hosts = []", "7:17", "`allowed_hosts` is empty", "name hosts"),
    ("[server]\ntrusted_proxies = [\"localhost\"]", "7:19", "is no network", "\"127.0.0.1/32\""),
    ("[server]\npublic_url = \"www.example.com\"", "7:14", "is no absolute URL", "https://www.example.com"),
    ("[server]\nrequest_rate = 50", "7:16", "`request_rate` is integer", "request_rate = \"50/s\""),
    ("[server]\nrequest_rate = \"50\"", "7:16", "is no rate", "\"50/s\""),
    ("[server]\nmax_streams = -1", "7:15", "out of bounds", "from 1 to"),
    ("[server]\nstall_timeout = \"0s\"", "7:17", "is zero", "write for instance"),
    ("[server]\ntls = { cert = \"cert.pem\" }", "7:1", "`key` is missing", "key = \"key.pem\""),
    (
        "[server]\ntls = { cert = \"notes.txt\", key = \"notes.txt\" }",
        "7:16",
        "holds no certificate",
        "name a PEM file",
    ),
    ("[server]\ntls = { cert = \"gone.pem\", key = \"gone.pem\" }", "7:16", "is not there", "name a PEM file"),
    // [admin]
    ("[admin]\nlisten = \"0.0.0.0:8081\"", "7:10", "needs a token", "token = "),
    ("[admin]\nlisten = \"[::]:8081\"", "7:10", "needs a token", "token = "),
    ("[admin]\ntoken = \"\"", "7:9", "`token` is empty", "take `token` out"),
    ("[admin]\ntoken = \"HUN TER2\"", "7:9", "a header cannot carry", "openssl rand"),
    ("[admin]\ntoken = 5", "7:9", "`token` is integer", "token = "),
    ("[admin]\nlisten = \"127.0.0.1:8080\"", "7:10", "at one port, 8080", "give one of them another"),
    (
        "[admin]\nlisten = \"0.0.0.0:8080\"\ntoken = \"HUNTER2\"",
        "7:10",
        "at one port, 8080",
        "give one of them another",
    ),
    ("[server]\nlisten = \"[::]:8081\"\n[admin]\n", "7:10", "at one port, 8081", "give one of them another"),
    // [store]
    ("[store]\nurl = \"memory:256Mo\"", "7:7", "is no size", "memory:256MiB"),
    ("[store]\nurl = \"memory\"", "7:7", "is no size", "memory:256MiB"),
    ("[store]\nurl = \"redis\"", "7:7", "cannot be read", "write redis://HOST:PORT/DB"),
    ("[store]\nurl = \"redis://:HUNTER2@localhost:x\"", "7:7", "cannot be read", "write redis://HOST:PORT/DB"),
    ("[store]\nurl = \"redis://:HUN/TER2@localhost\"", "7:7", "a character that ends it", "%2F for /"),
    ("[store]\nurl = \"rediss://app:1#HUNTER2@localhost\"", "7:7", "a character that ends it", "%23 for #"),
    ("[store]\nurl = \"redis://app:1?HUNTER2@localhost\"", "7:7", "a character that ends it", "%3F for ?"),
    (
        "[store]\nurl = \"redis+unix:///run/redis.sock\"\ntls = { ca = \"ca.pem\" }",
        "7:7",
        "is of no use",
        "leave `tls` out",
    ),
    (
        "[store]\nurl = \"redis+cluster://a:1\"\ntls = { ca = \"ca.pem\" }",
        "7:7",
        "is of no use",
        "write rediss+cluster://",
    ),
    ("[store]\nurl = \"memcache://localhost\"", "7:7", "no store of kind `memcache`", "memcached"),
    ("[store]\nurl = \"redis://:HUNTER2@127.0.0.1:1\"", "7:7", "the store does not answer", "see that it runs"),
    ("[store]\nurl = \"${STORE_URL}\"", "7:7", "`STORE_URL` is not set", "set it"),
    ("[store]\nnear = 64", "7:8", "`near` is integer", "near = \"64B\""),
    ("[store]\nprefix = \"\"", "7:10", "`prefix` is empty", "take `prefix` out"),
];

#[test]
fn each_mistake_in_a_configuration_is_told_at_its_place_with_a_remedy() {
    let folder = folder();
    for (more, place, what, remedy) in MISTAKES {
        let ended = ask(folder.path(), &format!("{HEAD}{more}\n"), &["check"], &[]);
        told(&ended, 1, &[&format!("chunkflow.toml:{place}: "), what, remedy], more);
        // Nothing of it is served.
        if !more.contains("redis://:HUNTER2@127")
            && !more.contains("CREATE INDEX")
            && *what != "no index gives the order"
        {
            told(&ask(folder.path(), &format!("{HEAD}{more}\n"), &["serve"], &[]), 1, &[what, remedy], more);
        }
    }
}

#[test]
fn a_file_that_is_no_configuration_is_told_as_what_it_is() {
    let folder = folder();
    let file = folder.path().join("other.toml");
    for (bytes, parts) in [
        (&b""[..], &["other.toml:1:1", "there is no resource to serve", "[resources.NAME]"][..]),
        (b"[databases]\nmain = \"sqlite:app.sqlite\"\n", &["there is no resource to serve", "[resources.NAME]"]),
        (b"# caf\xe9\n", &["other.toml:1:6", "not UTF-8", "save the file as UTF-8"]),
        (b"\xff\xfe[\0s\0]\0", &["other.toml:1:1", "not UTF-8"]),
        (b"SQLite format 3\0", &["other.toml:1:", "https://toml.io"]),
        (b"{ \"server\": { \"listen\": \"127.0.0.1:80\" } }", &["other.toml:1:", "https://toml.io"]),
        (b"server:\n  listen: 127.0.0.1:80\n", &["other.toml:1:", "https://toml.io"]),
    ] {
        std::fs::write(&file, bytes).unwrap();
        for command in ["check", "serve"] {
            told(&ask(folder.path(), "", &[command, "--config", "other.toml"], &[]), 1, parts, command);
        }
    }

    std::fs::remove_file(&file).unwrap();
    told(
        &ask(folder.path(), "", &["check", "--config", "other.toml"], &[]),
        1,
        &["other.toml cannot be read", "No such file"],
        "gone",
    );

    std::fs::create_dir(&file).unwrap();
    told(
        &ask(folder.path(), "", &["check", "--config", "other.toml"], &[]),
        1,
        &["other.toml is a folder", "name the file"],
        "a folder",
    );
}
