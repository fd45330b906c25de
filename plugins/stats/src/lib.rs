//! `stats`: shows what the proxy has counted, as a page for people or as text for Prometheus.

mod config;
mod figures;

use std::{sync::Arc, time::SystemTime};

use plugin_api::{
    BuildCx, ConfigError, Cx, Form, Meter, Phases, Plugin, Request, Response, Step, Terminal, Verdict,
    http::{HeaderValue, StatusCode, header},
    template,
};

pub use config::{Config, Format};
use figures::Figures;

/// Answers requests for the statistics, and lets all others go on.
pub struct Stats {
    meter: Arc<dyn Meter>,
    /// Of certificates, where there are any.
    certificates: Option<Arc<dyn Meter>>,
    host: Option<String>,
    path: Option<String>,
    format: Format,
    file: Option<Arc<str>>,
    package: String,
    version: String,
    website: String,
}

impl Plugin for Stats {
    const NAME: &'static str = "stats";
    const PHASES: Phases = Phases::REQUEST;
    const TERMINAL: Terminal = Terminal::Sometimes;

    type Config = Config;
    type State = ();

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        if config.host.is_none() && config.path.is_none() {
            let nowhere = ConfigError::table("nothing stands for the statistics");
            return Err(nowhere.with_hint("write `path = \"/metrics\"`, or `host = \"stats.example\"`"));
        }
        if config.path.as_ref().is_some_and(|path| !path.starts_with('/')) {
            return Err(ConfigError::key("path", "a path starts with `/`"));
        }
        if config.host.as_ref().is_some_and(String::is_empty) {
            return Err(ConfigError::key("host", "no host is called so"));
        }
        if config.format == Format::Prometheus && config.file.is_some() {
            return Err(ConfigError::key("file", "Prometheus reads no page: a template has no effect"));
        }
        let meter = cx.named::<dyn Meter>(<dyn Meter>::ENGINE);
        Ok(Self {
            certificates: cx.named::<dyn Meter>(<dyn Meter>::CERTIFICATES),
            meter: meter.ok_or_else(|| ConfigError::table("there is nothing that counts"))?,
            host: config.host,
            path: config.path,
            format: config.format,
            file: config.file.map(Arc::from),
            package: config.package,
            version: config.version,
            website: config.website,
        })
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        if !self.is_meant(cx.request()) {
            return Step::NEXT;
        }
        tracing::info!(target: "lockgate::narrative::notice", "Request for the stathost.");
        let mut readings = self.meter.readings();
        if self.format == Format::Prometheus {
            readings.extend(self.certificates.iter().flat_map(|certificates| certificates.readings()));
            let text = figures::prometheus(&readings);
            return Step::respond(response(text, "text/plain; version=0.0.4; charset=utf-8"));
        }
        let figures = Figures::of(&readings);
        let Some(file) = &self.file else { return Step::respond(page(self.built_in(&figures))) };
        let client = cx.connection().client.name();
        let request = cx.request();
        let site = match request.form {
            Form::Absolute(scheme) => {
                format!("{}://{}", scheme.as_str(), request.header(&header::HOST).unwrap_or_default())
            }
            Form::Origin | Form::Authority => String::new(),
        };
        let line = format!("{} {site}{} {:?}", request.method, request.uri, request.version);
        Step::wait(async move {
            let page = match tokio::fs::read(&**file).await.or_else(|error| shipped(file).ok_or(error)) {
                // The words are tinyproxy's.
                Ok(text) => page(self.fill(&text, &figures, &client, &line)).with_phrase("Statistic requested"),
                Err(error) => {
                    tracing::error!(target: "lockgate::stats", "cannot read {file}: {error}");
                    page(self.built_in(&figures))
                }
            };
            Ok(Verdict::Respond(Box::new(page)))
        })
    }
}

impl Stats {
    fn is_meant(&self, request: &Request<'_>) -> bool {
        request.form != Form::Authority
            && self.host.as_ref().is_none_or(|host| request.is_for_own(host))
            && self.path.as_ref().is_none_or(|path| path == request.path())
    }

    fn fill(&self, text: &[u8], figures: &Figures, client: &str, line: &str) -> Vec<u8> {
        let date = httpdate::fmt_http_date(SystemTime::now());
        template::fill_bytes(text, |name| {
            Some(match name {
                "clientip" => client,
                // It is no error.
                "errno" => "-1",
                "request" => line,
                "date" => &date,
                "package" => &self.package,
                "version" => &self.version,
                "website" => &self.website,
                other => return figures.get(other),
            })
        })
    }

    fn built_in(&self, figures: &Figures) -> Vec<u8> {
        self.fill(BUILT_IN.as_bytes(), figures, "", "")
    }
}

fn page(text: Vec<u8>) -> Response {
    response(text, "text/html")
}

fn response(text: impl Into<plugin_api::bytes::Bytes>, content_type: &'static str) -> Response {
    Response::new(StatusCode::OK)
        .with_header(header::CONTENT_TYPE, HeaderValue::from_static(content_type))
        .with_body(text)
}

/// What readers of tinyproxy's page look for is written as there.
const BUILT_IN: &str = include_str!("../pages/stats.html");

/// What stands in for the template of Debian's tinyproxy: its configuration names it, and the package may be gone.
fn shipped(path: &str) -> Option<Vec<u8>> {
    (path == "/usr/share/tinyproxy/stats.html").then(|| BUILT_IN.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debians_template_is_there_when_its_package_is_not() {
        let shipped = shipped("/usr/share/tinyproxy/stats.html").expect("we have one");
        let figures = Figures::of(&[]);
        let known = ["package", "version"];
        let filled = template::fill_bytes(&shipped, |name| figures.get(name).or(known.contains(&name).then_some("x")));
        assert!(!String::from_utf8_lossy(&filled).contains('{'), "every name in it is known");
        assert!(super::shipped("/usr/share/tinyproxy/other.html").is_none());
    }
}
