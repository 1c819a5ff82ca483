//! `chunkflow man`

use std::{fs, io, path::Path};

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};

use super::{Cli, Exit, say};

/// The end of each page: exit codes, signals and files of all commands.
const ENDS: [(&str, &[(&str, &str)]); 3] = [
    (
        "EXIT STATUS",
        &[
            ("0", "Done. For check: nothing is wrong. For a server: it was told to stop, and did."),
            ("1", "Failed, or something is wrong; why stands on standard error. Also an export whose reader has gone."),
            ("2", "Wrong usage: an option, a format or a resource that there is not."),
        ],
    ),
    (
        "SIGNALS",
        &[
            (
                "SIGINT, SIGTERM",
                "A server lets running streams end, for as long as drain says; a second one cuts them.",
            ),
            ("SIGHUP", "A server reads its configuration again, and refuses it whole where it is wrong."),
        ],
    ),
    (
        "FILES",
        &[
            (
                "chunkflow.toml",
                "The configuration, in the working folder, unless --config or CHUNKFLOW_CONFIG names one.",
            ),
            ("/etc/chunkflow/chunkflow.toml", "The configuration of the service that the Debian package brings."),
        ],
    ),
];

pub(super) fn run(folder: Option<&Path>) -> Result<Exit> {
    let mut command = Cli::command().disable_help_subcommand(true);
    // Names of subcommands and the shared options exist only after this.
    command.build();

    let Some(folder) = folder else {
        say(page(&command)?.trim_end())?;
        return Ok(Exit::Done);
    };

    let unwritable = || format!("the pages cannot be written into {}", folder.display());
    fs::create_dir_all(folder).with_context(unwritable)?;
    for command in command.get_subcommands().chain([&command]) {
        let file = folder.join(Man::new(command.clone()).get_filename());
        fs::write(file, page(command)?).with_context(unwritable)?;
    }

    Ok(Exit::Done)
}

/// The manual page of a command.
fn page(command: &clap::Command) -> io::Result<String> {
    let man = Man::new(command.clone()).source(concat!("chunkflow ", env!("CARGO_PKG_VERSION"))).manual("Chunkflow");
    let mut page = vec![];
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    description(command).to_writer(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    ends().to_writer(&mut page)?;
    Ok(ascii(&String::from_utf8_lossy(&page)))
}

/// A page for readers of any locale: groff gets characters beyond ASCII by number.
fn ascii(page: &str) -> String {
    let written = |c: char| if c.is_ascii() { c.to_string() } else { format!("\\[u{:04X}]", u32::from(c)) };
    page.chars().map(written).collect()
}

/// What a command does, with its examples as they are written.
fn description(command: &clap::Command) -> Roff {
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);

    let mut in_example = false;
    for line in about.lines() {
        let is_example = line.starts_with("  ");
        if is_example != in_example {
            roff.control(if is_example { "EX" } else { "EE" }, []);
            in_example = is_example;
        }
        match line {
            "" => roff.control("PP", []),
            line => roff.text([roman(line)]),
        };
    }

    if in_example {
        roff.control("EE", []);
    }

    roff
}

fn ends() -> Roff {
    let mut roff = Roff::new();
    for (title, entries) in ENDS {
        roff.control("SH", [title]);
        for (name, text) in entries {
            roff.control("TP", []);
            roff.text([bold(*name)]);
            roff.text([roman(*text)]);
        }
    }
    roff
}
