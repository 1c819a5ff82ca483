use http::HeaderName;
use serde_json::{Map, json};

use super::{
    pretended::{SECRET, Server, Signs, response, seconds},
    *,
};
use crate::error::Kind;

const KEY: &str = "cfk_a-key-of-tests";

fn jwt() -> WayConfig {
    WayConfig::Jwt(JwtConfig {
        keys: JwtKeys::Given(vec![Key::of_secret(SECRET).unwrap()]),
        issuers: vec![],
        audiences: vec![],
        leeway: std::time::Duration::from_secs(60),
        algorithms: vec![],
        requires_exp: true,
    })
}

fn keys() -> WayConfig {
    WayConfig::Keys(ApiKeys::new(vec![ApiKey::new("partner", digest_of_key(KEY.as_bytes()), Map::new(), None)]))
}

fn proxy() -> WayConfig {
    let header = HeaderName::from_static("x-remote-user");
    let field = ProxyField { header, claim: "sub".to_owned(), value: FieldValue::Text };
    WayConfig::Proxy(ProxyConfig { fields: vec![field] })
}

fn forward(server: &Server) -> WayConfig {
    WayConfig::Forward(ForwardConfig {
        endpoint: Endpoint::new(&server.url, None).unwrap(),
        cookies: vec!["sessionid".to_owned()],
        cache: std::time::Duration::from_secs(10),
    })
}

fn token() -> String {
    Signs::secret(SECRET.as_bytes()).token(&json!({"alg": "HS256"}), &json!({"sub": "anna", "exp": seconds(600)}))
}

fn wrong_token() -> String {
    Signs::secret(&[b'x'; 64]).token(&json!({"alg": "HS256"}), &json!({"sub": "anna", "exp": seconds(600)}))
}

/// The claim `sub`, or the kind of the refusal.
async fn sub(
    ways: Vec<WayConfig>,
    fields: &[(&str, &str)],
    is_from_proxy: bool,
) -> Result<Option<String>, Option<Kind>> {
    let auth = Auth::new(&AuthConfig { ways, ..AuthConfig::default() }, TicketKeys::random(), None);
    let mut request = Request::get("/orders");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let came = Came { host: "example.com", client: [192, 0, 2, 1].into(), is_from_proxy };
    let identity = auth.identify(&request.body(()).unwrap(), came).await;
    let identity = identity.map_err(|refusal| refusal.kind())?;
    Ok(identity.map(|identity| identity.claim("sub").unwrap().as_str().unwrap().to_owned()))
}

