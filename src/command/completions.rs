//! `chunkflow completions`

use anyhow::Result;
use clap::CommandFactory;
use clap_complete::{Shell, generate};

use super::{Cli, Exit, say};

pub(super) fn run(shell: Shell) -> Result<Exit> {
    let mut script = vec![];
    generate(shell, &mut Cli::command(), "chunkflow", &mut script);
    say(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Done)
}
