//! What is said of an `[auth]` that is wrong or unwise.

use chunkflow::server::Config;

use crate::support::{numbered, runtime};

const SECRET: &str = "a secret of a test, of no server at all";

/// What is said of a configuration with this at its end, with a file of keys beside it.
fn told(text: &str) -> String {
    let file = numbered(3);
    let folder = file.folder.path();
    std::fs::write(folder.join("keys.toml"), "[a]\nsha256 = \"abc\"\n\n[b]\nsha = 1\n").unwrap();
    std::fs::write(folder.join("private.pem"), "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n")
        .unwrap();
    let config = file.config("table = \"item\"") + text;
    let name = folder.join("chunkflow.toml").display().to_string();
    let environment = |name: &str| (name == "JWT_SECRET").then(|| "HIDE-short".to_owned());
    let checked = runtime().block_on(Config::check(&name, &config, &environment));
    let told = checked.err().map(|complaints| complaints.to_string()).unwrap_or_default();
    told.replace(&folder.display().to_string(), "")
}

#[test]
fn each_mistake_is_told_at_its_place_with_the_remedy() {
    for (text, place, what, remedy) in [
        ("[auth]", "7:", "names no way", "[auth.jwt]"),
        ("[auth.jwt]\n", "7:", "nothing says with which key", "key_file"),
        ("[auth.jwt]\nsecret = \"HIDE-short\"", "8:10", "shorter than 32 bytes", "openssl rand"),
        ("[auth.jwt]\nsecret = \"${JWT_SECRET}\"", "8:10", "shorter than 32 bytes", "openssl rand"),
        ("[auth.jwt]\nsecret = \"-----BEGIN PUBLIC KEY-----HIDE\"", "8:10", "is a key in PEM", "key_file"),
        ("[auth.jwt]\nkey_file = \"private.pem\"", "8:12", "holds a private key", "public key"),
        ("[auth.jwt]\nkey_file = \"gone.pem\"", "8:12", "`gone.pem` cannot be read", "PEM"),
        ("[auth.jwt]\nkey_file = \"keys.toml\"", "8:12", "no public key", "PEM"),
        ("[auth.jwt]\njwks = \"issuer.example/keys\"", "8:8", "no URL of HTTP", "https://"),
        ("[auth.jwt]\njwks = \"https://HIDE:HIDE@issuer.example/\"", "8:8", "no URL of HTTP", "without a user"),
        ("[auth.jwt]\njwks = \"https://issuer.example/\"\nca = \"keys.toml\"", "9:6", "no certificate", "PEM"),
        ("[auth.jwt]\njwks = \"http://issuer.example/\"", "8:8", "changed on the way", "https://"),
        ("[auth.jwt]\nsecret = \"LONG\"\njwks = \"https://i.example/\"", "9:8", "secret and jwks", "one of"),
        ("[auth.jwt]\nsecret = \"LONG\"\nalgorithms = [\"none\"]", "9:14", "no algorithm `none`", "HS256"),
        ("[auth.jwt]\nsecret = \"LONG\"\nalgorithms = [\"RS256\"]", "9:14", "no key here is for `RS256`", "RSA"),
        ("[auth.jwt]\nsecret = \"LONG\"\nalgorithms = [\"HS512\"]", "9:14", "no key here is for `HS512`", "64"),
        ("[auth.jwt]\njwks = \"https://i.example/\"\nalgorithms = [\"HS256\"]", "9:14", "no key here", "secret"),
        ("[auth.jwt]\nsecret = \"LONG\"\nleeway = \"1h\"", "9:10", "longer than ten minutes", "60s"),
        ("[auth.jwt]\nsecret = \"LONG\"\naudience = \"\"", "9:12", "`audience` is empty", "take it out"),
        ("[auth.jwt]\nsecret = \"LONG\"\nissuers = \"x\"", "9:1", "unknown key `issuers`", "issuer"),
        ("[auth.keys]\nfile = \"keys.toml\"", "8:8", "/keys.toml:2:10: `sha256` is no digest", "chunkflow key new"),
        ("[auth.keys]\nfile = \"keys.toml\"", "8:8", "/keys.toml:5:1: unknown key `sha`", "sha256"),
        ("[auth.keys]\nfile = \"gone.toml\"", "8:8", "`gone.toml` cannot be read", "chunkflow key new"),
        ("[auth]\nproxy = { header = \"X-User\" }", "8:", "`claim` is missing", "claim = \"sub\""),
        ("[auth]\nproxy = { header = \"a b\", claim = \"sub\" }", "8:20", "`a b`", "X-Remote-User"),
        ("[auth]\nproxy = { header = \"Cookie\", claim = \"sub\" }", "8:20", "`Cookie`", "X-Remote-User"),
        ("[auth]\nproxy = { header = \"x\", claim = \"sub\", as = \"number\" }", "8:45", "no type", "\"integer\""),
        ("[auth]\nproxy = []", "8:9", "names no header", "X-Remote-User"),
        ("[auth]\nproxy = { header = \"x\", claim = \"sub\" }", "8:", "no proxy is trusted", "trusted_proxies"),
        ("[auth.forward]\ncookies = [\"a\"]", "7:", "`url` is missing", "http://127.0.0.1"),
        ("[auth.forward]\nurl = \"http://app.example/\"", "8:7", "changed on the way", "https://"),
        (
            "[auth.forward]\nurl = \"http://127.0.0.1/\"\ncookies = [\"a=b\"]",
            "9:11",
            "no name of a cookie",
            "sessionid",
        ),
        ("[auth.forward]\nurl = \"http://127.0.0.1/\"\ncache = \"2h\"", "9:9", "longer than an hour", "10s"),
        ("[auth.jwks]\nurl = \"x\"", "7:", "unknown key `jwks`", "jwt"),
    ] {
        let told = told(&text.replace("LONG", SECRET));
        assert!(told.contains(&format!("chunkflow.toml:{place}")), "{text}: {told}");
        assert!(told.contains(what) && told.contains(remedy), "{text}: {told}");
        assert!(!told.contains("HIDE") && !told.contains(SECRET), "{text}: {told}");
    }
}

