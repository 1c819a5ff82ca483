use std::{fmt::Display, task::Poll, time::UNIX_EPOCH};

use futures_util::poll;
use http::Request;
use serde_json::json;

use super::*;
use crate::auth::{
    pretended::{Server, response},
    turns::LINE,
};

const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn forward(server: &Server, cache: u64) -> Forward {
    Forward::new(&ForwardConfig {
        endpoint: Endpoint::new(&format!("{}whoami", server.url), None).unwrap(),
        cookies: vec!["sessionid".to_owned(), "csrf".to_owned()],
        cache: Duration::from_secs(cache),
    })
}

/// What the application says of a request with these fields.
async fn asked(forward: &Forward, fields: &[(&str, &str)]) -> Option<Said> {
    asked_at(forward, "example.com", "/orders?limit=7", fields).await
}

async fn asked_at(forward: &Forward, host: &str, path: &str, fields: &[(&str, &str)]) -> Option<Said> {
    let mut request = Request::get(path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let request = request.body(()).unwrap();
    let shown = Shown::of(&request, host).unwrap();
    let question = forward.question(&shown)?;
    Some(forward.identity(question, CLIENT).await)
}

#[tokio::test]
async fn the_application_gets_what_it_decides_by_and_nothing_else() {
    let server = Server::answering(|_, _| response("200 OK", "{\"sub\":\"anna\",\"org\":7}")).await;
    let fields = [
        ("cookie", "theme=dark; sessionid=abc"),
        ("authorization", "Basic eDp5"),
        ("user-agent", "browser"),
        ("x-forwarded-for", "192.0.2.1"),
        ("x-forwarded-uri", "/other"),
        ("accept", "text/event-stream"),
    ];
    let identity = asked(&forward(&server, 10), &fields).await.unwrap().unwrap();
    assert_eq!(Value::from(identity.claims().clone()), json!({"sub": "anna", "org": 7}));

    let head = server.heads().remove(0);
    let mut lines: Vec<&str> = head.trim_end().lines().collect();
    assert_eq!(lines.remove(0), "GET /whoami HTTP/1.1");
    lines.sort_unstable();
    let host = server.url.trim_start_matches("http://").trim_end_matches('/');
    let expected = [
        "authorization: Basic eDp5",
        "connection: close",
        "cookie: sessionid=abc",
        &format!("host: {host}"),
        "x-forwarded-host: example.com",
        "x-forwarded-method: GET",
        "x-forwarded-uri: /orders",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn without_one_of_its_cookies_and_without_authorization_it_is_not_asked() {
    let server = Server::answering(|_, _| response("200 OK", "{}")).await;
    let forward = forward(&server, 10);
    for fields in
        [&[][..], &[("cookie", "theme=dark; xsessionid=abc")], &[("cookie", "sessionid")], &[("x-api-key", "a")]]
    {
        assert!(asked(&forward, fields).await.is_none(), "{fields:?}");
    }
    assert_eq!(server.asked(), 0);
    assert!(asked(&forward, &[("authorization", "anything")]).await.is_some());
}

#[tokio::test]
async fn each_answer_says_what_it_says() {
    for (answer, kind) in [
        (response("200 OK", "{}"), None),
        (response("201 Created", "{\"a\":1}"), None),
        (response("401 Unauthorized", ""), Some(Kind::Unauthorized)),
        (response("403 Forbidden", ""), Some(Kind::Forbidden)),
        (response("302 Found", ""), Some(Kind::Unauthorized)),
        (response("307 Temporary Redirect", ""), Some(Kind::Unauthorized)),
        (response("200 OK", "[]"), Some(Kind::Busy)),
        (response("200 OK", "null"), Some(Kind::Busy)),
        (response("200 OK", "<html>Log in</html>"), Some(Kind::Busy)),
        (response("204 No Content", ""), Some(Kind::Busy)),
        (response("404 Not Found", "{}"), Some(Kind::Busy)),
        (response("400 Bad Request", "{}"), Some(Kind::Busy)),
        (response("500 Internal Server Error", "{}"), Some(Kind::Busy)),
        (response("200 OK", format!("{{\"a\":\"{}\"}}", "x".repeat(LARGEST))), Some(Kind::Busy)),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}".to_vec(), Some(Kind::Busy)),
        (b"nothing".to_vec(), Some(Kind::Busy)),
    ] {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(30)]).into_owned();
        let server = Server::answering(move |_, _| answer.clone()).await;
        let said = asked(&forward(&server, 10), &[("cookie", "sessionid=a")]).await.unwrap();
        assert_eq!(said.err().and_then(|refusal| refusal.kind()), kind, "{shown}");
    }

    let nowhere = Server::answering(|_, _| vec![]).await;
    let forward = forward(&nowhere, 10);
    drop(nowhere);
    let said = asked(&forward, &[("cookie", "sessionid=a")]).await.unwrap();
    assert_eq!(said.unwrap_err().kind(), Some(Kind::Busy));
}

