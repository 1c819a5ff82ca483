use proptest::prelude::*;

use super::*;

const SECRET: &str = "the secret of a test, of no server";

fn keys() -> TicketKeys {
    TicketKeys::of(&Secret::new(&[SECRET]).unwrap())
}

fn anna() -> Identity {
    Identity::of([("sub", "anna".into()), ("org", 7.into())])
}

fn request(path: &str, last_event: Option<&str>) -> Request<()> {
    let mut request = Request::get(path).header("accept", "text/event-stream");
    if let Some(id) = last_event {
        request = request.header("last-event-id", id);
    }
    request.body(()).unwrap()
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn after(seconds: u64) -> SystemTime {
    now() + Duration::from_secs(seconds)
}

fn opened(
    keys: &TicketKeys,
    ticket: &Ticket,
    path: &str,
    last: Option<&str>,
    at: SystemTime,
) -> Result<Identity, Refusal> {
    keys.open(&ticket.ticket, &request(path, last), at).map(|identity| (*identity).clone())
}

#[test]
fn a_ticket_opens_its_list_for_a_minute_and_for_an_hour_for_who_comes_back() {
    let keys = keys();
    let ticket = keys.made("/tricks.sse", &anna(), now()).unwrap();
    assert_eq!(ticket.expires, 1_700_000_060);
    for (last, seconds, is_open) in [
        (None, 0, true),
        (None, 59, true),
        (None, 60, false),
        (Some(""), 61, false),
        (Some("AbC"), 61, true),
        (Some("AbC"), 3_599, true),
        (Some("AbC"), 3_600, false),
        (Some("end"), 3_599, true),
    ] {
        let opened = opened(&keys, &ticket, "/tricks.sse", last, after(seconds));
        assert_eq!(opened.is_ok(), is_open, "{last:?} {seconds}");
        if let Ok(identity) = opened {
            assert_eq!(identity, anna());
        }
    }

    // Made in the future, beyond what clocks may be apart.
    assert!(opened(&keys, &ticket, "/tricks.sse", None, now() - Duration::from_secs(9)).is_ok());
    assert!(opened(&keys, &ticket, "/tricks.sse", None, now() - Duration::from_secs(11)).is_err());
}

#[test]
fn a_ticket_ends_with_its_identity() {
    let keys = keys();
    let ticket = keys.made("/tricks", &anna().until(after(30)), now()).unwrap();
    assert_eq!(ticket.expires, 1_700_000_030);
    assert_eq!(opened(&keys, &ticket, "/tricks", None, after(29)).unwrap().expiry(), Some(after(30)));
    for last in [None, Some("AbC")] {
        assert!(opened(&keys, &ticket, "/tricks", last, after(30)).is_err());
    }
    let long = keys.made("/tricks", &anna().until(after(100_000)), now()).unwrap();
    assert!(opened(&keys, &long, "/tricks", Some("AbC"), after(3_600)).is_err());

    // No clock shows this end, and the ticket opens its list all the same.
    let endless = keys.made("/tricks", &anna().until(after(1 << 50)), now()).unwrap();
    assert!(opened(&keys, &endless, "/tricks", None, now()).is_ok());
}

#[test]
fn a_stream_is_told_that_its_ticket_has_expired_and_then_that_nothing_follows() {
    let keys = keys();
    let ticket = keys.made("/tricks", &anna(), now()).unwrap();
    let refusal = |last| opened(&keys, &ticket, "/tricks", last, after(4_000)).unwrap_err();
    assert!(matches!(refusal(None), Refusal::Expired { is_told: false }));
    assert!(matches!(refusal(Some("AbC")), Refusal::Expired { is_told: false }));
    assert!(matches!(refusal(Some(END_OF_LIST)), Refusal::Expired { is_told: true }));

    let plain = Request::get("/tricks").header("accept", "application/json").body(()).unwrap();
    assert!(matches!(keys.open(&ticket.ticket, &plain, after(4_000)), Err(Refusal::Wrong(_))));
}

#[test]
fn a_ticket_opens_no_other_list() {
    let keys = keys();
    let ticket = keys.made("/tricks.sse", &anna(), now()).unwrap();
    for path in ["/tricks", "/tricks.json", "/tricks.ssf", "/Tricks.sse", "/", "/tricks.sse/", "/other.sse"] {
        assert!(matches!(opened(&keys, &ticket, path, None, now()), Err(Refusal::Wrong(_))), "{path}");
    }
    // The same path in another encoding is the same list.
    assert!(opened(&keys, &ticket, "/tric%6Bs.sse?limit=7", None, now()).is_ok());
}

#[test]
fn a_ticket_that_was_altered_or_made_with_another_key_opens_nothing() {
    let keys = keys();
    let ticket = keys.made("/tricks", &anna(), now()).unwrap();
    for at in 0..ticket.ticket.len() {
        let mut altered = ticket.ticket.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = Ticket { ticket: String::from_utf8(altered).unwrap(), expires: 0 };
        assert!(opened(&keys, &altered, "/tricks", None, now()).is_err(), "{at}");
    }
    for other in [TicketKeys::random(), TicketKeys::of(&Secret::new(&["another secret of a test, of nobody"]).unwrap())]
    {
        assert!(opened(&other, &ticket, "/tricks", None, now()).is_err());
    }
}

#[test]
fn tickets_of_the_old_secret_open_lists_while_it_is_replaced() {
    let new = "a newer secret of a test, of no server";
    let ticket = keys().made("/tricks", &anna(), now()).unwrap();
    let rotated = TicketKeys::of(&Secret::new(&[new, SECRET]).unwrap());
    assert!(opened(&rotated, &ticket, "/tricks", None, now()).is_ok());
    let ticket = rotated.made("/tricks", &anna(), now()).unwrap();
    assert!(opened(&keys(), &ticket, "/tricks", None, now()).is_err());
}

#[test]
fn a_ticket_shows_nothing_of_whom_it_is_for() {
    let keys = keys();
    let ticket = keys.made("/tricks", &anna(), now()).unwrap();
    let bytes = URL_SAFE_NO_PAD.decode(ticket.ticket.strip_prefix(PREFIX).unwrap()).unwrap();
    assert!(!bytes.windows(4).any(|part| part == b"anna" || part == b"1700"));
    assert_eq!(format!("{keys:?}"), "TicketKeys(..)");
    let large = Identity::of([("a", "x".repeat(10_000).into())]);
    assert_eq!(keys.made("/tricks", &large, now()).unwrap_err().kind(), Kind::Invalid);
}

#[test]
fn the_ticket_is_taken_off_the_query_and_a_filter_of_that_name_is_not() {
    let query = |path: &str| without(&request(path, None)).map(|request| request.uri().to_string());
    assert_eq!(query("/a.sse?ticket=cft_x").as_deref(), Some("/a.sse"));
    assert_eq!(query("/a.sse?limit=1&ticket=cft_x&b=eq.2").as_deref(), Some("/a.sse?limit=1&b=eq.2"));
    assert_eq!(query("/a.sse?%74icket=cft%5Fx&").as_deref(), Some("/a.sse"));
    for none in ["/a", "/a?", "/a?ticket=eq.7", "/a?xticket=cft_x", "/a?ticket"] {
        assert_eq!(query(none), None, "{none}");
    }
    assert_eq!(in_query("a=1&ticket=cft_x").unwrap().as_deref(), Some("cft_x"));
    assert_eq!(in_query("ticket=eq.7").unwrap(), None);
    assert!(in_query("ticket=cft_x&ticket=cft_x").is_err());
}

proptest! {
    #[test]
    fn no_text_is_a_ticket(bytes: Vec<u8>, text in "cft_[A-Za-z0-9_-]{0,200}") {
        let encoded = PREFIX.to_owned() + &URL_SAFE_NO_PAD.encode(&bytes);
        for text in [&*text, &*encoded] {
            prop_assert!(keys().open(text, &request("/tricks", None), now()).is_err());
        }
    }
}
