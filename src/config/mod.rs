//! The configuration: reads TOML and reports everything that is wrong in it, each with its place
//! and a remedy.

mod access;
mod admin;
mod auth;
mod complaint;
mod cors;
mod draft;
mod filled;
mod keys;
mod known;
mod label;
mod left_out;
mod listen;
mod named;
mod read;
mod resource;
mod secrets;
mod server;
mod shown;
mod style;
mod tls;
mod vocabulary;

use std::{
    collections::HashMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

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
    read::{Reader, Section},
};
pub use crate::auth::AuthConfig;
use crate::{
    error::Kind as ErrorKind,
    known::open_known,
    loader::system_clock,
    resource::Resource,
    source::{Complaint, Database, DatabaseOptions, KnownBy, ReadMemory, RowBounds, open_database, with_password},
    store::{Store, StoreOptions, StoreTls, open_store, trial},
    suggest,
    web::Chunkflow,
};

const MEMORY: &str = "memory:256MiB";

/// What databases are opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// To find what is wrong or slow.
    Check,
    /// For one command.
    Once,
    /// For a server that starts.
    Start,
    /// For a running server, which keeps its old configuration if a database is away.
    Reload,
}
const URL: &str = "write a URL, for instance \"sqlite:app.sqlite\"";

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
        let mut store = root.section("store").and_then(read_store).unwrap_or_else(|| StoreOptions::new(MEMORY));
        store.tls.iter_mut().for_each(|tls| beside(Path::new(file), tls));
        let store_files = named::digests(store.tls.as_ref());
        store.secret.clone_from(&server.secret);
        let mut databases = root.section("databases").map(read_databases).unwrap_or_default();
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

    /// Opens what the configuration names, and makes the resources.
    ///
    /// # Errors
    /// Everything that is wrong, in one report.
    pub async fn open(&self) -> Result<Chunkflow, Complaints> {
        let mut wrong = vec![];
        let empty = self.open_store(&mut wrong).map(Chunkflow::new);
        self.fill(empty, wrong, Purpose::Once).await
    }

    /// The same, for a server that must start even if a database is away. If that database has an
    /// `identity` and the store is shared, its definition from before is in the store. Until it
    /// answers, only the stored chunks of its lists are served.
    ///
    /// # Errors
    /// As [`open`](Config::open), except for such a database.
    pub(crate) async fn open_to_serve(&self) -> Result<Chunkflow, Complaints> {
        let mut wrong = vec![];
        let empty = self.open_store(&mut wrong).map(Chunkflow::new);
        self.fill(empty, wrong, Purpose::Start).await
    }

    /// The same, while `running` serves `before`. Counters go on; chunks in memory are kept if
    /// store and databases are the same.
    ///
    /// # Errors
    /// As [`open`](Config::open); nothing has changed then.
    pub async fn open_after(&self, before: &Config, running: &Chunkflow) -> Result<Chunkflow, Complaints> {
        let mut wrong = vec![];
        let is_same_store = self.store == before.store && self.store_files == before.store_files;
        let empty = if is_same_store && self.databases == before.databases {
            Some(running.without_resources())
        } else {
            self.open_store(&mut wrong)
                .map(|store| Chunkflow::with_clock(store, system_clock(), Arc::clone(running.metrics())))
        };
        self.fill(empty, wrong, Purpose::Reload).await
    }

    async fn fill(
        &self,
        empty: Option<Chunkflow>,
        mut wrong: Vec<Located>,
        purpose: Purpose,
    ) -> Result<Chunkflow, Complaints> {
        if purpose != Purpose::Once {
            wrong.extend(self.unidentified());
        }
        let store = empty.as_ref().map(|empty| empty.store().clone());
        let (databases, resources) = self.open_resources(&mut wrong, purpose, store).await;
        let empty = empty.map(|empty| {
            let empty = empty.with_heartbeat(self.server.heartbeat).with_landing(self.server.landing);
            empty.with_public_url(self.server.public_url.clone())
        });
        match empty.filter(|_| wrong.is_empty()) {
            Some(empty) => {
                let over = |empty: Chunkflow, (name, database): (String, _)| empty.with_database(&name, database);
                let empty = databases.into_iter().fold(empty, over);
                let with = |chunkflow: Chunkflow, Made { order, resource, others }| {
                    chunkflow.with_orders(order, resource, others)
                };
                Ok(resources.into_iter().fold(empty, with))
            }
            None => Err(self.text.complaints(wrong)),
        }
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
            wrong.extend(auth.look(self.is_shared(), self.server.secret.is_some(), &locate));
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

    fn open_store(&self, wrong: &mut Vec<Located>) -> Option<Store> {
        let opened = open_store(&self.store);
        opened
            .map_err(|error| {
                wrong.push(self.text.locate("store.url", error.message(), error.advice().unwrap_or_default()))
            })
            .ok()
    }

    /// Opens a database; for a server, in the way that survives the database's absence.
    async fn open_database(
        &self,
        name: &str,
        options: &DatabaseOptions,
        purpose: Purpose,
        store: Option<&Store>,
    ) -> crate::Result<Arc<dyn Database>> {
        let is_named = options.identity.is_some();
        let serves = [Purpose::Start, Purpose::Reload].contains(&purpose);
        let Some(store) = store.filter(|store| is_named && serves && store.agreement().is_some()) else {
            return open_database(options).await;
        };
        let (database, absence) = open_known(options, store, purpose == Purpose::Start).await?;
        if let Some(error) = absence {
            let why = self.text.discretion.unfilled(&error.told());
            tracing::warn!(
                database = name,
                "{why}; until it answers, its lists are served as far as their chunks are in the store"
            );
        }
        Ok(database)
    }

    /// Opens every database and makes every resource, as far as possible. A check also adds what
    /// would be slow to `wrong`.
    async fn open_resources(
        &self,
        wrong: &mut Vec<Located>,
        purpose: Purpose,
        store: Option<Store>,
    ) -> (Vec<(String, Arc<dyn Database>)>, Vec<Made>) {
        let slow = purpose == Purpose::Check;
        let mut databases: HashMap<&str, Option<Arc<dyn Database>>> = HashMap::new();
        // A database without a URL has a complaint already.
        for (name, options) in self.databases.iter().filter(|(_, options)| !options.url.is_empty()) {
            let opened = self.open_database(name, options, purpose, store.as_ref()).await.map_err(|error| {
                wrong.push(self.text.locate(
                    &format!("databases.{name}"),
                    &error.told(),
                    error.advice().unwrap_or_default(),
                ));
            });
            let opened = opened.ok();
            let known_by = opened.as_ref().filter(|_| self.is_shared()).map(|database| database.known_by());
            if let Some((message, remedy)) = known_by.and_then(doubtful) {
                if slow {
                    wrong.push(self.text.locate(&format!("databases.{name}"), message, remedy))
                } else {
                    tracing::warn!(database = name, "{message}: {remedy}")
                }
            }
            databases.insert(name, opened);
        }

        let mut made = vec![];
        for resource in self.resources.iter().filter(|resource| !resource.spec.table.is_empty()) {
            let Some(Some(database)) = databases.get(&*resource.database) else { continue };
            let at = |key: &str| format!("resources.{}.{key}", resource.name);
            let mut complaints = vec![];
            let mut hidden = vec![];
            let mut of_orders: Vec<Complaint> = vec![];
            let options = resource.options(self.server.secret.clone());
            match Resource::of(&resource.name, database, &resource.spec, &options).await {
                Ok(one) => {
                    if slow && self.server.secret.is_none() {
                        hidden = resource.hidden_order(one.source().order(), &database.tables());
                    }
                    if slow {
                        complaints = database.explain(&resource.spec).await;
                    }
                    let mut others = vec![];
                    for (order, spec) in resource.others() {
                        // Of all that is wrong with it, only what is wrong with its order is not
                        // the list's own.
                        let mut told = match Resource::of(&resource.name, database, &spec, &options).await {
                            Ok(other) => {
                                if slow && self.server.secret.is_none() {
                                    let of_other = resource.hidden_order(other.source().order(), &database.tables());
                                    let news = of_other.into_iter().filter(|one| !hidden.contains(one));
                                    of_orders.extend(news.collect::<Vec<_>>());
                                }
                                others.push((order, other));
                                if slow { database.explain(&spec).await } else { vec![] }
                            }
                            Err(all) => all,
                        };
                        told.retain(|one| one.at == "order" && !complaints.contains(one));
                        of_orders.extend(told);
                    }
                    made.push(Made { order: resource.order(), resource: one, others });
                }
                Err(all) => complaints.extend(all),
            }
            complaints.extend(of_orders.into_iter().map(|one| Complaint { at: "orders".to_owned(), ..one }));
            if resource.spec.is_discreet {
                complaints.iter_mut().for_each(Complaint::withhold);
            }
            wrong.extend(complaints.iter().chain(&hidden).map(|one| Located {
                is_note: one.is_note,
                ..self.text.locate(&at(&one.at), &one.message, &one.remedy)
            }));
        }

        let opened = |(name, database): (&str, Option<Arc<dyn Database>>)| Some((name.to_owned(), database?));
        (databases.into_iter().filter_map(opened).collect(), made)
    }
}

