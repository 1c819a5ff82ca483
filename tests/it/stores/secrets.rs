//! Stores over TLS, with users, passwords, numbers of databases and prefixes.

use std::path::Path;

use super::said_with;
use crate::{
    machines::{Authority, Cluster, cli},
    servers::{Kind, Server},
    support::{File, numbered},
};

/// A list of 2,000 items over the store at this URL.
fn configured(url: &str) -> File {
    let file = numbered(2_000);
    let text = file.config("table = \"item\"") + &format!("[store]\nurl = \"{url}\"\nprefix = \"app:\"\n");
    std::fs::write(file.folder.path().join("chunkflow.toml"), text).unwrap();
    file
}

/// The store at this URL takes chunks and gives them back where the authority is trusted, and is
/// refused where another is.
fn is_checked(url: &str, authority: &Authority) {
    let file = configured(url);
    let run = |command: &str, trusted: &Path| said_with(&[command], file.folder.path(), &[("SSL_CERT_FILE", trusted)]);
    let other = Authority::new();
    let right = authority.file("ca.pem");
    let wrong = other.file("ca.pem");
    let (well, text) = run("check", &right);
    assert!(well, "{url}: {text}");
    let (well, text) = run("warm", &right);
    assert!(well && text.contains("compressed, 0 were there"), "{url}: {text}");
    let (well, text) = run("warm", &right);
    assert!(well && text.contains("0 chunks loaded"), "{url}: {text}");
    let (well, text) = run("check", &wrong);
    assert!(!well && text.contains("the store does not answer"), "{url}: {text}");
    assert!(text.contains("UnknownIssuer"), "{url}: it says why: {text}");
}

#[test]
fn redis_over_tls_is_used_where_its_certificate_is_of_an_authority_that_ssl_cert_file_names_and_not_otherwise() {
    let authority = Authority::new();
    let (tls, port) = authority.arguments();
    let _redis = Server::start_with(Kind::Redis, &tls.iter().map(String::as_str).collect::<Vec<_>>());
    is_checked(&format!("rediss://127.0.0.1:{port}"), &authority);
}

#[test]
fn a_cluster_over_tls_is_used_where_its_certificates_are_of_a_trusted_authority_and_not_otherwise() {
    let authority = Authority::new();
    let cluster = Cluster::start_tls(&authority);
    is_checked(&cluster.url, &authority);
}