#[test]
fn an_auth_that_is_right_is_told_nothing_of() {
    for text in [
        format!(
            "[auth.jwt]\nsecret = [\"{SECRET}\", \"${{JWT_SECRET}} and a longer one that is old\"]\nissuer = [\"a\", \"b\"]"
        ),
        "[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n[auth]\nproxy = [{ header = \"X-User\", claim = \"sub\" }, \
         { header = \"X-Org\", claim = \"org\", as = \"integer\" }]"
            .to_owned(),
    ] {
        assert_eq!(told(&text), "", "{text}");
    }
}

#[test]
fn tickets_that_only_one_server_knows_are_told_of_where_others_may_get_them() {
    let auth = "[auth.forward]\nurl = \"http://localhost:8000/\"\n[store]\nurl = \"redis://127.0.0.1:1/0\"\n";
    let what = "a ticket opens a stream only on the server that made it";
    assert!(told(auth).contains(what));
    assert!(!told(&format!("{auth}[server]\nsecret = \"{SECRET}\"\n")).contains(what));
}

/// A server that answers each request so; its address.
fn answering(answer: &'static str) -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let head =
                "HTTP/1.1 STATUS\r\nConnection: close\r\n\r\n".replace("STATUS", &answer[..answer.find('|').unwrap()]);
            let body = &answer[answer.find('|').unwrap() + 1..];
            let _ = std::io::Write::write_all(&mut stream, (head + body).as_bytes());
        }
    });
    format!("http://{address}/")
}

#[test]
fn servers_that_do_not_answer_as_they_should_are_told_of() {
    const KEYS: &str = "200 OK|{\"keys\":[{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\
                        \"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}";
    for (answer, what) in [
        (KEYS, ""),
        ("200 OK|{\"keys\":[{\"kty\":\"oct\",\"k\":\"AAAA\"}]}", "none of the keys there"),
        ("404 Not Found|", "the answer is 404"),
        ("200 OK|<html>", "no JWKS"),
    ] {
        let told = told(&format!("[auth.jwt]\njwks = \"{}\"", answering(answer)));
        assert_eq!(told.is_empty(), what.is_empty(), "{answer}: {told}");
        assert!(told.contains(what) && (what.is_empty() || told.contains(":8:8:")), "{answer}: {told}");
    }

    for (answer, is_right) in
        [("401 Unauthorized|", true), ("302 Found|", true), ("200 OK|{}", true), ("404 No|", false)]
    {
        let told = told(&format!("[auth.forward]\nurl = \"{}\"\ncookies = [\"sessionid\"]", answering(answer)));
        assert_eq!(told.is_empty(), is_right, "{answer}: {told}");
    }
    assert!(told("[auth.forward]\nurl = \"http://127.0.0.1:1/\"").contains("does not answer"));
}
