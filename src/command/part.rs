//! Files that get their names only when they are complete.

use std::{
    fs::{self, File, Metadata, Permissions},
    io,
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
};

use rustix::fs::{Gid, Uid, fchown};

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

/// The file that a name leads to, which need not exist. After too many links the result is still a
/// link.
pub(super) fn at_the_end_of_links(name: PathBuf) -> PathBuf {
    let mut name = name;
    // Linux follows as many (path_resolution(7)).
    for _ in 0..40 {
        let Ok(to) = fs::read_link(&name) else { break };
        name = name.parent().unwrap_or(Path::new("")).join(to);
    }
    name
}

/// Gives a file, which nobody else may read yet, the owner, group and mode of the file that it will
/// replace.
///
/// Nobody may read the new file who could not read the old one. If this user may not give the file
/// to that group, the group and all others keep only the permissions that both had.
pub(super) fn take_rights(file: &File, there: &Metadata) -> io::Result<()> {
    let group = Gid::from_raw(there.gid());
    let owner = Uid::from_raw(there.uid());
    let has_group = file.metadata()?.gid() == there.gid() || fchown(file, None, Some(group)).is_ok();
    if file.metadata()?.uid() != there.uid() {
        // Only the superuser may do this; otherwise the file stays this user's.
        let _ = fchown(file, Some(owner), None);
    }

    let mode = there.mode() & 0o777;
    let common = (mode >> 3) & mode & 0o7;
    let mode = if has_group { mode } else { (mode & 0o700) | (common << 3) | common };
    file.set_permissions(Permissions::from_mode(mode))
}
