//! Tokens that open some of the operator's paths only.

use chunkflow::server::{Action, AdminConfig, AdminToken, Listen, Server};

use super::{JSON, Told, problem, token};
use crate::{
    client::Client,
    support::{checked, numbered, parse},
};

const WHOLE: &str = "wh0le";

/// Every path of the operator, with the action that opens it.
const PATHS: &[(&str, &str, &str)] = &[
    ("GET", "/metrics", "metrics"),
    ("HEAD", "/metrics", "metrics"),
    ("GET", "/status.json", "status"),
    ("POST", "/changed/list", "changed"),
    ("POST", "/purge/list", "purge"),
    ("POST", "/warm/list", "warm"),
    ("GET", "/healthz", ""),
    ("POST", "/cut/1", ""),
    ("POST", "/reload", ""),
    ("GET", "/nowhere", ""),
    ("POST", "/", ""),
];

const ACTIONS: &[&str] = &["changed", "purge", "warm", "metrics", "status"];

/// A token for each action, one for two of them, and perhaps `token`.
fn guarded(has_token: bool) -> Told {
    Told::with(|admin| {
        admin.token = has_token.then(|| WHOLE.to_owned());
        admin.tokens = ACTIONS
            .iter()
            .map(|action| AdminToken::new(format!("for-{action}"), &[Action::named(action).unwrap()]))
            .collect();
        admin.tokens.push(AdminToken::new("for-two", &[Action::Purge, Action::Changed]));
    })
}

fn status(told: &Told, method: &str, target: &str, token: Option<&str>) -> u16 {
    let bearer = token.map(|token| format!("Bearer {token}"));
    let mut fields = vec![("host", "admin.internal"), ("connection", "close"), JSON, ("content-length", "11")];
    fields.extend(bearer.as_deref().map(|bearer| ("authorization", bearer)));
    let mut client = Client::connect(told.admin);
    client.send(method, target, "HTTP/1.1", &fields);
    let _ = std::io::Write::write_all(&mut client.stream, b"{\"keys\":[]}");
    client.read_reply(method).status
}

#[test]
fn a_token_opens_the_paths_of_its_actions_and_no_other() {
    for has_token in [true, false] {
        let told = guarded(has_token);
        for (method, target, action) in PATHS {
            let ask = |token: Option<&str>| status(&told, method, target, token);
            for wrong in [None, Some("wrong"), Some(""), Some("for-"), Some("for-changed,"), Some("FOR-CHANGED")] {
                assert_eq!(ask(wrong), 401, "{method} {target} {wrong:?}");
            }

            let open = ask(Some(WHOLE));
            assert_eq!(open == 401, !has_token, "{method} {target}: {open}");
            for other in ACTIONS {
                let answered = ask(Some(&format!("for-{other}")));
                if other == action {
                    assert!(answered < 300, "{method} {target} {other}: {answered}");
                } else {
                    assert_eq!(answered, 403, "{method} {target} {other}");
                }
            }
            assert_eq!(ask(Some("for-two")) == 403, !["purge", "changed"].contains(action), "{method} {target}");
        }

        // The page holds no secret, and its script asks for the token.
        assert_eq!(status(&told, "GET", "/", None), 200);
        assert_eq!(status(&told, "GET", "/", Some("for-changed")), 200);
    }
}

