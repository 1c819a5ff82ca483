//! Compressed bodies: the list is the same in every encoding.

use std::{io::Read, time::Duration};

use chunkflow::{Kind, ResourceOptions, Sizes, server::ServerConfig};
use flate2::{Decompress, FlushDecompress};
use proptest::prelude::*;

use crate::support::{
    Client, Hands, Numbers, Reply, Running, ask, formats, ids, numbered, numbers_app, serve_numbers, until,
};

const ENCODINGS: [&str; 2] = ["gzip", "br"];

fn get(server: &Running, target: &str, encoding: &str) -> Reply {
    ask(server.address, "GET", target, &[("accept-encoding", encoding)])
}

/// The reply with its body decoded; an error if the body is cut.
pub fn decoded(mut reply: Reply) -> std::io::Result<Reply> {
    reply.body = decode(reply.header("content-encoding"), &reply.body)?;
    Ok(reply)
}

fn decode(coding: &str, mut body: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut plain = vec![];
    match coding {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_end(&mut plain)?,
        "br" => brotli::Decompressor::new(body, 4096).read_to_end(&mut plain)?,
        _ => body.read_to_end(&mut plain)?,
    };
    Ok(plain)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn however_a_list_is_cut_into_chunks_it_decodes_to_the_same_bytes_and_a_part_of_it_to_none(
        (rows, width) in (0..600_u64, 0..300_usize),
        (least, bytes) in (1..80_u32, 1..30_000_u32),
        cut: prop::sample::Index,
    ) {
        let source = Numbers::new(rows, width);
        let plain = serve_numbers(&source);
        let options = ResourceOptions::default().with(|options| options.sizes = Sizes { rows: least, bytes });
        let app = numbers_app(&source, options, crate::support::system_clock());
        let server = Running::start(ServerConfig::default(), app);
        for target in formats().iter().map(|format| format!("/numbers.{format}")) {
            let expected = plain.get(&target).body;
            prop_assert_eq!(&server.get(&target).body, &expected);
            for coding in ENCODINGS {
                for how in ["cold", "warm", "warm again"] {
                    let reply = get(&server, &target, coding);
                    prop_assert!(reply.whole);
                    let part = &reply.body[..cut.index(reply.body.len())];
                    prop_assert!(decode(coding, part).is_err(), "{how} {target} {coding}: {} of {} bytes", part.len(), reply.body.len());
                    prop_assert!(decode(coding, &reply.body).unwrap() == expected, "{how} {target} {coding}");
                }
            }
        }
    }
}

#[test]
fn every_encoding_decodes_to_the_same_list_in_every_format_at_every_length_cold_and_warm() {
    for rows in [0, 1, 49, 50, 51, 350, 5_000] {
        let file = numbered(rows);
        let identity = file.serve("table = \"item\"\ncount = true");
        for format in formats() {
            let target = format!("/list.{format}");
            let expected = identity.get(&target);
            for encoding in ENCODINGS {
                // A server of its own, so that the first request finds nothing.
                let server = file.serve("table = \"item\"\ncount = true");
                for how in ["cold", "warm"] {
                    let head = ask(server.address, "HEAD", &target, &[("accept-encoding", encoding)]);
                    let reply = get(&server, &target, encoding);
                    assert_eq!(reply.header("content-encoding"), encoding);
                    assert_eq!(head.header("content-encoding"), encoding);
                    assert_eq!(reply.header("vary"), "Accept, Accept-Encoding");
                    if how == "warm" {
                        assert_eq!(reply.header("content-length"), reply.body.len().to_string());
                        assert_eq!(head.header("content-length"), reply.body.len().to_string());
                    }
                    assert!(reply.whole);
                    let small = reply.body.len() * 3 < expected.body.len() * 2 || rows < 350;
                    assert!(small, "{rows} rows: {} of {}", reply.body.len(), expected.body.len());
                    let plain = decoded(reply)
                        .unwrap_or_else(|error| panic!("{rows} rows, {how} {target} {encoding}: {error}"));
                    assert_eq!(plain.body, expected.body, "{rows} rows, {how} {target} {encoding}");
                }
            }
        }
    }
}

