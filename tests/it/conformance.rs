//! HTTP/2 according to RFC 9113 and RFC 7541: the result of each mistake that a client can make,
//! and of what only looks like a mistake.

use std::time::Duration;

use chunkflow::{ResourceOptions, server::ServerConfig};

use crate::{
    frames::*,
    hostile::others_are_served,
    support::{Numbers, Running, numbers_app, serve_numbers, until},
};

/// A section of a standard and its requirement; the frames to send after a correct beginning; and
/// the error codes that are allowed, of the connection or the stream. No codes: nothing is wrong.
type Case = (&'static str, Vec<u8>, &'static [u32]);

/// Sends each case over its own connection, after an answered request if there is one.
fn check(answered: Option<&str>, cases: Vec<Case>) {
    let source = Numbers::held_back(50, 1);
    let server = serve_numbers(&source);
    let mut wrong = vec![];
    for (what, bytes, codes) in cases {
        let mut client = Frames::connect(server.address, &[]);
        if let Some(target) = answered {
            client.send(&get(1, target));
            assert!(client.drain(1).1.ends());
        }
        let ping = frame(PING, 0, 0, b"are you?");
        client.send(&[&bytes[..], &ping].concat());
        // A ping's answer may overtake the reset of a stream; the answer to the next ping does not.
        let mut pings = 1;
        let answer = loop {
            match client.next() {
                Some(frame) if [GOAWAY, RST_STREAM].contains(&frame.kind) => break vec![frame.code()],
                Some(frame) if codes.is_empty() && frame.kind == PING && frame.payload == b"are you?" => match pings {
                    3 => break vec![],
                    _ => pings += u32::from(client.send(&ping)),
                },
                // A malformed request may be answered with 400 instead.
                Some(frame) if frame.kind == HEADERS && frame.status() == 400 => break vec![PROTOCOL_ERROR],
                Some(_) => {}
                None => break vec![u32::MAX],
            }
        };
        // The general code is allowed where the standard names a special one.
        let right = |code: &u32| *code == PROTOCOL_ERROR || codes.contains(code);
        if codes.is_empty() != answer.is_empty() || !answer.iter().all(right) {
            wrong.push((what, answer));
        }
    }

    assert!(wrong.is_empty(), "{wrong:#?}");
    source.permits.add_permits(1_000);
    others_are_served(&server);
}