/// A resource that was made, in its orders.
struct Made {
    /// Its own, as requests name it.
    order: String,
    resource: Resource,
    others: Vec<(String, Resource)>,
}

/// What is wrong with a database whose chunks are in a shared store, and the remedy.
fn doubtful(known_by: KnownBy) -> Option<(&'static str, &'static str)> {
    match known_by {
        KnownBy::Itself => None,
        KnownBy::Server => Some((
            "this database is known by its server, and its chunks are in a store that others use: each of its replicas counts as another database",
            "name it with identity = \"…\", the same name for its replicas, and another for each other database",
        )),
        KnownBy::Address => Some((
            "this database does not say which it is, and its chunks are kept by its address in a store that others may use",
            "name it with identity = \"…\", another name for each database",
        )),
    }
}

fn read_store(mut section: Section<'_, '_>) -> Option<StoreOptions> {
    let mut options = StoreOptions::new(section.string("url").unwrap_or_else(|| MEMORY.to_owned()));
    options.near = section.size("near").unwrap_or(options.near);
    options.max_entry = section.size("max_entry").map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    options.pack = section.boolean("pack").unwrap_or(options.pack);
    options.prefix = section.filled("prefix", "name one, or take `prefix` out").unwrap_or(options.prefix);
    options.tls = section.section("tls").map(read_store_tls);
    let plain = |c: char| c.is_ascii_graphic();
    if options.prefix.len() > 100 || !options.prefix.chars().all(plain) {
        section.complain(
            "prefix",
            "the prefix cannot stand before a name in a store",
            "use up to 100 letters, digits and signs, for instance \"shop:\"",
        );
    }

    section.finish();
    Some(options)
}

