//! Looks whether the files of the configuration have changed, for `--watch-config`.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::oneshot;

use super::origin::ConfigFile;
use crate::{config::secret_files, server::Reloads};

/// How often the files are looked at. A change is taken over once it has lasted from one look to the next, so that
/// a file that is still being written is left alone.
///
/// Looks, and no inotify: folders of Kubernetes are links that are turned, network file systems tell of nothing,
/// and a look at three files costs 3 µs.
const LOOK: Duration = Duration::from_millis(500);

/// What changes when a file is written, or another takes its place: device, inode, length, and when it was written.
type Mark = Option<(u64, u64, u64, i64, i64)>;

/// The configuration and the files whose values it takes.
pub(super) struct Files {
    name: String,
    path: PathBuf,
    seen: Vec<(PathBuf, Mark)>,
}

impl Files {
    /// As they are now: before they are read, so that what is written meanwhile is seen at the first look.
    pub(super) fn of(file: &ConfigFile) -> Files {
        let name = file.name().to_owned();
        let path = file.path().to_owned();
        let seen = look(&name, &path);
        Files { name, path, seen }
    }

    /// Asks for a reload whenever they have changed, for as long as somebody takes the request.
    pub(super) async fn follow(mut self, reloads: Reloads) {
        let mut before: Option<Vec<(PathBuf, Mark)>> = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let name = self.name.clone();
            let path = self.path.clone();
            let Ok(now) = tokio::task::spawn_blocking(move || look(&name, &path)).await else { return };
            if now == self.seen {
                before = None;
                continue;
            }
            if before.as_ref() != Some(&now) {
                before = Some(now);
                continue;
            }

            // What is refused is not asked for again until it changes.
            (self.seen, before) = (now, None);
            tracing::info!("the configuration has changed");
            let (tell, told) = oneshot::channel();
            if reloads.send(tell).await.is_err() || told.await.is_err() {
                return;
            }
        }
    }
}

fn look(name: &str, path: &Path) -> Vec<(PathBuf, Mark)> {
    let mut seen = vec![(path.to_owned(), mark(path))];
    let text = fs::read_to_string(path).unwrap_or_default();
    seen.extend(secret_files(name, &text).into_iter().map(|file| {
        let mark = mark(&file);
        (file, mark)
    }));
    seen
}

/// Of what links lead to, so that a link that is turned is a change.
fn mark(file: &Path) -> Mark {
    let found = fs::metadata(file).ok()?;
    Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}
