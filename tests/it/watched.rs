//! `--watch-config`: the configuration is reloaded whenever its files change.

use std::{fs, net::SocketAddr, os::unix::fs::symlink, path::Path, process::Stdio};

use crate::{
    machines::{Authority, cli},
    servers::{Kind, Server},
    support::{File, Process, binary, numbered, output_in_time, until},
};

fn serve(folder: &Path) -> Process {
    Process::serve(&["serve", "--watch-config", "--log", "info"], folder)
}

fn write(file: &File, sections: &str, name: &str) {
    let text = file.config("table = \"item\"").replace("resources.list", &format!("resources.{name}"));
    fs::write(file.folder.path().join("chunkflow.toml"), format!("{sections}\n{text}")).unwrap();
}

#[test]
fn a_changed_configuration_is_taken_over_by_itself_and_a_wrong_one_is_refused_once() {
    let file = numbered(10);
    let path = file.folder.path().join("chunkflow.toml");
    write(&file, "", "list");
    let mut server = serve(file.folder.path());
    assert_eq!(server.get("/list").status, 200);

    write(&file, "", "other");
    until("the new list is there", || server.get("/other").status == 200);
    assert_eq!(server.get("/list").status, 404);

    // An invalid file is not read again until it changes; the next change is noticed.
    fs::write(&path, "[server]\nnonsense = 1\n").unwrap();
    std::thread::sleep(std::time::Duration::from_millis(2_500));
    assert_eq!(server.get("/other").status, 200, "the old one goes on");

    // As editors write: another file takes its place.
    write(&file, "", "third");
    let text = fs::read(&path).unwrap();
    fs::write(&path, "[server]\nnonsense = 2\n").unwrap();
    fs::write(file.folder.path().join("new"), text).unwrap();
    fs::rename(file.folder.path().join("new"), &path).unwrap();
    until("the third list is there", || server.get("/third").status == 200);

    // A missing file does not bring the demo.
    fs::remove_file(&path).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(1_500));
    assert_eq!(server.get("/third").status, 200);
    write(&file, "", "list");
    until("the first list is there again", || server.get("/list").status == 200);

    let log = server.kill().join("\n");
    assert_eq!(log.matches("unknown key `nonsense`").count(), 1, "one complaint for one change: {log}");
}

#[test]
fn a_changed_secret_is_taken_over_and_so_is_a_link_that_is_turned() {
    let file = numbered(10);
    let folder = file.folder.path();
    let admin = SocketAddr::from(([127, 0, 0, 1], crate::servers::free_port()));
    let token = folder.join("token");
    // As Kubernetes mounts secrets: a link to a folder is changed.
    for (version, value) in [("v1", "first"), ("v2", "second")] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("token"), value).unwrap();
    }

    symlink("v1", folder.join("data")).unwrap();
    symlink("data/token", &token).unwrap();
    write(&file, &format!("[admin]\nlisten = \"{admin}\"\ntoken = \"${{file:token}}\""), "list");
    let _server = serve(folder);
    let status = |token: &str| {
        let header = format!("Bearer {token}");
        crate::support::ask(admin, "GET", "/metrics", &[("authorization", &header)]).status
    };

    assert_eq!((status("first"), status("second")), (200, 401));

    symlink("v2", folder.join("next")).unwrap();
    fs::rename(folder.join("next"), folder.join("data")).unwrap();
    until("the second token is asked for", || status("second") == 200);
    assert_eq!(status("first"), 401);
    fs::write(folder.join("v2/token"), "third").unwrap();
    until("the third token is asked for", || status("third") == 200);
}

#[test]
fn another_authority_of_the_store_is_taken_over() {
    let [right, wrong] = [Authority::new(), Authority::new()];
    let (arguments, port) = right.arguments();
    let redis = Server::start_with(Kind::Redis, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let file = numbered(10);
    let folder = file.folder.path();
    let ca = folder.join("ca.pem");
    fs::copy(wrong.file("ca.pem"), &ca).unwrap();
    let store = format!("[store]\nurl = \"rediss://localhost:{port}\"\ntls = {{ ca = \"ca.pem\" }}");
    write(&file, &store, "list");
    let server = serve(folder);
    assert_eq!(server.get("/list").status, 200, "without its store too");
    assert_eq!(cli(&redis, &["dbsize"]).trim(), "0");

    fs::copy(right.file("ca.pem"), &ca).unwrap();
    until("chunks are in the store", || {
        assert_eq!(server.get("/list?limit=1").status, 200);
        cli(&redis, &["dbsize"]).trim() != "0"
    });
}

#[test]
fn there_is_nothing_to_watch_where_no_file_is_served() {
    let folder = tempfile::TempDir::new().unwrap();
    for (arguments, variable) in [(&["demo", "--watch-config"][..], None), (&[], Some("true"))] {
        let mut command = binary(arguments, folder.path());
        command.env("CHUNKFLOW_LISTEN", "127.0.0.1:0").stderr(Stdio::piped());
        variable.map(|value| command.env("CHUNKFLOW_WATCH_CONFIG", value));
        let output = output_in_time(&mut command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("there is no file to watch"), "{said}");
    }
}
