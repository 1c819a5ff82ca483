//! Ways by which requests say who they are from, to lists that ask for it.

use std::{
    io::{Read, Write},
    net::TcpListener,
};

use super::tickets::{JSON, KEY, keyed, post};
use crate::support::{Client, File, Process, Reply, ask};

/// A list for everybody, and two for those who say who they are; with these ways.
fn serve(auth: &str) -> (Process, File) {
    let file = keyed("");
    let name = file.folder.path().join("chunkflow.toml");
    let lists = ["closed", "other"]
        .map(|name| format!("[resources.{name}]\ndatabase = \"main\"\ntable = \"item\"\naccess = \"authenticated\"\n"));
    let text = std::fs::read_to_string(&name).unwrap() + auth + "\n" + &lists.concat();
    std::fs::write(name, text).unwrap();
    (Process::serve(&["serve", "--log", "info"], file.folder.path()), file)
}

fn asked(server: &Process, path: &str, fields: &[(&str, &str)]) -> Reply {
    ask(server.address, "GET", path, fields)
}

#[test]
fn a_list_for_those_who_say_who_they_are_is_for_nobody_else() {
    let (server, _file) = serve("");
    let bearer = format!("Bearer {KEY}");
    for fields in [&[("x-api-key", KEY)][..], &[("authorization", &bearer)]] {
        assert_eq!(asked(&server, "/closed", fields).results().len(), 10, "{fields:?}");
    }

    for (fields, status, challenge) in [
        (&[][..], 401, "Bearer"),
        (&[("x-api-key", "wrong")], 401, "Bearer error=\"invalid_token\""),
        (&[("authorization", "Bearer a.b.c")], 401, "Bearer error=\"invalid_token\""),
        (&[("authorization", &bearer), ("authorization", &bearer)], 400, ""),
        (&[("authorization", &bearer), ("x-api-key", KEY)], 400, ""),
        (&[("authorization", "Basic eDp5")], 401, "Bearer"),
    ] {
        let reply = asked(&server, "/closed", fields);
        assert_eq!((reply.status, reply.header("www-authenticate")), (status, challenge), "{fields:?}");
        assert_eq!(reply.header("content-type"), "application/problem+json");
    }

    let token = asked(&server, &format!("/closed?access_token={KEY}"), &[]);
    assert_eq!(token.status, 400);
    assert!(token.json()["remedy"].as_str().unwrap().contains("Authorization"));
    assert_eq!(asked(&server, "/list", &[]).results().len(), 10);
}

#[test]
fn a_ticket_opens_its_stream_without_a_header_and_no_other_list() {
    let (server, _file) = serve("");
    let made = post(server.address, &[JSON, ("x-api-key", KEY)], "{\"list\":\"/closed.sse\"}").json();
    let ticket = made["ticket"].as_str().unwrap();
    let events = ("accept", "text/event-stream");
    let stream = asked(&server, &format!("/closed.sse?ticket={ticket}"), &[events]);
    let text = String::from_utf8(stream.body).unwrap();
    assert_eq!((stream.status, text.matches("\ndata: ").count()), (200, 11), "{text}");

    // It is no parameter of the list, and others still are.
    let few = asked(&server, &format!("/closed.sse?limit=3&ticket={ticket}&id=gt.5"), &[events]);
    let text = String::from_utf8(few.body).unwrap();
    assert!(text.contains("\"id\":6") && text.contains("\"id\":8") && !text.contains("\"id\":9"), "{text}");
    let unknown = asked(&server, &format!("/closed.sse?ticket={ticket}&nonsense=1"), &[events]);
    assert_eq!(unknown.status, 400);

    // At the end of the list there is nothing more.
    let again = asked(&server, &format!("/closed.sse?ticket={ticket}"), &[events, ("last-event-id", "end")]);
    assert_eq!(again.status, 204);

    for path in ["/closed", "/closed.json", "/other.sse"] {
        assert_eq!(asked(&server, &format!("{path}?ticket={ticket}"), &[events]).status, 401, "{path}");
    }
    let altered = ticket.replace("cft_", "cft_A");
    for query in [format!("ticket={altered}"), format!("ticket={ticket}x"), "ticket=cft_".to_owned()] {
        assert_eq!(asked(&server, &format!("/closed.sse?{query}"), &[events]).status, 401, "{query}");
    }
    let two = asked(&server, &format!("/closed.sse?ticket={ticket}&ticket={ticket}"), &[events]);
    assert_eq!(two.status, 400);

    // Who comes back needs the id of an event of this list.
    for id in ["x", "0", "~5", "AaMwOVzApTrRAwAAAAoyMDI2LTExLTI0AQAAAAAAAAAHwXbFCnLnKJA"] {
        let back = asked(&server, &format!("/closed.sse?ticket={ticket}"), &[("last-event-id", id)]);
        assert_eq!(back.status, 400, "{id}");
    }
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap();
    let back = asked(&server, &format!("/closed.sse?ticket={ticket}"), &[("last-event-id", id)]);
    assert_eq!(back.status, 200);

    // A ticket gets no other ticket for another list.
    let path = format!("/-/ticket?ticket={ticket}");
    assert_eq!(ask(server.address, "POST", &path, &[JSON, ("content-length", "0")]).status, 401);
}