#[tokio::test(start_paused = true)]
async fn an_application_that_is_silent_is_not_waited_for() {
    let server = Server::answering(|_, _| vec![]).await;
    let said = asked(&forward(&server, 10), &[("cookie", "sessionid=a")]).await.unwrap();
    assert_eq!(said.unwrap_err().kind(), Some(Kind::Busy));
}

#[tokio::test]
async fn what_the_application_says_is_passed_on_within_bounds() {
    let long = format!("{{\"detail\":\"{}\"}}", "ä".repeat(5_000));
    let cases = [
        ("{\"detail\":\"no seat\\nleft\\u0000\"}".to_owned(), "no seat left".to_owned()),
        (long, "ä".repeat(TOLD)),
        ("{\"detail\":\"\"}".to_owned(), "the application refuses this".to_owned()),
        ("<html>".to_owned(), "the application refuses this".to_owned()),
        ("{\"detail\":{\"a\":1}}".to_owned(), "the application refuses this".to_owned()),
    ];
    for (body, told) in cases {
        let server = Server::answering(move |_, _| response("403 Forbidden", &body)).await;
        let said = asked(&forward(&server, 10), &[("cookie", "sessionid=a")]).await.unwrap();
        let Err(Refusal::Problem(error)) = said else { panic!("it is refused") };
        assert_eq!(error.message(), told);
    }
}

#[tokio::test]
async fn an_answer_is_kept_for_all_that_was_sent_and_for_nobody_else() {
    let server = Server::answering(|_, head| {
        let user = if head.contains("sessionid=anna") { "anna" } else { "other" };
        response("200 OK", format!("{{\"sub\":\"{user}\"}}"))
    });
    let server = server.await;
    let forward = forward(&server, 600);
    let sub = |said: Option<Said>| said.unwrap().unwrap().claim("sub").unwrap().as_str().unwrap().to_owned();

    let anna = [("cookie", "sessionid=anna")];
    assert_eq!(sub(asked(&forward, &anna).await), "anna");
    assert_eq!(sub(asked(&forward, &anna).await), "anna");
    // The query is not sent, and other cookies are not either.
    let query = asked_at(&forward, "example.com", "/orders?limit=9", &[("cookie", "a=b; sessionid=anna")]).await;
    assert_eq!(sub(query), "anna");
    assert_eq!(server.asked(), 1);

    for (number, (host, path, fields)) in [
        ("example.com", "/orders", &[("cookie", "sessionid=bert")][..]),
        ("example.com", "/orders", &[("cookie", "sessionid=ann"), ("authorization", "a")]),
        ("example.com", "/orders", &[("cookie", "csrf=anna")]),
        ("example.com", "/orders", &[("cookie", "sessionid=anna; csrf=x")]),
        ("example.com", "/orders", &[("cookie", "sessionid=anna"), ("authorization", "x")]),
        ("example.com", "/orders", &[("authorization", "sessionid=anna")]),
        ("other.example.com", "/orders", &anna[..]),
        ("example.com", "/other", &anna[..]),
    ]
    .into_iter()
    .enumerate()
    {
        asked_at(&forward, host, path, fields).await.unwrap().unwrap();
        assert_eq!(server.asked(), 2 + number, "{host} {path} {fields:?}");
    }
}

