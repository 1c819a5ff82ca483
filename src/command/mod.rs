//! The commands of the binary.

mod ask;
mod changed;
mod check;
mod completions;
mod demo;
mod export;
mod files;
mod init;
mod key;
mod logs;
mod man;
mod open;
mod origin;
mod part;
mod process;
mod progress;
mod purge;
mod reload;
mod running;
mod serve;
mod systemd;
mod traces;
mod tricks;
mod warm;

use std::{
    cell::Cell,
    io::{self, Write},
    path::PathBuf,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand, builder::BoolishValueParser};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

pub use self::{logs::Logs, process::main, systemd::Sockets, traces::Traces};
use crate::{coding::CODINGS, config::LogFormat, format::FORMATS, kind};

/// What a shell sees of how a command ended.
const EXIT_CODES: &str = "\
Exit codes: 0 done; 1 failed, or something is wrong; 2 wrong usage.
A command whose reader has gone (`| head`) ends without a word.";

/// Streams a long database list as one HTTP response, from cached chunks.
///
/// Without a command it serves what chunkflow.toml in this folder describes;
/// where there is none, a demo list, so that there is something to see at once:
///
///   chunkflow &
///   curl http://127.0.0.1:8080/tricks
///
/// `chunkflow serve DATABASE_URL` serves a database as it is found.
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment, max_term_width = 80, after_long_help = EXIT_CODES)]
pub struct Cli {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Options of every command.
#[derive(Args, Debug)]
struct Options {
    /// The configuration; without it chunkflow.toml in this folder
    #[arg(long, global = true, env = "CHUNKFLOW_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// How much to say on standard error: error, warn, info or debug
    #[arg(long, global = true, env = "CHUNKFLOW_LOG", value_name = "LEVEL", default_value = "info")]
    log: tracing::Level,
    /// How to say it: text, or JSON, one object a line; wins over `log_format` of [server]
    #[arg(long, global = true, env = "CHUNKFLOW_LOG_FORMAT", value_name = "FORMAT", value_parser = log_format)]
    log_format: Option<LogFormat>,
}

/// Reads the form of log lines.
fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write text or json".to_owned()),
    }
}