#[test]
fn while_an_issuer_was_never_there_public_lists_go_on_and_others_say_so() {
    let (server, _file) = serve("jwt = { jwks = \"http://127.0.0.1:1/keys\" }");
    let token = ("authorization", "Bearer eyJhbGciOiJFUzI1NiJ9.e30.AAAA");
    assert_eq!(asked(&server, "/list", &[token]).status, 200);
    let reply = asked(&server, "/closed", &[token]);
    assert_eq!(reply.status, 503);
    assert!(!reply.header("retry-after").is_empty());
    assert_eq!(asked(&server, "/closed", &[("x-api-key", KEY)]).status, 200);

    // `EventSource` would give up at a 503.
    let events = asked(&server, "/closed.sse", &[token, ("accept", "text/event-stream")]);
    assert_eq!(events.status, 200);
    assert!(String::from_utf8(events.body).unwrap().starts_with("retry: "));
}

/// An application that answers each question with what `answer` makes of its number, from 0; empty:
/// it says nothing, and keeps the connection. It ends with the test's process.
fn application(answer: impl Fn(usize) -> &'static str + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut silent = vec![];
        for number in 0.. {
            let Ok((mut stream, _)) = listener.accept() else { return };
            let mut head = vec![];
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or_default() == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            match answer(number) {
                "" => silent.push(stream),
                text => drop(stream.write_all(text.as_bytes())),
            }
        }
    });
    port
}

fn forward_to(port: u16) -> String {
    format!("[auth.forward]\nurl = \"http://127.0.0.1:{port}/whoami\"\ncookies = [\"sessionid\"]\ncache = \"0s\"\n")
}

#[test]
fn an_application_that_fails_each_second_time_is_told_in_the_log_once_and_not_each_time() {
    let port = application(|number| match number % 2 {
        0 => "HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
        _ => "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    });
    let (mut server, _file) = serve(&forward_to(port));
    let statuses: Vec<u16> = (0..20).map(|_| asked(&server, "/closed", &[("cookie", "sessionid=a")]).status).collect();
    assert_eq!(statuses, [503, 200].repeat(10));

    let log = server.kill().join("\n");
    assert_eq!(log.matches("the application does not say who a request is from").count(), 1, "{log}");
    // A test that takes a minute may have been told that it answers again.
    assert!(log.matches("the application says again").count() <= 1, "{log}");
}

#[test]
fn an_address_with_too_many_questions_to_the_application_is_429_and_the_rest_goes_on() {
    let port = application(|_| "");
    let (mut server, _file) = serve(&forward_to(port));
    let mut clients: Vec<Client> = (0..150)
        .map(|number| {
            let mut client = Client::connect(server.address);
            let fields = [("host", "localhost"), ("connection", "close"), ("cookie", &format!("sessionid={number}"))];
            client.send("GET", "/closed", "HTTP/1.1", &fields);
            client
        })
        .collect();
    assert_eq!(asked(&server, "/list", &[]).status, 200, "a list for everybody");
    assert_eq!(asked(&server, "/closed", &[("x-api-key", KEY)]).status, 200, "a key asks nobody");

    let replies: Vec<Reply> = clients.iter_mut().map(|client| client.read_reply("GET")).collect();
    assert!(replies.iter().all(|reply| [429, 503].contains(&reply.status) && !reply.header("retry-after").is_empty()));
    let too_many = replies.iter().filter(|reply| reply.status == 429).count();
    assert!(too_many >= 150 - 128, "{too_many}");
    let log = server.kill().join("\n");
    assert_eq!(log.matches("one address has too many questions").count(), 1, "{log}");
}
