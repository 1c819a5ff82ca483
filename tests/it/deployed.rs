//! The configurations that come with the program: `check` finds nothing wrong in any of them.

use crate::{
    servers::{Kind, Server},
    support::{Process, runtime},
};

/// The configuration within a manifest of Kubernetes.
fn of_manifest(text: &str) -> String {
    let (_, rest) = text.split_once("  chunkflow.toml: |\n").unwrap();
    let lines = rest.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    lines.map(|line| line.strip_prefix("    ").unwrap_or_default().to_owned() + "\n").collect()
}

/// The first configuration of a document that contains `sign`.
fn of_document(text: &str, sign: &str) -> String {
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split_once("\n```"));
    blocks.map(|(block, _)| block.to_owned()).find(|block| block.contains(sign)).unwrap()
}

#[test]
fn nothing_is_wrong_with_the_configurations_that_come_with_it() {
    let folder = tempfile::TempDir::new().unwrap();
    drop(Process::serve(&["demo", "--rows", "60", "--database", "tricks.sqlite"], folder.path()));
    let database = format!("sqlite:{}", folder.path().join("tricks.sqlite").display());
    let store = format!("redis://127.0.0.1:{}/0", Server::shared(Kind::Redis).port);
    let environment = |name: &str| match name {
        "DATABASE_URL" => Some(database.clone()),
        "CHUNKFLOW_STORE_URL" => Some(store.clone()),
        "CHUNKFLOW_ADMIN_TOKEN" => Some("a-token-of-a-test".to_owned()),
        "CHUNKFLOW_SECRET" => Some("the secret of a test, of no server".to_owned()),
        _ => None,
    };

    let readme = include_str!("../../README.md");
    for (name, text) in [
        ("chunkflow.example.toml", include_str!("../../chunkflow.example.toml").to_owned()),
        ("deploy/chunkflow.toml", include_str!("../../deploy/chunkflow.toml").to_owned()),
        ("deploy/kubernetes.yaml", of_manifest(include_str!("../../deploy/kubernetes.yaml"))),
        ("README.md", of_document(readme, "[resources.")),
    ] {
        // The host in it exists only next to the others of compose.yaml.
        let text = text.replace("redis://redis:6379/0", &store);
        let checked = runtime().block_on(chunkflow::server::Config::check(name, &text, &environment));
        let told = checked.err().map(|complaints| complaints.to_string()).unwrap_or_default();
        assert_eq!(told, "", "{name}");
    }
}

#[test]
fn what_a_configuration_takes_from_the_environment_is_given_to_it() {
    let names = |text: &str| -> Vec<String> {
        let parts = text.split("${").skip(1).filter_map(|rest| rest.split_once('}'));
        parts.map(|(name, _)| name.to_owned()).collect()
    };
    let compose = include_str!("../../deploy/compose.yaml");
    for name in names(include_str!("../../deploy/chunkflow.toml")) {
        assert!(compose.contains(&format!("      {name}: ")), "compose.yaml gives no {name}");
    }
    let manifest = include_str!("../../deploy/kubernetes.yaml");
    for name in names(&of_manifest(manifest)) {
        assert!(manifest.contains(&format!("\n  {name}: ")), "kubernetes.yaml gives no {name}");
    }
}

#[test]
fn what_packages_are_made_of_is_there_and_what_they_run_can_be_read() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let (_, behind) = include_str!("../../Cargo.toml").split_once("\nassets = [\n").unwrap();
    let (assets, _) = behind.split_once("\n]").unwrap();
    let assets = assets.lines().filter_map(|line| line.split('"').nth(1));
    let mut made = 0;
    for source in assets {
        // `packaging/build` makes the other files.
        if source.starts_with("target/package/stage/") {
            made += 1
        } else {
            assert!(root.join(source).is_file(), "{source}")
        }
    }

    assert!(made >= 5);
    let build = include_str!("../../packaging/build");
    for line in ["Type=notify", "DynamicUser=yes", "ExecStart=/usr/local/bin/chunkflow serve"] {
        assert!(include_str!("../../deploy/chunkflow.service").contains(line), "{line}");
    }

    assert!(build.contains("s|^DynamicUser=yes|User=chunkflow"));
    for script in ["packaging/build", "packaging/test", "packaging/debian/postinst"] {
        let read = std::process::Command::new("sh").args(["-n", script]).current_dir(root).status().unwrap();
        assert!(read.success(), "{script}");
    }
}
