//! Chunkflow streams a long database list as one HTTP response, put together from cached chunks.
//!
//! For the library alone, without the server and its dependencies, use `default-features = false` and the
//! features you need (`sqlite`).
//!
//! > A **resource** is a list with a name. Its **source** hands out rows after a **cursor**. The **loader** cuts them into
//! > **chunks**, once, and keeps the chunks in a **store**. A **stream** walks the chunks from a cursor to the end, and a
//! > **format** writes each as bytes.
//!
//! Begin with [`Chunkflow`], which answers requests; [`Resource`] and [`closure`] or [`Sqlite`] say what it
//! answers with, and [`Memory`] keeps the chunks. To add a kind of store, source or format, begin at the tables
//! [`STORES`], [`DATABASES`] and [`FORMATS`].

// These panic where the reader has gone.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod boundary;
mod bytes_size;
mod canonical;
mod chunk;
mod coding;
#[cfg(feature = "server")]
pub mod command;
#[cfg(feature = "server")]
mod config;
mod cursor;
mod cutter;
mod described;
mod error;
mod flaw;
mod format;
#[cfg(fuzzing)]
pub mod fuzz;
mod kind;
#[cfg(feature = "server")]
mod known;
mod list;
mod loader;
mod metrics;
mod resource;
mod row;
mod seal;
mod secret;
#[cfg(feature = "server")]
mod server;
#[cfg(any(feature = "postgres", feature = "redis", feature = "memcached"))]
mod socket;
mod source;
mod store;
mod stream;
mod suggest;
mod survey;
mod text;
mod trace;
mod unpoisoned;
mod web;
mod weight;

#[cfg(feature = "mysql")]
pub use self::source::Mysql;
#[cfg(feature = "postgres")]
pub use self::source::Postgres;
#[cfg(feature = "sqlite")]
pub use self::source::Sqlite;
pub use self::{
    boundary::Sizes,
    chunk::{Chunk, ChunkKey, ListKey, Sum},
    cursor::{Cursor, MAX_CURSOR},
    described::{Described, JsonType},
    error::{Error, Kind, Result},
    flaw::{Flaw, Flaws},
    format::{ChunkWriter, Encoder, FORMATS, Format, FormatSpec, Member, Output, negotiate},
    kind::Kind as KindOf,
    loader::{Clock, system_clock},
    metrics::{Metrics, MetricsFormat, Outcome},
    resource::{Remake, Resource, ResourceOptions},
    row::{Column, Field, Fields, Part, RowBatch, RowSink, Shape, Value},
    seal::Seal,
    secret::Secret,
    source::{
        BoxFuture, Claim, Closure, ColumnSpec, Complaint, Condition, DATABASES, Database, DatabaseOptions, Fetch,
        FieldSpec, Filter, Gate, GateLimits, KnownBy, MadeSource, Operand, Operator, OrderBy, PoolState, Presence,
        Query, ReadMemory, Related, Requester, Room, RowBounds, Run, Source, Spec, Style, TableInfo, Turn, ValueType,
        Values, ViewReads, closure, open_database,
    },
    store::{
        Agreement, Chunks, FarState, Generation, Held, Lease, Memory, Near, NearState, OnPurge, STORES, Store,
        StoreOptions, StoreTls, open_store, promises,
    },
    stream::Tally,
    web::{Body, Chunkflow, Origin, json, problem},
};
#[cfg(feature = "server")]
pub use self::{
    config::{
        AdminConfig, Complaints, Config, Draft, Listen, LogFormat, NoListen, RequestRate, ResourceConfig, ServerConfig,
        TlsFiles,
    },
    server::{Inherited, Prepared, Reload, Reloads, Server, Shutdown},
};
