use std::sync::atomic::AtomicUsize;

use futures_util::FutureExt;
use serde_json::{Value, json};

use super::*;
use crate::{
    Kind,
    auth::{
        jwt::{Jwt, JwtConfig, JwtKeys},
        pretended::{Server, Signs, response, seconds},
    },
};

fn jwt_of(url: &str) -> JwtConfig {
    JwtConfig {
        keys: JwtKeys::At(Endpoint::new(url, None).unwrap()),
        issuers: vec![],
        audiences: vec![],
        leeway: Duration::from_secs(60),
        algorithms: vec![],
        requires_exp: true,
    }
}

fn jwks_of(server: &Server) -> Jwks {
    Jwks::new(Endpoint::new(&server.url, None).unwrap())
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn token(signs: &Signs, id: Option<&str>) -> String {
    let head = id.map_or_else(|| json!({"alg": "ES256"}), |id| json!({"alg": "ES256", "kid": id}));
    signs.token(&head, &json!({"sub": "anna", "exp": seconds(600)}))
}

impl Jwks {
    /// As if the last read was long ago.
    fn rest(&self) {
        self.reads.lock().unwrap().began = None;
    }

    /// As if nobody had asked for so long.
    fn idle(&self, time: Duration) {
        self.rest();
        let keys = self.at.set.load_full().unwrap().keys.clone();
        let read = Instant::now().checked_sub(time).unwrap();
        self.at.set.store(Some(Arc::new(Set { keys, read })));
    }
}

async fn is_away(jwks: &Jwks) -> bool {
    jwks.rest();
    jwks.set(None).await.is_err_and(|refusal| refusal.kind() == Some(Kind::Busy))
}

async fn is_away_for(jwks: &Jwks, id: &str) -> bool {
    jwks.rest();
    jwks.set(Some(id)).await.is_err_and(|refusal| refusal.kind() == Some(Kind::Busy))
}

#[tokio::test]
async fn where_there_were_never_keys_tokens_are_not_judged_and_then_they_are() {
    let signs = Signs::p256();
    let keys = set(&[signs.jwk("one")]);
    let server = Server::answering(move |number, _| match number {
        0 => response("500 Internal Server Error", ""),
        _ => response("200 OK", &keys),
    });
    let server = server.await;
    let jwks = jwks_of(&server);
    assert!(jwks.set(Some("one")).await.is_err_and(|refusal| refusal.kind() == Some(Kind::Busy)));
    // Within the pause nobody is asked.
    assert!(jwks.set(Some("one")).await.is_err());
    assert_eq!(server.asked(), 1);
    jwks.rest();
    assert!(jwks.set(Some("one")).await.is_ok());

    let nowhere = Jwks::new(Endpoint::new("http://127.0.0.1:1/", None).unwrap());
    assert!(is_away(&nowhere).await);
}

#[tokio::test]
async fn an_issuer_that_is_silent_is_not_waited_for() {
    let server = Server::answering(|_, _| vec![]).await;
    let endpoint = Endpoint::new(&server.url, None).unwrap();
    let asking = tokio::spawn(async move { asked(&endpoint).await });
    while server.asked() == 0 {
        tokio::task::yield_now().await;
    }
    // Only now, since a clock that is paused does not wait for sockets.
    tokio::time::pause();
    assert_eq!(asking.await.unwrap().unwrap_err(), "no answer within 2s");
}

#[tokio::test]
async fn an_answer_that_is_huge_or_no_set_is_none() {
    let many = |key: &str| format!("{{\"keys\":[{}]}}", vec![key; 100_000].join(","));
    let huge = many(&Signs::p256().jwk("one").to_string());
    assert!(huge.len() > LARGEST);
    // These are within the bytes.
    let small = many("{}");
    assert!(small.len() < LARGEST);

    for (answer, why) in [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_vec(), "error reading a body"),
        (b"no HTTP\r\n\r\n".to_vec(), "invalid HTTP version"),
        (response("200 OK", &huge), "the answer has more than 524288 bytes"),
        (response("200 OK", &small), "the set has 100000 keys, and may have 200"),
        (response("200 OK", "<html>"), "the answer is no JWKS"),
        (response("200 OK", "{}"), "the answer is no JWKS"),
        (response("200 OK", "[]"), "the answer is no JWKS"),
        (response("200 OK", "{\"keys\":{}}"), "the answer is no JWKS"),
        (response("204 No Content", ""), "the answer is 204"),
        (response("404 Not Found", "{\"keys\":[]}"), "the answer is 404"),
        ([b"HTTP/1.1 200 OK\r\n".to_vec(), b"x: y\r\n".repeat(50_000)].concat(), "too large"),
    ] {
        let server = Server::answering(move |_, _| answer.clone()).await;
        let told = asked(&Endpoint::new(&server.url, None).unwrap()).await.unwrap_err();
        assert!(told.contains(why), "{why}: {told}");
        assert!(is_away(&jwks_of(&server)).await, "{why}");
        assert_eq!(server.asked(), 2);
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let keys = set(&[Signs::p256().jwk("one")]);
    let other = Server::answering(move |_, _| response("200 OK", &keys)).await;
    let to = other.url.clone();
    let server = Server::answering(move |_, _| {
        format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").into_bytes()
    });
    assert!(is_away(&jwks_of(&server.await)).await);
    assert_eq!(other.asked(), 0);
}

#[tokio::test]
async fn many_requests_with_an_unknown_key_have_the_set_read_once_a_minute() {
    let signs = Signs::p256();
    let keys = set(&[signs.jwk("one")]);
    let server = Server::answering(move |_, _| response("200 OK", &keys)).await;
    let jwt = Arc::new(Jwt::new(&jwt_of(&server.url), None));
    assert!(jwt.identity(&token(&signs, Some("one"))).await.is_ok());
    assert_eq!(server.asked(), 1);

    // The first minute.
    for id in ["two", "../../etc/passwd", "' OR 1=1 --", "\u{0}", ""] {
        let wrong = token(&signs, Some(id));
        let asked: Vec<_> = (0..10)
            .map(|_| {
                let (jwt, wrong) = (Arc::clone(&jwt), wrong.clone());
                tokio::spawn(async move { jwt.identity(&wrong).await.map(drop) })
            })
            .collect();
        for one in asked {
            assert!(matches!(one.await.unwrap(), Err(Refusal::Wrong(_))), "{id}");
        }
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn after_a_minute_requests_that_wait_for_an_unknown_key_share_one_read() {
    let keys = set(&[Signs::p256().jwk("one")]);
    let server = Server::answering(move |_, _| response("200 OK", &keys)).await;
    let jwks = Arc::new(jwks_of(&server));
    jwks.set(None).await.unwrap();
    jwks.rest();
    let asked: Vec<_> = (0..20)
        .map(|_| {
            let jwks = Arc::clone(&jwks);
            tokio::spawn(async move { jwks.set(Some("two")).await.map(drop) })
        })
        .collect();
    for one in asked {
        one.await.unwrap().unwrap();
    }
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_stops_no_read() {
    let keys = set(&[Signs::p256().jwk("one")]);
    let gate = Arc::new(AtomicUsize::new(0));
    let open = Arc::clone(&gate);
    let server = Server::answering(move |_, _| {
        while open.load(Ordering::Relaxed) == 0 {
            std::thread::yield_now();
        }
        response("200 OK", &keys)
    });

    // The server is on a thread of its own, since it holds it.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let server = runtime.spawn(server).await.unwrap();
    let jwks = jwks_of(&server);
    {
        let mut first = Box::pin(jwks.set(None));
        tokio::select! {
            biased;
            _ = &mut first => panic!("the gate is closed"),
            () = async { while server.asked() == 0 { tokio::task::yield_now().await; } } => {}
        }
    }

    gate.store(1, Ordering::Relaxed);
    assert!(jwks.set(None).await.is_ok());
    assert_eq!(server.asked(), 1);
    drop(server);
    runtime.shutdown_background();
}

#[tokio::test]
async fn old_keys_go_on_while_the_issuer_is_away_and_a_new_one_waits_for_it() {
    let signs = Signs::p256();
    let keys = set(&[signs.jwk("one")]);
    let server = Server::answering(move |number, _| match number {
        0 => response("200 OK", &keys),
        _ => response("502 Bad Gateway", ""),
    });
    let server = server.await;
    let jwks = jwks_of(&server);
    jwks.set(None).await.unwrap();

    jwks.rest();
    let unknown = jwks.set(Some("two")).await;
    assert!(unknown.is_err_and(|refusal| refusal.kind() == Some(Kind::Busy)));
    assert_eq!(server.asked(), 2);
    assert!(jwks.set(Some("one")).await.is_ok());
}

#[tokio::test]
async fn a_set_without_a_key_that_checks_tokens_is_none() {
    let signs = Signs::p256();
    let secret = json!({"kty": "oct", "kid": "one", "k": "c2VjcmV0"});
    for useless in [set(&[]), set(&[secret])] {
        let keys = set(&[signs.jwk("one")]);
        let server = Server::answering(move |number, _| match number {
            1 => response("200 OK", &keys),
            _ => response("200 OK", &useless),
        });
        let server = server.await;
        let jwks = jwks_of(&server);
        assert!(is_away(&jwks).await);
        jwks.rest();
        assert!(jwks.set(Some("one")).await.is_ok());

        // The old keys go on.
        assert!(is_away_for(&jwks, "two").await);
        let set = jwks.set(Some("one")).await.unwrap();
        assert_eq!(set.fitting(Some("one"), Algorithm::ES256).unwrap().len(), 1);
        assert_eq!(server.asked(), 3);
    }
}

#[tokio::test]
async fn a_key_that_the_issuer_has_taken_out_counts_no_more_for_remembered_tokens_either() {
    let old = Signs::p256();
    let new = Signs::p256();
    let sets = [set(&[old.jwk("old")]), set(&[new.jwk("new")])];
    let server = Server::answering(move |number, _| response("200 OK", &sets[number.min(1)])).await;
    let config = jwt_of(&server.url);
    let jwt = Jwt::new(&config, None);
    assert!(jwt.identity(&token(&old, Some("old"))).await.is_ok());

    let after = Jwt::new(&config, Some(&jwt));
    after.jwks().rest();
    assert!(after.identity(&token(&new, Some("new"))).await.is_ok());
    assert!(jwt.identity(&token(&old, Some("old"))).await.is_err());
    // They are the same keys, so nobody was asked a third time.
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn after_a_long_rest_a_key_that_the_issuer_has_taken_out_counts_not_even_once() {
    let old = Signs::p256();
    let new = Signs::p256();
    let sets = [set(&[old.jwk("old")]), set(&[new.jwk("new")])];
    let server = Server::answering(move |number, _| response("200 OK", &sets[number.min(1)])).await;
    let jwt = Jwt::new(&jwt_of(&server.url), None);
    jwt.jwks().set(None).await.unwrap();

    jwt.jwks().idle(2 * AGE + Duration::from_secs(1));
    assert!(matches!(jwt.identity(&token(&old, Some("old"))).await, Err(Refusal::Wrong(_))));
    assert!(jwt.identity(&token(&new, Some("new"))).await.is_ok());
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn after_a_long_rest_old_keys_go_on_if_the_issuer_is_away_and_before_it_nobody_waits() {
    let signs = Signs::p256();
    let keys = set(&[signs.jwk("one")]);
    let server = Server::answering(move |number, _| match number {
        0 => response("200 OK", &keys),
        1 => response("502 Bad Gateway", ""),
        // Silent: who waits for it does so until the time-out.
        _ => vec![],
    });
    let server = server.await;
    let jwks = jwks_of(&server);
    jwks.set(None).await.unwrap();

    jwks.idle(2 * AGE + Duration::from_secs(1));
    assert!(jwks.set(Some("one")).await.is_ok());
    assert_eq!(server.asked(), 2);

    jwks.idle(AGE + Duration::from_secs(1));
    assert!(jwks.set(Some("one")).now_or_never().is_some_and(|set| set.is_ok()));
    assert!(!jwks.reads.lock().unwrap().tasks.is_empty());
}

#[tokio::test]
async fn keys_are_kept_over_a_reload_if_they_come_from_the_same_address() {
    let signs = Signs::p256();
    let keys = set(&[signs.jwk("one")]);
    let server = Server::answering(move |_, _| response("200 OK", &keys)).await;
    let first = Jwt::new(&jwt_of(&server.url), None);
    first.identity(&token(&signs, Some("one"))).await.unwrap();

    let again = Jwt::new(&jwt_of(&server.url), Some(&first));
    assert!(again.identity(&token(&signs, Some("one"))).await.is_ok());
    assert_eq!(server.asked(), 1);

    let elsewhere = Jwt::new(&jwt_of(&format!("{}other", server.url)), Some(&first));
    assert!(elsewhere.identity(&token(&signs, Some("one"))).await.is_ok());
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn a_token_names_its_key_where_there_are_several() {
    let (one, two) = (Signs::p256(), Signs::p256());
    let keys = set(&[one.jwk("one"), two.jwk("two"), Signs::ed().jwk("three")]);
    let server = Server::answering(move |_, _| response("200 OK", &keys)).await;
    let jwt = Jwt::new(&jwt_of(&server.url), None);

    assert!(jwt.identity(&token(&one, Some("one"))).await.is_ok());
    assert!(jwt.identity(&token(&two, Some("two"))).await.is_ok());
    // The other's name, none, and one that is of another kind.
    for wrong in [token(&one, Some("two")), token(&one, None), token(&one, Some("three"))] {
        assert!(matches!(jwt.identity(&wrong).await, Err(Refusal::Wrong(_))));
    }

    let huge = one.token(&json!({"alg": "ES256", "kid": "k".repeat(5_000)}), &json!({"exp": seconds(600)}));
    assert!(jwt.identity(&huge).await.is_err());
    for id in [json!(1), json!(null), json!(["one"]), json!({"kid": "one"})] {
        let odd = one.token(&json!({"alg": "ES256", "kid": id}), &json!({"exp": seconds(600)}));
        assert!(matches!(jwt.identity(&odd).await, Err(Refusal::Wrong(_))));
    }
}

fn nameless(signs: &Signs) -> Value {
    let mut bare = signs.jwk("one");
    bare.as_object_mut().unwrap().remove("kid");
    bare
}

#[tokio::test]
async fn beside_a_key_without_a_name_an_unknown_name_and_none_have_the_set_read_once_a_minute() {
    let old = Signs::p256();
    let new = Signs::p256();
    for (id, keys) in [
        (Some("new"), set(&[nameless(&old), new.jwk("new")])),
        (None, set(&[nameless(&new)])),
        (None, set(&[nameless(&old), nameless(&new)])),
    ] {
        let sets = [set(&[nameless(&old)]), keys];
        let server = Server::answering(move |number, _| response("200 OK", &sets[number.min(1)])).await;
        let jwt = Jwt::new(&jwt_of(&server.url), None);
        assert!(jwt.identity(&token(&old, None)).await.is_ok());

        // Within the first minute, and after it.
        assert!(matches!(jwt.identity(&token(&new, id)).await, Err(Refusal::Wrong(_))));
        assert_eq!(server.asked(), 1);
        jwt.jwks().rest();
        assert!(jwt.identity(&token(&new, id)).await.is_ok(), "{id:?}");
        for _ in 0..5 {
            assert!(jwt.identity(&token(&Signs::p256(), id)).await.is_err());
        }
        assert_eq!(server.asked(), 2);
    }
}

#[tokio::test]
async fn a_key_without_a_name_checks_tokens_while_the_issuer_is_away() {
    let signs = Signs::p256();
    let keys = set(&[nameless(&signs)]);
    let server = Server::answering(move |number, _| match number {
        0 => response("200 OK", &keys),
        _ => response("502 Bad Gateway", ""),
    });
    let server = server.await;
    let jwt = Jwt::new(&jwt_of(&server.url), None);
    assert!(jwt.identity(&token(&signs, None)).await.is_ok());
    for id in [Some("any"), None] {
        jwt.jwks().rest();
        assert!(jwt.identity(&token(&signs, id)).await.is_ok());
        assert!(matches!(jwt.identity(&token(&Signs::p256(), id)).await, Err(Refusal::Wrong(_))));
    }
}

#[tokio::test]
async fn a_token_that_has_ended_has_no_keys_read() {
    let signs = Signs::p256();
    let keys = set(&[nameless(&signs)]);
    let server = Server::answering(move |_, _| response("200 OK", &keys)).await;
    let jwt = Jwt::new(&jwt_of(&server.url), None);
    assert!(jwt.identity(&token(&signs, None)).await.is_ok());
    jwt.jwks().rest();
    let late = signs.token(&json!({"alg": "ES256"}), &json!({"exp": seconds(-600)}));
    assert!(matches!(jwt.identity(&late).await, Err(Refusal::Wrong(_))));
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn one_key_needs_no_name() {
    let signs = Signs::p256();
    let bare = nameless(&signs);
    for keys in [set(&[bare]), set(&[signs.jwk("one"), Signs::ed().jwk("two")])] {
        let server = Server::answering(move |_, _| response("200 OK", &keys)).await;
        let jwt = Jwt::new(&jwt_of(&server.url), None);
        assert!(jwt.identity(&token(&signs, None)).await.is_ok());
    }
}
