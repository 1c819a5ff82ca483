//! `POST /changed/RESOURCE`: a program tells which rows have changed.

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use serde::Serialize;
use tokio::{sync::Semaphore, task::spawn_blocking};

use super::{
    bounds::Count,
    lists::{named, not_stored},
    upload::{self, Unread, Upload},
};
use crate::{
    change::{self, json::LARGEST},
    error::{Error, Kind, Result},
    web::{Body, Chunkflow, json, problem, refusal, resource_of},
};

/// How many tells are under way at once. More are refused and do not wait: over HTTP/2 a body that
/// waits holds the window that those need which are read.
const TELLS: usize = 16;

/// KiB of bodies that may be changes at once; others wait. A key of one digit takes two bytes
/// there, and some hundred bytes as a change: so all of them together take about 400 MiB at the
/// worst.
const ROOM: usize = 4 * 1024;

/// The bodies under way.
#[derive(Debug)]
pub(super) struct Tells {
    under_way: Arc<Count>,
    room: Arc<Semaphore>,
}

impl Default for Tells {
    fn default() -> Tells {
        Tells { under_way: Arc::default(), room: Arc::new(Semaphore::new(ROOM)) }
    }
}

/// 200 with a token when no stream that begins here shows these rows as they were.
pub(super) async fn answer(
    chunkflow: &Chunkflow,
    tells: &Tells,
    name: &str,
    headers: &HeaderMap,
    upload: Option<Upload>,
) -> Response<Body> {
    let body = async {
        // Everything that the head tells is judged before the body is asked for.
        let name = resource_of(name).map_err(problem)?;
        named(chunkflow, &name).map_err(problem)?;
        upload::check_json(headers, "changes are told")
            .map_err(|error| refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, error))?;
        if upload::is_larger(headers, LARGEST) {
            return Err(unread(Unread::TooLarge(LARGEST)));
        }

        let permit = tells.under_way.enter("bodies", TELLS, None, 0).map_err(problem)?;
        let body = match upload {
            Some(upload) => upload.read(LARGEST).await.map_err(unread)?,
            None => Bytes::new(),
        };
        Ok((name, body, permit))
    };

    match body.await {
        Ok((name, body, _permit)) => tell(chunkflow, tells, &name, body).await.unwrap_or_else(problem),
        Err(refused) => refused,
    }
}

fn unread(unread: Unread) -> Response<Body> {
    let (status, error) = unread.refusal();
    refusal(status, error)
}

async fn tell(chunkflow: &Chunkflow, tells: &Tells, name: &str, body: Bytes) -> Result<Response<Body>> {
    #[derive(Serialize)]
    struct Told {
        token: String,
    }

    let share = (body.len() / 1024 + 1).min(ROOM) as u32;
    let room = Arc::clone(&tells.room).acquire_many_owned(share).await.ok();
    let resource = name.to_owned();
    // A large body takes so long that streams on this thread would wait for it. The room stays with
    // the changes: the client may leave while they are read.
    let read = spawn_blocking(move || (change::json::read(&resource, &body), room)).await;
    let (changes, _room) = read.map_err(|_| Error::new(Kind::Internal, "the body could not be read"))?;
    let changes = changes?;

    let token = chunkflow.tell(&changes).await.map_err(not_told)?;
    chunkflow.until_shown(&changes).await?;
    tracing::info!(resource = name, changes = changes.len(), "changed");
    Ok(json(StatusCode::OK, &Told { token: token.to_string() }))
}

/// The error for the program: the changes are wrong, or the store did not take them.
fn not_told(error: Error) -> Error {
    match error.kind() {
        Kind::Invalid | Kind::Missing => error,
        _ => not_stored(&error, "the changes", "tell them again"),
    }
}