#[tokio::test]
async fn somebody_who_has_logged_out_goes_on_for_the_time_of_the_cache_and_no_longer() {
    let answer = |number, _: &str| match number {
        0 => response("200 OK", "{\"sub\":\"anna\"}"),
        _ => response("401 Unauthorized", ""),
    };
    let fields = [("cookie", "sessionid=anna")];

    let server = Server::answering(answer).await;
    let kept = forward(&server, 600);
    assert!(asked(&kept, &fields).await.unwrap().is_ok());
    assert!(asked(&kept, &fields).await.unwrap().is_ok());

    let server = Server::answering(answer).await;
    let not_kept = forward(&server, 0);
    assert!(asked(&not_kept, &fields).await.unwrap().is_ok());
    assert!(asked(&not_kept, &fields).await.unwrap().is_err());

    // A reload forgets.
    assert_eq!(Forward::new(&kept.inner.config).inner.answers.len(), 0);
}

#[tokio::test]
async fn a_refusal_is_kept_and_a_failure_is_not() {
    for (status, kept) in
        [("401 Unauthorized", 1), ("403 Forbidden", 1), ("302 Found", 1), ("500 Oh", 0), ("204 No", 0)]
    {
        let server = Server::answering(move |_, _| response(status, "")).await;
        let forward = forward(&server, 600);
        assert!(asked(&forward, &[("cookie", "sessionid=a")]).await.unwrap().is_err());
        assert_eq!(forward.inner.answers.len(), kept, "{status}");
    }
}

