//! What plugins would refuse, asked before it is written: tinyproxy takes more than can be sent.

use plugin_api::{BuildCx, Named, Plugin, SharedStore};
use plugin_headers::{Config, Field, Headers};

/// Why a header cannot be added.
pub(super) fn of_added((name, value): &(String, String)) -> Option<String> {
    of_headers(Config { add: vec![Field { name: name.clone(), value: value.clone() }], ..Config::default() })
}

/// Why no header is called so.
pub(super) fn of_kept(name: &str) -> Option<String> {
    of_headers(Config { keep: Some(vec![name.to_owned()]), ..Config::default() })
}

fn of_headers(config: Config) -> Option<String> {
    let (named, shared) = (Named::default(), SharedStore::default());
    Headers::build(config, &mut BuildCx::new(&named, &shared)).err().map(|error| error.to_string())
}
