use std::sync::LazyLock;

use serde_json::json;

use super::*;
use crate::{
    auth::pretended::{SECRET, Server, Signs, response, seconds},
    error::Kind,
};

/// Making one takes a while.
static RSA: LazyLock<Signs> = LazyLock::new(Signs::rsa);

fn config(keys: JwtKeys) -> JwtConfig {
    JwtConfig {
        keys,
        issuers: vec![],
        audiences: vec![],
        leeway: Duration::from_secs(60),
        algorithms: vec![],
        requires_exp: true,
    }
}

fn given(pem: &str) -> JwtKeys {
    JwtKeys::Given(Key::of_pem(pem.as_bytes()).unwrap())
}

fn secret() -> JwtKeys {
    JwtKeys::Given(vec![Key::of_secret(SECRET).unwrap()])
}

async fn asked(config: &JwtConfig, token: &str) -> Result<Arc<Identity>, Refusal> {
    Jwt::new(config, None).identity(token).await
}

/// Whether a token is refused, as one that is wrong.
async fn is_refused(config: &JwtConfig, token: &str) -> bool {
    matches!(asked(config, token).await, Err(Refusal::Wrong(_)))
}

fn claims() -> Value {
    json!({"sub": "anna", "org": 7, "exp": seconds(600)})
}

