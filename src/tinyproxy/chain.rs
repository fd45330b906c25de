//! The chain that does what the rules of a file say.

mod gatekeepers;
mod parents;

use std::ops::Range;

use plugin_api::config::Span;

use super::{
    Surroundings,
    argument::At,
    conf::Conf,
    document::{Document, Value},
    refusal, reverse,
    translation::timeout,
    warning::Warnings,
};

/// A link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) plugin: &'static str,
    /// Where the name of the plugin stands in the TOML text; its keys follow.
    pub(super) place: Range<usize>,
}

/// Writes the links, in the order in which tinyproxy asks: who, as whom, where to.
pub(super) fn write(
    conf: &Conf,
    port: &At<u16>,
    surroundings: &Surroundings,
    warnings: &mut Warnings,
    document: &mut Document,
) -> Vec<Link> {
    let mut chain = Writer { conf, port, surroundings, warnings, document, links: Vec::new() };
    chain.error_pages();
    chain.access();
    chain.basic_auth();
    // A filter sees requests for the statistics by URL, not those by their Host field.
    chain.filter();
    chain.stats();
    chain.headers();
    // What answers every request by itself ends the chain.
    if chain.reverse_path() {
        chain.forward();
    }
    chain.links
}

struct Writer<'w> {
    conf: &'w Conf,
    port: &'w At<u16>,
    surroundings: &'w Surroundings,
    warnings: &'w mut Warnings,
    document: &'w mut Document,
    links: Vec<Link>,
}

