//! A listener of the file, to which visitors are led.

use interception::{Method, Preference};
use plugin_api::config::{Problem, Problems, Spans, did_you_mean};
use proxy_core::{ListenAddress, Listener};

/// The one of this name.
pub(super) fn find<'l>(
    name: &str,
    listeners: &'l [Listener],
    spans: &Spans,
    problems: &mut Problems,
) -> Option<&'l Listener> {
    let found = listeners.iter().find(|listener| *listener.name == *name);
    if found.is_none() {
        let names: Vec<&str> = listeners.iter().map(|listener| &*listener.name).collect();
        let hint = did_you_mean(name, &names).unwrap_or_else(|| format!("there are: {}", names.join(", ")));
        let problem = Problem::new(spans.of("listener"), format!("there is no listener `{name}`"));
        problems.push(problem.with_hint(hint));
    }
    found
}

/// The method that a listener is made for, which is the one that is wanted.
pub(super) fn method(
    listener: &Listener,
    wanted: Option<Preference>,
    spans: &Spans,
    problems: &mut Problems,
) -> Option<Preference> {
    let made_for = match (listener.transparent, listener.redirected) {
        (true, true) => Some(Preference::Auto),
        (true, false) => Some(Preference::Only(Method::Tproxy)),
        (false, true) => Some(Preference::Only(Method::Redirect)),
        (false, false) => None,
    };
    match (made_for, wanted) {
        (Some(Preference::Auto), Some(wanted)) => Some(wanted),
        (Some(made_for), None) => Some(made_for),
        (Some(made_for), Some(wanted)) if made_for == wanted => Some(made_for),
        (made_for, _) => {
            let name = &listener.name;
            let (key, message) = match made_for {
                Some(_) => ("method", format!("the listener `{name}` is not made for this method")),
                None => ("listener", format!("the listener `{name}` takes no connections that a firewall leads to it")),
            };
            let hint = "add `transparent = true` (for \"tproxy\"), `redirected = true` (for \"redirect\") or both to the listener";
            problems.push(Problem::new(spans.of(key), message).with_hint(hint));
            None
        }
    }
}

/// Finds addresses that will not do: whoever is led here comes to any address of this machine, and is led to one port.
pub(super) fn check_addresses(listener: &Listener, port: u16, spans: &Spans, problems: &mut Problems) {
    let addresses: Vec<_> = listener.addresses.iter().filter_map(ListenAddress::inet).collect();
    let Some(first) = addresses.first() else { return };
    let wrong = if addresses.iter().any(|address| address.port() == port) {
        format!("listens on port {port} itself, which is the application's")
    } else if addresses.iter().any(|address| address.port() != first.port()) {
        "has several ports, and visitors can be led to one".to_owned()
    } else if let Some(narrow) = addresses.iter().find(|address| !address.ip().is_unspecified()) {
        format!("listens on {} only, and visitors come to every address of this machine", narrow.ip())
    } else {
        return;
    };
    let problem = Problem::new(spans.of("listener"), format!("the listener `{}` {wrong}", listener.name));
    problems
        .push(problem.with_hint("give it `address = [\"0.0.0.0:8081\", \"[::]:8081\"]`, with any port that is free"));
}
