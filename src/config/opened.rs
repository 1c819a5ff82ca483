//! Opens what a configuration names: the store, the databases, the resources.

use std::{collections::HashMap, sync::Arc};

use super::{
    Config, ResourceConfig,
    complaint::{Complaints, Located},
};
use crate::{
    known::open_known,
    loader::system_clock,
    resource::{Resource, ResourceOptions},
    source::{Complaint, Database, DatabaseOptions, KnownBy, Spec, open_database},
    store::{Store, open_store},
    web::Chunkflow,
};

/// What databases are opened for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To find what is wrong or slow.
    Check,
    /// For one command.
    Once,
    /// For a server that starts.
    Start,
    /// For a running server, which keeps its old configuration if a database is away.
    Reload,
}
impl Config {
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

    pub(super) fn open_store(&self, wrong: &mut Vec<Located>) -> Option<Store> {
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

    /// Opens every database, by its name.
    async fn open_databases(
        &self,
        wrong: &mut Vec<Located>,
        purpose: Purpose,
        store: Option<&Store>,
    ) -> HashMap<&str, Arc<dyn Database>> {
        let mut databases: HashMap<&str, Arc<dyn Database>> = HashMap::new();
        // A database without a URL has a complaint already.
        for (name, options) in self.databases.iter().filter(|(_, options)| !options.url.is_empty()) {
            let at = format!("databases.{name}");
            let database = match self.open_database(name, options, purpose, store).await {
                Ok(database) => database,
                Err(error) => {
                    wrong.push(self.text.locate(&at, &error.told(), error.advice().unwrap_or_default()));
                    continue;
                }
            };

            if let Some((message, remedy)) = Some(database.known_by()).filter(|_| self.is_shared()).and_then(doubtful) {
                if purpose == Purpose::Check {
                    wrong.push(self.text.locate(&at, message, remedy))
                } else {
                    tracing::warn!(database = name, "{message}: {remedy}")
                }
            }
            databases.insert(name, database);
        }

        databases
    }

    /// Opens every database and makes every resource, as far as possible. A check also adds what
    /// would be slow to `wrong`.
    pub(super) async fn open_resources(
        &self,
        wrong: &mut Vec<Located>,
        purpose: Purpose,
        store: Option<Store>,
    ) -> (Vec<(String, Arc<dyn Database>)>, Vec<Made>) {
        let databases = self.open_databases(wrong, purpose, store.as_ref()).await;

        let mut made = vec![];
        for resource in self.resources.iter().filter(|resource| !resource.spec.table.is_empty()) {
            let Some(database) = databases.get(&*resource.database) else { continue };
            let options = resource.options(self.server.secret.clone());
            let making = Making { resource, database, options, is_check: purpose == Purpose::Check };

            let mut told = vec![];
            made.extend(making.in_all_orders(&mut told).await);
            if resource.spec.is_discreet {
                told.iter_mut().for_each(Complaint::withhold);
            }
            wrong.extend(told.iter().map(|one| {
                let at = format!("resources.{}.{}", resource.name, one.at);
                Located { is_note: one.is_note, ..self.text.locate(&at, &one.message, &one.remedy) }
            }));
        }

        let owned = |(name, database): (&str, Arc<dyn Database>)| (name.to_owned(), database);
        (databases.into_iter().map(owned).collect(), made)
    }
}

/// A resource of the configuration that is made over its database.
struct Making<'a> {
    resource: &'a ResourceConfig,
    database: &'a Arc<dyn Database>,
    options: ResourceOptions,
    /// Whether what would be slow is wanted too.
    is_check: bool,
}

impl Making<'_> {
    /// The resource in its own order and in the others, as far as each can be made. What is wrong or
    /// slow is added to `told`.
    async fn in_all_orders(&self, told: &mut Vec<Complaint>) -> Option<Made> {
        let resource = self.in_one(&self.resource.spec, told).await?;

        let mut others = vec![];
        for (order, spec) in self.resource.others() {
            let mut of_other = vec![];
            let other = self.in_one(&spec, &mut of_other).await;
            // What is slow about the list in every order was told of the first.
            of_other.retain(|one| other.is_none() || one.at == "order");
            for one in of_other {
                let at_orders = Complaint { at: "orders".to_owned(), ..one.clone() };
                if !told.contains(&one) && !told.contains(&at_orders) {
                    told.push(at_orders);
                }
            }
            others.extend(other.map(|other| (order, other)));
        }

        Some(Made { order: self.resource.order(), resource, others })
    }

    /// The resource of one specification.
    async fn in_one(&self, spec: &Spec, told: &mut Vec<Complaint>) -> Option<Resource> {
        let resource = match Resource::of(&self.resource.name, self.database, spec, &self.options).await {
            Ok(resource) => resource,
            Err(wrong) => {
                told.extend(wrong);
                return None;
            }
        };

        if self.is_check {
            told.extend(self.database.explain(spec).await);
            if self.options.secret.is_none() {
                told.extend(self.resource.hidden_order(resource.source().order(), &self.database.tables()));
            }
        }
        Some(resource)
    }
}

/// A resource that was made, in its orders.
pub(super) struct Made {
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
