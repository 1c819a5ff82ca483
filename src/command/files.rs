//! Watches the files of the configuration for changes, for `--watch-config`.

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

/// How often the files are checked. A change counts once it has stayed the same from one check to
/// the next, so that a file is not read while it is being written.
///
/// There is no inotify, for these reasons: Kubernetes replaces symbolic links to folders, network
/// file systems report nothing, and a check of three files costs only 3 µs.
const LOOK: Duration = Duration::from_millis(500);

/// Changes when a file is written or replaced: device, inode, length, and time of writing.
type Mark = Option<(u64, u64, u64, i64, i64)>;

/// The configuration, and the files that it names.
pub(super) struct Files<'a> {
    file: &'a ConfigFile,
    environment: &'a dyn Fn(&str) -> Option<String>,
    paths: Arc<[PathBuf]>,
    seen: Vec<Mark>,
}

impl<'a> Files<'a> {
    /// The files as they are now. Called before they are read, so that a write meanwhile is noticed
    /// at the first check.
    pub(super) fn of(file: &'a ConfigFile, environment: &'a dyn Fn(&str) -> Option<String>) -> Files<'a> {
        let mut files = Files { file, environment, paths: [].into(), seen: vec![] };
        files.see();
        files
    }

    /// Asks for a reload whenever they have changed, until nobody takes requests any more.
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

            // A refused request is not repeated until the files change again.
            before = None;
            self.see();
            tracing::info!("the configuration has changed");
            let (tell, told) = oneshot::channel();
            if reloads.send(tell).await.is_err() || told.await.is_err() {
                return;
            }
        }
    }

    /// Notes which files there are now, and their marks.
    fn see(&mut self) {
        let path = self.file.path();
        // Opening a pipe would block until there is a writer.
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

/// The mark of the file that links lead to, so that a changed link is a change.
fn mark(file: &Path) -> Mark {
    let found = fs::metadata(file).ok()?;
    Some((found.dev(), found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
}
