//! Chunkflow streams a long database list as one HTTP response, put together from cached chunks.
//!
//! For the library alone, without the server and its dependencies, use `default-features = false`
//! and the features you need (`sqlite`).
//!
//! > A **resource** is a list with a name. Its **source** hands out rows after a **cursor**. The **loader** cuts them into
//! > **chunks**, once, and keeps the chunks in a **store**. A **stream** walks the chunks from a cursor to the end, and a
//! > **format** writes each as bytes.
//!
//! Begin with [`Chunkflow`], which answers requests. [`Resource`] and [`closure`] or [`Sqlite`]
//! define the lists that it serves, and [`Memory`] keeps the chunks. The modules:
//!
//! - [`source`]: databases, what a resource asks of a table, and a source of your own;
//! - [`store`]: stores that servers share, and a store of your own;
//! - [`metrics`]: the counters;
//! - `server`: the server of the command, and its configuration.

// These panic if the reader has gone.
#![warn(clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "server")]
mod auth;
mod boundary;
mod bytes_size;
mod canonical;
mod change;
mod chunk;
mod coding;
#[cfg(feature = "server")]
#[doc(hidden)]
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
mod identity;
mod kind;
#[cfg(feature = "server")]
mod known;
mod list;
mod loader;
pub mod metrics;
#[cfg_attr(not(feature = "server"), allow(dead_code, unreachable_pub, reason = "only a server has all of them"))]
mod paths;
mod resource;
mod row;
mod seal;
mod secret;
#[cfg(feature = "server")]
pub mod server;
#[cfg(any(feature = "postgres", feature = "redis", feature = "memcached"))]
mod socket;
pub mod source;
pub mod store;
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
    change::{Change, Token},
    error::{Error, Kind, Result},
    format::{Envelope, Format},
    identity::Identity,
    resource::{Access, Case, Resource, ResourceOptions},
    secret::Secret,
    source::{Fetch, closure},
    store::Memory,
    web::{Body, Chunkflow, Form, Origin, problem},
};
