//! The process of a command: its arguments, its log, and its exit code. The binary and the Python
//! package have the same.

use std::{
    ffi::OsString,
    io::{self, IsTerminal, Write},
};

use clap::Parser;
use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

use super::{Cli, Exit, Logs, Process, Sockets, Traces, note};

/// Runs the command that these arguments name, the first of which is the program's name, and
/// returns the exit code of the process. Call it once, and before there are threads.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let code = code(arguments);
    // The last bytes of an export may be in a buffer, which only a program in Rust writes at its end.
    let _ = io::stdout().flush();
    code
}

fn code(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(said) => {
            let _ = said.print();
            return said.exit_code().try_into().unwrap_or(2);
        }
    };
    let terminal = io::stderr().is_terminal();
    // h2 warns of clients' mistakes: one of 17 bytes would make a line of 160.
    let most = if cli.log() >= Level::DEBUG { cli.log() } else { Level::ERROR };
    let which = Targets::new().with_default(cli.log()).with_target("h2", most);
    // Spans are not for the log.
    let which = which.with_target("chunkflow::trace", LevelFilter::OFF);
    // https://no-color.org
    let colour = terminal && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
    // If nobody reads the lines (`| head`), nothing is said about that on the same standard error.
    let lines = tracing_subscriber::fmt::layer().log_internal_errors(false);
    let logs = Logs::new(cli.log_format());
    let lines = lines.event_format(logs.clone()).with_writer(io::stderr).with_ansi(colour);
    let traces = Traces::default();
    tracing_subscriber::registry().with(lines.with_filter(which)).with(traces.layer()).init();
    // Before there are threads, since it removes variables from the environment.
    let sockets = match Sockets::take(std::env::var("LISTEN_FDNAMES").ok()) {
        Ok(sockets) => sockets,
        Err(error) => {
            note(&format!("error: what was handed over with LISTEN_FDS is of no use: {error}"));
            return 1;
        }
    };

    let environment = |name: &str| std::env::var(name).ok();
    let process = Process {
        environment: &environment,
        terminal,
        colour,
        logs: &logs,
        traces: &traces,
        sockets: Some(sockets).into(),
    };

    match cli.run(process) {
        Ok(Exit::Done) => 0,
        Ok(Exit::Failed) => 1,
        Ok(Exit::Usage) => 2,
        Err(error) => {
            let told = told(&error);
            // Complaints about a configuration have this prefix already.
            let prefix = if told.starts_with("error: ") { "" } else { "error: " };
            note(&format!("{prefix}{told}"));
            1
        }
    }
}

/// An error and its causes; an error of this crate tells its own.
fn told(error: &anyhow::Error) -> String {
    let ours = error.chain().position(|cause| cause.is::<crate::Error>()).unwrap_or(usize::MAX);
    error.chain().take(ours.saturating_add(1)).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
