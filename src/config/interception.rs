//! `[interception]`: stepping in front of an application that owns its port, while an authority validates.

mod listener;

use std::{sync::Arc, time::Duration};

use interception::{Method, Preference};
use plugin_api::{
    BuildCx, Named, Plugin as _, SharedStore,
    config::{Duration as Time, Problem, Problems, Spans, Table},
    schemars::{self, JsonSchema},
};
use plugin_upstream::Upstream;
use proxy_core::Listener;
use serde::Deserialize;

use super::acme::Section;

/// How to step in front of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interception {
    /// The application's port.
    pub(crate) port: u16,
    /// How new connections are led to us.
    pub(crate) method: Preference,
    /// Where the application is, as the plugin `upstream` takes it; `None` for where visitors wanted to go.
    pub(crate) upstream: Option<String>,
    /// How long visitors' requests may take to finish when it ends.
    pub(crate) drain: Duration,
    /// The listener to which they are led; `None` for one that is opened for it.
    pub(crate) listener: Option<Arc<str>>,
}

/// The keys of the section.
#[derive(Deserialize, JsonSchema)]
struct Raw {
    /// The port on which the application is visited; 80 when absent.
    port: Option<u16>,
    /// How visitors are led here: `"auto"` (when absent), `"tproxy"` or `"redirect"`.
    method: Option<RawMethod>,
    /// Where the application is, as `servers` of the plugin `upstream` has it; where visitors wanted to go when absent.
    upstream: Option<String>,
    /// A `[[listener]]` with `transparent` (TPROXY), `redirected` (NAT) or both, to which visitors are led; one is opened for it
    /// when absent.
    listener: Option<String>,
    /// How long requests may take to finish when it is over; 60 s when absent.
    drain: Option<Time>,
}

/// The words for a method.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
enum RawMethod {
    /// TPROXY, or a redirect where that does not serve.
    Auto,
    /// TPROXY only.
    Tproxy,
    /// A NAT redirect only.
    Redirect,
}

/// Resolves the section. `None` when there is none, or something is wrong with it.
pub(super) fn build(
    table: Option<Table<'_>>,
    section: &Section,
    listeners: &[Listener],
    problems: &mut Problems,
) -> Option<Interception> {
    let table = table?;
    let (spans, whole) = (table.spans(), table.span());
    if let Section::Absent = section {
        let problem = Problem::new(whole, "there is no `[acme]`, so no authority comes for whom to intercept");
        problems.push(problem.with_hint("add `[acme]`, or take `[interception]` away"));
    }
    let raw = table.decode::<Raw>(problems)?;
    let port = raw.port.unwrap_or(HTTP);
    if port == 0 {
        let problem = Problem::new(spans.of("port"), "port 0 is no application's");
        problems.push(problem.with_hint("authorities come to port 80"));
    }
    if let Some(server) = &raw.upstream {
        check_upstream(server, &spans, problems);
    }
    let method = raw.method.map(|method| match method {
        RawMethod::Auto => Preference::Auto,
        RawMethod::Tproxy => Preference::Only(Method::Tproxy),
        RawMethod::Redirect => Preference::Only(Method::Redirect),
    });
    let found = raw.listener.as_deref().map(|name| listener::find(name, listeners, &spans, problems));
    let (listener, method) = match found {
        None => (None, method.unwrap_or_default()),
        Some(listener) => {
            let listener = listener?;
            if raw.upstream.is_some() {
                let problem =
                    Problem::new(spans.of_key("upstream"), "where requests of a listener go is said by `[[route]]`");
                problems.push(problem.with_hint("take `upstream` or `listener` away"));
            }
            let method = listener::method(listener, method, &spans, problems)?;
            listener::check_addresses(listener, port, &spans, problems);
            (Some(Arc::clone(&listener.name)), method)
        }
    };
    Some(Interception {
        port,
        method,
        upstream: raw.upstream,
        drain: raw.drain.map_or(DRAIN, |drain| drain.0),
        listener,
    })
}

/// Whether there can be an application.
fn check_upstream(server: &str, spans: &Spans, problems: &mut Problems) {
    let (named, shared) = (Named::default(), SharedStore::default());
    let keys = plugin_upstream::Config::new(vec![server.to_owned()]);
    if let Err(error) = Upstream::build(keys, &mut BuildCx::new(&named, &shared)) {
        let problem = Problem::new(spans.of("upstream"), error.to_string());
        problems.push(problem.with_hint("write \"127.0.0.1:8080\", \"unix:/run/application.sock\", or take it away"));
    }
}

/// HTTP-01 comes to no other ([RFC 8555 §8.3](https://www.rfc-editor.org/rfc/rfc8555#section-8.3)).
const HTTP: u16 = 80;
/// As long as a slow download may take.
const DRAIN: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
