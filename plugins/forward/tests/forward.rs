//! The plugin on the harness: where requests and tunnels go, and what is refused.

use plugin_api::{Address, Bind, ParentKind, Peer, Target, harness::Harness, http::StatusCode};
use plugin_forward::Forward;

fn peer(harness: &Harness, target: &str) -> Peer {
    harness.get(target).upstream.and_then(|forwarded| forwarded.peer).expect("it names a peer")
}

fn tunnel(harness: &Harness, authority: &str) -> Target {
    harness.request("CONNECT", authority).send().tunnel.expect("it opens a tunnel")
}

fn first(peer: &Peer) -> String {
    peer.addresses().next().map(text).unwrap_or_default()
}

fn text(address: &Address) -> String {
    match address {
        Address::Socket(address) => address.to_string(),
        Address::Host { name, port } => format!("{name}:{port}"),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_request_goes_where_its_url_says() {
    let harness = Harness::of::<Forward>("").unwrap();
    for (target, expected) in [
        ("http://Site.example/p?q", "Site.example:80"),
        ("http://site.example:8080", "site.example:8080"),
        ("https://site.example/", "site.example:443"),
        ("http://127.0.0.1:81/", "127.0.0.1:81"),
        ("http://[::1]:81/", "[::1]:81"),
        ("/transparent", "site.example:80"),
    ] {
        let peer = peer(&harness, target);
        assert_eq!(first(&peer), expected, "{target}");
        assert_eq!(peer.settings().tls.is_some(), target.starts_with("https"));
        assert!(!peer.settings().forwarded, "a stranger's server learns nothing about the client");
    }
    let other = harness.request("GET", "http://other.example/p?q").header("x-a", "1").send();
    assert_eq!(other.upstream.unwrap().headers["host"], "other.example");
}

#[test]
fn tunnels_open_to_allowed_ports_only() {
    let any = Harness::of::<Forward>("").unwrap();
    assert_eq!(text(&tunnel(&any, "Site.example:25").address), "Site.example:25");
    assert_eq!(text(&tunnel(&any, "[::1]:443").address), "[::1]:443");
    let some = Harness::of::<Forward>("connect_ports = [443, 563]").unwrap();
    assert_eq!(text(&tunnel(&some, "a:563").address), "a:563");
    for keys in ["connect_ports = [443]", "connect_ports = []"] {
        let harness = Harness::of::<Forward>(keys).unwrap();
        let refused = harness.request("CONNECT", "a:80").send();
        assert_eq!((refused.status(), refused.tunnel.is_none()), (StatusCode::FORBIDDEN, true), "{keys}");
    }
}

#[test]
fn the_first_parent_that_matches_is_used() {
    let keys = r#"
        [[parents]]
        use = "direct"
        to = [".", "10.0.0.0/8"]
        [[parents]]
        use = "socks5"
        to = [".onion"]
        address = "127.0.0.1:9050"
        user = "u"
        password = "p"
        [[parents]]
        use = "http"
        address = "proxy.example:3128"
    "#;
    let harness = Harness::of::<Forward>(keys).unwrap();
    let parent = |target: &str| peer(&harness, target).settings().parent.clone();
    assert!(parent("http://intranet/").is_none() && parent("http://10.1.1.1/").is_none());
    let socks = parent("http://a.onion/").unwrap();
    assert_eq!((socks.kind, text(&socks.addresses[0])), (ParentKind::Socks5, "127.0.0.1:9050".into()));
    assert_eq!(socks.credentials, Some(("u".into(), "p".into())));
    let http = tunnel(&harness, "a.example:443").parent.unwrap();
    assert_eq!((http.kind, text(&http.addresses[0])), (ParentKind::Http, "proxy.example:3128".into()));
}

#[test]
fn a_parent_may_speak_tls_and_have_several_addresses() {
    let keys = r#"
        [[parents]]
        use = "https"
        to = ["a.example"]
        address = "Proxy.example:3129"
        [[parents]]
        use = "https"
        address = ["[::1]:1", "proxy.example:2"]
        server_name = "other.example"
        verify = false
    "#;
    let harness = Harness::of::<Forward>(keys).unwrap();
    let one = tunnel(&harness, "a.example:443").parent.unwrap();
    let tls = one.tls.as_ref().unwrap();
    assert_eq!((one.kind, tls.server_name.as_deref(), tls.verify), (ParentKind::Http, None, true));
    assert!(one.health.is_none(), "there is no other to try first");
    let several = peer(&harness, "http://b.example/").settings().parent.clone().unwrap();
    assert_eq!(several.addresses.iter().map(text).collect::<Vec<_>>(), ["[::1]:1", "proxy.example:2"]);
    let tls = several.tls.as_ref().unwrap();
    assert_eq!((tls.server_name.as_deref(), tls.verify), (Some("other.example"), false));
    let health = several.health.as_ref().unwrap();
    assert_eq!(health.fail_timeout().as_secs(), 10);
    // What is known is known to every request.
    health.failed(0);
    let again = tunnel(&harness, "c.example:443").parent.unwrap();
    assert!(!again.health.as_ref().unwrap().may_try(0));
    let same = "bind_same = true\nparents = [{ use = \"http\", address = [\"a:1\", \"b:1\"] }]";
    let parent = tunnel(&Harness::of::<Forward>(same).unwrap(), "c.example:443").parent.unwrap();
    assert!(parent.health.is_none(), "what one client's address cannot reach, another's may");
}

#[test]
fn settings_reach_peers_and_tunnels() {
    let keys = "public_only = true\nbind = [\"192.0.2.1\"]\nconnect_timeout = \"3s\"\nidle_timeout = \"1m\"\nunreachable_status = 500";
    let harness = Harness::of::<Forward>(keys).unwrap();
    let (peer, tunnel) = (peer(&harness, "http://a/"), tunnel(&harness, "a:443"));
    let bind = Bind::Addresses(vec!["192.0.2.1".parse().unwrap()]);
    assert!(peer.settings().public_only && tunnel.public_only);
    assert_eq!((&peer.settings().bind, &tunnel.bind), (&bind, &bind));
    assert_eq!(peer.settings().unreachable_status, Some(StatusCode::INTERNAL_SERVER_ERROR));
    assert_eq!((tunnel.connect_timeout.as_secs(), tunnel.idle_timeout.unwrap().as_secs()), (3, 60));
}

#[test]
fn a_path_alone_can_be_refused() {
    let harness = Harness::of::<Forward>("transparent = false").unwrap();
    assert_eq!(harness.get("/").status(), StatusCode::BAD_REQUEST);
    assert_eq!(harness.get("http://a/").status(), StatusCode::OK);
}

#[test]
fn what_cannot_work_is_refused_where_it_stands() {
    let cases = [
        ("connect_ports = [443, 0]", "harness:1:23: no port is 0"),
        ("connect_ports = [65536]", "harness:1:18: invalid value"),
        ("bind_same = true\nbind = [\"192.0.2.1\"]", "harness:2:8: `bind_same` decides"),
        ("bind_order = \"turn\"", "harness:1:14: nobody can take turns"),
        ("bind_same = true\nbind_order = \"turn\"", "harness:2:14: nobody can take turns"),
        ("bind = [\"here\"]", "harness:1:9: invalid"),
        ("unreachable_status = 200", "harness:1:22: this must be a status from 400 to 599"),
        ("parents = [{ use = \"http\", address = [] }]", "harness:1:12: a proxy needs an `address`"),
        ("parents = [{ use = \"http\", address = 1 }]", "this must be a string, or a list of strings"),
        ("parents = [{ use = \"http\", address = \"a:1\", verify = false }]", "harness:1:12: `verify` is about TLS"),
        ("parents = [{ use = \"socks5\", address = \"a:1\", ca = \"/x\" }]", "harness:1:12: `ca` is about TLS"),
        (
            "parents = [{ use = \"https\", address = \"a:1\", ca = \"/no/such\" }]",
            "harness:1:12: `ca`: `/no/such` cannot",
        ),
        ("ca = \"/no/such\"", "harness:1:6: `/no/such` cannot be read"),
        ("certificate = \"/x\"\nkey = \"/x\"", "harness:1:15: every server could ask"),
        ("parents = [{ use = \"http\" }]", "harness:1:12: a proxy needs an `address`"),
        ("parents = [{ use = \"http\", address = \"a\" }]", "harness:1:12: `a` is not a host and port"),
        ("parents = [{ use = \"direct\", address = \"a:1\" }]", "harness:1:12: `direct` goes through no proxy"),
        ("parents = [{ use = \"direct\", to = [] }]", "harness:1:12: an empty `to`"),
        ("parents = [{ use = \"ftp\", address = \"a:1\" }]", "harness:1:20: unknown variant"),
        (
            "parents = [{ use = \"http\", address = \"a:1\", user = \"u\" }]",
            "harness:1:12: user and password go together",
        ),
        ("parents = [{ use = \"http\", adress = \"a:1\" }]", "did you mean `address`?"),
    ];
    for (keys, expected) in cases {
        let problems = Harness::of::<Forward>(keys).map(|_| ()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}
