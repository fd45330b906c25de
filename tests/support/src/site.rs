//! What a server serves, so that a visitor can check every byte of every answer.

mod question;

use std::net::SocketAddr;
use std::sync::Arc;

pub(crate) use question::{Question, Wish};

/// The contents of a site and where it is reached. [`crate::Nginx`] and [`crate::Origin`] describe themselves with it.
#[derive(Clone, Debug)]
pub struct Site {
    /// Addresses to visit; visitors take turns.
    pub addresses: Vec<SocketAddr>,
    /// Value of `Host`.
    pub host: String,
    /// A small page: path and body.
    pub page: (String, Arc<[u8]>),
    /// A large file: path and body.
    pub download: (String, Arc<[u8]>),
    /// Path that answers a POST with its body.
    pub echo: String,
    /// The server says in `x-served-at` which of its addresses the connection came to, and a visitor must find the one that
    /// it dialled. Switch it off where a proxy dials another address on purpose.
    pub served_at: bool,
    /// Every answer is that the same is to be had over TLS, under the same name.
    pub over_tls: bool,
}

/// Response header with the server's own address of the connection.
pub(crate) const SERVED_AT: &str = "x-served-at";

/// The page of every server here.
pub(crate) const PAGE: &[u8] = b"<!doctype html><title>The site</title><p>Somebody is always at home.\n";

/// Path of the large file.
pub(crate) const DOWNLOAD_PATH: &str = "/big";

impl Site {
    pub(crate) fn new(addresses: Vec<SocketAddr>, host: &str, download: Arc<[u8]>) -> Self {
        Self {
            addresses,
            host: host.to_owned(),
            page: ("/".to_owned(), PAGE.into()),
            download: (DOWNLOAD_PATH.to_owned(), download),
            echo: "/echo".to_owned(),
            served_at: true,
            over_tls: false,
        }
    }

    /// The same contents behind other addresses (a proxy's), which the server behind it does not see.
    #[must_use]
    pub fn behind(mut self, addresses: Vec<SocketAddr>) -> Self {
        self.addresses = addresses;
        self.served_at = false;
        self
    }

    /// The same, where whoever comes in the clear is led to TLS.
    #[must_use]
    pub fn over_tls(mut self) -> Self {
        self.over_tls = true;
        self
    }
}

/// `length` bytes in which no two places look alike, so that a lost, doubled or moved piece is noticed.
pub(crate) fn filler(length: usize) -> Arc<[u8]> {
    let mut bytes = Vec::with_capacity(length + 8);
    let mut word = 0_u64;
    while bytes.len() < length {
        // The golden ratio's multiples do not repeat; this is made anew by every test, so it must be quick in a debug build.
        word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bytes.extend_from_slice(&word.to_be_bytes());
    }
    bytes.truncate(length);
    bytes.into()
}
