//! The contract that every authenticator keeps, with one webroot and with one per name.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{fs, path::Path};

use authenticator_api::{DomainName, conformance};
use authenticator_webroot::{Paths, Webroot};

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_with_one_webroot() {
    let (webroot, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    conformance::all(|| Webroot::new(Paths::Every(webroot.path().into()), state.path())).await;
    assert_empty(webroot.path());
    assert_empty(state.path());
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract_with_a_webroot_per_name() {
    let (one, two, state) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let paths = [(conformance::DOMAIN, one.path()), (conformance::OTHER_DOMAIN, two.path())]
        .map(|(domain, path)| (DomainName::parse(domain).unwrap(), path.to_path_buf()));
    conformance::all(|| Webroot::new(Paths::PerDomain(paths.clone().into()), state.path())).await;
    for directory in [one.path(), two.path(), state.path()] {
        assert_empty(directory);
    }
}

/// What the suite cannot see: every trace is gone from the disk as well.
fn assert_empty(directory: &Path) {
    let left: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "left in {}: {left:?}", directory.display());
}
