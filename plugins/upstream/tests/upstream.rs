//! The plugin on the harness: which server a request gets, and what it refuses to be built from.

use plugin_api::{Address, Peer, harness::Harness};
use plugin_upstream::Upstream;

fn peer(harness: &Harness) -> Peer {
    harness.get("/").upstream.and_then(|forwarded| forwarded.peer).expect("it names a peer")
}

#[test]
fn servers_take_turns_and_the_others_follow() {
    let harness = Harness::of::<Upstream>("servers = [\"192.0.2.1:1\", \"192.0.2.2:2\", \"192.0.2.3:3\"]").unwrap();
    let order = |peer: &Peer| -> Vec<u16> {
        let port = |address: &Address| match address {
            Address::Socket(address) => address.port(),
            _ => 0,
        };
        peer.addresses().map(port).collect()
    };
    let seen: Vec<_> = (0..4).map(|_| order(&peer(&harness))).collect();
    assert_eq!(seen, [[1, 2, 3], [2, 3, 1], [3, 1, 2], [1, 2, 3]]);
}

#[test]
fn tls_is_for_all_servers_or_none() {
    let peer =
        peer(&Harness::of::<Upstream>("servers = [\"https://a.example\"]\nserver_name = \"b.example\"").unwrap());
    let tls = peer.settings().tls.as_ref().unwrap();
    assert_eq!((tls.server_name.as_deref(), tls.verify), (Some("b.example"), true));
}

#[test]
fn several_servers_are_watched() {
    let health = |keys: &str| peer(&Harness::of::<Upstream>(keys).unwrap()).settings().health.clone();
    let two = "servers = [\"192.0.2.1:1\", \"192.0.2.2:2\"]";
    assert_eq!(health(two).unwrap().fail_timeout().as_secs(), 10);
    assert!(health(&format!("{two}\nfail_timeout = \"0s\"")).is_none());
    assert!(health("servers = [\"192.0.2.1:1\"]").is_none());
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    let cases = [
        ("servers = []", "harness:1:11: there must be at least one server"),
        ("servers = [\"a:1\", \"b\"]", "harness:1:19: the port is missing"),
        ("servers = [\"https://a\", \"b:1\"]", "harness:1:25: all servers of one `upstream` use TLS, or none"),
        ("servers = [\"a:1\"]\nverify = false", "harness:2:10: only servers with `https://` have a certificate"),
        ("servers = [\"a:1\"]\nca = \"/x\"", "harness:2:6: only servers with `https://` have a certificate"),
        ("servers = [\"https://a\"]\nca = \"/no/such\"", "harness:2:6: `/no/such` cannot be read"),
        ("servers = [\"https://a\"]\nkey = \"/no/such\"", "harness:2:7: `certificate` and `key` go together"),
        ("servers = [\"a:1\"]\nread_timeout = \"soon\"", "harness:2:16: `soon` is not a time"),
        ("server = [\"a:1\"]", "did you mean `servers`?"),
    ];
    for (keys, expected) in cases {
        let problems = Harness::of::<Upstream>(keys).map(|_| ()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}