/// Options of the commands that serve; they win over the environment, which wins over the file.
#[derive(Args, Clone, Debug, Default)]
struct ServeOptions {
    /// Where to listen: IP:PORT, or unix:/PATH
    #[arg(long, env = "CHUNKFLOW_LISTEN", value_name = "ADDRESS")]
    listen: Option<String>,
    /// Where to keep chunks, for instance memory:256MiB
    #[arg(long, env = "CHUNKFLOW_STORE", value_name = "URL", hide_env_values = true)]
    store: Option<String>,
    /// A file with the table [auth], in place of the configuration's: by which ways
    /// requests say who they are from
    #[arg(long, env = "CHUNKFLOW_AUTH", value_name = "FILE")]
    auth: Option<PathBuf>,
    /// Read the configuration again whenever its file changes, or one of its
    /// ${file:PATH}; one that is wrong is refused, and the old one goes on
    #[arg(long, env = "CHUNKFLOW_WATCH_CONFIG", value_parser = BoolishValueParser::new())]
    watch_config: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(verbatim_doc_comment)]
    /// Serve the lists that the configuration describes, or a database
    ///
    /// Each resource is a list at /NAME; / says what there is. Ctrl-C and SIGTERM
    /// let running streams end, for as long as `drain` says; a second signal cuts
    /// them. SIGHUP, `chunkflow reload` and --watch-config have the configuration
    /// read again, from where it was read first, without a stream being cut.
    ///
    /// With a database and no configuration every table and view is a list that has
    /// a key and holds no secrets by its looks; the log says what was left out and
    /// why. With both, the database takes the place of the configuration's.
    /// Where neither is named, DATABASE_URL of the environment is taken.
    ///
    ///   chunkflow serve postgres://app@localhost/app
    ///   chunkflow serve mysql://app@localhost/app
    ///   chunkflow serve app.sqlite
    ///
    /// A password in the URL is percent-encoded (%40 for @). Where the URL has none,
    /// PGPASSWORD and MYSQL_PWD are read.
    Serve {
        /// A database to serve: postgres://…, mysql://…, sqlite:FILE or a file's name
        #[arg(value_name = "DATABASE_URL")]
        database: Option<String>,
        #[command(flatten)]
        serve: ServeOptions,
    },
    #[command(verbatim_doc_comment)]
    /// Print a configuration for a database
    ///
    /// Its tables, and the related rows that its foreign keys tell of. What it prints
    /// works unchanged and passes `check`; then take out what nobody should see.
    /// Tables without a key, tables that hold credentials or sessions by their looks,
    /// and relations that would be slow are in it as comments, each with why.
    ///
    ///   chunkflow init postgres://app@localhost/app > chunkflow.toml
    ///   chunkflow check && chunkflow serve
    Init {
        /// The database: postgres://…, mysql://…, sqlite:FILE or a file's name;
        /// without it DATABASE_URL of the environment
        #[arg(value_name = "DATABASE_URL")]
        database: Option<String>,
    },
    #[command(verbatim_doc_comment)]
    /// Make a SQLite file with the list of tricks, once, and serve it
    ///
    /// The file has the tables tricks_trick, tricks_category, tricks_technology and
    /// two join tables, with text that breaks toys: quotes, emoji, right-to-left,
    /// control characters. The same rows come out each time.
    ///
    ///   chunkflow demo
    ///   chunkflow demo --rows 1000000 --database tricks.sqlite
    Demo {
        /// How many tricks
        #[arg(long, default_value_t = 350, value_parser = clap::value_parser!(u32).range(..=20_000_000))]
        rows: u32,
        /// The file to make and serve; without it one in the user's cache folder
        #[arg(long, value_name = "FILE")]
        database: Option<PathBuf>,
        #[command(flatten)]
        serve: ServeOptions,
    },
    #[command(verbatim_doc_comment)]
    /// Say everything that is wrong or slow about the configuration
    ///
    /// Reads it, opens the databases, and looks at how they would answer. Each
    /// complaint has its place, file:line:column, and a remedy. Where there is no
    /// configuration, what `serve` would make of DATABASE_URL is looked at.
    /// Exit code 0 only when nothing is wrong; a note, as on a column whose
    /// values are guessed (`values = "django"`), is of nothing that is wrong.
    ///
    ///   chunkflow check
    ///   chunkflow check --config /etc/chunkflow/chunkflow.toml && systemctl reload chunkflow
    Check,
    #[command(verbatim_doc_comment)]
    /// Load the chunks of lists into the shared store before anybody asks
    ///
    /// It can run beside live traffic: chunks that are there and fresh are left
    /// alone, and the databases are read by --reads at once, one unless told
    /// otherwise. A progress bar shows on a terminal.
    ///
    ///   chunkflow warm
    ///   chunkflow warm tricks --format json,ndjson --encoding identity,gzip,br
    Warm {
        /// The resources; without any, all of them
        resources: Vec<String>,
        #[arg(help = format!("The formats to load: {}", kind::names(FORMATS)), long, value_delimiter = ',', default_value = "json")]
        format: Vec<String>,
        #[arg(help = format!("The encodings to make: identity, {}", kind::names(CODINGS)), long, value_delimiter = ',', default_value = "identity,gzip")]
        encoding: Vec<String>,
        /// Reads of a database at once
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=1000))]
        reads: u16,
    },
    #[command(verbatim_doc_comment)]
    /// Forget the chunks of a resource, on every server that shares the store
    ///
    /// Streams that begin afterwards hold no row that was read before: within two
    /// seconds on every server. Where chunks are in the server's memory, the running
    /// server is asked through its [admin] listener.
    ///
    /// With conditions, as requests for the list have them, only lists with these
    /// conditions are forgotten, and the chunks of the rows that meet them.
    ///
    ///   chunkflow purge tricks
    ///   chunkflow purge tricks organisation_id=eq.1
    Purge {
        /// The resource
        resource: String,
        /// Which rows: a parameter of the list with its value
        #[arg(value_name = "CONDITION")]
        conditions: Vec<String>,
    },
    #[command(verbatim_doc_comment)]
    /// Tell that rows have changed, so that lists show them as they are
    ///
    /// A row is named by the value of its primary key: 7, dahlia; or where the key
    /// has several columns, by an array of JSON: '[1,"a"]'. Tell it after its
    /// transaction is committed. The running server is told through its [admin]
    /// listener. Where none answers, the store is told, if servers share one.
    /// What it prints ends in a token, which says how far has been told.
    ///
    ///   chunkflow changed tricks 7 dahlia
    ///   chunkflow changed tricks --table tricks_category 3
    ///   psql app -Atc 'SELECT id FROM tricks_trick' | chunkflow changed tricks
    Changed {
        /// The resource
        resource: String,
        /// The rows' keys; without any, or with -, those of standard input, one a line
        #[arg(value_name = "KEY", allow_negative_numbers = true)]
        keys: Vec<String>,
        /// The rows' table, if it is another one of the resource's database
        #[arg(long, value_name = "NAME")]
        table: Option<String>,
        /// Where their commit is in the database's log, if lists are read from a standby
        #[arg(long, value_name = "POSITION")]
        at: Option<String>,
    },
    #[command(verbatim_doc_comment)]
    /// Have the running server read its configuration again
    ///
    /// The server is asked through its [admin] listener; SIGHUP does the same. It
    /// reads where it read at its start. A configuration that is wrong is refused
    /// whole, with every complaint, and the old one goes on. Else new requests get
    /// the new one, and streams under way end with what they began with: none is cut.
    /// Chunks in memory are kept where [store] and [databases] are unchanged. The
    /// addresses that it listens at change only with a restart.
    ///
    ///   chunkflow reload
    ///   chunkflow reload --config /etc/chunkflow/chunkflow.toml
    Reload,
    #[command(verbatim_doc_comment)]
    /// Write a list to a file or to standard output
    ///
    /// The same bytes that the server would stream. The file appears under its name
    /// only when it is whole; a progress bar shows on a terminal.
    /// A file that is there is replaced, and its owner, group and mode stay; a new
    /// one is made as the umask says.
    ///
    ///   chunkflow export tricks --output tricks.csv
    ///   chunkflow export tricks --format ndjson | gzip > tricks.ndjson.gz
    ///   chunkflow export tricks --select title,url --output tricks.csv
    Export {
        /// The resource
        resource: String,
        #[arg(help = format!("The format: {}; without it, by the file's extension", kind::names(FORMATS)), long)]
        format: Option<String>,
        /// The file; without it, or with -, standard output
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// The members of each row, in this order, between commas; without it all
        #[arg(long, value_name = "MEMBERS")]
        select: Option<String>,
        /// Another order of the rows, of those that the resource declares
        #[arg(long, allow_hyphen_values = true)]
        order: Option<String>,
    },
    #[command(verbatim_doc_comment)]
    /// Make an API key
    ///
    /// The key is printed once and kept nowhere. Its entry, with a digest of it and its
    /// claims, goes to the end of --file, or is printed too; the file is the one that
    /// `[auth.keys]` names. The running server knows the key after a reload.
    ///
    ///   chunkflow key new partner --claim org=7 --file keys.toml
    ///   chunkflow key new report --claim 'role=["reader"]' --expires 2027-06-30
    Key {
        /// What to do
        action: KeyAction,
        /// Whose key it is
        name: String,
        /// A claim of its owner: a number, true, false, JSON, or else a text; any number of them
        #[arg(long = "claim", value_name = "NAME=VALUE")]
        claims: Vec<String>,
        /// When it ends: a day (2027-06-30) or a time with its zone
        #[arg(long, value_name = "MOMENT")]
        expires: Option<String>,
        /// The file of keys, which is made if it is not there
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    #[command(verbatim_doc_comment)]
    /// Print completions for a shell
    ///
    /// A shell that loads them completes commands, options and their values.
    ///
    ///   chunkflow completions bash > ~/.local/share/bash-completion/completions/chunkflow
    ///   chunkflow completions zsh > "${fpath[1]}/_chunkflow"
    ///   chunkflow completions fish > ~/.config/fish/completions/chunkflow.fish
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    #[command(verbatim_doc_comment)]
    /// Print the page for `man`, or write one for each command
    ///
    ///   chunkflow man | man -l -
    ///   chunkflow man --folder ~/.local/share/man/man1
    Man {
        /// Write chunkflow.1, chunkflow-serve.1 and the others into this folder
        #[arg(long, value_name = "FOLDER")]
        folder: Option<PathBuf>,
    },
}