/// Makes paths relative to the configuration's folder.
fn beside(configuration: &Path, tls: &mut StoreTls) {
    let folder = configuration.parent().unwrap_or(Path::new(""));
    for file in [&mut tls.ca, &mut tls.cert, &mut tls.key].into_iter().flatten() {
        *file = folder.join(&*file);
    }
}

fn read_store_tls(mut section: Section<'_, '_>) -> StoreTls {
    let mut file = |key: &str| section.filled(key, "name a PEM file, or leave it out").map(PathBuf::from);
    let tls = StoreTls { ca: file("ca"), cert: file("cert"), key: file("key") };
    if tls == StoreTls::default() {
        let remedy = "write tls = { ca = \"ca.pem\", cert = \"client.pem\", key = \"client.key\" }, or leave it out";
        section.complain("", "`tls` names no file", remedy);
    }
    section.finish();
    tls
}

/// A name that may be missing, but must not be empty.
fn named(table: &mut Section<'_, '_>, key: &str) -> Option<String> {
    let name = table.string(key)?;
    if name.trim().is_empty() {
        table.complain(key, format!("`{key}` is empty"), "write a name, or leave the key out");
        return None;
    }
    Some(name)
}

fn read_databases(mut section: Section<'_, '_>) -> Vec<(String, DatabaseOptions)> {
    let usual = || DatabaseOptions::new("");
    let mut databases = vec![];
    for name in section.keys() {
        let mut options = usual();
        if section.is_table(&name) {
            let Some(mut table) = section.section(&name) else { continue };
            options.url = table.required("url", URL);
            options.pool = table.integer("pool", 1..=1000).map_or(options.pool, |pool| pool as usize);
            options.timeout = table.limit("timeout").unwrap_or(options.timeout);
            options.identity = named(&mut table, "identity");
            options.role = named(&mut table, "role");
            options.share = table.boolean("share").unwrap_or(options.share);
            options.settle = table.duration("settle").unwrap_or(options.settle);
            table.finish();
        } else {
            options.url = section.required(&name, URL);
        }
        databases.push((name, options));
    }

    section.finish();
    databases
}
