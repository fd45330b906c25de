//! Other proxies on the way.

use super::Writer;
use crate::tinyproxy::{
    document::Value,
    upstream::{Protocol, Rule, Way},
};

impl Writer<'_> {
    /// tinyproxy takes the last rule that is about a host, and the one about all hosts after all others.
    pub(super) fn parents(&mut self) {
        let rules = &self.conf.outgoing.upstreams;
        let Some(first) = rules.first() else { return };
        let (special, general): (Vec<_>, Vec<_>) = rules.iter().rev().partition(|rule| rule.value.hosts.is_some());
        let parents = special.into_iter().chain(general).map(|rule| (parent(&rule.value), rule.span.clone()));
        self.document.entry("parents", Value::List(parents.collect()), &first.span);
        for rule in rules {
            if let Way::Proxy(proxy) = &rule.value.way
                && proxy.protocol == Protocol::Socks4
                && proxy.credentials.is_some()
            {
                self.warnings.push(rule.span.clone(), "SOCKS4 has no password: like in tinyproxy, it is not sent");
            }
            if let Way::Proxy(proxy) = &rule.value.way
                && proxy.has_too_much_to_say()
            {
                let message = "SOCKS5 has 255 bytes for a user and a password each: nobody is reached through this";
                self.warnings.push(rule.span.clone(), message);
            }
        }
    }
}

fn parent(rule: &Rule) -> Value {
    let mut keys: Vec<(&'static str, Value)> = Vec::new();
    if let Some(hosts) = &rule.hosts {
        let sites = hosts.value.sites().into_iter().map(|site| (site.into(), hosts.span.clone()));
        keys.push(("to", Value::List(sites.collect())));
    }
    match &rule.way {
        Way::Direct => keys.push(("use", "direct".into())),
        Way::Proxy(proxy) => {
            let protocol = match proxy.protocol {
                Protocol::Http => "http",
                Protocol::Socks4 => "socks4a",
                Protocol::Socks5 => "socks5",
            };
            keys.push(("use", protocol.into()));
            // Without a real port nobody is reached: files use that to make hosts unreachable.
            let is_dead = proxy.has_too_much_to_say();
            let address = if is_dead || !(1..=65535).contains(&proxy.port) {
                NULL_ROUTE.to_owned()
            } else {
                format!("{}:{}", proxy.host, proxy.port)
            };
            keys.push(("address", address.into()));
            if let Some((user, password)) =
                proxy.credentials.clone().filter(|_| proxy.protocol != Protocol::Socks4 && !is_dead)
            {
                keys.push(("user", user.into()));
                keys.push(("password", password.into()));
            }
        }
    }
    Value::Table(keys)
}

/// What `forward` takes for a proxy that nobody reaches.
const NULL_ROUTE: &str = "0.0.0.0:0";