#[tokio::test]
async fn without_a_credential_a_request_is_nobodys_and_nobody_is_asked() {
    let server = Server::answering(|_, _| response("200 OK", "{\"sub\":\"anybody\"}")).await;
    let ways = || vec![jwt(), keys(), proxy(), forward(&server)];
    assert_eq!(sub(ways(), &[], true).await, Ok(None));
    assert_eq!(sub(ways(), &[("cookie", "a=b")], true).await, Ok(None));
    assert_eq!(sub(vec![], &[("authorization", &format!("Bearer {}", token()))], true).await, Ok(None));
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn the_first_way_whose_form_is_there_decides_alone() {
    let server = Server::answering(|_, _| response("200 OK", "{\"sub\":\"anybody\"}")).await;
    let bearer = format!("Bearer {}", token());
    let wrong = format!("Bearer {}", wrong_token());
    let session = ("cookie", "sessionid=a");
    let user = ("x-remote-user", "bert");

    let ways = || vec![jwt(), keys(), proxy(), forward(&server)];
    for (fields, expected) in [
        (vec![("authorization", &*bearer), user, session], Ok(Some("anna"))),
        (vec![("authorization", &*wrong), user, session], Err(Some(Kind::Unauthorized))),
        (vec![("x-api-key", KEY), user, session], Ok(Some("partner"))),
        (vec![("x-api-key", "wrong"), user, session], Err(Some(Kind::Unauthorized))),
        (vec![user, session], Ok(Some("bert"))),
        (vec![session], Ok(Some("anybody"))),
        // An authorization that no earlier way claims is the application's.
        (vec![("authorization", "Basic eDp5")], Ok(Some("anybody"))),
    ] {
        let found = sub(ways(), &fields, true).await;
        assert_eq!(found.as_ref().map(Option::as_deref).map_err(|kind| *kind), expected, "{fields:?}");
    }

    // In another order.
    let ways = || vec![proxy(), forward(&server), keys(), jwt()];
    assert_eq!(sub(ways(), &[("authorization", &bearer), user], true).await, Ok(Some("bert".into())));
    assert_eq!(sub(ways(), &[("authorization", &wrong)], true).await, Ok(Some("anybody".into())));
}

#[tokio::test]
async fn a_header_from_another_peer_than_a_trusted_proxy_is_not_there() {
    let user = ("x-remote-user", "root");
    assert_eq!(sub(vec![proxy()], &[user], true).await, Ok(Some("root".into())));
    assert_eq!(sub(vec![proxy()], &[user], false).await, Ok(None));
    assert_eq!(sub(vec![proxy()], &[user, user], false).await, Ok(None));
    assert_eq!(sub(vec![proxy()], &[user, user], true).await, Err(Some(Kind::Invalid)));
    let both = [user, ("x-api-key", KEY)];
    assert_eq!(sub(vec![proxy(), keys()], &both, false).await, Ok(Some("partner".into())));
}

#[tokio::test]
async fn two_authorizations_are_no_request() {
    let bearer = format!("Bearer {}", token());
    for ways in [vec![jwt()], vec![keys()], vec![proxy()], vec![]] {
        let two = [("authorization", &*bearer), ("authorization", &*bearer)];
        assert_eq!(sub(ways, &two, true).await, Err(Some(Kind::Invalid)));
    }
}

#[tokio::test]
async fn a_bearer_that_no_way_can_read_is_wrong_where_some_way_reads_bearers() {
    let opaque = [("authorization", "Bearer opaque")];
    let jwt_like = format!("Bearer {}", token());
    let jwt_like = [("authorization", &*jwt_like)];
    let basic = [("authorization", "Basic eDp5")];
    assert_eq!(sub(vec![jwt()], &opaque, true).await, Err(Some(Kind::Unauthorized)));
    assert_eq!(sub(vec![keys()], &jwt_like, true).await, Err(Some(Kind::Unauthorized)));
    assert_eq!(sub(vec![keys()], &[("authorization", "Bearer")], true).await, Err(Some(Kind::Unauthorized)));
    assert_eq!(sub(vec![jwt(), keys()], &basic, true).await, Ok(None));
    assert_eq!(sub(vec![proxy()], &opaque, true).await, Ok(None));
    // Of a gateway's own key.
    assert_eq!(sub(vec![jwt()], &[("x-api-key", "gateway")], true).await, Ok(None));
}

#[tokio::test]
async fn a_ticket_decides_before_all_else() {
    let auth = Auth::new(&AuthConfig { ways: vec![keys()], ..AuthConfig::default() }, TicketKeys::random(), None);
    let identity = Identity::of([("sub", "anna".into())]);
    let ticket = auth.tickets().made("/orders.sse", &identity, SystemTime::now()).unwrap();
    let ticket = serde_json::to_value(ticket).unwrap()["ticket"].as_str().unwrap().to_owned();
    let ask = |path: String, key: &'static str| {
        let request = Request::get(path).header("x-api-key", key).body(()).unwrap();
        let auth = &auth;
        let came = Came { host: "h", client: [192, 0, 2, 1].into(), is_from_proxy: false };
        async move { auth.identify(&request, came).await.map(|identity| identity.map(|one| (*one).clone())) }
    };

    assert_eq!(ask(format!("/orders.sse?ticket={ticket}"), KEY).await.unwrap(), Some(identity));
    assert!(ask(format!("/others.sse?ticket={ticket}"), KEY).await.is_err());
    assert!(ask("/orders.sse?ticket=cft_wrong".to_owned(), KEY).await.is_err());
    assert!(ask("/orders.sse?ticket=eq.7".to_owned(), KEY).await.unwrap().is_some());
}

#[test]
fn nothing_secret_is_shown() {
    let config = AuthConfig { ways: vec![jwt(), keys(), proxy()], ..AuthConfig::default() };
    let auth = Auth::new(&config, TicketKeys::random(), None);
    let shown = format!("{config:?} {auth:?} {:?}", config.ways);
    let digest = format!("{:?}", digest_of_key(KEY.as_bytes()));
    assert!(!shown.contains("a secret of tests") && !shown.contains(&digest[1..20]), "{shown}");
}

proptest::proptest! {
    #[test]
    fn no_bytes_are_a_credential(bytes: Vec<u8>, text in "(ticket=|&|%74|cft_|a\\.|Bearer |=){0,6}[ -~]{0,20}") {
        fuzz_tokens(&bytes);
        fuzz_tokens(text.as_bytes());
    }
}
