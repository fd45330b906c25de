//! Pages of the proxy's own, which show what a client sent.

use std::fs;

use super::{Proxy, Recorder, get};

const TEMPLATE: &str =
    "|{errno}|{cause}|{request}|{url}|{detail}|{error}|{clientip}|{clienthost}|{date}|{website}|{version}|{package}|";

fn templates() -> (tempfile::TempDir, String) {
    let directory = test_support::scratch_dir().unwrap();
    let path = directory.path().join("page.html");
    fs::write(&path, TEMPLATE).unwrap();
    let lines = format!(
        "DefaultErrorFile \"{0}\"\nStatFile \"{0}\"\nStatHost \"stats.example\"\nConnectPort 443",
        path.display()
    );
    (directory, lines)
}

/// CVE-2022-40468: a page about a request without a method had bytes of an earlier request in it.
#[test]
fn a_page_shows_nothing_of_other_requests() {
    let (_directory, lines) = templates();
    let origin = Recorder::start();
    for lines in ["", &*lines] {
        let proxy = Proxy::start(lines);
        let malformed = [
            " http://x HTTP/1.1\r\n\r\n",
            " GET http://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
            "\tGET / HTTP/1.1\r\n\r\n",
            "GET\r\n\r\n",
            "GET  HTTP/1.1\r\n\r\n",
            "\r\n \r\n\r\n",
            "GET http:// HTTP/1.1\r\nHost: x\r\n\r\n",
            "CONNECT  HTTP/1.1\r\n\r\n",
        ];
        let plain = |answer: &str| -> String {
            // The date is not always the same.
            answer.lines().map(|line| if line.contains("GMT") { "" } else { line }).collect()
        };
        let before = malformed.map(|request| plain(&proxy.last_words(request)));
        for round in 0..20 {
            let secret = format!("http://{}/secret-{round}?{}", origin.address, "token".repeat(200));
            assert_eq!(proxy.status(get(&secret)), 200);
            assert_ne!(proxy.status(get(&format!("http://127.0.0.1:1/secret-{round}"))), 200);
            for (request, before) in malformed.iter().zip(&before) {
                let answer = proxy.last_words(request);
                assert!(
                    answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.0 400 "),
                    "{request:?} {answer}"
                );
                assert!(!answer.contains("secret") && !answer.contains("token"), "{request:?} {answer}");
                assert!(lines.is_empty() || answer.contains("|400|"), "{request:?} {answer}");
                assert!(TEMPLATE.contains("{date}") && plain(&answer) == *before, "{request:?} {answer} {before}");
            }
        }
    }
}

/// What a client sends is text in our pages, whatever it looks like: `{request}` and `{url}` were markup in tinyproxy's.
#[test]
fn values_in_pages_are_text() {
    let (_directory, lines) = templates();
    for lines in ["StatHost \"stats.example\"\nConnectPort 443", &*lines] {
        let proxy = Proxy::start(lines);
        let mut shown = 0;
        for hostile in
            ["<script>x</script>", "\"onload='x'", "'><img>", "&lt;b&gt;<b>", "{url}<i>", "%3Cs%3E<s>", "a&b'c\"d"]
        {
            for request in [
                get(&format!("http://127.0.0.1:1/{hostile}")),
                get(&format!("http://127.0.0.1:1/?{hostile}")),
                get(&format!("http://{hostile}/")),
                get(&format!("http://stats.example/{hostile}")),
                format!("{hostile} http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\n\r\n"),
                format!("GET /{hostile} HTTP/1.1\r\nHost: 127.0.0.1:1\r\n\r\n"),
                format!("GET / HTTP/1.1\r\nHost: {hostile}\r\n\r\n"),
                format!("GET /?{hostile} HTTP/1.1\r\nHost: stats.example\r\n\r\n"),
                format!("CONNECT {hostile}:1 HTTP/1.1\r\nHost: a\r\n\r\n"),
                format!("CONNECT a:1 HTTP/1.1\r\nHost: {hostile}\r\n\r\n"),
                format!("GET / {hostile}\r\nHost: a\r\n\r\n"),
                get(&format!("http://127.0.0.1:1/{hostile}")).replace(" HTTP/1.1", " x HTTP/1.1"),
            ] {
                let answer = proxy.last_words(request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
                let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {answer}"));
                assert!(!head.contains(hostile), "{request} {answer}");
                // Our own pages have markup, and the template has none.
                for part in ["<script", "<img", "<b>", "<i>", "<s>", "onload='", "\"onload", "c\"d"] {
                    assert!(!body.contains(part), "{part}: {request} {answer}");
                }
                assert!(!lines.contains("StatFile") || !body.contains(['<', '>', '\'', '"']), "{request} {answer}");
                shown += usize::from(body.contains("&#39;") || body.contains("&amp;"));
            }
        }
        assert!(shown > 0 || !lines.contains("StatFile"), "no page shows a value");
    }
}
