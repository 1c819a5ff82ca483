//! Who a request is from.

mod configuration;
mod issuer;
mod keys;
mod option;
mod tickets;
mod ways;