#[test]
fn a_token_that_is_not_for_a_path_is_told_so_over_both_protocols() {
    let told = guarded(false);
    let bearer = ("authorization", "Bearer for-metrics");
    for reply in
        [told.tell("/changed/list", &[JSON, bearer], b"{}"), told.tell2("/changed/list", &[JSON, bearer], &[b"{}"])]
    {
        let (status, text) = problem(&reply);
        assert!(status == 403 && text.contains("not for this path") && text.contains("`may`"), "{text}");
    }

    let bearer = ("authorization", "Bearer for-changed");
    token(&told.tell("/changed/list", &[JSON, bearer], br#"{"keys":[1]}"#));
    token(&told.tell2("/changed/list", &[JSON, bearer], &[br#"{"keys":[1]}"#]));
    let foreign = ("origin", "http://evil.example");
    assert_eq!(told.tell("/changed/list", &[JSON, bearer, foreign], b"{}").status, 403);
}

#[test]
fn a_body_is_not_read_of_one_without_the_token() {
    let told = guarded(true);
    for token in ["Bearer wrong", "Bearer for-metrics"] {
        let mut client = Client::connect(told.admin);
        let fields =
            [("host", "x"), JSON, ("content-length", "12"), ("expect", "100-continue"), ("authorization", token)];
        client.send("POST", "/changed/list", "HTTP/1.1", &fields);
        assert!([401, 403].contains(&client.read_reply("POST").status), "{token}");
    }
}

#[test]
fn a_listener_beyond_loopback_is_satisfied_by_either_and_a_reload_takes_new_ones() {
    let file = numbered(1);
    let server = file.serve("table = \"item\"");
    let beyond = || AdminConfig::at("0.0.0.0:0".parse::<Listen>().unwrap());
    let bind = |config: AdminConfig| server.block_on(async { Server::bind_admin(config, server.chunkflow.clone()) });
    let refused = |config: AdminConfig| bind(config).err().map(|error| error.to_string()).unwrap_or_default();

    assert!(refused(beyond()).contains("beyond loopback"));
    assert!(
        refused(beyond().with(|admin| admin.tokens = vec![AdminToken::new(" ", &[Action::Changed])]))
            .contains("is empty")
    );

    let bound = bind(beyond().with(|admin| admin.tokens = vec![AdminToken::new("x", &[Action::Changed])])).unwrap();
    let prepare = |config: AdminConfig| bound.reload().prepare_admin(&config, server.chunkflow.clone()).is_ok();
    assert!(!prepare(beyond()));
    assert!(prepare(beyond().with(|admin| admin.tokens = vec![AdminToken::new("y", &[Action::Purge])])));
    assert!(prepare(beyond().with(|admin| admin.token = Some("z".to_owned()))));
}

#[test]
fn tokens_of_a_configuration_are_complained_of_with_their_place_and_never_shown() {
    let file = numbered(1);
    let list = file.config("table = \"item\"");
    for (admin, told) in [
        ("tokens = 5", "2:10: `tokens` is integer, not a list of tables"),
        ("tokens = [\"HIDE\"]", "2:11: `tokens` is string, not a list of tables"),
        ("tokens = [{ may = [\"changed\"] }]", "2:11: `token` is missing"),
        ("tokens = [{ token = \"\", may = [\"changed\"] }]", "2:21: `token` is empty"),
        ("tokens = [{ token = \"HIDE x\", may = [\"changed\"] }]", "2:21: the token has characters"),
        ("tokens = [{ token = 5, may = [\"changed\"] }]", "2:21: `token` is integer, not a text"),
        ("tokens = [{ token = \"HIDE\" }]", "2:11: `may` is missing"),
        ("tokens = [{ token = \"HIDE\", may = [] }]", "2:35: `may` is empty"),
        ("tokens = [{ token = \"HIDE\", may = \"changed\" }]", "2:35: `may` is string, not a list of texts"),
        ("tokens = [{ token = \"HIDE\", may = [\"changd\"] }]", "2:35: `may` has no action `changd`"),
        ("tokens = [{ token = \"HIDE\", may = [\"purge\"], x = 1 }]", "unknown key `x` in [admin.tokens.0]"),
        (
            "tokens = [{ token = \"HIDE\", may = [\"purge\"] }, { token = \"HIDE\", may = [\"warm\"] }]",
            "2:58: the same token",
        ),
        ("token = \"HIDE\"\ntokens = [{ token = \"HIDE\", may = [\"warm\"] }]", "3:21: the same token"),
        (
            "tokens = [{ token = \"${NOT_SET}\", may = [\"warm\"] }]",
            "2:21: the environment variable `NOT_SET` is not set",
        ),
        ("listen = \"0.0.0.0:1\"\ntokens = []", "2:10: an admin listener beyond loopback needs a token"),
    ] {
        let complaints = checked(&format!("[admin]\n{admin}\n{list}"));
        assert!(complaints.contains(told) && !complaints.contains("HIDE"), "{admin}: {complaints}");
    }

    let right =
        format!("[admin]\nlisten = \"0.0.0.0:1\"\ntokens = [{{ token = \"HIDE\", may = [\"changed\"] }}]\n{list}");
    let shown = format!("{:?}", parse(&right).unwrap());
    assert!(!shown.contains("HIDE") && shown.contains("may: [Changed]"), "{shown}");

    let environment = |name: &str| (name == "TOKEN").then(|| "HIDE".to_owned());
    let filled = right.replace("\"HIDE\"", "\"${TOKEN}\"");
    let config = chunkflow::server::Config::parse("chunkflow.toml", &filled, &environment).unwrap();
    assert_eq!(config.admin.as_ref().unwrap().tokens[0].token, "HIDE");
    assert!(!format!("{config:?}").contains("HIDE"));
}
