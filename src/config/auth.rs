//! `[auth]`: the ways by which a request says who it is from. Their order in the text is the order
//! in which they are tried.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use http::HeaderName;

use super::{
    complaint::{Complaints, Located},
    filled::Surroundings,
    keys,
    read::{Reader, Section},
    server::{ServerConfig, request_rate},
};
use crate::{
    auth::{
        ALGORITHMS, AuthConfig, Endpoint, FieldValue, ForwardConfig, JwtConfig, JwtKeys, Key, ProxyConfig, ProxyField,
        Unusable, WayConfig, check_application, check_jwks,
    },
    suggest,
};

/// The ways, as they are named.
const WAYS: &[&str] = &["jwt", "keys", "proxy", "forward"];
/// Larger than any file of certificates or public keys, in bytes.
const LARGEST: u64 = 1024 * 1024;
/// The longest leeway: beyond that a token's end says little.
const LEEWAY: Duration = Duration::from_secs(600);
/// The longest time for which an answer of the application is kept.
const CACHE: Duration = Duration::from_secs(3600);

/// Fields that no proxy can say who somebody is in, since they say something else.
const TAKEN: &[&str] = &["authorization", "cookie", "host", "x-api-key", "x-forwarded-for", "forwarded"];

/// What is read of `[auth]`.
pub(crate) struct AuthSection {
    pub(super) config: AuthConfig,
    /// The files that it names, each with the path of its key in the text.
    pub(super) files: Vec<(String, PathBuf)>,
    /// The addresses that it names, each with the path of its key.
    endpoints: Vec<(String, Endpoint)>,
}

