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

/// The store at this URL takes chunks and gives them back where the authority is trusted, and is refused where another is.
fn is_checked(url: &str, authority: &Authority) {
    let file = configured(url);
    let run = |command: &str, trusted: &Path| said_with(&[command], file.folder.path(), &[("SSL_CERT_FILE", trusted)]);
    let other = Authority::new();
    let (right, wrong) = (authority.file("ca.pem"), other.file("ca.pem"));
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
    assert!(!names("3").contains("app:l:"), "leases are given back: {}", names("3"));
    assert_eq!(names("0"), "", "nothing in another database");
    let other = configured(&url("wrong"));
    let (well, text) = said_with(&["check"], other.folder.path(), &[]);
    assert!(!well && text.contains("the store does not answer") && !text.contains("wrong@"), "{text}");
}
