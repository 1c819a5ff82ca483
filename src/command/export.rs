//! `chunkflow export`

use std::{
    borrow::Cow,
    fs::{self, File},
    future::poll_fn,
    io::{self, BufWriter, IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    pin::Pin,
};

use anyhow::{Context, Result, anyhow, bail};
use http_body::Body as _;
use indicatif::{HumanBytes, HumanCount, ProgressBar};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    Exit, note,
    open::Opener,
    origin::{FILE, Origin},
    part::{self, Part},
    progress::progress_bar,
};
use crate::{
    format::{FORMATS, Format},
    kind,
    resource::Resource,
    suggest,
    web::Chunkflow,
};

/// Which list is exported.
pub(super) struct Chosen {
    pub(super) name: String,
    /// One of its other orders.
    pub(super) order: Option<String>,
    /// The members of each row; without it all.
    pub(super) select: Option<String>,
}

pub(super) async fn run(
    opener: &Opener<'_>,
    list: &Chosen,
    format: Option<String>,
    output: Option<PathBuf>,
) -> Result<Exit> {
    let output = output.filter(|output| output.as_os_str() != "-");
    let format = match choose_format(format.as_deref(), output.as_deref()) {
        Ok(format) => format,
        Err(unknown) => {
            note(&format!(
                "there is no format `{unknown}`; formats here: {}; --format says which",
                kind::names(FORMATS)
            ));
            return Ok(Exit::Usage);
        }
    };

    let origin = opener.origin()?;
    if matches!(origin, Origin::Demo { .. }) {
        tracing::info!("there is no {FILE} in this folder: exporting from {origin}");
    }

    let config = opener.read(&origin).await?;
    let chunkflow = config.open().await?;
    let name = &*list.name;
    if chunkflow.resource(name).is_none() {
        let names: Vec<&str> = chunkflow.names().collect();
        note(&format!("there is no resource `{name}`; {}", suggest::remedy("resources", name, &names)));
        return Ok(Exit::Usage);
    }
    let resource = match chunkflow.selected(name, list.order.as_deref(), list.select.as_deref()) {
        Ok(resource) => resource,
        Err(wrong) => {
            note(&format!("{}; {}", wrong.message(), wrong.advice().unwrap_or_default()));
            return Ok(Exit::Usage);
        }
    };

    let base = config.server.public_url.clone().unwrap_or_else(|| format!("http://{}", config.server.listen.host()));
    // If both go to one terminal, the bar would be drawn over the list.
    let shows_list = output.is_none() && io::stdout().is_terminal();
    let bar = progress_bar(&resource, name, opener.process.terminal && !shows_list).await;
    // Set up before there is a partial file that a signal would leave behind.
    let stopped = stopped()?;
    let target = Target::open(output)?;
    let told = target.name().map_or_else(String::new, |name| format!(" in {}", name.display()));
    tokio::select! {
        done = export(&chunkflow, &resource, format, &base, target, &bar) => match done {
            Ok(written) => {
                let format = format.name();
                note(&format!("{name}: {} rows, {} of {format}{told}", HumanCount(written.rows), HumanBytes(written.bytes)));
                Ok(Exit::Done)
            }
            // The reader has seen enough (`| head`); the shell sees the exit code.
            Err(error) if is_broken_pipe(&error) => Ok(Exit::Failed),
            Err(error) => Err(error),
        },
        () = stopped => {
            bar.abandon();
            Err(anyhow!("interrupted: nothing was written under the final name"))
        }
    }
}

/// From now on signals do not end the process. The returned future completes at the first one.
fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.chain().find_map(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The format by name, else by the file's extension, else the default.
fn choose_format(name: Option<&str>, output: Option<&Path>) -> Result<Format, String> {
    let extension = || output.and_then(Path::extension).map(|extension| extension.to_string_lossy());
    let Some(wanted) = name.map(Cow::from).or_else(extension) else { return Ok(Format::JSON) };
    let known = Format::named(&wanted);
    // A device has no extension that means a format.
    let device =
        || name.is_none() && output.and_then(|output| fs::metadata(output).ok()).is_some_and(|it| !it.is_file());
    known.or_else(|| device().then_some(Format::JSON)).ok_or_else(|| wanted.into_owned())
}

/// What an export wrote.
struct Written {
    rows: u64,
    bytes: u64,
}

async fn export(
    chunkflow: &Chunkflow,
    resource: &std::sync::Arc<Resource>,
    format: Format,
    base: &str,
    target: Target,
    bar: &ProgressBar,
) -> Result<Written> {
    let mut target = target;
    let mut body = chunkflow.body(resource, format, base).await?;
    let mut bytes = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let frame = frame?.into_data().unwrap_or_default();
        target.write(&frame)?;
        bytes += frame.len() as u64;
        bar.set_position(body.rows());
        bar.set_message(HumanBytes(bytes).to_string());
    }
    target.finish()?;
    bar.finish_and_clear();
    Ok(Written { rows: body.rows(), bytes })
}

/// The output of an export. A file gets its name only when it is complete; until then, and after a
/// failure, there is no file or the old one.
enum Target {
    /// Standard output; or the named device or pipe.
    Output(BufWriter<Box<dyn Write>>),
    File {
        writer: BufWriter<File>,
        part: Part,
        name: PathBuf,
    },
}

impl Target {
    fn open(output: Option<PathBuf>) -> Result<Target> {
        let Some(name) = output else { return Ok(Target::Output(BufWriter::new(Box::new(io::stdout())))) };
        // If the name is a link, the file that it leads to is replaced, not the link.
        let name = part::at_the_end_of_links(name);
        let there = fs::metadata(&name).ok();
        let unwritable = || format!("{} cannot be written", name.display());
        if there.as_ref().is_some_and(|there| !there.is_file()) {
            let opened = File::options().write(true).open(&name).with_context(unwritable)?;
            return Ok(Target::Output(BufWriter::new(Box::new(opened))));
        }

        let Some(path) = part::beside(&name) else { bail!("{} is no name of a file", name.display()) };
        let mut options = File::options();
        options.write(true).create_new(true);
        if there.is_some() {
            // A rename needs no permission to write the old file, but replacing its contents
            // should.
            File::options().write(true).open(&name).with_context(unwritable)?;
            options.mode(0o600);
        }

        let opened = options.open(&path).with_context(|| format!("{} cannot be written", path.display()))?;
        part::hold(&opened);
        let part = Part(path);
        if let Some(there) = there {
            part::take_rights(&opened, &there).with_context(unwritable)?;
        }

        Ok(Target::File { writer: BufWriter::new(opened), part, name })
    }

    /// The file's name, if it has one.
    fn name(&self) -> Option<&Path> {
        match self {
            Target::Output(_) => None,
            Target::File { name, .. } => Some(name),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let written = match self {
            Target::Output(writer) => writer.write_all(bytes),
            Target::File { writer, .. } => writer.write_all(bytes),
        };
        written.context("the list cannot be written")
    }

    fn finish(self) -> Result<()> {
        match self {
            Target::Output(mut writer) => writer.flush().context("the list cannot be written"),
            Target::File { writer, part, name } => {
                let file =
                    writer.into_inner().map_err(|error| error.into_error()).context("the list cannot be written")?;
                file.sync_all().context("the list cannot be written")?;
                fs::rename(&part.0, &name).with_context(|| format!("the list cannot be named {}", name.display()))
            }
        }
    }
}
