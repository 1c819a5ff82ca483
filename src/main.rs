//! The command `chunkflow`.

// These panic if the reader has gone; `note` and `say` of the commands do not.
#![warn(clippy::print_stdout, clippy::print_stderr)]

use std::process::ExitCode;

fn main() -> ExitCode {
    chunkflow::command::main(std::env::args_os()).into()
}