#[test]
fn limits_filters_and_cursors_hold_in_every_encoding() {
    let server = numbered(3_000).serve("table = \"item\"");
    for encoding in ENCODINGS {
        for target in [
            "/list?limit=0",
            "/list?limit=7",
            "/list?limit=60",
            "/list?limit=2000",
            "/list?id=gt.2900",
            "/list.csv?id=in.(1,5,9)",
        ] {
            let plain = server.get(target);
            let coded = get(&server, target, encoding);
            assert_eq!(coded.header("link"), plain.header("link"));
            assert_eq!(decoded(coded).unwrap().body, plain.body, "{target} {encoding}");
        }
    }
}

#[test]
fn a_client_that_accepts_nothing_is_told_so_and_a_resource_may_stay_as_it_is() {
    let file = numbered(100);
    let server = file.serve("table = \"item\"\ncompress = false");
    let reply = get(&server, "/list", "gzip");
    assert_eq!((reply.header("content-encoding"), reply.results().len()), ("", 100));
    let server = file.serve("table = \"item\"");
    let reply = get(&server, "/list", "identity;q=0");
    assert_eq!(reply.status, 406);
    assert!(reply.json()["remedy"].as_str().unwrap().contains("gzip, br"), "{}", reply.json());
}

#[test]
fn each_row_is_read_once_and_each_chunk_compressed_once_however_many_ask_in_whatever_encoding() {
    let source = Numbers::held_back(5_000, 200);
    let server = serve_numbers(&source);
    let mut clients: Vec<Client> = (0..90)
        .map(|n| {
            let mut client = Client::connect(server.address);
            let encoding = ["gzip", "br", "identity"][n % 3];
            client.send("GET", "/numbers", "HTTP/1.1", &[("host", "localhost"), ("accept-encoding", encoding)]);
            client
        })
        .collect();
    until("all wait", || server.chunkflow.metrics().joined() >= 87);
    source.permits.add_permits(1_000);
    for client in &mut clients {
        assert_eq!(ids(&decoded(client.read_reply("GET")).unwrap()), (1..=5_000).collect::<Vec<u64>>());
    }

    let mut reads = source.reads.lock().unwrap().clone();
    reads.sort_unstable();
    assert!(reads.windows(2).all(|pair| pair[0] != pair[1]), "no place is read twice: {reads:?}");
    let metrics = server.chunkflow.metrics();
    assert_eq!(metrics.compressed(), 2 * metrics.loads(), "each chunk once in each encoding");
    let before = metrics.compressed();
    assert_eq!(ids(&decoded(get(&server, "/numbers", "gzip")).unwrap()).len(), 5_000);
    assert_eq!(metrics.compressed(), before, "and never again");
}

/// The decoded part of a gzip body that is still arriving.
fn so_far(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(1 << 20);
    if bytes.len() < 10 {
        return plain;
    }
    Decompress::new(false).decompress_vec(&bytes[10..], &mut plain, FlushDecompress::Sync).unwrap();
    plain
}

#[test]
fn the_first_rows_of_a_compressed_list_arrive_while_the_next_are_held_back() {
    let source = Numbers::held_back(2_000, 100);
    let server = serve_numbers(&source);
    let mut client = Client::connect(server.address);
    client.send("GET", "/numbers", "HTTP/1.1", &[("host", "localhost"), ("accept-encoding", "gzip")]);
    source.permits.add_permits(1);
    assert!(client.wait_for_body(|body| String::from_utf8_lossy(&so_far(body)).contains("\"id\":30,")));
    until("the next rows are asked for, and held back", || source.begun() == 2);
    source.permits.add_permits(1_000);
    assert_eq!(ids(&decoded(client.read_reply("GET")).unwrap()).len(), 2_000);
}

#[test]
fn a_failure_in_mid_stream_cuts_a_compressed_body_visibly() {
    for encoding in ENCODINGS {
        let source = Numbers::new(5_000, 200);
        source.fail_behind(2_000, Kind::Unavailable);
        let server = serve_numbers(&source);
        let reply = get(&server, "/numbers", encoding);
        assert_eq!(reply.status, 200);
        assert!(!reply.whole && !reply.body.is_empty());
        assert!(decoded(reply).is_err(), "{encoding}: it does not decode as whole either");
    }
}

