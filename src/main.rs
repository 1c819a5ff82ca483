//! Arguments → configuration → run.

use std::{io::IsTerminal, process::ExitCode};

use chunkflow::command::{Cli, Exit, Process};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let terminal = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_max_level(cli.log()).with_writer(std::io::stderr).with_ansi(terminal).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads to run on: {error}");
            return ExitCode::FAILURE;
        }
    };
    let environment = |name: &str| std::env::var(name).ok();
    let ended = runtime.block_on(cli.run(Process { environment: &environment, terminal }));
    // A read that is stuck in the kernel must not hold up the end.
    runtime.shutdown_background();
    match ended {
        Ok(Exit::Done) => ExitCode::SUCCESS,
        Ok(Exit::Failed) => ExitCode::FAILURE,
        Ok(Exit::Usage) => ExitCode::from(2),
        Err(error) => {
            let told = told(&error);
            // Complaints about a configuration say so themselves.
            let prefix = if told.starts_with("error: ") { "" } else { "error: " };
            eprintln!("{prefix}{told}");
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes; one of ours tells its own.
fn told(error: &anyhow::Error) -> String {
    let ours = error.chain().position(|cause| cause.is::<chunkflow::Error>()).unwrap_or(usize::MAX);
    error.chain().take(ours.saturating_add(1)).map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
