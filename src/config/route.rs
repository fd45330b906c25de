//! `[[route]]`: which requests go through which chain.

use std::sync::Arc;

use plugin_api::{
    BuildCx, Chain, Link, Named, SharedStore,
    chain::ChainError,
    config::{Array, Problem, Problems, Span, Spans, did_you_mean},
    http::Method,
    schemars::{self, JsonSchema},
};
use proxy_core::Route;
use serde::Deserialize;

use crate::registry::{plugin_names, plugins};

/// The conditions of a route; all that are given must hold.
#[derive(Deserialize, JsonSchema)]
struct Raw {
    /// A name for logs.
    name: Option<String>,
    /// Names of listeners.
    #[serde(default)]
    listener: Vec<String>,
    /// Hosts, `example.com` or `*.example.com`.
    #[serde(default)]
    host: Vec<String>,
    /// The path must start with this.
    path: Option<String>,
    /// Methods, in capitals.
    #[serde(default)]
    method: Vec<String>,
    /// Addresses of clients, or ranges of them; `unix` for those that have none.
    #[serde(default)]
    client: Vec<String>,
}

pub(super) fn build(
    array: Option<Array<'_>>,
    listeners: &[Arc<str>],
    named: &Named,
    shared: &SharedStore,
    problems: &mut Problems,
) -> Vec<Route> {
    let mut routes = Vec::new();
    for (index, (span, mut table)) in array.into_iter().flat_map(|array| array.items).enumerate() {
        let chain = table.take_tables("chain", problems);
        let spans = table.spans();
        let raw = table.decode::<Raw>(problems);
        let name = raw.as_ref().and_then(|raw| raw.name.clone()).unwrap_or_else(|| format!("route-{}", index + 1));
        let chain = match chain {
            Some(chain) => build_chain(&name, chain, named, shared, problems),
            None => {
                problems.push(
                    Problem::new(span, "a route needs a chain")
                        .with_hint("add `chain = [{ use = \"upstream\", servers = [\"127.0.0.1:8080\"] }]`"),
                );
                None
            }
        };
        let Some(raw) = raw else { continue };
        let route = conditions(raw, &spans, listeners, problems);
        if let Some(chain) = chain {
            routes.push(route(chain));
        }
    }
    routes
}

/// Checks the conditions; what is returned makes them a route with a chain.
fn conditions(
    raw: Raw,
    spans: &Spans,
    listeners: &[Arc<str>],
    problems: &mut Problems,
) -> impl FnOnce(Arc<Chain>) -> Route + use<> {
    let names: Vec<&str> = listeners.iter().map(|name| &**name).collect();
    for (index, name) in raw.listener.iter().enumerate().filter(|(_, name)| !names.contains(&name.as_str())) {
        let hint = did_you_mean(name, &names).unwrap_or_else(|| format!("there are: {}", names.join(", ")));
        let span = spans.of_index("listener", index);
        problems.push(Problem::new(span, format!("there is no listener `{name}`")).with_hint(hint));
    }
    if raw.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
        problems.push(Problem::new(spans.of("path"), "a path starts with `/`"));
    }
    let hosts = each(&raw.host, "host", spans, problems, |text| text.parse().map_err(|error| format!("{error}")));
    let clients = each(&raw.client, "client", spans, problems, |text| text.parse().map_err(|error| format!("{error}")));
    let methods = each(&raw.method, "method", spans, problems, |text| match Method::from_bytes(text.as_bytes()) {
        Ok(method) if text.bytes().all(|byte| byte.is_ascii_uppercase()) => Ok(method),
        _ => Err("a method is written in capitals, such as `GET`".to_owned()),
    });
    let listeners = raw.listener.iter().map(|name| Arc::from(name.as_str())).collect();
    let path = raw.path.map(String::into_boxed_str);
    move |chain| Route { listeners, hosts, path, methods, clients, chain }
}

fn each<T>(
    texts: &[String],
    key: &str,
    spans: &Spans,
    problems: &mut Problems,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let mut values = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        match parse(text) {
            Ok(value) => values.push(value),
            Err(message) => problems.push(Problem::new(spans.of_index(key, index), format!("`{text}`: {message}"))),
        }
    }
    values
}

fn build_chain(
    name: &str,
    chain: Array<'_>,
    named: &Named,
    shared: &SharedStore,
    problems: &mut Problems,
) -> Option<Arc<Chain>> {
    let mut links: Vec<Link> = Vec::new();
    let mut places: Vec<Span> = Vec::new();
    let mut complete = true;
    for (span, mut table) in chain.items {
        let Some((kind_span, kind)) = table.take_text("use", problems) else {
            problems.push(Problem::new(span, "`use` must name a plugin").with_hint(plugins_hint()));
            complete = false;
            continue;
        };
        let Some(found) = plugins().find(|known| known.name() == kind) else {
            let hint = did_you_mean(&kind, &plugin_names()).unwrap_or_else(plugins_hint);
            problems.push(Problem::new(kind_span, format!("unknown plugin `{kind}`")).with_hint(hint));
            complete = false;
            continue;
        };
        match found.build(table, &mut BuildCx::new(named, shared), problems) {
            Some(link) => {
                links.push(link);
                places.push(kind_span);
            }
            None => complete = false,
        }
    }
    // What is missing would make every other message about the chain wrong.
    if !complete {
        return None;
    }
    match Chain::compile(name, links) {
        Ok(chain) => Some(Arc::new(chain)),
        Err(error) => {
            let span = places.get(error.index()).cloned().unwrap_or(chain.span);
            let problem = Problem::new(span, error.to_string());
            problems.push(match error {
                ChainError::Empty | ChainError::Open { .. } => problem.with_hint(ENDINGS),
                _ => problem,
            });
            None
        }
    }
}

const ENDINGS: &str = "end it with `upstream`, or with `https-redirect` and its `otherwise = \"refuse\"`";

fn plugins_hint() -> String {
    format!("there are: {}", plugin_names().join(", "))
}
