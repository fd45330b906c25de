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
        Ok(Self { pages, default, package: config.package, website: config.website })
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
            match tokio::fs::read(&**file).await {
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
    /// `None` when nothing was asked for yet.
    request: Option<String>,
    url: Option<String>,
    client: String,
    date: String,
}

impl Values {
    fn of(cx: &Cx<'_>, page: &plugin_api::Page<'_>) -> Self {
        let request = cx.request();
        // A request that could not be understood has a line at most, and says nowhere where it wants to go.
        let url = request.host.map(|_| url(request));
        let line = url.as_ref().map(|url| format!("{} {url} {}", request.method, version(request.version)));
        Self {
            errno: page.status.as_u16().to_string(),
            cause: page.phrase.to_owned(),
            detail: page.reason.to_owned(),
            request: page.line.map(str::to_owned).or(line),
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
            "request" => values.request.as_ref()?,
            "url" => values.url.as_ref()?,
            "clientip" => &values.client,
            "date" => &values.date,
            "package" => &self.package,
            "version" => env!("CARGO_PKG_VERSION"),
            "website" => &self.website,
            _ => return None,
        })
    }
}

/// The target as the client wrote it.
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
