//! The values of `${NAME}`, from the environment, and of `${file:PATH}` in the configuration.

use std::{
    fmt::Display,
    fs,
    path::{Path, PathBuf},
};

/// Larger than any secret or address, in bytes.
const LONGEST: u64 = 64 * 1024;

/// The files that a configuration takes values from, also those named in comments.
pub(super) fn secret_files(configuration: &str, text: &str) -> Vec<PathBuf> {
    let folder = folder_of(configuration);
    let behind = text.split("${file:").skip(1).filter_map(|rest| rest.split_once('}'));
    behind.map(|(path, _)| folder.join(path)).collect()
}

/// The folder that a configuration's paths are relative to.
fn folder_of(configuration: &str) -> &Path {
    Path::new(configuration).parent().unwrap_or(Path::new(""))
}

/// Where values come from.
pub(super) struct Surroundings<'e> {
    environment: &'e dyn Fn(&str) -> Option<String>,
    /// The folder of the configuration, which paths are relative to.
    folder: &'e Path,
}

/// Why there is no value, and the remedy.
pub(super) struct Missing {
    pub(super) message: String,
    pub(super) remedy: &'static str,
}

impl<'e> Surroundings<'e> {
    /// The surroundings of a configuration.
    pub(super) fn of(configuration: &'e str, environment: &'e dyn Fn(&str) -> Option<String>) -> Surroundings<'e> {
        Surroundings { environment, folder: folder_of(configuration) }
    }

    /// The value of `${name}`.
    ///
    /// # Errors
    /// If the variable is not set, or the file cannot be read.
    pub(super) fn value(&self, name: &str) -> Result<String, Missing> {
        match name.strip_prefix("file:") {
            Some(path) => self.of_file(path),
            None => (self.environment)(name).ok_or_else(|| Missing {
                message: format!("the environment variable `{name}` is not set"),
                remedy: "set it, or write the value here",
            }),
        }
    }

    /// The text of a file without the newline at its end; an empty one is an error.
    fn of_file(&self, path: &str) -> Result<String, Missing> {
        let refused =
            |why: &dyn Display, remedy| Missing { message: format!("the file `{path}` cannot be read: {why}"), remedy };
        let file = self.folder.join(path);
        let see_path = "see its path, which goes on from the folder of this configuration, and its rights";

        let about = fs::metadata(&file).map_err(|error| refused(&error, see_path))?;
        // A pipe would block, and a reload could not read it again.
        if !about.is_file() {
            return Err(refused(&"it is no regular file", see_path));
        }

        if about.len() > LONGEST {
            let why = format!("it has {} bytes, and a value at most {LONGEST}", about.len());
            return Err(refused(&why, "name a file that holds nothing but the value"));
        }

        let bytes = fs::read(&file).map_err(|error| refused(&error, see_path))?;
        let text = String::from_utf8(bytes)
            .map_err(|_| refused(&"it is not UTF-8", "name a file that holds nothing but the value, as text"))?;

        // Some editors put a byte order mark at the beginning of UTF-8 files.
        let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
        let line = text.strip_suffix('\n').unwrap_or(text);
        let value = line.strip_suffix('\r').unwrap_or(line);

        // A file is empty for a moment while it is rewritten in place; a reload must not take that
        // for a password.
        if value.trim().is_empty() {
            let message = format!("the file `{path}` is empty");
            return Err(Missing { message, remedy: "write the value into it" });
        }

        Ok(value.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_file(bytes: &[u8]) -> Result<String, String> {
        let folder = tempfile::TempDir::new().unwrap();
        fs::write(folder.path().join("secret"), bytes).unwrap();
        let configuration = folder.path().join("chunkflow.toml").display().to_string();
        Surroundings::of(&configuration, &|_| None).value("file:secret").map_err(|missing| missing.message)
    }

    #[test]
    fn one_newline_at_the_end_of_a_file_is_no_part_of_its_value() {
        for (bytes, value) in [
            ("s3cret", "s3cret"),
            ("s3cret\n", "s3cret"),
            ("s3cret\r\n", "s3cret"),
            ("s3cret\n\n", "s3cret\n"),
            (" s3 cret \t\n", " s3 cret \t"),
            ("a\nb\n", "a\nb"),
            ("\u{feff}s3cret\r\n", "s3cret"),
        ] {
            assert_eq!(of_file(bytes.as_bytes()).as_deref(), Ok(value), "{bytes:?}");
        }
    }

    #[test]
    fn what_is_no_value_is_refused_with_the_reason() {
        for nothing in ["", "\n", "\r\n", " \n"] {
            assert!(of_file(nothing.as_bytes()).unwrap_err().contains("`secret` is empty"), "{nothing:?}");
        }
        assert!(of_file(b"\xff\xfe").unwrap_err().contains("not UTF-8"));
        assert!(of_file(&vec![b'a'; 70_000]).unwrap_err().contains("70000 bytes"));
        let of = |name: &str| Surroundings::of("chunkflow.toml", &|_| None).value(name).unwrap_err().message;
        assert!(of("file:/").contains("no regular file"));
        assert!(of("file:/nowhere/secret").contains("No such file"));
        assert!(of("NAME").contains("environment variable `NAME`"));
    }
}
