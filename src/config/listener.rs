//! `[[listener]]`: where the proxy listens.

use std::net::SocketAddr;

use plugin_api::{
    config::{Array, Problem, Problems},
    schemars::{self, JsonSchema},
};
use proxy_core::Listener;
use serde::Deserialize;

#[derive(Deserialize, JsonSchema)]
struct Raw {
    /// A name for routes and logs.
    name: String,
    /// Addresses with ports; `[::]` takes IPv6 only.
    address: Vec<String>,
    /// Whether connections are kept for further requests.
    keep_alive: Option<bool>,
    /// Whether lines of the log in tinyproxy's style about new connections say to which address they came.
    log_local_address: Option<bool>,
    /// Whether a firewall redirects connections here (nftables `redirect` or `dnat`).
    redirected: Option<bool>,
    /// Whether a firewall leads connections here with TPROXY.
    transparent: Option<bool>,
}

pub(super) fn build(array: Option<Array<'_>>, problems: &mut Problems) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut taken: Vec<SocketAddr> = Vec::new();
    for (_, table) in array.into_iter().flat_map(|array| array.items) {
        let spans = table.spans();
        let Some(raw) = table.decode::<Raw>(problems) else { continue };
        if listeners.iter().any(|listener| *listener.name == *raw.name) {
            problems.push(Problem::new(spans.of("name"), format!("there is another listener `{}`", raw.name)));
        }
        if raw.address.is_empty() {
            problems.push(Problem::new(spans.of("address"), "a listener needs an address"));
        }
        let mut addresses = Vec::new();
        for (index, text) in raw.address.iter().enumerate() {
            let span = spans.of_index("address", index);
            match text.parse::<SocketAddr>() {
                Ok(address) if address.port() != 0 && taken.contains(&address) => {
                    problems.push(Problem::new(span, format!("{address} is listened on twice")));
                }
                Ok(address) => {
                    taken.push(address);
                    addresses.push(address);
                }
                Err(_) => problems.push(
                    Problem::new(span, format!("`{text}` is not an address with a port"))
                        .with_hint("write \"0.0.0.0:80\", \"[::]:80\" or \"127.0.0.1:8080\""),
                ),
            }
        }
        let mut listener = Listener::new(raw.name, addresses);
        listener.keep_alive = raw.keep_alive.unwrap_or(true);
        listener.tell_local = raw.log_local_address.unwrap_or(false);
        listener.redirected = raw.redirected.unwrap_or(false);
        listener.transparent = raw.transparent.unwrap_or(false);
        listeners.push(listener);
    }
    listeners
}
