//! The plugin on the harness: which page a status gets, and what is in it.
#![expect(clippy::unwrap_used, reason = "a test says what went wrong by panicking")]

use plugin_api::{
    Link, Phases, Plugin, Response, Step, Terminal,
    harness::{Exchange, Harness, link},
    http::{StatusCode, header},
};
use plugin_error_pages::ErrorPages;
use tempfile::TempDir;

/// Refuses with the status in the query.
struct Refusing;

impl Plugin for Refusing {
    const NAME: &'static str = "refusing";
    const PHASES: Phases = Phases::REQUEST;
    const TERMINAL: Terminal = Terminal::Always;
    type Config = ();
    type State = ();

    fn build((): (), _: &mut plugin_api::BuildCx<'_>) -> Result<Self, plugin_api::ConfigError> {
        Ok(Self)
    }

    fn request<'a>(&'a self, cx: &'a mut plugin_api::Cx<'_>, (): &'a mut ()) -> Step<'a> {
        let status = cx.request().uri.query().and_then(|query| query.parse().ok()).unwrap_or(StatusCode::FORBIDDEN);
        Step::respond(Response::refuse(status, "not <you>").with_phrase("Access denied"))
    }
}

struct Stage {
    directory: TempDir,
    harness: Harness,
}

impl Stage {
    /// Pages in a directory; `@` in the keys is its path.
    fn new(files: &[(&str, &str)], keys: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(directory.path().join(name), text).unwrap();
        }
        let keys = keys.replace('@', &directory.path().display().to_string());
        let pages = link::<ErrorPages>(&keys, &plugin_api::Named::default()).unwrap();
        Self { directory, harness: Harness::chain(vec![pages, Link::new(Refusing)]) }
    }

    async fn get(&self, target: &str) -> Exchange {
        self.harness.request("GET", target).send_async().await
    }
}

#[tokio::test]
async fn a_status_has_its_page_or_the_default_one() {
    let stage = Stage::new(
        &[("denied", "{errno} denied"), ("other", "{errno} other")],
        "default = \"@/other\"\npages = [{ status = 403, file = \"@/denied\" }]",
    );
    assert_eq!(stage.get("/?403").await.text(), "403 denied");
    let other = stage.get("/?502").await;
    assert_eq!((other.text(), other.status()), ("502 other".to_owned(), StatusCode::BAD_GATEWAY));
    assert_eq!(other.response.headers[header::CONTENT_TYPE], "text/html");
    let only = Stage::new(&[("denied", "denied")], "pages = [{ status = 403, file = \"@/denied\" }]");
    assert_eq!(only.get("/?404").await.text(), "not <you>", "the engine renders it");
}

#[tokio::test]
async fn a_template_tells_what_happened_and_lets_nothing_out() {
    let text = "{cause}|{detail}|{request}|{url}|{clientip}|{package}|{website}|{clienthost}";
    let stage = Stage::new(&[("page", text)], "default = \"@/page\"\nwebsite = \"https://lockgate.example/\"");
    assert_eq!(
        stage.get("http://site.example/%3Cscript%3E'?403").await.text(),
        "Access denied|not &lt;you&gt;|GET http://site.example/%3Cscript%3E&#39;?403 HTTP/1.1|\
         http://site.example/%3Cscript%3E&#39;?403|192.0.2.99|lockgate|https://lockgate.example/|{clienthost}"
    );
}

#[tokio::test]
async fn a_file_is_read_at_each_use_and_a_missing_one_is_the_engines_page() {
    let stage =
        Stage::new(&[("page", "one")], "default = \"@/page\"\npages = [{ status = 404, file = \"@/missing\" }]");
    assert_eq!(stage.get("/").await.text(), "one");
    std::fs::write(stage.directory.path().join("page"), "two").unwrap();
    assert_eq!(stage.get("/").await.text(), "two");
    let missing = stage.get("/?404").await;
    assert_eq!((missing.text(), missing.broken.len()), ("not <you>".to_owned(), 0), "and not the default one");
}

#[test]
fn what_has_no_page_is_refused_where_it_stands() {
    let cases = [
        ("", "`error-pages` has no page"),
        ("pages = [{ status = 404, file = \"a\" }, { status = 404, file = \"b\" }]", "there is another page for 404"),
        ("default = 1", "harness:1:11: invalid type"),
        ("defualt = \"a\"", "did you mean `default`?"),
    ];
    for (keys, expected) in cases {
        let problems = Harness::of::<ErrorPages>(keys).map(|_| ()).unwrap_err().to_string();
        assert!(problems.contains(expected), "{expected} is not in\n{problems}");
    }
}
