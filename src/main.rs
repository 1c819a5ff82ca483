//! Parses arguments, sets up logging, and runs the command.

// These panic if the reader has gone; `note` and `say` of the commands do not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::{io::IsTerminal, process::ExitCode};

use chunkflow::command::{Cli, Exit, Logs, Process, Sockets, Traces, note};
use clap::Parser;
use tracing::{Level, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = std::io::stderr().is_terminal();
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
    let lines = lines.event_format(logs.clone()).with_writer(std::io::stderr).with_ansi(colour);
    let traces = Traces::default();
    tracing_subscriber::registry().with(lines.with_filter(which)).with(traces.layer()).init();
    // Before there are threads, since it removes variables from the environment.
    let sockets = match Sockets::take(std::env::var("LISTEN_FDNAMES").ok()) {
        Ok(sockets) => sockets,
        Err(error) => {
            note(&format!("error: what was handed over with LISTEN_FDS is of no use: {error}"));
            return ExitCode::FAILURE;
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
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Failed) => ExitCode::FAILURE,
        Ok(Exit::Usage) => ExitCode::from(2),
        Err(error) => {
            let told = told(&error);
            // Complaints about a configuration have this prefix already.
            let prefix = if told.starts_with("error: ") { "" } else { "error: " };
            note(&format!("{prefix}{told}"));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes; an error of this crate tells its own.
fn told(error: &anyhow::Error) -> String {
    let ours = error.chain().position(|cause| cause.is::<chunkflow::Error>()).unwrap_or(usize::MAX);
    error.chain().take(ours.saturating_add(1)).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