#[test]
fn a_compressed_chunk_is_as_old_as_the_plain_one_and_is_refreshed_like_it() {
    let source = Numbers::new(10, 10);
    let hands = Hands::default();
    let app = numbers_app(&source, ResourceOptions::default(), hands.clock());
    let server = Running::start(ServerConfig::default(), app);
    let minute = Duration::from_secs(60);
    let status = |encoding: &str| get(&server, "/numbers", encoding).header("cache-status").to_owned();
    let reads = || source.reads.lock().unwrap().len();
    assert!(status("gzip").contains("fwd=miss"));
    hands.advance(minute);
    assert_eq!(status("gzip"), "chunkflow; hit; ttl=240");
    assert_eq!(status("br"), "chunkflow; hit; ttl=240", "made of what is there, and no younger than it");
    assert_eq!(reads(), 1);
    // Stale, and refreshed once for all encodings.
    hands.advance(minute * 6);
    assert!(status("gzip").contains("stale"));
    until("it is refreshed", || reads() == 2);
    for encoding in ["gzip", "br", "identity"] {
        until("all are fresh", || status(encoding).contains("hit; ttl=300"));
    }

    assert_eq!((reads(), server.chunkflow.metrics().compressed()), (2, 4), "and none is made of what is stale");
    // Served while the source is away, for the promised time.
    source.fail_behind(0, Kind::Unavailable);
    hands.advance(minute * 30);
    assert_eq!(ids(&decoded(get(&server, "/numbers", "gzip")).unwrap()).len(), 10);
    hands.advance(minute * 60);
    assert_eq!(get(&server, "/numbers", "gzip").status, 503);
}

#[test]
fn chunks_compressed_from_stale_rows_are_refreshed_once_and_then_at_rest() {
    let source = Numbers::new(2_000, 100);
    let hands = Hands::default();
    let seconds = Duration::from_secs;
    let options = ResourceOptions::default().with(|options| {
        options.ttl = seconds(300);
        options.stale = seconds(200);
    });

    let server = Running::start(ServerConfig::default(), numbers_app(&source, options, hands.clock()));
    // The first chunk is gone when those behind it are stale. So the stream reads ahead and finds
    // these.
    assert_eq!(ids(&server.get("/numbers?limit=60")).len(), 60);
    hands.advance(seconds(140));
    assert_eq!(ids(&server.get("/numbers")).len(), 2_000);
    hands.advance(seconds(370));
    let compressed = || server.chunkflow.metrics().compressed();
    let whole = || assert_eq!(ids(&decoded(get(&server, "/numbers", "gzip")).unwrap()).len(), 2_000);
    whole();
    let chunks = compressed();
    for _ in 0..300 {
        whole();
    }

    assert!(compressed() <= 3 * chunks, "{} of {chunks} chunks", compressed());
}

#[test]
fn a_client_of_a_compressed_list_that_leaves_stops_its_load() {
    let source = Numbers::held_back(5_000, 200);
    let server = serve_numbers(&source);
    let mut client = Client::connect(server.address);
    client.send("GET", "/numbers", "HTTP/1.1", &[("host", "localhost"), ("accept-encoding", "gzip")]);
    until("it is loaded", || source.begun() == 1);
    drop(client);
    until("the load is given up", || source.dropped.load(std::sync::atomic::Ordering::SeqCst) == 1);
}

#[test]
fn what_is_read_ahead_of_a_compressed_list_before_a_purge_is_not_kept_after_it() {
    let source = Numbers::held_back(2_000, 100);
    let server = serve_numbers(&source);
    let mut client = Client::connect(server.address);
    client.send("GET", "/numbers", "HTTP/1.1", &[("host", "localhost"), ("accept-encoding", "gzip")]);
    source.permits.add_permits(1);
    assert!(client.wait_for_body(|body| String::from_utf8_lossy(&so_far(body)).contains("\"id\":30,")));
    until("the next rows are asked for, and held back", || source.begun() == 2);
    server.block_on(server.purge("numbers")).unwrap();
    source.permits.add_permits(1_000);
    assert_eq!(ids(&decoded(client.read_reply("GET")).unwrap()).len(), 2_000);
    let compressed = || server.chunkflow.metrics().compressed();
    let before = compressed();
    assert_eq!(ids(&decoded(get(&server, "/numbers", "gzip")).unwrap()).len(), 2_000);
    assert!(compressed() >= before + 2, "the first chunk and the one that was being read are made anew");
}
