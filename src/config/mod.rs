//! The configuration: reads TOML and reports everything that is wrong in it, each with its place
//! and a remedy.

mod access;
mod admin;
mod auth;
mod complaint;
mod cors;
mod databases;
mod draft;
mod filled;
mod keys;
mod known;
mod label;
mod left_out;
mod listen;
mod named;
mod opened;
mod read;
mod resource;
mod secrets;
mod server;
mod shown;
mod store;
mod style;
mod tls;
mod vocabulary;

use std::{collections::HashMap, fmt, ops::Range, path::Path};

pub use self::{
    admin::{Action, AdminConfig, AdminToken},
    complaint::Complaints,
    cors::Cors,
    listen::Listen,
    resource::ResourceConfig,
    server::{LogFormat, RequestRate, ServerConfig},
    tls::TlsFiles,
};
pub(crate) use self::{
    auth::{AuthSection, read_file as read_auth},
    draft::Draft,
    keys::{moment, read as read_keys},
    named::named_files,
    secrets::Vocabulary,
};
use self::{
    complaint::{Discretion, Located},
    filled::Surroundings,
    opened::Purpose,
    read::{Reader, Section},
};
pub use crate::auth::AuthConfig;
use crate::{
    error::Kind as ErrorKind,
    source::{DatabaseOptions, ReadMemory, RowBounds, with_password},
    store::{StoreOptions, trial},
    suggest,
};