/// Reads a file of its own with the table `[auth]` and nothing else.
///
/// # Errors
/// Everything that is wrong in it.
pub(crate) fn read_file(
    file: &str,
    text: &str,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<AuthSection, Complaints> {
    let reader = Reader::new(Surroundings::of(file, environment));
    let (root, errors) = toml::de::DeTable::parse_recoverable(text);
    reader.complain_of_toml(&errors);

    let mut root = Section::new(&reader, String::new(), root.span(), root.get_ref());
    let section = root.section("auth");
    if section.is_none() && !root.has("auth") {
        let remedy = "write for instance [auth.jwt] with secret = \"${JWT_SECRET}\"";
        reader.complain(0..0, "the file has no table `[auth]`", remedy);
    }

    let auth = section.map(|section| read(section, Path::new(file)));
    root.finish();
    let (_, discretion, wrong) = reader.finish();
    match auth.filter(|_| wrong.is_empty()) {
        Some(auth) => Ok(auth),
        None => Err(Complaints::new(file, text, &discretion, wrong)),
    }
}

/// Reads the section. Paths are relative to the folder of the configuration.
pub(super) fn read(mut section: Section<'_, '_>, configuration: &Path) -> AuthSection {
    let folder = configuration.parent().unwrap_or(Path::new("")).to_owned();
    let mut auth = AuthSection { config: AuthConfig::default(), files: vec![], endpoints: vec![] };
    let named: Vec<String> = section.keys().into_iter().filter(|key| WAYS.contains(&&**key)).collect();
    for key in &named {
        let way = match &**key {
            "proxy" => proxy(&mut section).map(WayConfig::Proxy),
            name => section.section(name).and_then(|table| match name {
                "jwt" => auth.jwt(table, &folder).map(WayConfig::Jwt),
                "keys" => auth.keys(table, &folder),
                _ => auth.forward(table, &folder).map(WayConfig::Forward),
            }),
        };
        auth.config.ways.extend(way);
    }

    auth.config.max_streams = section.integer("max_streams", 0..=1_000_000).unwrap_or_default() as usize;
    auth.config.request_rate = request_rate(&mut section).map(|rate| (rate.requests, rate.per));

    // For the complaint about a key that is none: these are.
    for way in WAYS.iter().filter(|way| !named.iter().any(|key| key == *way)) {
        section.section(way);
    }
    if named.is_empty() {
        let remedy =
            "write for instance [auth.jwt] with secret = \"${JWT_SECRET}\"; ways here: jwt, keys, proxy, forward";
        section.complain("", "`[auth]` names no way by which a request says who it is from", remedy);
    }

    section.finish();
    auth
}

impl AuthSection {
    fn jwt(&mut self, mut table: Section<'_, '_>, folder: &Path) -> Option<JwtConfig> {
        let sources: Vec<&str> = ["secret", "key_file", "jwks"].into_iter().filter(|key| table.has(key)).collect();
        if sources.len() != 1 {
            let message = match sources[..] {
                [] => "nothing says with which key tokens are checked".to_owned(),
                _ => format!("tokens are checked with one kind of key, and here are {}", sources.join(" and ")),
            };
            let remedy = "write one of secret = \"${JWT_SECRET}\", key_file = \"issuer.pem\" and \
                          jwks = \"https://issuer.example/.well-known/jwks.json\"";
            table.complain(sources.get(1).unwrap_or(&""), message, remedy);
        }

        let secrets = table.texts("secret").map(|secrets| of_secrets(&table, &secrets));
        let files = self.key_files(&mut table, folder);
        let issuer = self.endpoint(&mut table, "jwks", folder);
        if !table.has("jwks") && table.has("ca") {
            table.refuse("ca", "`ca` is for `jwks`, and there is none", "take it out");
        }

        let algorithms = algorithms(&mut table);
        let config = JwtConfig {
            keys: match (secrets, files, issuer) {
                (Some(keys), None, None) | (None, Some(keys), None) => JwtKeys::Given(keys),
                (None, None, Some(endpoint)) => JwtKeys::At(endpoint),
                _ => JwtKeys::Given(vec![]),
            },
            issuers: names(&mut table, "issuer"),
            audiences: names(&mut table, "audience"),
            leeway: table.duration("leeway").unwrap_or(Duration::from_secs(60)),
            algorithms,
            requires_exp: table.boolean("require_exp").unwrap_or(true),
        };

        if config.leeway > LEEWAY {
            let message = "`leeway` is longer than ten minutes";
            table.complain("leeway", message, "write for instance \"60s\"; it is for clocks that are apart");
        }

        check_algorithms(&table, &config);
        table.finish();
        Some(config)
    }

    /// The public keys of `key_file`.
    fn key_files(&mut self, table: &mut Section<'_, '_>, folder: &Path) -> Option<Vec<Key>> {
        let files = table.texts("key_file")?;
        let remedy = "name a PEM file with the public key or the certificate of who makes the tokens";
        let mut keys = vec![];
        for name in files {
            let path = folder.join(&name);
            self.files.push((table.path_of("key_file"), path.clone()));
            match content(&path).and_then(|pem| Key::of_pem(&pem)) {
                Ok(found) => keys.extend(found),
                Err(why) => table.complain("key_file", format!("`{name}` {why}"), remedy),
            }
        }
        Some(keys)
    }

    /// The address of another server, with the certificates in `ca`.
    fn endpoint(&mut self, table: &mut Section<'_, '_>, key: &str, folder: &Path) -> Option<Endpoint> {
        let url = table.filled(key, "write a URL, or take it out");
        let ca = table.filled("ca", "name a PEM file, or take it out").and_then(|name| {
            let path = folder.join(&name);
            self.files.push((table.path_of("ca"), path.clone()));
            let read = content(&path);
            read.map_err(|why| table.complain("ca", format!("`{name}` {why}"), "name a PEM file of certificates")).ok()
        });

        let made = Endpoint::new(&url?, ca);
        let made = made.map_err(|unusable| match unusable {
            Unusable::Url => table.complain(
                key,
                format!("`{key}` is no URL of HTTP"),
                "write scheme, host and path, without a user, for instance \"https://issuer.example/keys\"",
            ),
            Unusable::Ca => {
                table.complain("ca", "`ca` holds no certificate that can be used", "name a PEM file of them")
            }
            Unusable::System => table.complain(
                key,
                "this system has no certificates to check the server's with",
                "install ca-certificates, or name the file with `ca`",
            ),
        });

        let endpoint = made.ok()?;
        self.endpoints.push((table.path_of(key), endpoint.clone()));
        Some(endpoint)
    }

    fn keys(&mut self, mut table: Section<'_, '_>, folder: &Path) -> Option<WayConfig> {
        let remedy = "write file = \"keys.toml\"; `chunkflow key new NAME --file keys.toml` makes the first key";
        let name = table.required("file", remedy);
        if name.is_empty() {
            table.finish();
            return None;
        }

        let path = folder.join(&name);
        self.files.push((table.path_of("file"), path.clone()));
        let text = content(&path).and_then(|text| String::from_utf8(text).map_err(|_| "is not UTF-8".to_owned()));
        let found = match text {
            Ok(text) => keys::read(&path.display().to_string(), &text),
            Err(why) => {
                table.complain("file", format!("`{name}` {why}"), remedy);
                table.finish();
                return None;
            }
        };

        let found = found.map_err(|complaints| {
            for (message, remedy) in complaints.lines() {
                table.complain("file", message, remedy);
            }
        });
        table.finish();
        found.ok().map(WayConfig::Keys)
    }

    fn forward(&mut self, mut table: Section<'_, '_>, folder: &Path) -> Option<ForwardConfig> {
        if !table.has("url") {
            let remedy = "write for instance url = \"http://127.0.0.1:8000/whoami\"";
            table.complain("", "`url` is missing", remedy);
        }

        let endpoint = self.endpoint(&mut table, "url", folder);
        let cookies = table.strings("cookies").unwrap_or_default();
        for name in cookies.iter().filter(|name| !is_token(name)) {
            let remedy = "write the name as the application sets it, for instance \"sessionid\"";
            table.complain("cookies", format!("`{name}` is no name of a cookie"), remedy);
        }

        let cache = table.duration("cache").unwrap_or(Duration::from_secs(10));
        if cache > CACHE {
            let message = "`cache` is longer than an hour";
            table.complain("cache", message, "write for instance \"10s\": so long somebody who has logged out goes on");
        }

        table.finish();
        Some(ForwardConfig { endpoint: endpoint?, cookies, cache })
    }

    /// What is unwise about it, for a check. `is_shared`: other servers may be asked with the
    /// tickets of this one.
    pub(super) fn look(
        &self,
        is_shared: bool,
        server: &ServerConfig,
        locate: &dyn Fn(&str, &str, &str) -> Located,
    ) -> Vec<Located> {
        let mut told = vec![];
        for (at, _) in self.endpoints.iter().filter(|(_, endpoint)| endpoint.is_open_to_all()) {
            let message = "what comes from this address can be changed on the way, and what goes there can be read";
            told.push(locate(at, message, "write an https:// URL, with `ca` if its certificate is your own"));
        }

        let has_proxies = !server.trusted_proxies.is_empty() || server.trusts_unix;
        if self.config.ways.iter().any(|way| way.name() == "proxy") && !has_proxies {
            let message = "no proxy is trusted to say who a request is from";
            told.push(locate("auth.proxy", message, "name it in trusted_proxies of [server], or take `proxy` out"));
        }

        if is_shared && server.secret.is_none() && !self.config.ways.is_empty() {
            let message = "a ticket opens a stream only on the server that made it, since [server] has no `secret`";
            told.push(locate("auth", message, "set secret = \"${CHUNKFLOW_SECRET}\" in [server], on every server"));
        }

        for (at, file) in self.files.iter().filter(|(at, _)| at == "auth.keys.file") {
            let is_open = fs::metadata(file).is_ok_and(|about| about.mode() & 0o077 != 0);
            if is_open {
                let message = format!("others on this machine can read {}", file.display());
                let note = locate(at, &message, "chmod 600 it: who may change it lets anybody in");
                told.push(Located { is_note: true, ..note });
            }
        }
        told
    }
}

impl AuthSection {
    /// The servers that do not answer as they should: the path of the key of each, and why.
    pub(super) async fn unanswered(&self) -> Vec<(String, String)> {
        let mut told = vec![];
        for (at, endpoint) in &self.endpoints {
            let answered = match at.as_str() {
                "auth.jwt.jwks" => check_jwks(endpoint).await,
                _ => check_application(endpoint).await,
            };
            told.extend(answered.err().map(|why| (at.clone(), why)));
        }
        told
    }
}

/// The content of a small file.
///
/// # Errors
/// Why it cannot be read, to stand behind its name.
fn content(file: &Path) -> Result<Vec<u8>, String> {
    let unread = |error: std::io::Error| format!("cannot be read: {error}");
    let about = fs::metadata(file).map_err(unread)?;
    if !about.is_file() {
        return Err("is no file".to_owned());
    }
    if about.len() > LARGEST {
        return Err(format!("has more than {LARGEST} bytes"));
    }
    fs::read(file).map_err(unread)
}

fn of_secrets(table: &Section<'_, '_>, secrets: &[String]) -> Vec<Key> {
    let made = secrets.iter().map(|secret| Key::of_secret(secret));
    let keys = made.filter_map(|key| {
        key.map_err(|why| {
            let remedy = match why {
                "is a key in PEM" => "name the file of the public key with key_file = \"issuer.pem\"",
                _ => "let `openssl rand -base64 48` make one, and give it to who makes the tokens",
            };
            table.complain("secret", format!("the secret {why}"), remedy);
        })
        .ok()
    });
    keys.collect()
}

/// One name or several, none of them empty.
fn names(table: &mut Section<'_, '_>, key: &str) -> Vec<String> {
    if !table.has(key) {
        // So that the key is known.
        table.string(key);
        return vec![];
    }

    let names = table.texts(key).unwrap_or_default();
    if names.iter().any(|name| name.trim().is_empty()) || names.is_empty() {
        table.complain(key, format!("`{key}` is empty"), "write the name as tokens have it, or take it out");
    }
    names
}

fn algorithms(table: &mut Section<'_, '_>) -> Vec<jsonwebtoken::Algorithm> {
    let names: Vec<&str> = ALGORITHMS.iter().map(|(name, _)| *name).collect();
    let mut found = vec![];
    let written = table.strings("algorithms");
    if written.as_ref().is_some_and(Vec::is_empty) {
        table.complain(
            "algorithms",
            "`algorithms` is empty",
            "name some, or take it out: then each key is for its own",
        );
    }

    for name in written.unwrap_or_default() {
        match ALGORITHMS.iter().find(|(known, _)| *known == name) {
            Some((_, algorithm)) => found.push(*algorithm),
            None => {
                let remedy = suggest::remedy("algorithms", &name, &names);
                table.complain("algorithms", format!("there is no algorithm `{name}` here"), remedy);
            }
        }
    }
    found
}

/// Complains about an algorithm that no key is for.
fn check_algorithms(table: &Section<'_, '_>, config: &JwtConfig) {
    let is_of_secrets = |name: &str| name.starts_with("HS");
    for (name, algorithm) in ALGORITHMS.iter().filter(|(_, algorithm)| config.algorithms.contains(algorithm)) {
        let is_for = match &config.keys {
            JwtKeys::Given(keys) => keys.is_empty() || keys.iter().any(|key| key.algorithms.contains(algorithm)),
            JwtKeys::At(_) => !is_of_secrets(name),
        };
        if !is_for {
            let remedy = if is_of_secrets(name) {
                "HS256 takes a `secret` of 32 bytes, HS384 one of 48, HS512 one of 64"
            } else {
                "take it out: RS and PS are for RSA keys, ES256 is for P-256, ES384 for P-384, EdDSA for Ed25519"
            };
            table.complain("algorithms", format!("no key here is for `{name}`"), remedy);
        }
    }
}

/// `proxy`: a table, or a list of them.
fn proxy(section: &mut Section<'_, '_>) -> Option<ProxyConfig> {
    let tables = if section.is_list("proxy") { section.tables("proxy")? } else { vec![section.section("proxy")?] };
    if tables.is_empty() {
        let remedy = "write proxy = { header = \"X-Remote-User\", claim = \"sub\" }";
        section.complain("proxy", "`proxy` names no header", remedy);
    }

    let mut fields: Vec<ProxyField> = vec![];
    for table in tables {
        fields.extend(proxy_field(table, &fields));
    }
    Some(ProxyConfig { fields })
}

fn proxy_field(mut table: Section<'_, '_>, before: &[ProxyField]) -> Option<ProxyField> {
    let remedy = "write proxy = { header = \"X-Remote-User\", claim = \"sub\" }";
    let name = table.required("header", remedy);
    let claim = table.required("claim", remedy);
    let header = HeaderName::try_from(&*name).ok().filter(|header| !TAKEN.contains(&header.as_str()));
    if header.is_none() && !name.is_empty() {
        table.complain("header", format!("no proxy says in `{name}` who it has let through"), remedy);
    }

    let is_double = before.iter().any(|field| Some(&field.header) == header.as_ref() || field.claim == claim);
    if is_double && header.is_some() {
        let remedy = "give each claim one header, and each header one claim";
        table.complain("claim", "this header or claim stands in `proxy` before", remedy);
    }

    let value = match table.string("as").as_deref() {
        None | Some("text") => FieldValue::Text,
        Some("integer") => FieldValue::Integer,
        Some("list") => FieldValue::List,
        Some(_) => {
            table.complain("as", "`as` is no type of a claim", "write \"text\", \"integer\" or \"list\" (with commas)");
            FieldValue::Text
        }
    };

    table.finish();
    Some(ProxyField { header: header?, claim, value })
}

/// Whether a text can be the name of a cookie (RFC 6265 §4.1.1).
fn is_token(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}