#[tokio::test]
async fn a_token_of_each_algorithm_is_taken_by_its_own_key_and_by_no_other() {
    let (p256, p384, ed) = (Signs::p256(), Signs::p384(), Signs::ed());
    let keys = [
        ("RS256", &*RSA, given(&RSA.pem())),
        ("PS256", &*RSA, given(&RSA.pem())),
        ("ES256", &p256, given(&p256.pem())),
        ("ES384", &p384, given(&p384.pem())),
        ("EdDSA", &ed, given(&ed.pem())),
        ("HS256", &Signs::secret(SECRET.as_bytes()), secret()),
        ("HS512", &Signs::secret(SECRET.as_bytes()), secret()),
    ];

    for (algorithm, signs, _) in &keys {
        let token = signs.token(&json!({"alg": algorithm}), &claims());
        for (other, _, keys) in &keys {
            // RS256 and PS256 are of one key, as the algorithms of one secret are.
            let kind = |name: &str| match name {
                "RS256" | "PS256" => "RSA".to_owned(),
                "HS256" | "HS512" => "secret".to_owned(),
                name => name.to_owned(),
            };
            let is_same = kind(algorithm) == kind(other);
            let found = asked(&config(keys.clone()), &token).await;
            assert_eq!(found.is_ok(), is_same, "{algorithm} by the key of {other}");
            if let Ok(identity) = found {
                assert_eq!(identity.claim("org"), Some(&json!(7)));
                assert!(identity.expiry().unwrap() > SystemTime::now());
            }
        }
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret_that_a_token_could_choose() {
    let pem = RSA.pem();
    let config = config(given(&pem));
    let body: String = pem.lines().filter(|line| !line.starts_with("---")).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    for secret in [pem.as_bytes(), pem.trim().as_bytes(), &der] {
        for algorithm in ["HS256", "HS384", "HS512"] {
            let token = Signs::secret(secret).token(&json!({"alg": algorithm}), &claims());
            assert!(is_refused(&config, &token).await, "{algorithm}");
        }
    }
}

#[tokio::test]
async fn without_a_signature_nothing_is_taken() {
    for keys in [given(&RSA.pem()), secret()] {
        let config = config(keys);
        for algorithm in ["none", "None", "NONE", "nOnE", "", "HS1", "RS257"] {
            let signed = Signs::secret(SECRET.as_bytes()).token(&json!({"alg": algorithm}), &claims());
            let unsigned = signed[..=signed.rfind('.').unwrap()].to_owned();
            assert!(is_refused(&config, &signed).await && is_refused(&config, &unsigned).await, "{algorithm}");
        }
        for head in [json!({}), json!({"alg": null}), json!({"alg": 1}), json!({"alg": ["HS256"]})] {
            let token = Signs::secret(SECRET.as_bytes()).token(&head, &claims());
            assert!(is_refused(&config, &token).await, "{head}");
        }
    }
}

#[tokio::test]
async fn only_the_algorithms_of_the_configuration_are_taken() {
    let narrow = JwtConfig { algorithms: vec![Algorithm::HS512], ..config(secret()) };
    let signs = Signs::secret(SECRET.as_bytes());
    assert!(is_refused(&narrow, &signs.token(&json!({"alg": "HS256"}), &claims())).await);
    assert!(asked(&narrow, &signs.token(&json!({"alg": "HS512"}), &claims())).await.is_ok());
}

#[tokio::test]
async fn keys_and_addresses_in_a_token_are_not_looked_at() {
    let forger = Signs::p256();
    let set = json!({"keys": [forger.jwk("forged")]}).to_string();
    let server = Server::answering(move |_, _| response("200 OK", &set)).await;
    let config = config(given(&Signs::p256().pem()));
    for head in [
        json!({"alg": "ES256", "jwk": forger.jwk("forged")}),
        json!({"alg": "ES256", "kid": "forged", "jku": server.url}),
        json!({"alg": "ES256", "x5u": server.url, "x5c": ["AAAA"]}),
        json!({"alg": "ES256", "kid": server.url}),
    ] {
        assert!(is_refused(&config, &forger.token(&head, &claims())).await, "{head}");
    }
    assert_eq!(server.asked(), 0);
}

#[tokio::test]
async fn a_token_counts_between_its_beginning_and_its_end_and_says_when_that_is() {
    let config = config(secret());
    let signs = Signs::secret(SECRET.as_bytes());
    let token = |claims: Value| signs.token(&json!({"alg": "HS256"}), &claims);

    // Within the leeway of a minute.
    for right in [
        json!({"exp": seconds(600)}),
        json!({"exp": seconds(-30)}),
        json!({"exp": seconds(600) as f64 + 0.5}),
        json!({"exp": seconds(600), "nbf": seconds(30)}),
        json!({"exp": 253402300799_i64}),
        json!({"exp": 1e17}),
    ] {
        assert!(asked(&config, &token(right.clone())).await.is_ok(), "{right}");
    }

    for wrong in [
        json!({}),
        json!({"exp": null}),
        json!({"exp": seconds(-90)}),
        json!({"exp": 0}),
        json!({"exp": -1}),
        json!({"exp": seconds(600).to_string()}),
        json!({"exp": [seconds(600)]}),
        json!({"exp": {"a": 1}}),
        json!({"exp": true}),
        json!({"exp": 1e300}),
        json!({"exp": seconds(600), "nbf": seconds(90)}),
        json!({"exp": seconds(600), "nbf": "soon"}),
    ] {
        assert!(is_refused(&config, &token(wrong.clone())).await, "{wrong}");
    }
}

#[tokio::test]
async fn a_token_may_be_without_an_end_only_if_the_configuration_says_so() {
    let config = JwtConfig { requires_exp: false, ..config(secret()) };
    let signs = Signs::secret(SECRET.as_bytes());
    let token = |claims: &Value| signs.token(&json!({"alg": "HS256"}), claims);
    let identity = asked(&config, &token(&json!({"sub": "anna"}))).await.unwrap();
    assert_eq!(identity.expiry(), None);
    for wrong in [json!({"exp": seconds(-90)}), json!({"exp": "never"})] {
        assert!(is_refused(&config, &token(&wrong)).await, "{wrong}");
    }
}

#[tokio::test]
async fn a_token_is_for_the_audience_and_from_the_issuer_of_the_configuration() {
    let config = JwtConfig {
        issuers: vec!["https://issuer".to_owned()],
        audiences: vec!["lists".to_owned(), "more".to_owned()],
        ..config(secret())
    };
    let signs = Signs::secret(SECRET.as_bytes());
    let token = |issuer: Value, audience: Value| {
        let claims = json!({"exp": seconds(600), "iss": issuer, "aud": audience});
        signs.token(&json!({"alg": "HS256"}), &claims)
    };

    for audience in [json!("lists"), json!(["others", "more"])] {
        assert!(asked(&config, &token(json!("https://issuer"), audience)).await.is_ok());
    }
    for (issuer, audience) in [
        (json!("https://issuer"), json!("others")),
        (json!("https://issuer"), json!(null)),
        (json!("https://issuer"), json!([])),
        (json!("https://issuer"), json!(["list", "lists "])),
        (json!("https://issuer"), json!({"lists": 1})),
        (json!("https://issuer/"), json!("lists")),
        (json!("https://issuer.evil"), json!("lists")),
        (json!(null), json!("lists")),
        (json!(["https://issuer", "https://evil"]), json!("lists")),
    ] {
        assert!(is_refused(&config, &token(issuer.clone(), audience.clone())).await, "{issuer} {audience}");
    }
}

#[tokio::test]
async fn a_token_for_somebody_is_not_taken_where_nobody_says_who_we_are() {
    let claims = json!({"exp": seconds(600), "aud": "others"});
    let token = Signs::secret(SECRET.as_bytes()).token(&json!({"alg": "HS256"}), &claims);
    assert!(is_refused(&config(secret()), &token).await);
}

#[tokio::test]
async fn what_a_token_calls_critical_must_be_understood() {
    let config = config(secret());
    let signs = Signs::secret(SECRET.as_bytes());
    for head in [
        json!({"alg": "HS256", "crit": ["exp"], "exp": 1}),
        json!({"alg": "HS256", "crit": ["b64"], "b64": true}),
        json!({"alg": "HS256", "crit": []}),
        json!({"alg": "HS256", "crit": null}),
        json!({"alg": "HS256", "b64": false}),
    ] {
        assert!(is_refused(&config, &signs.token(&head, &claims())).await, "{head}");
    }
}

#[tokio::test]
async fn a_token_that_was_altered_anywhere_is_refused() {
    let config = config(secret());
    let token = Signs::secret(SECRET.as_bytes()).token(&json!({"alg": "HS256"}), &claims());
    assert!(asked(&config, &token).await.is_ok());
    for at in 0..token.len() {
        let mut altered = token.clone().into_bytes();
        altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
        let altered = String::from_utf8(altered).unwrap();
        assert!(asked(&config, &altered).await.is_err(), "{at}");
    }

    let parts: Vec<&str> = token.split('.').collect();
    let swapped = [parts[1], parts[0], parts[2]].join(".");
    let long = format!("{}.{}.{}", parts[0], "A".repeat(LONGEST), parts[2]);
    for wrong in ["..", "a.b.c", &token[..token.len() - 1], &format!("{token}="), &format!("{token}A"), &swapped, &long]
    {
        assert!(is_refused(&config, wrong).await, "{wrong}");
    }
}

#[tokio::test]
async fn any_secret_of_several_is_taken_so_that_one_can_be_replaced() {
    let old = "an older secret of tests, of which tokens are still around";
    let keys = [SECRET, old].map(|secret| Key::of_secret(secret).unwrap());
    let config = config(JwtKeys::Given(keys.to_vec()));
    for secret in [SECRET, old] {
        let token = Signs::secret(secret.as_bytes()).token(&json!({"alg": "HS256", "kid": "any"}), &claims());
        assert!(asked(&config, &token).await.is_ok());
    }
    let other = Signs::secret(&[b'x'; 64]).token(&json!({"alg": "HS256"}), &claims());
    assert!(is_refused(&config, &other).await);
}

#[tokio::test]
async fn a_token_is_remembered_until_its_end_and_a_wrong_one_is_not() {
    let jwt = Jwt::new(&config(secret()), None);
    let signs = Signs::secret(SECRET.as_bytes());
    let wrong = Signs::secret(&[b'x'; 64]).token(&json!({"alg": "HS256"}), &claims());
    assert!(jwt.identity(&wrong).await.is_err());
    assert_eq!(jwt.remembered.len(), 0);

    let token = signs.token(&json!({"alg": "HS256"}), &claims());
    let first = jwt.identity(&token).await.unwrap();
    assert!(Arc::ptr_eq(&first, &jwt.identity(&token).await.unwrap()));

    // One that has expired since it was checked.
    let late = signs.token(&json!({"alg": "HS256"}), &json!({"exp": seconds(-90)}));
    let identity = Identity::default().until(SystemTime::now() - Duration::from_secs(1));
    let digest = digest([&0_u64.to_be_bytes()[..], late.as_bytes()]);
    jwt.remembered.keep(digest, Arc::new(identity), 1, Instant::now(), KEEP);
    assert!(matches!(jwt.identity(&late).await, Err(Refusal::Wrong(_))));
}

#[tokio::test]
async fn odd_claims_are_kept_as_they_are() {
    let odd = json!({
        "exp": seconds(600), "quote": "' OR 1=1 --\"", "nul": "\u{0}", "list": [1, "1", null], "deep": {"a": {"b": []}},
        "big": 9_007_199_254_740_993_i64, "": "empty", "none": null
    });
    let token = Signs::secret(SECRET.as_bytes()).token(&json!({"alg": "HS256"}), &odd);
    let identity = asked(&config(secret()), &token).await.unwrap();
    assert_eq!(Value::from(identity.claims().clone()), odd);

    let no_object = Signs::secret(SECRET.as_bytes()).token(&json!({"alg": "HS256"}), &json!([1]));
    assert!(is_refused(&config(secret()), &no_object).await);
}

#[tokio::test]
async fn a_refusal_says_nothing_of_the_token() {
    let token = Signs::secret(&[b'x'; 64]).token(&json!({"alg": "HS256", "kid": "k1"}), &json!({"sub": "anna"}));
    let Err(refusal) = asked(&config(secret()), &token).await else { panic!("it is wrong") };
    let told = format!("{refusal:?}");
    assert!(!told.contains("anna") && !told.contains(&token[..20]) && !told.contains("k1"), "{told}");
    assert_eq!(refusal.kind(), Some(Kind::Unauthorized));
}
