//! Who may use this machine as a way out: a forward proxy without a rule serves everybody who reaches it.

use plugin_api::Chain;
use proxy_core::{ListenAddress, Listener, Route};

/// A remark for each route that forwards for everybody from an address that others can reach.
pub(super) fn remarks(listeners: &[Listener], routes: &[Route]) -> Vec<String> {
    let open = routes.iter().filter(|route| route.clients.is_empty() && forwards_for_all(&route.chain));
    open.filter_map(|route| {
        let mut reachable = listeners
            .iter()
            .filter(|listener| route.listeners.is_empty() || route.listeners.contains(&listener.name))
            .flat_map(|listener| &listener.addresses)
            // A unix socket is for this machine, and for whom its permissions say.
            .filter(|address| address.inet().is_some_and(|address| !address.ip().is_loopback()))
            .map(ListenAddress::to_string);
        let first = reachable.next()?;
        let all = reachable.fold(first, |all, address| format!("{all}, {address}"));
        let name = route.chain.name();
        Some(format!(
            "OPEN PROXY: route `{name}` forwards for everybody who reaches {all}, under this machine's address and into its \
             networks; say who may with `client = [\"192.168.0.0/16\"]` in the route, or listen on a loopback address"
        ))
    })
    .collect()
}

/// Whether the chain forwards, and nothing before that asks who is there.
fn forwards_for_all(chain: &Chain) -> bool {
    let mut before = chain.links().iter().map(plugin_api::Link::name).take_while(|name| *name != FORWARD);
    let asks = before.any(|name| GATEKEEPERS.contains(&name));
    !asks && chain.links().iter().any(|link| link.name() == FORWARD)
}

const FORWARD: &str = "forward";
const GATEKEEPERS: [&str; 2] = ["access", "basic-auth"];

#[cfg(test)]
mod tests {
    use plugin_api::config::Source;

    fn remarks(address: &str, route: &str, chain: &str) -> Vec<String> {
        let text = format!(
            "[[listener]]\nname = \"a\"\naddress = [\"{address}\"]\n[[listener]]\nname = \"b\"\naddress = [\"127.0.0.1:1\"]\n\
             [[route]]\nname = \"all\"\n{route}\nchain = [{chain}]\n"
        );
        crate::config::load(Source::new("f.toml", text), &Default::default()).map(|loaded| loaded.remarks).unwrap()
    }

    #[test]
    fn only_a_forward_proxy_that_everybody_reaches_is_remarked_upon() {
        let forward = "{ use = \"forward\" }";
        let open = remarks("0.0.0.0:8888", "", forward);
        assert_eq!(open.len(), 1);
        assert!(
            open[0].contains("`all`") && open[0].contains("0.0.0.0:8888") && !open[0].contains("127.0.0.1:1"),
            "{}",
            open[0]
        );
        assert_eq!(remarks("[::]:8888", "", forward).len(), 1);
        for (address, route, chain) in [
            ("127.0.0.1:8888", "", forward),
            ("[::1]:8888", "", forward),
            ("0.0.0.0:8888", "client = [\"10.0.0.0/8\"]", forward),
            ("0.0.0.0:8888", "listener = [\"b\"]", forward),
            ("0.0.0.0:8888", "", "{ use = \"upstream\", servers = [\"127.0.0.1:80\"] }"),
        ] {
            assert_eq!(remarks(address, route, chain), Vec::<String>::new(), "{address} {route} {chain}");
        }
    }
}
