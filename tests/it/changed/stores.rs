//! Changes that are told while servers share a store.

use std::net::SocketAddr;

use super::{command::assert_told, problem};
use crate::{
    client::Client,
    servers::{Kind, Server, free_port},
    support::{File, Process, binary, numbered, until},
};

/// A list over this store, whose `[admin]` has this address.
fn write(file: &File, store: &str, admin: SocketAddr) {
    let sections = format!("[store]\nurl = \"{store}\"\nprefix = \"told:\"\n[admin]\nlisten = \"{admin}\"\n");
    std::fs::write(file.folder.path().join("chunkflow.toml"), file.config("table = \"item\"") + &sections).unwrap();
}

fn address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

fn rows(server: &Process) -> usize {
    server.get("/list").results().len()
}

#[test]
fn every_server_that_shares_the_store_shows_what_the_command_told_to_one_or_to_the_store() {
    let file = numbered(30);
    let folder = file.folder.path();
    let store = format!("redis://127.0.0.1:{}", Server::shared(Kind::Redis).port);
    let admins = [address(), address()];
    let servers = admins.map(|admin| {
        write(&file, &store, admin);
        Process::serve(&["serve"], folder)
    });
    let tell = |key: &str| binary(&["changed", "list", key], folder).output().unwrap();
    servers.iter().for_each(|server| assert_eq!(rows(server), 30));

    // The second server listens at the address of the configuration, and shows it at once.
    file.open().execute_batch("DELETE FROM item WHERE id > 20").unwrap();
    assert_told(&tell("21"), "1 change");
    assert_eq!(rows(&servers[1]), 20);
    until("the other server shows it", || rows(&servers[0]) == 20);

    // Nobody listens at this address, and the store is told.
    write(&file, &store, address());
    file.open().execute_batch("DELETE FROM item WHERE id > 10").unwrap();
    assert_told(&tell("11"), "1 change");
    servers.iter().for_each(|server| until("both servers show it", || rows(server) == 10));
}

#[test]
fn changes_that_the_store_does_not_take_must_be_told_again() {
    let machine = Server::start(Kind::Redis);
    let file = numbered(10);
    let admin = address();
    write(&file, &format!("redis://127.0.0.1:{}", machine.port), admin);
    let server = Process::serve(&["serve"], file.folder.path());
    assert_eq!(rows(&server), 10);

    machine.order("kill", "killed");
    let mut client = Client::connect(admin);
    let fields = [("host", "localhost"), super::JSON, ("content-length", "12")];
    client.send("POST", "/changed/list", "HTTP/1.1", &fields);
    std::io::Write::write_all(&mut client.stream, b"{\"keys\":[7]}").unwrap();
    let (status, text) = problem(&client.read_reply("POST"));
    assert!(status == 503 && text.contains("the store did not take the changes"), "{status} {text}");

    let output = binary(&["changed", "list", "7"], file.folder.path()).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && error.contains("nothing was told"), "{error}");
    assert!(error.contains("the store did not take the changes"), "{error}");
}
