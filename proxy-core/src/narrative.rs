//! What a connection goes through, told in the words that tinyproxy's log has: scripts look for them.
//!
//! These are messages of the target `lockgate::narrative`, or `lockgate::narrative::connect` for those that tinyproxy logs at
//! its level CONNECT. They are off unless the log is to look like tinyproxy's. Descriptor numbers are how its readers tell
//! which lines belong together.

use std::{net::SocketAddr, os::fd::AsRawFd};

use plugin_api::{Address, Client, Parent, ParentKind};

use crate::{dial, upstream::Failure};

/// A client has connected.
pub(crate) fn connected(client_socket: &impl AsRawFd, client: Client, local: Option<SocketAddr>) {
    let (fd, client) = (client_socket.as_raw_fd(), client.name());
    match local.map(|local| local.ip().to_canonical()) {
        None => tracing::info!(target: "lockgate::narrative::connect", "Connect (file descriptor {fd}): {client}"),
        Some(local) => {
            tracing::info!(target: "lockgate::narrative::connect", "Connect (file descriptor {fd}): {client} at [{local}]");
        }
    }
}

/// It has sent a request head.
pub(crate) fn requested(fd: i32, head: &[u8]) {
    if tracing::enabled!(target: "lockgate::narrative::connect", tracing::Level::INFO) {
        let line = first_line(head);
        tracing::info!(target: "lockgate::narrative::connect", "Request (file descriptor {fd}): {line}");
    }
}

/// The first line that is not empty, without what could be taken for the end of a line in a log.
pub(crate) fn first_line(head: &[u8]) -> String {
    let line = head.split(|byte| b"\r\n".contains(byte)).find(|line| !line.is_empty()).unwrap_or_default();
    let mut shown = String::with_capacity(line.len());
    for piece in line.utf8_chunks() {
        for letter in piece.valid().chars() {
            if letter.is_control() { shown.extend(letter.escape_default()) } else { shown.push(letter) }
        }
        shown.extend(piece.invalid().escape_ascii().map(char::from));
    }
    shown
}

/// A server was connected for it, or a proxy on the way.
pub(crate) fn established(to: &Address, parent: Option<&Parent>, fd: i32) {
    if !tracing::enabled!(target: "lockgate::narrative::connect", tracing::Level::INFO) {
        return;
    }
    let (what, to) = match parent {
        Some(parent) => (format!("{} proxy", word(parent.kind)), parent.addresses.first().unwrap_or(to)),
        None => ("host".to_owned(), to),
    };
    let host = dial::host(to);
    tracing::info!(
        target: "lockgate::narrative::connect",
        "Established connection to {what} \"{host}\" using file descriptor {fd}."
    );
}

/// The request, or both connections of the tunnel, have ended.
pub(crate) fn closed(client: i32, server: i32) {
    tracing::info!(
        target: "lockgate::narrative",
        "Closed connection between local client (fd:{client}) and remote client (fd:{server})"
    );
}

/// A server could not be connected, or a proxy on the way.
pub(crate) fn unreachable(to: &Address, parent: Option<&Parent>, failure: Failure) {
    let to = parent.and_then(|parent| parent.addresses.first()).unwrap_or(to);
    let port = match to {
        Address::Host { port, .. } => *port,
        Address::Socket(address) => address.port(),
        Address::Unix(_) | Address::OriginalDestination => return,
    };
    let host = dial::host(to);
    match failure {
        Failure::Resolve | Failure::ResolveTimeout | Failure::ParentName => {
            tracing::error!(target: "lockgate::narrative", "opensock: Could not retrieve address info for {host}:{port}");
        }
        Failure::Connect(_) | Failure::ConnectTimeout | Failure::Parent => {
            tracing::error!(target: "lockgate::narrative", "opensock: Could not establish a connection to {host}:{port}");
        }
        Failure::Loop | Failure::NotPublic => {}
    }
}

fn word(kind: ParentKind) -> &'static str {
    match kind {
        ParentKind::Socks4a => "socks4",
        ParentKind::Socks5 => "socks5",
        _ => "http",
    }
}