/// What RFC 9113 demands of a server.
#[test]
fn mistakes_in_frames_end_what_the_standard_says() {
    let get_part = |flags| frame(HEADERS, flags, 1, &head("GET", "/numbers"));
    let with =
        |fields: Vec<u8>| frame(HEADERS, END_STREAM | END_HEADERS, 1, &[head("GET", "/numbers"), fields].concat());
    let path = head("GET", "/numbers");
    let padded = |length| frame(HEADERS, 8 | END_STREAM | END_HEADERS, 1, &[&[length], &path[..], &[0; 3]].concat());
    let only = |fields: &[(&str, &str)]| {
        let block: Vec<u8> = fields.iter().flat_map(|(name, value)| field(name, value)).collect();
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)
    };

    let whole = [(":method", "GET"), (":scheme", "http"), (":path", "/numbers"), (":authority", "localhost")];
    let cases: Vec<Case> = vec![
        ("4.1 unknown frames are passed over", frame(99, 0, 0, b"?"), &[]),
        ("4.1 so are unknown flags", frame(PING, 0x16, 0, &[0; 8]), &[]),
        ("4.1 and the reserved bit", frame(PING, 0, 1 << 31, &[0; 8]), &[]),
        ("4.2 a frame beyond the size", frame(DATA, 0, 1, &[0; 16_385]), &[FRAME_SIZE_ERROR]),
        ("4.2 a head beyond the size", frame(HEADERS, 5, 1, &[0; 16_385]), &[FRAME_SIZE_ERROR]),
        ("4.2 a frame of the size", [get_part(END_HEADERS), frame(DATA, 0, 1, &[0; 16_384])].concat(), &[]),
        ("4.3 a head that is no HPACK", frame(HEADERS, 5, 1, &[0xff; 20]), &[COMPRESSION_ERROR, PROTOCOL_ERROR]),
        ("5.1 data on an idle stream", frame(DATA, 1, 1, b"x"), &[PROTOCOL_ERROR]),
        ("5.1 a reset of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4]), &[PROTOCOL_ERROR]),
        ("5.1 a window of an idle stream", window(1, 1), &[PROTOCOL_ERROR]),
        ("5.1.1 an even stream", get(2, "/numbers"), &[PROTOCOL_ERROR]),
        (
            "5.1.1 a stream with an older number",
            [get(5, "/numbers"), get(3, "/numbers")].concat(),
            &[PROTOCOL_ERROR, STREAM_CLOSED],
        ),
        ("6.1 data on the connection", frame(DATA, 0, 0, b"x"), &[PROTOCOL_ERROR]),
        (
            "6.1 padding beyond the frame",
            [get_part(END_HEADERS), frame(DATA, 8, 1, &[9, 0])].concat(),
            &[PROTOCOL_ERROR],
        ),
        ("6.1 padding", [get_part(END_HEADERS), frame(DATA, 9, 1, &[2, b'x', 0, 0])].concat(), &[]),
        ("6.2 padding beyond the head", padded(255), &[PROTOCOL_ERROR]),
        ("6.2 padding of a head", padded(3), &[]),
        ("6.2 a priority in a head", frame(HEADERS, 0x25, 1, &[&[0, 0, 0, 0, 1], &path[..]].concat()), &[]),
        ("6.2 a head on the connection", frame(HEADERS, 5, 0, &head("GET", "/")), &[PROTOCOL_ERROR]),
        (
            "6.2 another frame within a head",
            [get_part(END_STREAM), frame(PING, 0, 0, &[0; 8])].concat(),
            &[PROTOCOL_ERROR],
        ),
        ("6.3 a priority of the connection", frame(PRIORITY, 0, 0, &[0, 0, 0, 0, 1]), &[PROTOCOL_ERROR]),
        (
            "6.3 a priority of the wrong size",
            [get(1, "/numbers"), frame(PRIORITY, 0, 1, &[0; 4])].concat(),
            &[FRAME_SIZE_ERROR],
        ),
        ("6.4 a reset on the connection", frame(RST_STREAM, 0, 0, &[0; 4]), &[PROTOCOL_ERROR]),
        (
            "6.4 a reset of the wrong size",
            [get_part(END_HEADERS), frame(RST_STREAM, 0, 1, &[0; 3])].concat(),
            &[FRAME_SIZE_ERROR],
        ),
        ("6.5 settings of a stream", frame(SETTINGS, 0, 1, &[]), &[PROTOCOL_ERROR]),
        ("6.5 settings of the wrong size", frame(SETTINGS, 0, 0, &[0; 5]), &[FRAME_SIZE_ERROR]),
        ("6.5 an answer with settings", frame(SETTINGS, 1, 0, &[0; 6]), &[FRAME_SIZE_ERROR]),
        ("6.5.2 a push setting that is no truth", settings(&[(2, 2)]), &[PROTOCOL_ERROR]),
        ("6.5.2 a window beyond the largest", settings(&[(INITIAL_WINDOW, 1 << 31)]), &[FLOW_CONTROL_ERROR]),
        ("6.5.2 a frame size below the least", settings(&[(5, 16_383)]), &[PROTOCOL_ERROR]),
        ("6.5.2 a frame size beyond the largest", settings(&[(5, 1 << 24)]), &[PROTOCOL_ERROR]),
        ("6.5.2 unknown settings are passed over", settings(&[(0xff, 1)]), &[]),
        ("6.6 a push by the client", frame(5, 4, 1, &[0, 0, 0, 2]), &[PROTOCOL_ERROR]),
        ("6.7 a ping of a stream", frame(PING, 0, 1, &[0; 8]), &[PROTOCOL_ERROR]),
        ("6.7 a ping of the wrong size", frame(PING, 0, 0, &[0; 6]), &[FRAME_SIZE_ERROR]),
        ("6.7 an answer to no ping", frame(PING, 1, 0, &[0; 8]), &[]),
        ("6.8 a farewell of a stream", frame(GOAWAY, 0, 1, &[0; 8]), &[PROTOCOL_ERROR]),
        ("6.9 a window by nothing", window(0, 0), &[PROTOCOL_ERROR]),
        ("6.9 a stream's window by nothing", [get(1, "/numbers"), window(1, 0)].concat(), &[PROTOCOL_ERROR]),
        ("6.9 a window of the wrong size", frame(WINDOW_UPDATE, 0, 0, &[0; 3]), &[FRAME_SIZE_ERROR]),
        ("6.9.1 a window beyond the largest", window(0, i32::MAX as u32), &[FLOW_CONTROL_ERROR]),
        ("6.10 a continuation of nothing", frame(CONTINUATION, 4, 1, &[]), &[PROTOCOL_ERROR]),
        (
            "6.10 a continuation of another",
            [get_part(END_STREAM), frame(CONTINUATION, 4, 3, &[])].concat(),
            &[PROTOCOL_ERROR],
        ),
        ("8.2 a name in capitals", with(field("X-Name", "x")), &[PROTOCOL_ERROR]),
        ("8.2.2 a field of a connection", with(field("connection", "close")), &[PROTOCOL_ERROR]),
        ("8.2.2 te other than trailers", with(field("te", "gzip")), &[PROTOCOL_ERROR]),
        ("8.3 an unknown pseudo-field", with(field(":what", "x")), &[PROTOCOL_ERROR, COMPRESSION_ERROR]),
        ("8.3 a pseudo-field behind others", only(&[whole[0], whole[1], ("x", "y"), whole[2]]), &[PROTOCOL_ERROR]),
        ("8.3.1 a path twice", with(field(":path", "/")), &[PROTOCOL_ERROR]),
        ("8.3.1 a method twice", with(field(":method", "GET")), &[PROTOCOL_ERROR]),
        ("8.3.1 a scheme twice", with(field(":scheme", "http")), &[PROTOCOL_ERROR]),
        ("8.3.1 no method", only(&whole[1..]), &[PROTOCOL_ERROR]),
        ("8.3.1 no scheme", only(&[whole[0], whole[2], whole[3]]), &[PROTOCOL_ERROR]),
        ("8.3.1 no path", only(&[whole[0], whole[1], whole[3]]), &[PROTOCOL_ERROR]),
        ("8.3.1 an empty path", only(&[whole[0], whole[1], (":path", ""), whole[3]]), &[PROTOCOL_ERROR]),
        ("8.3.2 a status from a client", with(field(":status", "200")), &[PROTOCOL_ERROR]),
    ];

    check(None, cases);
}

