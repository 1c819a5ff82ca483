//! Files that get their names only when they are complete.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
};

/// A file that is removed on drop, unless it has been renamed.
pub(super) struct Part(pub(super) PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The path for the partial file of `name`. Removes partial files that killed processes have left.
/// `None` if `name` is no name of a file.
pub(super) fn beside(name: &Path) -> Option<PathBuf> {
    let file = name.file_name()?.to_string_lossy();
    let folder = name.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let there = entry.file_name().to_string_lossy().into_owned();
        let between = there.strip_prefix(&format!(".{file}.")).and_then(|rest| rest.strip_suffix(".part"));
        let is_part = between.is_some_and(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit()));
        if is_part && is_nobodys(&entry.path()) {
            let _ = fs::remove_file(entry.path());
        }
    }
    Some(name.with_file_name(format!(".{file}.{}.part", process::id())))
}

/// Locks a partial file while it is open, so that other processes know it is in use.
pub(super) fn hold(part: &File) {
    // On a file system without locks, partial files of killed processes stay.
    let _ = part.try_lock();
}

/// Whether the process that wrote a partial file has ended, in any way: the kernel then has
/// released its lock.
fn is_nobodys(part: &Path) -> bool {
    let locked = || -> io::Result<()> { Ok(File::open(part)?.try_lock()?) };
    locked().is_ok()
}