/// What to do with API keys.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum KeyAction {
    /// Make one
    New,
}

/// How a command ended, for the exit code: done, failed, or used wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0
    Done,
    /// 1
    Failed,
    /// 2
    Usage,
}

/// What the process passes to a command.
pub struct Process<'a> {
    /// The environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// Whether standard error is a terminal.
    pub terminal: bool,
    /// Whether messages there may have colours.
    pub colour: bool,
    /// Writes the log lines.
    pub logs: &'a Logs,
    /// Sends the spans.
    pub traces: &'a Traces,
    /// Sockets that were open when it started, until a server takes them.
    pub sockets: Cell<Option<Sockets>>,
}

/// Writes a message to standard error. A closed pipe is no error: its reader has seen enough.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Writes a result to standard output. A closed pipe (`| head`) is no error: its reader has seen
/// enough.
fn say(text: &str) -> anyhow::Result<()> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("standard output cannot be written"),
    }
}

impl Cli {
    /// How much to say on standard error.
    pub fn log(&self) -> tracing::Level {
        self.options.log
    }

    /// The format of log lines, if an option names one.
    pub fn log_format(&self) -> Option<LogFormat> {
        self.options.log_format
    }

    /// Runs the command to its end, on threads of its own. Not `async`: otherwise everything that
    /// it awaits would be compiled again with the program that calls it.
    ///
    /// # Errors
    /// A message for the user; the exit code is then 1.
    pub fn run(self, process: Process<'_>) -> anyhow::Result<Exit> {
        let runtime = Builder::new_multi_thread().enable_all().build().context("no threads to run on")?;
        let ended = runtime.block_on(self.obeyed(process));
        // A read that is stuck in the kernel must not delay the exit.
        runtime.shutdown_background();
        ended
    }