/// RFC 9113, for frames that are valid on their own.
#[test]
fn frames_in_a_wrong_order_end_what_the_standard_says() {
    let after = |first: &[u8], then: &[u8]| [first, then].concat();
    let with = |flags, fields: &[u8]| frame(HEADERS, flags, 1, &after(&head("GET", "/numbers"), fields));
    let data = |flags, text: &[u8]| frame(DATA, flags, 1, text);
    let part = frame(HEADERS, END_STREAM, 1, &head("GET", "/numbers"));
    let open = with(END_HEADERS, &[]);
    let asked = get(1, "/numbers");
    let back = after(&open, &frame(RST_STREAM, 0, 1, &CANCEL.to_be_bytes()));
    let end = frame(CONTINUATION, END_HEADERS, 1, &[]);
    let priority = |stream| frame(PRIORITY, 0, stream, &[0, 0, 0, 0, 1]);
    check(
        None,
        vec![
            ("4.3 a priority within a head", after(&part, &priority(1)), &[PROTOCOL_ERROR]),
            ("4.3 another's head within a head", after(&part, &get(3, "/numbers")), &[PROTOCOL_ERROR]),
            ("5.1 data behind the end", after(&asked, &data(0, b"x")), &[STREAM_CLOSED]),
            ("5.1 a head behind the end", after(&asked, &asked), &[STREAM_CLOSED]),
            ("5.1 a window behind the end", after(&asked, &window(1, 1)), &[]),
            ("5.1 data behind a reset", after(&back, &data(0, b"x")), &[STREAM_CLOSED]),
            ("5.1 a head behind a reset", after(&back, &asked), &[STREAM_CLOSED]),
            ("5.1 a continuation behind a reset", after(&back, &end), &[PROTOCOL_ERROR]),
            ("5.1 a priority behind a reset", after(&back, &priority(1)), &[]),
            ("5.1.1 a number below that of a priority", after(&priority(5), &get(3, "/numbers")), &[]),
            ("5.5 an unknown frame within a head", after(&part, &frame(99, 0, 1, b"?")), &[PROTOCOL_ERROR]),
            ("6.10 a continuation behind the head", after(&asked, &end), &[PROTOCOL_ERROR]),
            ("6.10 a continuation behind the last", [&part[..], &end, &end].concat(), &[PROTOCOL_ERROR]),
            ("6.10 a continuation behind data", [&open[..], &data(0, b"x"), &end].concat(), &[PROTOCOL_ERROR]),
            ("6.10 a continuation of the connection", after(&part, &frame(CONTINUATION, 4, 0, &[])), &[PROTOCOL_ERROR]),
            ("7 an unknown code", after(&asked, &frame(RST_STREAM, 0, 1, &[255; 4])), &[]),
            (
                "8.1 a second head that ends nothing",
                after(&open, &frame(HEADERS, END_HEADERS, 1, &field("x", "y"))),
                &[PROTOCOL_ERROR],
            ),
            (
                "8.1.1 a body in parts that is longer",
                [with(END_HEADERS, &field("content-length", "4")), data(0, b"body"), data(END_STREAM, b"body")]
                    .concat(),
                &[PROTOCOL_ERROR],
            ),
            (
                "8.1.1 a body that is not there",
                with(END_STREAM | END_HEADERS, &field("content-length", "4")),
                &[PROTOCOL_ERROR],
            ),
        ],
    );

    check(
        Some("/healthz"),
        vec![
            ("5.1 data behind the answer", data(END_STREAM, b"x"), &[STREAM_CLOSED]),
            ("5.1 a head behind the answer", asked.clone(), &[STREAM_CLOSED]),
            ("5.1 a continuation behind the answer", end.clone(), &[PROTOCOL_ERROR]),
            ("5.1 a priority behind the answer", priority(1), &[]),
        ],
    );
}

