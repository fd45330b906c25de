//! Both versions of HTTP over TLS, against curl.

use std::fs;

use super::Secure;

#[test]
fn both_versions_serve_whatever_is_asked_for() {
    let secure = Secure::start("", &["a.example"]);
    let body = "0123456789".repeat(30_000);
    let directory = test_support::scratch_dir().unwrap();
    let file = directory.path().join("body");
    fs::write(&file, &body).unwrap();
    for (flag, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let status = ["-o", "/dev/null", "-w", "%{http_version} %{http_code} %{size_download}"];
        let told = |path: &str, more: &[&str]| secure.curl("a.example", path, &[&[flag], more, &status].concat());
        assert_eq!(told("/", &[]), format!("{version} 200 {}", secure.origin.site().page.1.len()));
        assert_eq!(told("/status/404", &[]).split(' ').nth(1), Some("404"));
        assert!(told("/", &["-I"]).starts_with(&format!("{version} 200 ")), "{}", told("/", &["-I"]));
        assert_eq!(told("/chunked", &[]).split(' ').nth(1), Some("200"));
        assert_eq!(told("/unframed", &[]).split(' ').nth(1), Some("200"));
        assert_eq!(told("/drop", &[]).split(' ').nth(1), Some("502"));
        let big = told("/big", &[]);
        assert_eq!(big, format!("{version} 200 {}", secure.origin.site().download.1.len()));
        let echoed = secure.curl("a.example", "/echo", &[flag, "--data-binary", &format!("@{}", file.display())]);
        assert!(echoed == body, "{version}: {} bytes came back", echoed.len());
    }
}

#[test]
fn cookies_that_came_one_by_one_leave_as_one_field() {
    let secure = Secure::start("", &["a.example"]);
    let head = secure.curl("a.example", "/head", &["--http2", "-H", "Cookie: a=1", "-H", "Cookie: b=2"]).to_lowercase();
    assert!(head.contains("cookie: a=1; b=2"), "{head}");
    assert_eq!(head.matches("cookie:").count(), 1, "{head}");
}

#[test]
fn many_requests_share_a_connection() {
    let secure = Secure::start("", &["a.example"]);
    let port = secure.address().port();
    let urls: Vec<String> = (0..40).map(|number| format!("https://a.example:{port}/slow?{number}")).collect();
    let outputs: Vec<String> =
        urls.iter().flat_map(|url| ["-o".to_owned(), "/dev/null".to_owned(), url.clone()]).collect();
    let mut arguments = vec![
        "--no-progress-meter",
        "--http2",
        "--parallel",
        "--parallel-max",
        "40",
        "-w",
        "%{http_code} %{num_connects}\n",
    ];
    arguments.extend(outputs.iter().map(String::as_str));
    let started = std::time::Instant::now();
    let told = secure.curl("a.example", "/", &arguments);
    assert_eq!(told.lines().filter(|line| line.starts_with("200 ")).count(), 41, "{told}");
    // One after the other they take 12 seconds.
    assert!(started.elapsed() < std::time::Duration::from_secs(6), "{:?}", started.elapsed());
}

#[test]
fn a_listener_may_leave_http2_out() {
    let secure = Secure::start("http2 = false", &["a.example"]);
    let told = secure.curl("a.example", "/", &["--http2", "-o", "/dev/null", "-w", "%{http_version} %{http_code}"]);
    assert_eq!(told, "1.1 200");
}
