//! Looks whether the files of the configuration have changed, for `--watch-config`.

use std::{
    fs, iter,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use tokio::sync::oneshot;

use super::origin::ConfigFile;
use crate::{config::named_files, server::Reloads};

/// How often the files are looked at. A change is taken over once it has lasted from one look to
/// the next, so that a file that is still being written is left alone.
///
/// Looks, and no inotify: folders of Kubernetes are links that are turned, network file systems
/// tell of nothing, and a look at three files costs 3 µs.
const LOOK: Duration = Duration::from_millis(500);

/// What changes when a file is written, or another takes its place: device, inode, length, and when
/// it was written.
type Mark = Option<(u64, u64, u64, i64, i64)>;

/// The configuration, and the files that it names.
pub(super) struct Files<'a> {
    file: &'a ConfigFile,
    environment: &'a dyn Fn(&str) -> Option<String>,
    paths: Arc<[PathBuf]>,
    seen: Vec<Mark>,
}

impl<'a> Files<'a> {
    /// As they are now: before they are read, so that what is written meanwhile is seen at the
    /// first look.
    pub(super) fn of(file: &'a ConfigFile, environment: &'a dyn Fn(&str) -> Option<String>) -> Files<'a> {
        let mut files = Files { file, environment, paths: [].into(), seen: vec![] };
        files.see();
        files
    }

    /// Asks for a reload whenever they have changed, for as long as somebody takes the request.
    pub(super) async fn follow(mut self, reloads: Reloads) {
        let mut before: Option<Vec<Mark>> = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let paths = Arc::clone(&self.paths);
            let Ok(now) = tokio::task::spawn_blocking(move || look(&paths)).await else { return };
            if now == self.seen {
                before = None;
                continue;
            }
            if before.as_ref() != Some(&now) {
                before = Some(now);
                continue;
            }

            // What is refused is not asked for again until it changes.
            before = None;
            self.see();
            tracing::info!("the configuration has changed");
            let (tell, told) = oneshot::channel();
            if reloads.send(tell).await.is_err() || told.await.is_err() {
                return;
            }
        }
    }

    /// Takes note of the files that there are by now, and of how they are.
    fn see(&mut self) {
        let path = self.file.path();
        // To open a pipe would be to wait for who writes into it.
        let is_file = fs::metadata(path).is_ok_and(|found| found.is_file());
        let text = is_file.then(|| fs::read_to_string(path).ok()).flatten().unwrap_or_default();
        let named = named_files(self.file.name(), &text, self.environment);

        self.paths = iter::once(path.to_owned()).chain(named).collect();
        self.seen = look(&self.paths);
    }
}

fn look(paths: &[PathBuf]) -> Vec<Mark> {
    paths.iter().map(|path| mark(path)).collect()
}

/// Of what links lead to, so that a link that is turned is a change.
fn mark(file: &Path) -> Mark {
    let found = fs::metadata(file).ok()?;
    Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}