/// RFC 7541, for what follows a correct head, or comes before it.
#[test]
fn heads_that_cannot_be_unpacked_end_the_connection() {
    let block = |before: &[u8], behind: &[u8]| {
        frame(HEADERS, END_STREAM | END_HEADERS, 1, &[before, &head("GET", "/numbers"), behind].concat())
    };

    check(
        None,
        vec![
            ("2.3.3 an index beyond the tables", block(&[], &[0xfe]), &[COMPRESSION_ERROR]),
            ("2.3.3 a name's index beyond them", block(&[], &[0x7e, 1, b'x']), &[COMPRESSION_ERROR]),
            ("4.2 a table's size at the end", block(&[], &[0x20]), &[COMPRESSION_ERROR]),
            ("5.1 a number without end", block(&[], &[0xff; 9]), &[COMPRESSION_ERROR]),
            ("5.2 a text beyond the block", block(&[], &[0, 1, b'x', 9, b'y']), &[COMPRESSION_ERROR]),
            ("5.2 a text in Huffman's code", block(&[], &[0, 1, b'x', 0x81, 0x1f]), &[]),
            ("5.2 more padding than seven bits", block(&[], &[0, 1, b'x', 0x82, 0x1f, 0xff]), &[COMPRESSION_ERROR]),
            ("5.2 padding of zeros", block(&[], &[0, 1, b'x', 0x81, 0x18]), &[COMPRESSION_ERROR]),
            ("5.2 the sign of the end", block(&[], &[0, 1, b'x', 0x84, 255, 255, 255, 255]), &[COMPRESSION_ERROR]),
            ("6.1 the index 0", block(&[], &[0x80]), &[COMPRESSION_ERROR]),
            ("6.3 a table as large as it may be", block(&[0x3f, 0xe1, 0x1f], &[]), &[]),
            ("6.3 a larger table", block(&[0x3f, 0xe2, 0x1f], &[]), &[COMPRESSION_ERROR]),
        ],
    );
}