#[test]
fn sentinel_over_tls_and_what_it_watches_are_used_where_both_certificates_are_of_a_trusted_authority_and_not_otherwise()
{
    let authority = Authority::new();
    let (tls, master) = authority.arguments();
    let _redis = Server::start_with(Kind::Redis, &tls.iter().map(String::as_str).collect::<Vec<_>>());
    let (tls, port) = authority.arguments();
    let lines = tls.chunks(2).map(|pair| format!("{} {}", pair[0].trim_start_matches('-'), pair[1]));
    let lines: Vec<String> = lines.chain(["tls-replication yes".into()]).collect();
    let arguments: Vec<String> = [master.to_string()].into_iter().chain(lines).collect();
    let _sentinel = Server::start_with(Kind::Sentinel, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    is_checked(&format!("rediss+sentinel://127.0.0.1:{port}/chunks"), &authority);
}

#[test]
fn a_user_with_no_more_rights_than_the_page_says_can_do_all_and_a_wrong_password_is_refused() {
    let user = "--user app on >s@cret ~app:* +get +set +eval +del +select";
    let redis = Server::start_with(Kind::Redis, &[user]);
    let url = |password: &str| format!("redis://app:{password}@127.0.0.1:{}/3", redis.port);
    let file = configured(&url("s%40cret"));
    let run = |command: &[&str]| said_with(command, file.folder.path(), &[]);
    for command in [&["check"][..], &["warm"], &["purge", "list"], &["warm"]] {
        let (well, text) = run(command);
        assert!(well, "{command:?}: {text}");
    }

    let names = |database: &str| cli(&redis, &["-n", database, "--scan"]);
    assert!(
        names("3").lines().count() > 2 && names("3").lines().all(|name| name.starts_with("app:")),
        "{}",
        names("3")
    );

    assert!(!names("3").contains("app:l3:"), "leases are given back: {}", names("3"));
    assert_eq!(names("0"), "", "nothing in another database");
    let other = configured(&url("wrong"));
    let (well, text) = said_with(&["check"], other.folder.path(), &[]);
    assert!(!well && text.contains("the store does not answer") && !text.contains("wrong@"), "{text}");
}

/// A list over the store with these lines is warmed, found again and purged.
fn is_used(lines: &str) {
    let file = numbered(2_000);
    let text = file.config("table = \"item\"") + &format!("[store]\nprefix = \"app:\"\n{lines}\n");
    std::fs::write(file.folder.path().join("chunkflow.toml"), text).unwrap();
    for (command, told) in [
        (&["check"][..], "nothing is wrong"),
        (&["warm"], "compressed, 0 were there"),
        (&["warm"], "0 chunks loaded"),
        (&["purge", "list"], "purged list"),
        (&["warm"], "compressed, 0 were there"),
    ] {
        let (well, text) = said_with(command, file.folder.path(), &[]);
        assert!(well && text.contains(told), "{lines}: {command:?}: {text}");
    }
}

/// A list over the store with these lines is refused, for this reason.
fn is_refused(lines: &str, why: &str) {
    let file = numbered(10);
    let text = file.config("table = \"item\"") + &format!("[store]\n{lines}\n");
    std::fs::write(file.folder.path().join("chunkflow.toml"), text).unwrap();
    let (well, text) = said_with(&["check"], file.folder.path(), &[]);
    assert!(!well && text.contains(why) && !text.contains("s3cret"), "{lines}: {text}");
}

#[test]
fn sentinels_with_a_password_of_their_own_are_asked_with_it_and_their_redis_with_its() {
    let master = Server::start_with(Kind::Redis, &["--requirepass", "of-redis"]);
    let lines =
        ["sentinel auth-pass chunks of-redis", "user watcher on >s3cret&more ~* &* +@all", "requirepass s3cret"];
    let sentinel = Server::start_with(Kind::Sentinel, &[&[&*master.port.to_string()], &lines[..]].concat());
    let url = |query: &str| format!("url = \"redis+sentinel://:of-redis@127.0.0.1:{}/chunks{query}\"", sentinel.port);
    is_used(&url("?sentinel_password=s3cret"));
    is_used(&url("/2?sentinel_username=watcher&sentinel_password=s3cret%26more"));
    is_refused(&url(""), "the store does not answer");
    is_refused(&url("?sentinel_password=s3cretly"), "the store does not answer");
    is_refused(&url("?sentinel_pasword=s3cret"), "there is no parameter `sentinel_pasword`");
}

#[test]
fn a_redis_that_asks_clients_for_certificates_gets_one_of_a_server_of_a_cluster_and_of_sentinel() {
    let authority = Authority::new();
    let file = |name: &str| authority.file(name).display().to_string();
    let ca = file("ca.pem");
    let cert = file("server.pem");
    let key = file("server.key");
    let asks = |(mut arguments, port): (Vec<String>, u16)| {
        *arguments.last_mut().unwrap() = "yes".into();
        (arguments, port)
    };

    let certain = |url: &str| {
        is_used(&format!("url = \"{url}\"\ntls = {{ ca = \"{ca}\", cert = \"{cert}\", key = \"{key}\" }}"));
        is_refused(&format!("url = \"{url}\"\ntls = {{ ca = \"{ca}\" }}"), "the store does not answer");
    };

    let (tls, port) = asks(authority.arguments());
    let redis = Server::start_with(Kind::Redis, &tls.iter().map(String::as_str).collect::<Vec<_>>());
    let url = format!("rediss://127.0.0.1:{port}");
    certain(&url);
    is_refused(&format!("url = \"{url}\"\ntls = {{ cert = \"{cert}\" }}"), "a certificate without its key");
    is_refused(&format!("url = \"{url}\"\ntls = {{ ca = \"{ca}.none\" }}"), "cannot be read");
    is_refused(&format!("url = \"redis://127.0.0.1:{}\"\ntls = {{ ca = \"{ca}\" }}", redis.port), "write rediss://");

    let cluster = Cluster::start_tls_for_clients_with_certificates(&authority);
    certain(&cluster.url);

    let (tls, watched) = asks(authority.arguments());
    let _master = Server::start_with(Kind::Redis, &tls.iter().map(String::as_str).collect::<Vec<_>>());
    let (tls, port) = asks(authority.arguments());
    let lines = tls.chunks(2).map(|pair| format!("{} {}", pair[0].trim_start_matches('-'), pair[1]));
    let arguments: Vec<String> =
        [watched.to_string()].into_iter().chain(lines).chain(["tls-replication yes".into()]).collect();
    let _sentinel = Server::start_with(Kind::Sentinel, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    certain(&format!("rediss+sentinel://127.0.0.1:{port}/chunks"));
}

#[test]
fn a_redis_is_reached_by_its_socket_with_a_user_and_a_database() {
    let folder = tempfile::TempDir::new().unwrap();
    let path = folder.path().join("redis.sock").display().to_string();
    let redis = Server::start_with(Kind::Redis, &["--unixsocket", &path, "--requirepass", "s3cret"]);
    is_used(&format!("url = \"redis+unix://{path}?db=3&pass=s3cret\""));
    is_used(&format!("url = \"redis+unix://:s3cret@{path}?db=3\""));
    let names = |database: &str| cli(&redis, &["-a", "s3cret", "-n", database, "--scan"]).lines().count();
    assert!(names("3") > 2 && names("0") == 0);
    is_refused(&format!("url = \"redis+unix://{path}\""), "asks for a password");

    // A user whose names are others than those of the user without a name.
    let user = ["-a", "s3cret", "acl", "setuser", "app", "on", ">s3cret/@more", "~app:*", "+@all"];
    cli(&redis, &user);
    for (login, query) in [
        ("app:s3cret%2F%40more@", "db=4"),
        ("", "db=5&user=app&pass=s3cret%2F%40more"),
        ("", "db=6&username=app&password=s3cret%2F%40more"),
    ] {
        is_used(&format!("url = \"redis+unix://{login}{path}?{query}\""));
        assert!(names(&query[3..4]) > 2, "{query}");
    }

    is_refused(&format!("url = \"redis+unix://app:s3cret@{path}\""), "does not know this user");
    is_refused(&format!("url = \"redis+unix://{path}?database=3\""), "it may have db, user and pass");
    is_refused(&format!("url = \"redis+unix://{path}\"\ntls = {{ ca = \"ca.pem\" }}"), "leave `tls` out");
    is_refused(&format!("url = \"redis+unix://{path}.none\""), "the store does not answer");
}

#[test]
fn redis_behind_a_proxy_that_knows_few_commands_is_used_and_hears_of_no_others() {
    let servers = [Server::start(Kind::Redis), Server::start(Kind::Redis)];
    let ports = servers.each_ref().map(|server| server.port.to_string());
    let proxy = Server::start_with(Kind::Twemproxy, &["true", &ports[0], &ports[1]]);
    let way = crate::firewall::Firewall::before(proxy.port);
    way.listen_in();
    is_used(&format!("url = \"redis://{}\"", way.address));
    assert!(servers.iter().all(|server| cli(server, &["dbsize"]).trim() != "0"), "both are used");

    let heard = String::from_utf8_lossy(&way.heard()).into_owned();
    let first_words = heard.split("\r\n*").filter_map(|request| request.split("\r\n").nth(2)).map(str::to_uppercase);
    let words: std::collections::BTreeSet<String> =
        first_words.filter(|word| word.chars().all(char::is_alphabetic)).collect();
    assert!(["EVAL", "GET", "SET"].iter().all(|known| words.contains(*known)), "{words:?}");
    assert!(!words.contains("CLIENT") && !words.contains("HELLO"), "{words:?}");
}