    async fn obeyed(self, process: Process<'_>) -> anyhow::Result<Exit> {
        // Otherwise a file that exceeds its limit (ulimit -f) would end the process, instead of
        // failing the write.
        let _ = signal(SignalKind::from_raw(rustix::process::Signal::XFSZ.as_raw()));
        let opener = open::Opener { file: self.options.config, process };
        match self.command {
            None => serve::bare(&opener, ServeOptions::from_environment(&opener.process)).await,
            Some(Command::Serve { database, serve }) => serve::run(&opener, database, serve).await,
            Some(Command::Init { database }) => init::run(&opener, database).await,
            Some(Command::Demo { rows, database, serve }) => demo::run(&opener, rows, database, serve).await,
            Some(Command::Check) => check::run(&opener).await,
            Some(Command::Warm { resources, format, encoding, reads }) => {
                warm::run(&opener, &resources, &format, &encoding, reads.into()).await
            }
            Some(Command::Purge { resource, conditions }) => purge::run(&opener, &resource, &conditions).await,
            Some(Command::Changed { resource, keys, table, at }) => {
                changed::run(&opener, &resource, changed::Same { table, at }, &keys).await
            }
            Some(Command::Reload) => reload::run(&opener).await,
            Some(Command::Export { resource, format, output, select, order }) => {
                let list = export::Chosen { name: resource, order, select };
                export::run(&opener, &list, format, output).await
            }
            Some(Command::Key { action: KeyAction::New, name, claims, expires, file }) => {
                key::run(&name, &claims, expires.as_deref(), file.as_deref())
            }
            Some(Command::Completions { shell }) => completions::run(shell),
            Some(Command::Man { folder }) => man::run(folder.as_deref()),
        }
    }
}

impl ServeOptions {
    /// The options from the environment, when there was no command.
    fn from_environment(process: &Process<'_>) -> ServeOptions {
        ServeOptions {
            listen: (process.environment)("CHUNKFLOW_LISTEN"),
            store: (process.environment)("CHUNKFLOW_STORE"),
            auth: (process.environment)("CHUNKFLOW_AUTH").map(PathBuf::from),
            watch_config: (process.environment)("CHUNKFLOW_WATCH_CONFIG").is_some_and(|said| {
                !["", "0", "false", "no", "off", "n", "f"].contains(&said.to_ascii_lowercase().as_str())
            }),
        }
    }
}
