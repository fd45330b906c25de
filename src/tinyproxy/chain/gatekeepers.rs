//! The links that let clients in or not: by where they come from, and by who they are.

use super::{STAT_HOST, Writer};
use crate::tinyproxy::{address::Hosts, argument::At, conf::AccessRule, document::Value, refusal};

impl Writer<'_> {
    pub(super) fn access(&mut self) {
        let Some(list) = &self.conf.access else { return };
        self.link("access", &list.span);
        let mut rules = Vec::new();
        let mut denied_name = None;
        for rule in &list.items {
            let (key, hosts, of): (_, _, fn(_) -> _) = match &rule.value {
                AccessRule::Allow(hosts) => ("allow", hosts, plugin_access::Rule::Allow),
                AccessRule::Deny(hosts) => ("deny", hosts, plugin_access::Rule::Deny),
            };
            if let Some(refusal) = refusal::of_client(of(hosts.to_string())) {
                let message = format!("{refusal}: as with tinyproxy, no client ever matches it");
                self.warnings.push(rule.span.clone(), message);
                continue;
            }
            if let (AccessRule::Deny(_), Hosts::Name(_)) = (&rule.value, hosts) {
                denied_name.get_or_insert(&rule.span);
            }
            rules.push((Value::Table(vec![(key, hosts.to_string().into())]), rule.span.clone()));
        }
        self.document.entry("rules", Value::List(rules), &list.span);
        if let Some(span) = denied_name {
            // tinyproxy goes on to the next rule when the name service is silent.
            self.document.entry("unresolved", "pass", span);
        }
    }

    pub(super) fn basic_auth(&mut self) {
        let realm = &self.conf.auth.realm;
        let Some(users) = &self.conf.auth.users else {
            if let Some(realm) = realm {
                self.warnings.push(realm.span.clone(), "a realm has no effect without `BasicAuth`");
            }
            return;
        };
        self.link("basic-auth", &users.span);
        let (name, span) = realm.as_ref().map_or(("Tinyproxy", &users.span), |realm| (&realm.value, &realm.span));
        self.document.entry("realm", name, span);
        let table = |user: &At<(String, String)>| {
            let (name, password) = user.value.clone();
            (Value::Table(vec![("name", name.into()), ("password", password.into())]), user.span.clone())
        };
        self.document.entry("users", Value::List(users.items.iter().map(table).collect()), &users.span);
        self.document.entry("header", "proxy", &users.span);
        // Browsers that look at the statistics do not take them for a proxy.
        let stat_host = self.conf.pages.stat_host.as_ref();
        let (host, span) = stat_host.map_or((STAT_HOST, &users.span), |host| (host.value.as_str(), &host.span));
        self.document.entry("origin_hosts", Value::List(vec![(host.into(), span.clone())]), span);
    }
}
