//! What plugins would refuse, asked before it is written: tinyproxy takes more than can be sent.

use plugin_access::{Access, Rule};
use plugin_api::{
    BuildCx, Named, Plugin, SharedStore,
    config::Duration,
    way_out::{Kind, ParentKeys, Parents},
};
use plugin_headers::{Config, Field, Headers};

use super::address::Hosts;

/// Why a header cannot be added.
pub(super) fn of_added((name, value): &(String, String)) -> Option<String> {
    of_headers(Config { add: vec![Field { name: name.clone(), value: value.clone() }], ..Config::default() })
}

/// Why no header is called so.
pub(super) fn of_kept(name: &str) -> Option<String> {
    of_headers(Config { keep: Some(vec![name.to_owned()]), ..Config::default() })
}

/// Why a rule is about no client.
pub(super) fn of_client(rule: Rule) -> Option<String> {
    let (named, shared) = (Named::default(), SharedStore::default());
    let (unresolved, lookup_timeout) = (Default::default(), Duration::from_secs(0));
    let config = plugin_access::Config { rules: vec![rule], unresolved, lookup_timeout };
    Access::build(config, &mut BuildCx::new(&named, &shared)).err().map(|error| error.to_string())
}

/// Why no host matches a rule.
pub(super) fn of_site(hosts: &Hosts) -> Option<String> {
    let (named, shared) = (Named::default(), SharedStore::default());
    let parent = ParentKeys {
        kind: Kind::Direct,
        to: Some(hosts.sites()),
        address: None,
        fail_timeout: Duration::from_secs(0),
        user: None,
        password: None,
        server_name: None,
        verify: true,
        ca: None,
        certificate: None,
        key: None,
    };
    Parents::build(vec![parent], false, &mut BuildCx::new(&named, &shared)).err().map(|error| error.to_string())
}

fn of_headers(config: Config) -> Option<String> {
    let (named, shared) = (Named::default(), SharedStore::default());
    Headers::build(config, &mut BuildCx::new(&named, &shared)).err().map(|error| error.to_string())
}
