//! The files that a configuration names and that are read with it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

use super::{Config, filled::secret_files};
use crate::{source::root_file, store::StoreTls};

/// The files of `${file:PATH}`, of `[auth]`, of `tls` in `[store]`, and the certificates named in
/// URLs of databases, as far as the text can be read. The certificate of `[server]` is not among
/// them: its listener watches that itself.
pub(crate) fn named_files(
    configuration: &str,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Vec<PathBuf> {
    let (config, _) = Config::read(configuration, text, environment);
    let of_store = config.store.tls.iter().flat_map(StoreTls::files).map(Path::to_owned);
    let of_databases = config.databases.iter().filter_map(|(_, options)| root_file(&options.url));

    let mut files = secret_files(configuration, text);
    let of_auth = config.auth.iter().flat_map(|auth| auth.files.iter().map(|(_, file)| file.clone()));
    files.extend(of_auth.chain(of_store).chain(of_databases));
    files
}

/// Digests of a store's `tls` files: with another certificate it counts as another store.
pub(super) fn digests(tls: Option<&StoreTls>) -> Vec<Option<u64>> {
    let digest = |file: &Path| fs::read(file).ok().map(|bytes| xxh3_64(&bytes));
    tls.into_iter().flat_map(StoreTls::files).map(digest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_that_is_read_with_a_configuration_is_named() {
        let text = "[admin]\ntoken = \"${file:token}\"\n[store]\nurl = \"rediss://r\"\n\
                    tls = { ca = \"ca.pem\", cert = \"own.pem\", key = \"/own.key\" }\n[databases]\n\
                    a = \"postgres://h/d?sslmode=verify-full&sslrootcert=/a%20b.pem\"\n\
                    b = { url = \"mysql://h/d?ssl-ca=/b.pem\" }\nc = \"${C}\"\n\
                    d = \"postgres://h/d?sslrootcert=system\"\ne = \"mysql://h/d\"\n\
                    [auth]\nforward = { url = \"https://app/\", ca = \"app.pem\" }\n\
                    keys = { file = \"keys.toml\" }\njwt = { key_file = \"/a.pem\" }\ntorn = [";
        let environment = |name: &str| (name == "C").then(|| "mysql://h/d?ssl_ca=/c.pem".to_owned());

        let files = named_files("/etc/chunkflow.toml", text, &environment);
        let of_auth = ["/etc/app.pem", "/etc/keys.toml", "/a.pem"];
        let others = ["/etc/ca.pem", "/etc/own.pem", "/own.key", "/a b.pem", "/b.pem", "/c.pem"];
        let expected: Vec<&str> = ["/etc/token"].into_iter().chain(of_auth).chain(others).collect();
        assert_eq!(files, expected.into_iter().map(PathBuf::from).collect::<Vec<_>>());
    }
}
