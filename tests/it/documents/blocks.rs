//! The code in the documents works: each block is run here or by another test, or says that it is
//! not (`norun`).

use std::{fmt, fs, path::Path, process::Command};

use chunkflow::server::Config;
use tempfile::TempDir;

use super::{documents, read};
use crate::support::{Process, binary};

/// Blocks that a test of their own runs: the document, the language, and the file of the test,
/// which names the document.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    ("docs/access.md", "python", "tests/it/access/sessions.rs"),
    ("docs/coming-from-a-web-framework.md", "nginx", "tests/it/proxies.rs"),
    ("docs/django.md", "python", "python/tests/django/test_docs.py"),
    ("docs/proxies.md", "nginx", "tests/it/proxies.rs"),
    ("docs/python.md", "python", "python/tests/test_documents.py"),
    ("docs/resume.md", "js", "tests/it/resume.rs"),
    ("docs/resume.md", "nginx", "tests/it/clients.rs"),
    ("docs/resume.md", "python", "tests/it/resume.rs"),
    ("docs/resume.md", "sh", "tests/it/resume.rs"),
    ("docs/stores.md", "lua", "tests/it/stores/journal.rs"),
];

/// The address that the documents show.
const SHOWN: &str = "127.0.0.1:8080";

/// A block of code, and where it begins.
struct Block {
    document: String,
    line: usize,
    language: String,
    is_run: bool,
    text: String,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} ({})", self.document, self.line, self.language)
    }
}

impl Block {
    fn runs_elsewhere(&self) -> bool {
        let same =
            |(document, language, _): &&(&str, &str, &str)| *document == self.document && *language == self.language;
        ELSEWHERE.iter().any(|one| same(&one))
    }
}

/// The blocks of all documents.
fn blocks() -> Vec<Block> {
    let mut blocks = vec![];
    for document in documents().into_iter().filter(|path| path.starts_with("docs/") || path == "README.md") {
        let text = read(&document);
        let mut lines = text.lines().zip(1..);
        while let Some((line, number)) = lines.next() {
            assert!(!line.trim_start().starts_with("```") || line.starts_with("```"), "{document}:{number}: indented");
            let Some(info) = line.strip_prefix("```") else { continue };
            let words: Vec<&str> = info.split(' ').collect();
            let is_known = matches!(words[..], [_] | [_, "norun"]);
            assert!(is_known, "{document}:{number}: `{info}` is no language, and `norun` where it is not run");
            let inner = lines.by_ref().take_while(|(line, _)| *line != "```");
            let text: String = inner.map(|(line, _)| format!("{line}\n")).collect();
            let language = words[0].to_owned();
            blocks.push(Block { document: document.clone(), line: number, language, is_run: words.len() == 1, text });
        }
    }

    blocks
}

/// Those of a language that are run here.
fn run_here(language: &str) -> Vec<Block> {
    let blocks = blocks().into_iter().filter(|block| block.language == language);
    blocks.filter(|block| block.is_run && !block.runs_elsewhere()).collect()
}

#[test]
fn each_block_of_code_is_run_or_says_that_it_is_not() {
    for block in blocks().iter().filter(|block| block.is_run && !block.runs_elsewhere()) {
        // Text is what a program says, or a file of another's.
        let is_run_here = ["toml", "json", "sh", "console", "text"].contains(&&*block.language);
        assert!(is_run_here, "{block} is run by no test: name one that does, or write `norun` behind the language");
    }
    for (document, language, test) in ELSEWHERE {
        let is_there = blocks().iter().any(|block| block.document == *document && block.language == *language);
        assert!(is_there, "{document} has no {language}");
        assert!(read(test).contains(document), "{test} does not read {document}");
    }
}

