//! Who a request is from.

mod configuration;
mod keys;
mod tickets;
