//! The plugin on the harness: no sockets, no proxy, a fraction of a second.

use plugin_api::{harness::Harness, http::StatusCode};
use plugin_maintenance::Maintenance;

#[test]
fn colleagues_see_the_site_and_others_a_page() {
    let mut harness = Harness::of::<Maintenance>("colleagues = [\"192.0.2.7\"]\nmessage = \"Back at noon.\"").unwrap();
    let stranger = harness.get("/");
    assert_eq!((stranger.status(), stranger.text().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "Back at noon."));
    harness.connection().client = "192.0.2.7:1234".parse().unwrap();
    assert_eq!(harness.get("/").text(), "the application");
}

#[test]
fn a_wrong_address_is_reported_where_it_stands() {
    let problems = Harness::of::<Maintenance>("message = \"\"\ncolleagues = [\"nobody\"]").map(|_| ()).unwrap_err();
    assert!(problems.to_string().starts_with("harness:2:15: this is not an IP address"), "{problems}");
}
