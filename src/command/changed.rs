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
    change::{self, Change, json::LARGEST},
    config::{AdminConfig, Config},
    paths::Own,
    suggest,
    web::Chunkflow,
};

/// The longest line of standard input, in bytes. As JSON it may be six times as long.
const LINE: u64 = 64 * 1024;

/// How many changes are told at once through the store.
const BATCH: usize = 10_000;

/// The key on the command line that stands for standard input.
const INPUT: &str = "-";

/// What all changes have that are told by one command.
#[derive(Default)]
pub(super) struct Same {
    /// The rows' table, if it is not the resource's own.
    pub(super) table: Option<String>,
    /// Where their commit is.
    pub(super) at: Option<String>,
}

/// Whom the changes are told to, with the batch that is told next.
enum Recipient<'a> {
    /// The running server, which knows its tables: the body so far, and how many keys it has.
    Server { admin: &'a AdminConfig, body: String, count: usize },
    /// All servers, through the store that they share.
    Store { chunkflow: Chunkflow, changes: Vec<Change> },
}

pub(super) async fn run(opener: &Opener<'_>, resource: &str, same: Same, keys: &[String]) -> Result<Exit> {
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

    let mut telling = Telling::new(Recipient::of(&config).await?, resource, same)?;
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
            Some(admin) if !is_shared || ask::is_there(admin).await? => {
                Ok(Recipient::Server { admin, body: String::new(), count: 0 })
            }
            None if !is_shared => bail!(
                "the chunks are in the running server's memory: give it an [admin] listener, through which it can be told"
            ),
            admin => {
                if let Some(admin) = admin {
                    note(&format!("no server answers at {}: the changes are told through the store", admin.listen));
                }
                let chunkflow = config.open().await?;
                // The first connection may take longer than a tell waits for an answer.
                chunkflow.meet_store().await?;
                Ok(Recipient::Store { chunkflow, changes: vec![] })
            }
        }
    }
}

/// Changes on their way, in batches.
struct Telling<'a> {
    recipient: Recipient<'a>,
    resource: &'a str,
    same: Same,
    /// The beginning of each body.
    head: String,
    told: usize,
}

impl<'a> Telling<'a> {
    fn new(recipient: Recipient<'a>, resource: &'a str, same: Same) -> Result<Telling<'a>> {
        let mut head = "{".to_owned();
        for (member, value) in [("table", &same.table), ("at", &same.at)] {
            if let Some(value) = value {
                head += &format!("\"{member}\":{},", serde_json::to_string(value)?);
            }
        }
        head += "\"keys\":[";
        Ok(Telling { recipient, resource, same, head, told: 0 })
    }

    /// Tells of one row, at the latest when [`Telling::finish`] does.
    async fn tell(&mut self, key: Vec<String>) -> Result<()> {
        let written = serde_json::to_string(&key)?;
        let is_full = match &self.recipient {
            Recipient::Server { body, count, .. } => *count > 0 && body.len() + written.len() + ",]}".len() > LARGEST,
            Recipient::Store { changes, .. } => changes.len() >= BATCH,
        };
        if is_full {
            self.send().await?;
        }

        match &mut self.recipient {
            Recipient::Server { body, count, .. } => {
                body.push_str(if *count > 0 { "," } else { &self.head });
                body.push_str(&written);
                *count += 1;
            }
            Recipient::Store { changes, .. } => {
                let mut change = Change::of(self.resource, key);
                change.table = self.same.table.as_deref().map(Into::into);
                change.at = self.same.at.as_deref().map(Into::into);
                changes.push(change);
            }
        }
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
        let (sent, count) = match &mut self.recipient {
            Recipient::Server { admin, body, count } => {
                let begun = if *count > 0 { std::mem::take(body) } else { self.head.clone() };
                (ask(admin, self.resource, begun + "]}").await, std::mem::take(count))
            }
            Recipient::Store { chunkflow, changes } => {
                let changes = std::mem::take(changes);
                let told = chunkflow.changed(&changes).await;
                (told.map(|token| token.to_string()).map_err(Into::into), changes.len())
            }
        };

        let token = sent.with_context(|| self.so_far())?;
        self.told += count;
        Ok(token)
    }
}

/// Tells the running server; returns the token.
async fn ask(admin: &AdminConfig, resource: &str, body: String) -> Result<String> {
    #[derive(Deserialize)]
    struct Told {
        token: String,
    }

    let (status, said) = Post::to(Own::Changed).of(resource).with(body).send(admin).await?;
    if status == StatusCode::OK
        && let Ok(Told { token }) = serde_json::from_slice(&said)
    {
        return Ok(token);
    }
    match ask::told(&said) {
        Some(why) => bail!("the running server answered {status}: {why}"),
        None => bail!("the running server answered {status}: is it the server of this configuration?"),
    }
}