/// RFC 9113 §8.1.1: an error that only the end of a request shows. The list is warm and could be
/// sent before that.
#[test]
fn a_request_that_shows_at_its_end_that_it_is_malformed_is_reset_and_not_answered() {
    let server = serve_numbers(&Numbers::new(50, 1));
    others_are_served(&server);
    let with =
        |method: &str, fields: Vec<u8>| frame(HEADERS, END_HEADERS, 1, &[head(method, "/numbers"), fields].concat());
    let length = |bytes: &str| with("GET", field("content-length", bytes));
    let end = END_STREAM | END_HEADERS;
    let cases = [
        ("a body that is too long", length("1"), frame(DATA, END_STREAM, 1, b"12"), None),
        ("a body that is too short", length("3"), frame(DATA, END_STREAM, 1, b"12"), None),
        ("a body of its length", length("2"), frame(DATA, END_STREAM, 1, b"12"), Some(200)),
        ("trailers", with("GET", vec![]), frame(HEADERS, end, 1, &field("x", "y")), Some(200)),
        ("a long body without an end", with("POST", vec![]), frame(DATA, 0, 1, &[b'x'; 16_384]), Some(405)),
    ];

    for (what, begin, rest, status) in cases {
        let mut client = Frames::connect(server.address, &[]);
        client.send(&begin);
        assert!(client.lives(), "{what}");
        client.send(&rest);
        let answer = client.next_of(&[HEADERS, RST_STREAM]).unwrap();
        match status {
            None => assert_eq!((answer.kind, answer.code()), (RST_STREAM, PROTOCOL_ERROR), "{what}"),
            Some(status) => assert_eq!((answer.kind, answer.status()), (HEADERS, status), "{what}"),
        }
    }
}

#[test]
fn a_request_whose_end_does_not_come_is_answered_after_the_header_timeout() {
    let config = ServerConfig::default().with(|server| server.header_timeout = Duration::from_millis(300));
    let app = numbers_app(&Numbers::new(50, 1), ResourceOptions::default(), crate::support::system_clock());
    let server = Running::start(config, app);
    let mut client = Frames::connect(server.address, &[]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &head("GET", "/numbers")));
    let answer = client.next_of(&[HEADERS, RST_STREAM]).unwrap();
    assert_eq!((answer.kind, answer.status()), (HEADERS, 200));
    assert!(client.drain(1).0.ends_with(b"]}"));
}

#[test]
fn a_request_that_does_not_end_has_its_place_among_the_streams() {
    let config = ServerConfig::default().with(|server| server.max_streams = 1);
    let app = numbers_app(&Numbers::new(50, 1), ResourceOptions::default(), crate::support::system_clock());
    let server = Running::start(config, app);
    let mut client = Frames::connect(server.address, &[]);
    client.send(&frame(HEADERS, END_HEADERS, 1, &head("GET", "/numbers")));
    until("its list is at hand", || server.chunkflow.metrics().streams() == 1);
    assert_eq!(server.get("/numbers").status, 503);
    client.send(&frame(DATA, END_STREAM, 1, b""));
    assert!(client.drain(1).0.ends_with(b"]}"));
    others_are_served(&server);
}