impl Writer<'_> {
    fn link(&mut self, plugin: &'static str, origin: &Span) {
        self.document.section("[[route.chain]]", origin);
        let place = self.document.entry("use", plugin, origin);
        self.links.push(Link { plugin, place });
    }

    /// tinyproxy opens these files when it needs them, by names that start where it is then.
    fn error_pages(&mut self) {
        let pages = &self.conf.pages;
        let Some(span) = pages.files.first().map(|page| &page.span).or(pages.default.as_ref().map(|path| &path.span))
        else {
            return;
        };
        self.link("error-pages", span);
        let path = |path: &str| Value::from(self.surroundings.mode.path(path));
        if let Some(first) = pages.files.first() {
            let table = |page: &At<(u16, String)>| {
                let (status, file) = &page.value;
                (Value::Table(vec![("status", u32::from(*status).into()), ("file", path(file))]), page.span.clone())
            };
            let files = pages.files.iter().map(table).collect();
            self.document.entry("pages", Value::List(files), &first.span);
        }
        if let Some(default) = &pages.default {
            self.document.entry("default", path(&default.value), &default.span);
        }
        self.document.entry("package", "tinyproxy", span);
        self.document.entry("version", VERSION, span);
        self.document.entry("website", env!("CARGO_PKG_REPOSITORY"), span);
    }

    /// tinyproxy shows its statistics under a name of its own unless told otherwise.
    fn stats(&mut self) {
        let pages = &self.conf.pages;
        let (host, span) = match &pages.stat_host {
            Some(host) => (host.value.as_str(), &host.span),
            None => (STAT_HOST, &self.port.span),
        };
        self.link("stats", span);
        self.document.entry("host", host, span);
        if let Some(file) = &pages.stat_file {
            self.document.entry("file", self.surroundings.mode.path(&file.value), &file.span);
        }
        self.document.entry("package", "tinyproxy", span);
        self.document.entry("version", VERSION, span);
        self.document.entry("website", env!("CARGO_PKG_REPOSITORY"), span);
    }

    fn filter(&mut self) {
        let filter = &self.conf.filter;
        let Some(file) = &filter.file else {
            let settings =
                [&filter.extended, &filter.wildcards, &filter.urls, &filter.default_deny, &filter.case_sensitive];
            for span in settings.into_iter().flatten() {
                self.warnings.push(span.clone(), "this has no effect without `Filter`");
            }
            return;
        };
        self.link("filter", &file.span);
        self.document.entry("file", self.surroundings.mode.path(&file.value), &file.span);
        let (syntax, span) = match (&filter.wildcards, &filter.extended) {
            (Some(span), _) => ("fnmatch", span),
            (None, Some(span)) => ("ere", span),
            (None, None) => ("bre", &file.span),
        };
        self.document.entry("syntax", syntax, span);
        for (key, setting, on, off) in
            [("subject", &filter.urls, "url", "host"), ("default", &filter.default_deny, "deny", "allow")]
        {
            let (word, span) = setting.as_ref().map_or((off, &file.span), |span| (on, span));
            self.document.entry(key, word, span);
        }
        // tinyproxy has wildcards for exactly what the client wrote only.
        let span = filter.case_sensitive.as_ref().or(filter.wildcards.as_ref());
        self.document.entry("case_sensitive", span.is_some(), span.unwrap_or(&file.span));
        let outgoing = &self.conf.outgoing;
        if let Some(first) = outgoing.connect_ports.first() {
            let ports = outgoing.connect_ports.iter().filter(|port| (1..=65535).contains(&port.value));
            let ports = ports.map(|port| (Value::from(port.value), port.span.clone())).collect();
            self.document.entry("connect_ports", Value::List(ports), &first.span);
        }
        let stat_host = self.conf.pages.stat_host.as_ref();
        let (host, span) = stat_host.map_or((STAT_HOST, &file.span), |host| (host.value.as_str(), &host.span));
        self.document.entry("own_hosts", Value::List(vec![(host.into(), span.clone())]), span);
        // Targets of `ReversePath` are filtered in tinyproxy, not the paths that lead to them.
        let reverse = &self.conf.reverse;
        if let Some(first) = &reverse.first {
            let mut keys = vec![("paths", self.paths(|_status| None))];
            for (key, on) in [("magic", &reverse.magic), ("only", &reverse.only)] {
                keys.extend(on.as_ref().filter(|on| on.value).map(|_| (key, true.into())));
            }
            self.document.entry("reverse", Value::Table(keys), first);
        }
    }

    fn headers(&mut self) {
        let headers = &self.conf.headers;
        let adds: Vec<_> = headers.add.iter().filter(|header| headers.sends(header)).collect();
        for header in headers.add.iter().filter(|header| !headers.sends(header)) {
            let message = match refusal::of_added(&header.value) {
                _ if header.value.0.eq_ignore_ascii_case("host") => {
                    "the proxy writes `Host` itself: like in tinyproxy, this has no effect".to_owned()
                }
                Some(refusal) => format!("{refusal}: it is not added"),
                None => "`Anonymous` does not let this through: like in tinyproxy, it has no effect".to_owned(),
            };
            self.warnings.push(header.span.clone(), message);
        }
        let via = match (&headers.no_via, &headers.via_name) {
            (Some(At { value: true, .. }), _) => None,
            (_, Some(name)) => Some((via_name(name, self.warnings), &name.span)),
            (_, None) => Some((self.surroundings.host_name.clone(), &self.port.span)),
        };
        let address = headers.x_tinyproxy.as_ref().filter(|on| on.value);
        let spans = [
            adds.first().map(|header| &header.span),
            headers.anonymous.first().map(|name| &name.span),
            address.map(|on| &on.span),
            via.as_ref().map(|(_, span)| *span),
        ];
        let Some(span) = spans.into_iter().flatten().next() else { return };
        self.link("headers", span);
        if let Some(first) = headers.anonymous.first() {
            for name in &headers.anonymous {
                if let Some(refusal) = refusal::of_kept(&name.value) {
                    self.warnings.push(name.span.clone(), format!("{refusal}: no header is called so"));
                }
            }
            let named = headers.anonymous.iter().filter(|name| refusal::of_kept(&name.value).is_none());
            let names = named.map(|name| (name.value.as_str().into(), name.span.clone()));
            self.document.entry("keep", Value::List(names.collect()), &first.span);
        }
        if let Some(first) = adds.first() {
            let table = |header: &&At<(String, String)>| {
                let (name, value) = header.value.clone();
                (Value::Table(vec![("name", name.into()), ("value", value.into())]), header.span.clone())
            };
            self.document.entry("add", Value::List(adds.iter().map(table).collect()), &first.span);
        }
        if let Some((name, span)) = via {
            // The comment is how tinyproxy signs.
            self.document.entry("via", format!("{name} (tinyproxy)"), span);
        }
        if let Some(on) = address {
            self.document.entry("client_address", "X-Tinyproxy", &on.span);
        }
    }

    /// Whether requests may go past it.
    fn reverse_path(&mut self) -> bool {
        let reverse = &self.conf.reverse;
        let is_only = reverse.only.as_ref().is_some_and(|on| on.value);
        let Some(first) = &reverse.first else {
            let settings = [
                reverse.only.as_ref().filter(|on| on.value).map(|on| &on.span),
                reverse.magic.as_ref().filter(|on| on.value).map(|on| &on.span),
                reverse.base_url.as_ref().map(|url| &url.span),
            ];
            for span in settings.into_iter().flatten() {
                self.warnings.push(span.clone(), "this has no effect without `ReversePath`");
            }
            return true;
        };
        if reverse.paths.is_empty() && !is_only {
            return true;
        }
        self.link("reverse-path", first);
        let paths = self.paths(|status| Some(("status", status.into())));
        self.document.entry("paths", paths, first);
        for (key, on) in [("magic", &reverse.magic), ("only", &reverse.only)] {
            if let Some(on) = on.as_ref().filter(|on| on.value) {
                self.document.entry(key, true, &on.span);
            }
        }
        if let Some(url) = &reverse.base_url {
            let value = reverse::encoded(&url.value);
            if !value.ends_with('/') {
                self.warnings.push(url.span.clone(), "this needs a `/` at its end, which is added");
            }
            self.document.entry("base_url", value, &url.span);
        }
        self.document.entry("forwarded", false, first);
        self.document.entry("unreachable_status", UNREACHABLE, first);
        self.timeouts(&["connect_timeout", "read_timeout", "write_timeout", "upgraded_idle_timeout"]);
        self.source_addresses();
        self.parents();
        !is_only
    }

    /// Paths and their targets, or what is to be said where there is none. tinyproxy tries the last one first.
    fn paths(&self, refused: impl Fn(u32) -> Option<(&'static str, Value)>) -> Value {
        let paths = self.conf.reverse.paths.iter().rev().map(|path| {
            let way = match &path.value.way {
                reverse::Way::To(url) => Some(("to", url.as_str().into())),
                reverse::Way::Unsupported => refused(UNSUPPORTED),
                // No name stands for nobody everywhere: a search domain, or another proxy, may know it.
                reverse::Way::Nobody => refused(UNREACHABLE),
            };
            let keys = [("path", path.value.path.as_str().into())].into_iter().chain(way);
            (Value::Table(keys.collect()), path.span.clone())
        });
        Value::List(paths.collect())
    }

    fn forward(&mut self) {
        let outgoing = &self.conf.outgoing;
        self.link("forward", &self.port.span);
        if let Some(first) = outgoing.connect_ports.first() {
            let mut ports = Vec::new();
            for port in &outgoing.connect_ports {
                match port.value {
                    1..=65535 => ports.push((Value::from(port.value), port.span.clone())),
                    0 => {}
                    other => self
                        .warnings
                        .push(port.span.clone(), format!("{other} is no port: like in tinyproxy, it has no effect")),
                }
            }
            self.document.entry("connect_ports", Value::List(ports), &first.span);
        }
        if let Some(first) = self.conf.listen.first() {
            let own =
                self.conf.listen.iter().map(|listen| (listen.value.address.to_string().into(), listen.span.clone()));
            self.document.entry("own_hosts", Value::List(own.collect()), &first.span);
        }
        self.source_addresses();
        self.timeouts(&["connect_timeout", "read_timeout", "write_timeout", "idle_timeout"]);
        self.document.entry("unreachable_status", UNREACHABLE, &self.port.span);
        self.parents();
    }

    /// tinyproxy has one limit, for the silence in every state of a connection.
    fn timeouts(&mut self, keys: &[&str]) {
        let (timeout, span) = timeout(self.conf, self.port);
        for key in keys {
            self.document.entry(key, timeout.as_str(), &span);
        }
    }

    fn source_addresses(&mut self) {
        let outgoing = &self.conf.outgoing;
        if let Some(same) = outgoing.bind_same.as_ref().filter(|same| same.value) {
            for address in &outgoing.bind {
                self.warnings.push(address.span.clone(), "`BindSame` takes precedence, as in tinyproxy");
            }
            self.document.entry("bind_same", true, &same.span);
            return;
        }
        let Some(first) = outgoing.bind.first() else { return };
        let has_others = outgoing.bind.iter().any(|address| address.value.is_ok());
        let mut addresses: Vec<(Value, Span)> = Vec::new();
        for address in &outgoing.bind {
            match &address.value {
                Ok(local) => {
                    let scope = local.scope.as_ref().map_or(String::new(), |scope| format!("%{scope}"));
                    addresses.push((format!("{}{scope}", local.address).into(), address.span.clone()));
                }
                Err(_) if has_others => {
                    self.warnings
                        .push(address.span.clone(), "this is no address: like in tinyproxy, it is passed over");
                }
                Err(_) => {
                    let message = "this is no address: like with tinyproxy, every connection will fail";
                    self.warnings.push(address.span.clone(), message);
                    addresses.extend(NOBODYS.map(|nobodys| (nobodys.into(), address.span.clone())));
                }
            }
        }
        self.document.entry("bind", Value::List(addresses), &first.span);
    }
}

/// The name of this proxy without what no header holds; tinyproxy would send it.
fn via_name(name: &At<String>, warnings: &mut Warnings) -> String {
    // A tab may be in a value.
    let is_unfit = |character: char| character.is_control() && character != '\t';
    if name.value.contains(is_unfit) {
        warnings.push(name.span.clone(), "a name has no control characters: it is sent without them");
    }
    name.value.chars().filter(|character| !is_unfit(*character)).collect()
}

/// The release whose behaviour this has, in pages and for `-v`: scripts compare it.
pub(crate) const VERSION: &str = "1.11.3";
/// The name under which tinyproxy shows its statistics.
const STAT_HOST: &str = "tinyproxy.stats";
/// tinyproxy says 500 when it reaches nobody, and scripts and pages rely on it.
const UNREACHABLE: u32 = 500;
/// What it says to requests that need a protocol other than HTTP.
const UNSUPPORTED: u32 = 501;
/// Addresses for documentation (RFC 5737, RFC 3849): no machine has them.
const NOBODYS: [&str; 2] = ["192.0.2.1", "2001:db8::1"];
