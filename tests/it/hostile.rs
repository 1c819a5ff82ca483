//! Hostile HTTP/2 clients: each attack meets a bound, and other clients are served meanwhile.

use std::io::ErrorKind;

use chunkflow::server::ServerConfig;

use crate::{
    frames::*,
    support::{Numbers, Running, ids, serve_numbers},
};

/// More bytes than two sockets hold when nobody reads.
const SOME: usize = 16 << 20;

pub fn others_are_served(server: &Running) {
    assert_eq!(ids(&server.get("/numbers")).len(), 50);
}

#[test]
fn more_streams_than_allowed_are_refused() {
    let source = Numbers::held_back(50, 1);
    let server = serve_numbers(&source);
    let mut client = Frames::connect(server.address, &[]);
    let settings = client.next_of(&[SETTINGS]).unwrap().payload;
    let pairs: Vec<_> =
        settings.chunks(6).map(|pair| (pair[1], u32::from_be_bytes(pair[2..].try_into().unwrap()))).collect();
    assert!(
        pairs.contains(&(3, 100)) && pairs.contains(&(6, 16_384)),
        "streams and heads have limits that are said: {pairs:?}"
    );

    // The limit counts once the client knows of it.
    client.send(&frame(SETTINGS, 1, 0, &[]));
    assert!(client.lives());
    for stream in 0..101 {
        client.send(&get(1 + 2 * stream, "/numbers"));
    }

    let refused = client.next_of(&[RST_STREAM, GOAWAY]).unwrap();
    assert_eq!((refused.kind, refused.stream, refused.code()), (RST_STREAM, 201, REFUSED_STREAM));
    source.permits.add_permits(1_000);
    others_are_served(&server);
}

#[test]
fn streams_that_are_opened_and_reset_at_once_end_the_connection() {
    let server = serve_numbers(&Numbers::new(50, 1));
    let mut client = Frames::connect(server.address, &[]);
    let pair =
        |at: u32| [get(1 + 2 * at, "/numbers"), frame(RST_STREAM, 0, 1 + 2 * at, &CANCEL.to_be_bytes())].concat();
    client.send(&(0..2_000).flat_map(pair).collect::<Vec<u8>>());
    assert_eq!(client.farewell(), Some(ENHANCE_YOUR_CALM));
    others_are_served(&server);
}

#[test]
fn streams_that_the_server_has_to_reset_again_and_again_end_the_connection() {
    let server = serve_numbers(&Numbers::new(50, 1));
    let mut client = Frames::connect(server.address, &[]);
    // Each opens a window beyond the largest, which is an error of its stream (RFC 9113 §6.9.1).
    let pair = |at: u32| [get(1 + 2 * at, "/numbers"), window(1 + 2 * at, i32::MAX as u32)].concat();
    client.send(&(0..2_000).flat_map(pair).collect::<Vec<u8>>());
    assert_eq!(client.farewell(), Some(ENHANCE_YOUR_CALM));
    others_are_served(&server);
}

#[test]
fn a_head_is_bounded_however_it_is_sent() {
    let server = serve_numbers(&Numbers::new(50, 1));
    let large = || (0..40).flat_map(|at| field(&format!("x-{at}"), &"y".repeat(1_000)));
    // In pieces one after the other these are answered: the client may just not know yet.
    let mut client = Frames::connect(server.address, &[]);
    let block: Vec<u8> = head("GET", "/numbers").into_iter().chain(large()).collect();
    let mut pieces = block.chunks(16_000);
    client.send(&frame(HEADERS, END_STREAM, 1, pieces.next().unwrap()));
    let pieces: Vec<&[u8]> = pieces.collect();
    for (at, piece) in pieces.iter().enumerate() {
        client.send(&frame(CONTINUATION, if at + 1 == pieces.len() { END_HEADERS } else { 0 }, 1, piece));
    }

    assert_eq!(client.next_of(&[HEADERS, GOAWAY]).unwrap().status(), 431);
    // A head without an end, in large pieces and in empty ones.
    for piece in [field("x", &"y".repeat(16_000)), vec![]] {
        let mut client = Frames::connect(server.address, &[]);
        client.send(&frame(HEADERS, END_STREAM, 1, &head("GET", "/numbers")));
        let mut sent = 0_usize;
        while client.send(&frame(CONTINUATION, 0, 1, &piece)) {
            sent += piece.len() + 9;
            assert!(sent < SOME, "nobody stops it");
        }
        while client.next().is_some() {}
    }

    // A few bytes that stand for many: a large field in the table, referred to again and again.
    let mut client = Frames::connect(server.address, &[]);
    let mut block = head("GET", "/numbers");
    let mut indexed = field("x", &"y".repeat(3_900));
    indexed[0] = 0x40;
    block.extend(indexed);
    block.extend([0xbe; 8_000]);
    client.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block));
    let answer = client.next_of(&[HEADERS, GOAWAY, RST_STREAM]).unwrap();
    assert!(answer.kind != HEADERS || answer.status() == 431, "{answer:?}");
    others_are_served(&server);
}

#[test]
fn a_flood_of_frames_that_ask_for_nothing_ends_the_connection() {
    let server = serve_numbers(&Numbers::new(50, 1));
    for (what, flood) in [
        ("pings", frame(PING, 0, 0, b"flooding")),
        ("settings", settings(&[(INITIAL_WINDOW, 65_535)])),
        ("settings' answers", frame(SETTINGS, 1, 0, &[])),
        ("priorities", frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1])),
        ("windows", window(0, 1)),
        ("unknown frames", frame(77, 0, 0, b"what is it?")),
        ("resets of what is over", frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes())),
    ] {
        let mut client = Frames::connect(server.address, &[]);
        client.send(&get(1, "/numbers"));
        assert!(client.drain(1).1.ends(), "{what}");
        let mut reader = client.stream.try_clone().unwrap();
        let reading = std::thread::spawn(move || std::io::copy(&mut reader, &mut std::io::sink()));
        let many = flood.repeat(1_000);
        let mut sent = 0;
        while client.send(&many) {
            sent += many.len();
            assert!(sent < SOME, "nobody stops {what}");
        }
        // The connection is closed, not just left alone.
        let ended = reading.join().unwrap().map_err(|error| error.kind());
        assert!(!matches!(ended, Err(ErrorKind::WouldBlock)), "{what}: {ended:?}");
        others_are_served(&server);
    }
}

#[test]
fn pings_of_a_client_that_reads_no_answers_are_bounded() {
    let server = serve_numbers(&Numbers::new(50, 1));
    let mut client = Frames::connect(server.address, &[]);
    let many = frame(PING, 0, 0, b"flooding").repeat(1_000);
    let mut sent = 0;
    while client.send(&many) {
        sent += many.len();
        assert!(sent < SOME, "nobody stops it");
    }
    others_are_served(&server);
}

#[test]
fn clients_that_ask_a_lot_and_take_a_lot_are_no_flood() {
    let server = serve_numbers(&Numbers::new(50, 1));
    let mut client = Frames::connect(server.address, &[]);
    for at in 0..3_000 {
        client.send(&[get(1 + 2 * at, "/numbers"), frame(PING, 0, 0, b"in haste")].concat());
        let (body, last) = client.drain(1 + 2 * at);
        assert!(last.ends() && body.ends_with(b"]}"));
    }
    assert!(client.lives());
    let config = ServerConfig::default();
    assert!(config.max_streams > 100, "the bound on a connection is the smaller one");
}