/// A configuration of which a block may be a part.
fn whole(part: &str, folder: &Path) -> String {
    let mut pieces = part.split("${file:");
    let mut text = pieces.next().unwrap().to_owned();
    for piece in pieces {
        let (path, behind) = piece.split_once('}').unwrap();
        let file = folder.join(Path::new(path).file_name().unwrap());
        fs::write(&file, "what-a-file-of-a-test-holds-which-is-long-enough").unwrap();
        text += &format!("${{file:{}}}{behind}", file.display());
    }

    if text.contains("file = \"keys.toml\"") {
        let keys = folder.join("keys.toml");
        fs::write(&keys, format!("[acme]\nsha256 = \"{}\"\n", "5".repeat(64))).unwrap();
        text = text.replace("\"keys.toml\"", &format!("{:?}", keys.display().to_string()));
    }

    let has = |header: &str| part.lines().any(|line| line.starts_with(header));
    if !has("[databases]") {
        text += "[databases]\nmain = \"sqlite:app.sqlite\"\n";
    }

    let fields = part.lines().find_map(|line| line.strip_prefix("[resources.")?.strip_suffix(".fields]"));
    let name = fields.unwrap_or("list");
    if !part.lines().any(|line| line.starts_with("[resources.") && !line.contains(".fields]")) {
        text += &format!("[resources.{name}]\ndatabase = \"main\"\ntable = \"item\"\n");
    }

    text
}

#[test]
fn each_configuration_of_the_documents_is_right() {
    let folder = TempDir::new().unwrap();
    let environment = |name: &str| match name {
        "DATABASE_URL" => Some("postgres://app:secret@localhost/app".to_owned()),
        _ => Some("what-the-environment-of-a-test-holds".to_owned()),
    };
    let blocks = run_here("toml");
    assert!(blocks.len() > 12, "{} blocks were found", blocks.len());
    for block in blocks {
        let read = Config::parse("chunkflow.toml", &whole(&block.text, folder.path()), &environment);
        let told = read.err().map(|complaints| complaints.to_string()).unwrap_or_default();
        assert_eq!(told, "", "{block}");
    }
}

#[test]
fn the_json_of_the_documents_is_json_and_the_index_is_that_of_the_demo() {
    let folder = TempDir::new().unwrap();
    let demo = Process::serve(&["demo"], folder.path());
    let index: serde_json::Value = serde_json::from_slice(&demo.get("/").body).unwrap();
    for block in run_here("json") {
        let value: serde_json::Value =
            serde_json::from_str(&block.text).unwrap_or_else(|error| panic!("{block}: {error}"));
        if value.get("chunkflow").is_some() {
            assert_eq!(value, index, "{block}");
        }
    }
}

/// What a shell prints that runs some commands beside the demo, at the address that the documents
/// show.
fn printed(block: &Block, commands: &str, demo: &Process, folder: &Path) -> String {
    let home = folder.join("home");
    fs::create_dir_all(&home).unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_chunkflow")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    // The environment of a command of ours, without what this machine says to it.
    let clean = binary(&[], folder);
    let mut shell = Command::new("sh");
    for (name, _) in clean.get_envs().filter(|(_, value)| value.is_none()) {
        shell.env_remove(name);
    }

    let commands = commands.replace(SHOWN, &demo.address.to_string());
    shell.args(["-euc", &commands]).current_dir(folder).env("PATH", path).env("HOME", home);
    let output = shell.env("XDG_CACHE_HOME", folder).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{block}: {said}");
    String::from_utf8(output.stdout).unwrap().replace(&demo.address.to_string(), SHOWN)
}

#[test]
fn what_the_documents_have_a_shell_do_works_and_prints_what_they_show() {
    let folder = TempDir::new().unwrap();
    let demo = Process::serve(&["demo"], folder.path());
    let scripts = run_here("sh");
    let sessions = run_here("console");
    assert!(!scripts.is_empty() && !sessions.is_empty());

    for block in scripts {
        printed(&block, &block.text, &demo, folder.path());
    }

    for block in sessions {
        for command in format!("\n{}", block.text).split("\n$ ").skip(1) {
            let (command, shown) = command.split_once('\n').unwrap_or((command, ""));
            let printed = printed(&block, command, &demo, folder.path());
            assert_eq!(printed.trim_end(), shown.trim_end(), "{block}: {command}");
        }
    }
}