/// A whole configuration, checked as far as that is possible without opening anything.
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[admin]`, if there is one
    pub admin: Option<AdminConfig>,
    /// `[auth]`, if there is one.
    auth: Option<AuthSection>,
    /// `[store]`
    pub store: StoreOptions,
    /// The contents of its `tls` files, as digests.
    store_files: Vec<Option<u64>>,
    /// `[databases]`, by name
    databases: Vec<(String, DatabaseOptions)>,
    /// `[resources.NAME]`
    pub resources: Vec<ResourceConfig>,
    text: Text,
    guesses: Complaints,
}

/// The text of the configuration, and where each key is in it.
#[derive(Default)]
struct Text {
    file: String,
    text: String,
    places: HashMap<String, Range<usize>>,
    discretion: Discretion,
}

impl fmt::Debug for Config {
    /// Without the text and the values that were filled in, which may be passwords.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config { server, admin, auth: _, store, store_files: _, databases, resources, text, guesses: _ } = self;
        let file = &text.file;
        let shown = format!("Config {{ {file:?}, {server:?}, {admin:?}, {store:?}, {databases:?}, {resources:?} }}");
        f.write_str(&text.discretion.unfilled(&shown))
    }
}

impl Text {
    /// A complaint about the key at `path`, or about the nearest key around it that is in the text.
    fn locate(&self, path: &str, message: &str, remedy: &str) -> Located {
        let mut path = path;
        let span = loop {
            match (self.places.get(path), path.rsplit_once('.')) {
                (Some(span), _) => break span.clone(),
                (None, Some((around, _))) => path = around,
                (None, None) => break 0..0,
            }
        };
        Located::new(span, message, remedy)
    }

    fn complaints(&self, list: Vec<Located>) -> Complaints {
        Complaints::new(&self.file, &self.text, &self.discretion, list)
    }
}

impl Config {
    /// Reads a configuration. `file` is its name in complaints, and paths are relative to its
    /// folder. `environment` gives the values of `${NAME}`; files give those of `${file:PATH}`.
    ///
    /// # Errors
    /// Everything that is wrong, in one report.
    pub fn parse(file: &str, text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, Complaints> {
        let (config, wrong) = Config::read(file, text, environment);
        if wrong.is_empty() { Ok(config) } else { Err(config.text.complaints(wrong)) }
    }

    /// Reads a configuration and checks that all it names exists, is right and is fast; serves
    /// nothing. Errors in its text do not stop the other checks.
    ///
    /// # Errors
    /// Everything that is wrong or slow, in one report.
    pub async fn check(
        file: &str,
        text: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Config, Complaints> {
        let (mut config, mut told) = Config::read(file, text, environment);
        config.look(&mut told).await;
        let told = config.text.complaints(told);
        if !told.is_empty() {
            return Err(told);
        }
        config.guesses = told;
        Ok(config)
    }

    /// The readable part of a configuration, and what is wrong with its text. Values that cannot be
    /// read are missing or empty.
    fn read(file: &str, text: &str, environment: &dyn Fn(&str) -> Option<String>) -> (Config, Vec<Located>) {
        let reader = Reader::new(Surroundings::of(file, environment));
        let (root, errors) = toml::de::DeTable::parse_recoverable(text);
        reader.complain_of_toml(&errors);

        let mut root = Section::new(&reader, String::new(), root.span(), root.get_ref());
        let mut server = root.section("server").map(ServerConfig::read).unwrap_or_default();
        server.tls.iter_mut().for_each(|tls| tls.beside(Path::new(file)));
        let admin = root.section("admin").and_then(admin::read);
        let auth = root.section("auth").map(|section| auth::read(section, Path::new(file)));
        server.auth = auth.as_ref().map(|auth| auth.config.clone());
        let mut store = root.section("store").and_then(store::read).unwrap_or_else(|| StoreOptions::new(store::MEMORY));
        store.tls.iter_mut().for_each(|tls| store::beside(Path::new(file), tls));
        let store_files = named::digests(store.tls.as_ref());
        store.secret.clone_from(&server.secret);
        let mut databases = root.section("databases").map(databases::read).unwrap_or_default();
        for (_, options) in &mut databases {
            options.url = with_password(&options.url, environment);
            options.memory = server.read_memory.clone();
        }

        let resources = root.section("resources").map(resource::read_all).unwrap_or_default();
        root.finish();
        for resource in &resources {
            let names: Vec<&str> = databases.iter().map(|(name, _)| &**name).collect();
            if !resource.database.is_empty() && !names.contains(&&*resource.database) {
                let place = reader.place(&format!("resources.{}.database", resource.name));
                reader.complain(
                    place,
                    format!("there is no database `{}`", resource.database),
                    suggest::remedy("databases", &resource.database, &names),
                );
            }
        }

        if let Some(admin) = admin.as_ref().filter(|admin| admin.listen.collides(&server.listen)) {
            let written = ["admin.listen", "server.listen", "admin"];
            let place = written.iter().map(|path| reader.place(path)).find(|place| !place.is_empty());
            reader.complain(
                place.unwrap_or(0..0),
                match admin.listen.ip() {
                    Some(address) => format!("[server] and [admin] would listen at one port, {}", address.port()),
                    None => format!("[server] and [admin] would listen at one socket, {}", admin.listen),
                },
                "give one of them another, for instance listen = \"127.0.0.1:8081\" in [admin]",
            );
        }

        if resources.is_empty() && !reader.has_complaints() {
            reader.complain(
                0..0,
                "there is no resource to serve",
                "describe one with [resources.NAME]; chunkflow.example.toml shows how",
            );
        }

        let (places, discretion, complaints) = reader.finish();
        let text = Text { file: file.to_owned(), text: text.to_owned(), places, discretion };
        let guesses = Complaints::default();
        (Config { server, admin, auth, store, store_files, databases, resources, text, guesses }, complaints)
    }

    /// Lists that nobody could read as they are meant, since nothing says who a request is from.
    fn unidentified(&self) -> Vec<Located> {
        if self.auth.is_some() {
            return vec![];
        }
        let asking = self.resources.iter().filter_map(|resource| Some((&resource.name, resource.asks_who_at()?)));
        let located = asking.map(|(name, key)| {
            let at = format!("resources.{name}.{key}");
            let message = "this list asks who a request is from, and nothing says it: there is no [auth]";
            self.text.locate(&at, message, "name a way, for instance [auth.jwt] with secret = \"${JWT_SECRET}\"")
        });
        located.collect()
    }

    /// Makes every list one for those who say who they are.
    pub(crate) fn close_lists(&mut self) {
        self.resources.iter_mut().for_each(ResourceConfig::close);
    }

    /// Checks that the server's certificate and key exist and belong together.
    ///
    /// # Errors
    /// What is wrong with either file.
    pub(crate) fn check_tls(&self) -> Result<(), Complaints> {
        self.wrong_tls().map_or(Ok(()), |wrong| Err(self.text.complaints(vec![wrong])))
    }

    /// Replaces the only database, or the one named `main`.
    ///
    /// # Errors
    /// When there are several and none has that name.
    pub(crate) fn replace_database(&mut self, url: &str) -> crate::Result<()> {
        let only = self.databases.len() == 1;
        let found = self.databases.iter_mut().find(|(name, _)| only || name == "main");
        let (_, options) = found.ok_or_else(|| {
            let message = "the configuration has several databases, and none is called `main`";
            crate::Error::new(crate::Kind::Config, message).remedy("leave the URL out, or call one of them `main`")
        })?;
        url.clone_into(&mut options.url);
        Ok(())
    }

    /// Takes another `[auth]` in place of its own.
    pub(crate) fn replace_auth(&mut self, auth: AuthSection) {
        self.server.auth = Some(auth.config.clone());
        self.auth = Some(auth);
    }

    /// Sets these bounds on the rows of every database, and this memory for reads of large ones.
    pub fn bound_rows(&mut self, bounds: RowBounds, memory: &ReadMemory) {
        for (_, options) in &mut self.databases {
            options.bounds = bounds;
            options.memory = memory.clone();
        }
    }

    /// Sets how many reads of each database may run at once.
    pub(crate) fn bound_reads(&mut self, reads: usize) {
        self.databases.iter_mut().for_each(|(_, options)| options.pool = options.pool.min(reads));
    }

    /// Whether other servers may find this server's chunks.
    fn is_shared(&self) -> bool {
        !self.store.url.starts_with("memory:")
    }

    /// The notes of [`check`](Config::check) on guesses; nothing is wrong in them.
    pub fn guesses(&self) -> &Complaints {
        &self.guesses
    }

    /// Notes on what cannot be checked from here.
    pub(crate) fn notes(&self) -> Vec<String> {
        let own = |options: &DatabaseOptions| options.identity.is_none() && !options.url.is_empty();
        let own: Vec<&str> =
            self.databases.iter().filter(|(_, options)| own(options)).map(|(name, _)| &**name).collect();
        if !self.is_shared() || own.is_empty() {
            return vec![];
        }
        vec![format!(
            "a copy of a database that was restored from a backup says that it is its original: where one shares this store, \
             give the copy's servers a `prefix` of their own in [store], or an `identity` in [databases] ({})",
            own.join(", ")
        )]
    }

    /// Opens everything, and adds what is wrong or slow.
    async fn look(&self, wrong: &mut Vec<Located>) {
        wrong.extend(self.wrong_tls());
        wrong.extend(self.unidentified());
        if let Some(auth) = &self.auth {
            let locate = |at: &str, message: &str, remedy: &str| self.text.locate(at, message, remedy);
            wrong.extend(auth.look(self.is_shared(), &self.server, &locate));
            for (at, why) in auth.unanswered().await {
                let remedy = "see that it runs at this address; without it, lists that need an identity say 503";
                wrong.push(self.text.locate(&at, &why, remedy));
            }
        }

        if let Some(store) = self.open_store(wrong) {
            for error in trial(&store, &self.store).await {
                let usual = "see that it runs at this address; without it every chunk comes from the database";
                let what = match error.kind() {
                    ErrorKind::Unavailable | ErrorKind::Timeout => "the store does not answer",
                    _ => "the store does not do what servers need of it",
                };
                let message = format!("{what}: {}", error.told());
                wrong.push(self.text.locate("store.url", &message, error.advice().unwrap_or(usual)));
            }
        }
        self.open_resources(wrong, Purpose::Check, None).await;
    }

    fn wrong_tls(&self) -> Option<Located> {
        let one = self.server.tls.as_ref().filter(|tls| tls.are_named())?.load().err()?;
        Some(self.text.locate(&format!("server.tls.{}", one.at), &one.message, &one.remedy))
    }
}
