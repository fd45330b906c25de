//! `error-pages`: renders error pages from templates of one's own.

mod config;

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use plugin_api::{
    BuildCx, ConfigError, Cx, Form, Phases, Plugin, PluginError, Rendered, Request, Step,
    http::{HeaderValue, Version},
    template,
};

pub use config::{Config, Page};

/// Renders the error pages of its chain.
pub struct ErrorPages {
    pages: BTreeMap<u16, Arc<str>>,
    default: Option<Arc<str>>,
    package: String,
    version: String,
    website: String,
}

impl Plugin for ErrorPages {
    const NAME: &'static str = "error-pages";
    const PHASES: Phases = Phases::PAGE;

    type Config = Config;
    type State = ();

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        if config.pages.is_empty() && config.default.is_none() {
            let nothing = ConfigError::table("`error-pages` has no page");
            return Err(
                nothing.with_hint("write `default = \"/etc/lockgate/error.html\"`, or `pages` for single statuses")
            );
        }
        let mut pages = BTreeMap::new();
        for (index, page) in config.pages.into_iter().enumerate() {
            if pages.insert(page.status, page.file.into()).is_some() {
                return Err(
                    ConfigError::key("pages", format!("there is another page for {}", page.status)).index(index)
                );
            }
        }
        let default = config.default.map(Arc::from);
        let Config { package, version, website, .. } = config;
        Ok(Self { pages, default, package, version, website })
    }

    fn page<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        (): &'a mut (),
        page: &'a plugin_api::Page<'a>,
    ) -> Step<'a, Option<Rendered>> {
        let Some(file) = self.pages.get(&page.status.as_u16()).or(self.default.as_ref()) else {
            return Step::done(None);
        };
        let values = Values::of(cx, page);
        Step::wait(async move {
            // Read at each use, as a page is rare: who edits it sees it at once.
            let template = tokio::fs::read(&**file).await.or_else(|error| shipped(file).ok_or(error));
            match template {
                Ok(template) => {
                    let body = template::fill_bytes(&template, |name| self.value(&values, name));
                    Ok(Some(Rendered { body: body.into(), content_type: HeaderValue::from_static("text/html") }))
                }
                Err(error) => {
                    tracing::error!(target: "lockgate::error-pages", "Error opening error file '{file}' ({error})");
                    Ok::<_, PluginError>(None)
                }
            }
        })
    }
}

/// What a template can say about a request.
struct Values {
    errno: String,
    cause: String,
    detail: String,
    error: Option<String>,
    /// `None` when nothing was asked for yet.
    request: Option<String>,
    url: Option<String>,
    client: String,
    date: String,
}

impl Values {
    fn of(cx: &Cx<'_>, page: &plugin_api::Page<'_>) -> Self {
        let (url, line) = match (page.line, page.is_understood) {
            (Some(line), true) => (Some(target(line).to_owned()), Some(line.to_owned())),
            // What could not be understood says nowhere where it wants to go.
            (Some(line), false) => (Some(String::new()), Some(line.to_owned())),
            (None, true) => {
                let (request, url) = (cx.request(), url(cx.request()));
                let line = format!("{} {url} {}", request.method, version(request.version));
                (Some(url), Some(line))
            }
            (None, false) => (None, None),
        };
        Self {
            errno: page.status.as_u16().to_string(),
            cause: page.phrase.to_owned(),
            detail: page.reason.to_owned(),
            error: page.error.map(str::to_owned),
            request: line,
            url,
            client: cx.connection().client.name(),
            date: httpdate::fmt_http_date(SystemTime::now()),
        }
    }
}

impl ErrorPages {
    fn value<'v>(&'v self, values: &'v Values, name: &str) -> Option<&'v str> {
        Some(match name {
            "errno" => &values.errno,
            "cause" => &values.cause,
            "detail" => &values.detail,
            "error" => values.error.as_ref()?,
            "request" => values.request.as_ref()?,
            "url" => values.url.as_ref()?,
            "clientip" => &values.client,
            "date" => &values.date,
            "package" => &self.package,
            "version" => &self.version,
            "website" => &self.website,
            _ => return None,
        })
    }
}

/// The page that we have for a path where Debian's tinyproxy has one: its configuration names them, and the package may be gone.
fn shipped(path: &str) -> Option<Vec<u8>> {
    let page = match path {
        "/usr/share/tinyproxy/default.html" => include_str!("../pages/default.html"),
        "/usr/share/tinyproxy/debug.html" => include_str!("../pages/debug.html"),
        _ => return None,
    };
    Some(page.into())
}

/// What stands between the method and the version.
fn target(line: &str) -> &str {
    line.split(' ').nth(1).unwrap_or_default()
}

/// The target as the client wrote it, put together from what is known of it.
fn url(request: &Request<'_>) -> String {
    let host = || request.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    match request.form {
        Form::Absolute(scheme) => format!("{}://{}{}", scheme.as_str(), host(), request.uri),
        Form::Origin | Form::Authority => request.uri.to_string(),
    }
}

fn version(version: Version) -> &'static str {
    if version == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_pages_are_there_when_its_package_is_not() {
        for name in ["default", "debug"] {
            let page = shipped(&format!("/usr/share/tinyproxy/{name}.html")).expect("we have one");
            let filled = template::fill_bytes(&page, |name| NAMES.contains(&name).then_some("x"));
            assert!(!String::from_utf8_lossy(&filled).contains('{'), "every name in {name} is known");
        }
        assert!(shipped("/usr/share/tinyproxy/other.html").is_none());
    }

    const NAMES: &[&str] =
        &["errno", "cause", "detail", "error", "request", "url", "clientip", "date", "package", "version", "website"];
}
