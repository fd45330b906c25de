//! Tests of the whole program against real peers. One binary: they share their harness, and link once.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a test says what went wrong by panicking"
)]

mod addresses;
mod bad_days;
mod certbot;
mod clients;
mod cluster;
mod durability;
mod filter;
mod forward;
mod gatekeepers;
mod holes;
mod intercept;
mod listeners;
mod obtain;
mod original;
mod outgoing;
mod pages;
mod parity;
mod process;
mod proxy;
mod reload;
mod reverse;
mod self_check;
mod slow;
mod soak;
mod support;
mod tinyproxy_conf;
mod tls;
mod upkeep;
