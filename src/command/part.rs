//! Files that get their names when they are whole.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
};

/// A file that is gone when it is dropped, unless it has another name by then.
pub(super) struct Part(pub(super) PathBuf);

impl Drop for Part {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The path of the part of what will be called `name`, once the parts are gone that killed
/// processes left of it; `None` where it is no name of a file.
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

/// Says that a part is somebody's, for as long as the file is open.
pub(super) fn hold(part: &File) {
    // Where a file system has no locks, parts of killed processes stay.
    let _ = part.try_lock();
}

/// Whether the process that wrote a part has ended: the kernel gives its lock back then, however it
/// ended.
fn is_nobodys(part: &Path) -> bool {
    let locked = || -> io::Result<()> { Ok(File::open(part)?.try_lock()?) };
    locked().is_ok()
}
