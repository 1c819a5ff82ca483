//! `chunkflow changed`

use std::io::{self, BufRead, Read};

use anyhow::{Context, Result, bail};
use http::StatusCode;
use serde::Deserialize;

use super::{
    Exit,
    ask::{self, Post},
    note,
    open::Opener,
    say,
};
use crate::{
    change::{self, Change},
    config::{AdminConfig, Config},
    paths::Own,
    suggest,
    web::Chunkflow,
};

/// The largest body that the running server takes, in bytes.
const BODY: usize = 1024 * 1024;

/// The longest line of standard input, in bytes. As JSON it may be six times as long.
const LINE: u64 = 64 * 1024;

/// The key on the command line that stands for standard input.
const INPUT: &str = "-";

/// Whom the changes are told to.
enum Recipient<'a> {
    /// The running server, which knows its tables.
    Server(&'a AdminConfig),
    /// All servers, through the store that they share.
    Store(Chunkflow),
}

/// The running server's answer, whether it has taken the changes or not.
#[derive(Deserialize)]
struct Said {
    token: Option<String>,
    detail: Option<String>,
    remedy: Option<String>,
}

pub(super) async fn run(opener: &Opener<'_>, resource: &str, table: Option<&str>, keys: &[String]) -> Result<Exit> {
    let config = opener.read(&opener.own_origin()?).await?;
    let known: Vec<&str> = config.resources.iter().map(|resource| &*resource.name).collect();
    if !known.contains(&resource) {
        note(&format!("there is no resource `{resource}`; {}", suggest::remedy("resources", resource, &known)));
        return Ok(Exit::Usage);
    }

    let is_input = keys.is_empty() || keys == [INPUT];
    if !is_input && keys.iter().any(|key| key == INPUT) {
        note("`-` is for keys from standard input, and stands alone");
        return Ok(Exit::Usage);
    }

    let mut telling = Telling::new(Recipient::of(&config).await?, resource, table)?;
    if is_input {
        let mut input = io::stdin().lock();
        let mut number = 0;
        while let Some(line) = line(&mut input, &mut number).with_context(|| telling.so_far())? {
            if !line.is_empty() {
                let key = key(&line).with_context(|| at(number)).with_context(|| telling.so_far())?;
                telling.tell(key).await?;
            }
        }
    } else {
        // All of them are read before the first is told.
        let keys: Vec<Vec<String>> = keys.iter().map(|text| key(text)).collect::<Result<_>>()?;
        for key in keys {
            telling.tell(key).await?;
        }
    }

    let (told, token) = telling.finish().await?;
    say(&format!("told {told} {}: {token}", if told == 1 { "change" } else { "changes" }))?;
    Ok(Exit::Done)
}

/// The key in an argument or a line: an array of JSON, or a text as it is.
fn key(text: &str) -> Result<Vec<String>> {
    if !text.starts_with('[') {
        return Ok(vec![text.to_owned()]);
    }
    change::json::key(text).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The next line without its end, and its number; `None` behind the last.
fn line(input: &mut impl BufRead, number: &mut usize) -> Result<Option<String>> {
    *number += 1;
    let mut bytes = vec![];
    input.take(LINE + 1).read_until(b'\n', &mut bytes).with_context(|| at(*number))?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.len() as u64 > LINE {
        bail!("{} has more than {LINE} bytes, and is no key: write one key a line", at(*number))
    }

    let text = String::from_utf8(bytes).ok().with_context(|| format!("{} is not UTF-8", at(*number)))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(Some(text.strip_suffix('\r').unwrap_or(text).to_owned()))
}

/// A line in messages.
fn at(number: usize) -> String {
    format!("line {number} of standard input")
}

impl Recipient<'_> {
    /// The running server if there is one; else the store, if servers share it.
    async fn of(config: &Config) -> Result<Recipient<'_>> {
        let is_shared = !config.store.url.starts_with("memory:");
        match &config.admin {
            Some(admin) if !is_shared || ask::is_there(admin).await => Ok(Recipient::Server(admin)),
            None if !is_shared => bail!(
                "the chunks are in the running server's memory: give it an [admin] listener, through which it can be told"
            ),
            _ => {
                let chunkflow = config.open().await?;
                // The first connection may take longer than a tell waits for an answer.
                chunkflow.meet_store().await?;
                Ok(Recipient::Store(chunkflow))
            }
        }
    }
}

/// Changes on their way, in batches.
struct Telling<'a> {
    recipient: Recipient<'a>,
    resource: &'a str,
    table: Option<&'a str>,
    /// The beginning of each body.
    head: String,
    /// The body so far, and what it tells.
    body: String,
    changes: Vec<Change>,
    told: usize,
}

impl<'a> Telling<'a> {
    fn new(recipient: Recipient<'a>, resource: &'a str, table: Option<&'a str>) -> Result<Telling<'a>> {
        let member =
            table.map(|table| Ok::<_, serde_json::Error>(format!("\"table\":{},", serde_json::to_string(table)?)));
        let head = format!("{{{}\"keys\":[", member.transpose()?.unwrap_or_default());
        Ok(Telling { recipient, resource, table, body: head.clone(), head, changes: vec![], told: 0 })
    }

    /// Tells of one row, at the latest when [`Telling::finish`] does.
    async fn tell(&mut self, key: Vec<String>) -> Result<()> {
        let written = serde_json::to_string(&key)?;
        if self.body.len() + written.len() + ",]}".len() > BODY && !self.changes.is_empty() {
            self.send().await?;
        }
        if !self.changes.is_empty() {
            self.body.push(',');
        }

        self.body += &written;
        let change = Change::of(self.resource, key);
        self.changes.push(match self.table {
            Some(table) => change.in_table(table),
            None => change,
        });
        Ok(())
    }

    /// Sends the last batch; one without changes if there were none, for a token. Says how many
    /// changes were told in all, and the last token.
    async fn finish(mut self) -> Result<(usize, String)> {
        let token = self.send().await?;
        Ok((self.told, token))
    }

    /// What was told until something failed.
    fn so_far(&self) -> String {
        match self.told {
            0 => "nothing was told".to_owned(),
            told => format!("only the first {told} changes were told; tell all of them again"),
        }
    }

    async fn send(&mut self) -> Result<String> {
        let body = std::mem::replace(&mut self.body, self.head.clone()) + "]}";
        let changes = std::mem::take(&mut self.changes);
        let sent = match &self.recipient {
            Recipient::Server(admin) => ask(admin, self.resource, body).await,
            Recipient::Store(chunkflow) => match chunkflow.changed(&changes).await {
                Ok(token) => Ok(token.to_string()),
                Err(error) => Err(error.into()),
            },
        };

        let token = sent.with_context(|| self.so_far())?;
        self.told += changes.len();
        Ok(token)
    }
}

/// Tells the running server; returns the token.
async fn ask(admin: &AdminConfig, resource: &str, body: String) -> Result<String> {
    let (status, said) = Post::to(Own::Changed).of(resource).with(body).send(admin).await?;
    let said: Option<Said> = serde_json::from_slice(&said).ok();
    match (status, said) {
        (StatusCode::OK, Some(Said { token: Some(token), .. })) => Ok(token),
        (_, Some(Said { detail: Some(detail), remedy, .. })) => {
            let remedy = remedy.map(|remedy| format!("; {remedy}")).unwrap_or_default();
            bail!("the running server answered {status}: {detail}{remedy}")
        }
        _ => bail!("the running server answered {status}: is it the server of this configuration?"),
    }
}
