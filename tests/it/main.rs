//! Tests through the socket: each is named as the sentence it proves.

#![allow(unreachable_pub, clippy::unwrap_used, reason = "tests say what went wrong by panicking")]

mod admin;
mod bounds;
mod client;
mod clients;
mod command;
mod config;
mod conformance;
mod cursors;
mod databases;
mod deployed;
mod discretion;
mod django;
mod encodings;
mod ending;
mod firewall;
mod frames;
mod hostile;
mod http;
mod http1;
mod http2;
mod layering;
mod library;
mod lists;
mod machines;
mod mistakes;
mod order;
mod origins;
mod pages;
mod params;
mod proxies;
mod readers;
mod reload;
mod resume;
mod servers;
mod stalled;
mod steady;
mod stores;
mod streaming;
mod styles;
mod support;
mod tls;
mod values;
mod warm;
mod writers;
