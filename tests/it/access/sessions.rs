//! Tenants of a Django site by session, as docs/access.md has them: the view there is run by Django
//! itself.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdin, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    servers::{Db, sqlite},
    support::{Reply, Running, ask},
};

/// The Django site; it ends when this is dropped.
pub(super) struct Site {
    process: Child,
    _alive: ChildStdin,
    pub(super) port: u16,
    pub(super) sessions: Value,
    _folder: TempDir,
}

impl Site {
    pub(super) fn start() -> Site {
        let folder = TempDir::new().unwrap();
        let document = std::fs::read_to_string("docs/access.md").unwrap();
        let view = document.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
        let file = folder.path().join("views.py");
        std::fs::write(&file, view).unwrap();

        let mut process = Command::new("tests/django/whoami")
            .args([&file, &folder.path().join("site.sqlite")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Django is there: ./test installs it");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let sessions: Value = serde_json::from_str(&line).expect("the site says where it is");
        let port = sessions["port"].as_u64().unwrap() as u16;
        Site { _alive: process.stdin.take().unwrap(), process, port, sessions, _folder: folder }
    }

    fn cookie(&self, name: &str) -> String {
        format!("other=1; sessionid={}; theme=dark", self.sessions[name].as_str().unwrap())
    }

    pub(super) fn get(&self, target: &str) -> String {
        let reply = ask(([127, 0, 0, 1], self.port).into(), "GET", target, &[]);
        String::from_utf8(reply.body).unwrap()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Lists of tenants over a table, with this in `[auth.forward]`.
fn serve(db: &Db, site: &Site, forward: &str) -> Running {
    super::fill(db, 30);
    let text = format!(
        "[auth.forward]\nurl = \"http://127.0.0.1:{}/whoami\"\ncookies = [\"sessionid\"]\n{forward}\n{}\n\
         [resources.bills]\ndatabase = \"main\"\ntable = \"item\"\nrequire = {{ role = [\"accountant\", \"owner\"] }}\n\
         scope = {{ org = \"org\" }}\n[resources.open]\ndatabase = \"main\"\ntable = \"item\"\n",
        site.port,
        db.config("table = \"item\"\nscope = { org = \"org\" }"),
    );
    Running::config(&text)
}

fn with_cookie(server: &Running, target: &str, cookie: &str) -> Reply {
    ask(server.address, "GET", target, &[("cookie", cookie)])
}

#[test]
fn each_session_of_a_django_site_gets_its_organisation_s_rows() {
    let site = Site::start();
    let db = sqlite();
    let server = serve(&db, &site, "cache = \"1h\"");
    let ids = |reply: &Reply| -> Vec<u64> { reply.results().iter().map(|row| row["id"].as_u64().unwrap()).collect() };
    for _ in 0..3 {
        for (name, org) in [("anna", 1), ("bea", 2), ("carl", 1)] {
            let reply = with_cookie(&server, "/list", &site.cookie(name));
            assert_eq!(ids(&reply), (1..=30).filter(|id| id % 3 == org).collect::<Vec<u64>>(), "{name}");
        }
    }
    assert_eq!(site.get("/asked"), "3", "each session is asked about once for an hour");

    assert_eq!(with_cookie(&server, "/bills", &site.cookie("anna")).status, 200);
    assert_eq!(with_cookie(&server, "/bills", &site.cookie("carl")).status, 403);
    let nobody = with_cookie(&server, "/list", "sessionid=invented");
    assert_eq!(nobody.status, 401);
    assert!(String::from_utf8(nobody.body).unwrap().contains("log in first"), "in the application's own words");

    // Without a cookie of the site nobody is asked; and a public list asks nobody.
    let asked = site.get("/asked");
    assert_eq!(with_cookie(&server, "/list", "other=1").status, 401);
    assert_eq!(with_cookie(&server, "/open", "sessionid=invented").status, 200);
    assert_eq!(site.get("/asked"), asked);
}

#[test]
fn who_has_logged_out_goes_on_for_cache_and_no_longer() {
    let site = Site::start();
    let db = sqlite();
    let kept = serve(&db, &site, "cache = \"1h\"");
    let asked_each_time = Running::config(&format!(
        "[auth.forward]\nurl = \"http://127.0.0.1:{}/whoami\"\ncookies = [\"sessionid\"]\ncache = \"0s\"\n{}",
        site.port,
        db.config("table = \"item\"\nscope = { org = \"org\" }"),
    ));
    let bea = site.cookie("bea");
    for server in [&kept, &asked_each_time] {
        assert_eq!(with_cookie(server, "/list", &bea).status, 200);
    }
    site.get("/logout/bea");
    assert_eq!(with_cookie(&kept, "/list", &bea).status, 200);
    assert_eq!(with_cookie(&asked_each_time, "/list", &bea).status, 401);
}

#[test]
fn while_the_application_is_away_closed_lists_are_503_and_public_ones_go_on() {
    let db = sqlite();
    let site = Site::start();
    let server = serve(&db, &site, "");
    let anna = site.cookie("anna");
    drop(site);
    let away = with_cookie(&server, "/list", &anna);
    assert_eq!(away.status, 503);
    assert_ne!(away.header("retry-after"), "");
    assert_eq!(with_cookie(&server, "/open", &anna).status, 200);
    assert_eq!(server.get("/list").status, 401, "who says nothing is asked nothing");
}