#[tokio::test]
async fn equal_credentials_at_one_time_are_one_question() {
    let server = Server::answering(|_, _| response("200 OK", "{}")).await;
    let forward = Arc::new(forward(&server, 600));
    let asked: Vec<_> = (0..50)
        .map(|_| {
            let forward = Arc::clone(&forward);
            tokio::spawn(async move { asked(&forward, &[("cookie", "sessionid=a")]).await.unwrap().is_ok() })
        })
        .collect();
    for one in asked {
        assert!(one.await.unwrap());
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn the_end_of_a_login_is_the_end_of_its_identity() {
    let server = Server::answering(|_, _| response("200 OK", "{\"exp\":4102444800}")).await;
    let identity = asked(&forward(&server, 10), &[("cookie", "sessionid=a")]).await.unwrap().unwrap();
    assert_eq!(identity.expiry(), Some(UNIX_EPOCH + Duration::from_secs(4_102_444_800)));
}

#[tokio::test]
async fn a_login_that_has_ended_is_refused_and_an_end_that_is_no_moment_is_no_answer() {
    let ended = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() - 1.0;
    for (exp, kind) in [
        (json!(ended), Some(Kind::Unauthorized)),
        (json!(0), Some(Kind::Unauthorized)),
        (json!(ended + 600.0), None),
        (json!(1_000_000 * u64::from(u32::MAX)), None),
        (json!(-1), Some(Kind::Busy)),
        (json!("never"), Some(Kind::Busy)),
        (json!(null), Some(Kind::Busy)),
    ] {
        let body = json!({ "exp": exp }).to_string();
        let server = Server::answering(move |_, _| response("200 OK", &body)).await;
        let said = asked(&forward(&server, 10), &[("cookie", "sessionid=a")]).await.unwrap();
        assert_eq!(said.err().and_then(|refusal| refusal.kind()), kind, "{exp}");
    }
}

#[tokio::test]
async fn an_answer_is_kept_no_longer_than_its_login_lasts() {
    let server = Server::answering(|_, _| response("200 OK", "{\"sub\":\"anna\",\"exp\":4102444800}")).await;
    let forward = forward(&server, 600);
    let fields = [("cookie", "sessionid=a")];

    let request = Request::get("/orders").header("cookie", "sessionid=a").body(()).unwrap();
    let digest = forward.question(&Shown::of(&request, "example.com").unwrap()).unwrap().digest;
    let ended = Identity::default().until(SystemTime::now() - Duration::from_secs(1));
    forward.inner.answers.keep(digest, Ok(Arc::new(ended)), 1, Instant::now(), Duration::from_secs(600));

    let prolonged = asked(&forward, &fields).await.unwrap().unwrap();
    assert_eq!(prolonged.claim("sub").unwrap(), "anna");
    assert!(asked(&forward, &fields).await.unwrap().is_ok());
    assert_eq!(server.asked(), 1);
}

/// A question of this session.
async fn asked_by(forward: &Forward, session: impl Display, client: IpAddr) -> Said {
    let request = Request::get("/orders").header("cookie", format!("sessionid={session}")).body(()).unwrap();
    let shown = Shown::of(&request, "example.com").unwrap();
    forward.identity(forward.question(&shown).unwrap(), client).await
}

/// Waits without a rest: a clock that is paused goes on when all rest.
async fn without_rest<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(out) = poll!(&mut future) {
            return out;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_address_has_a_part_of_the_turns_also_of_those_questions_that_nobody_waits_for() {
    let silent = Server::answering(|_, head| if head.contains("other") { response("200 OK", "{}") } else { vec![] });
    let server = silent.await;
    let forward = forward(&server, 600);

    // A client that asks and leaves, for ever new sessions: the application works on them anyhow.
    let mut left: Vec<_> = (0..LINE).map(|number| Box::pin(asked_by(&forward, number, CLIENT))).collect();
    for one in &mut left[..EACH] {
        assert!(poll!(one).is_pending());
    }
    while server.asked() < EACH {
        tokio::task::yield_now().await;
    }
    left.drain(..EACH);

    for one in &mut left {
        assert!(poll!(one).is_pending());
    }
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.asked(), EACH, "no turn has come back");
    let refused = asked_by(&forward, "one more", CLIENT).await.unwrap_err();
    assert_eq!(refused.kind(), Some(Kind::RateLimited));

    let other = [192, 0, 2, 2].into();
    assert!(without_rest(asked_by(&forward, "other", other)).await.is_ok(), "another address has turns");
    assert_eq!(server.asked(), EACH + 1);
    // One that is remembered needs none.
    assert!(asked_by(&forward, "other", CLIENT).await.is_ok());
    assert_eq!(server.asked(), EACH + 1);
}

#[tokio::test]
async fn a_session_for_which_no_turn_came_is_asked_about_again() {
    let server = Server::answering(|_, _| response("200 OK", "{}")).await;
    let forward = forward(&server, 600);
    let places: Vec<_> = (0..LINE).map(|_| forward.inner.turns.enter(CLIENT).ok().unwrap()).collect();
    assert_eq!(asked_by(&forward, "a", CLIENT).await.unwrap_err().kind(), Some(Kind::RateLimited));
    assert!(!forward.inner.away.is_away(), "the application is there");
    drop(places);
    assert!(asked_by(&forward, "a", CLIENT).await.is_ok());
}

#[tokio::test]
async fn answers_of_many_small_values_take_no_more_than_their_room() {
    // 7 KB of text, and 665,401 bytes as claims: 25 of them are 16 MiB.
    let body = format!("{{\"a\":[{}]}}", vec!["{\"\":0}"; 1000].join(","));
    let server = Server::answering(move |_, _| response("200 OK", &body)).await;
    let forward = forward(&server, 600);
    for session in 0..60 {
        assert!(asked_by(&forward, session, CLIENT).await.is_ok());
    }
    assert!((1..=25).contains(&forward.inner.answers.len()), "{}", forward.inner.answers.len());
}
