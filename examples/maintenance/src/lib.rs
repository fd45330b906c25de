//! `maintenance`: answers 503 to everybody but a few colleagues, while the site is being worked on.

use std::net::IpAddr;

use plugin_api::{
    BuildCx, ConfigError, Cx, Phases, Plugin, Response, Step,
    http::{HeaderValue, StatusCode, header},
    schemars::JsonSchema,
    serde::Deserialize,
};

/// The plugin, ready to be asked.
pub struct Maintenance {
    colleagues: Vec<IpAddr>,
    message: String,
}

/// The keys of the plugin's table.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
pub struct Config {
    /// Addresses that still see the site.
    #[serde(default)]
    colleagues: Vec<String>,
    /// What everybody else reads.
    message: String,
}

impl Plugin for Maintenance {
    const NAME: &'static str = "maintenance";
    const PHASES: Phases = Phases::REQUEST;
    type Config = Config;
    type State = ();

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        let parse = |(index, text): (usize, &String)| {
            text.parse().map_err(|_error| ConfigError::key("colleagues", "this is not an IP address").index(index))
        };
        let colleagues = config.colleagues.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { colleagues, message: config.message })
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        let colleague = cx.connection().client.ip();
        if colleague.is_some_and(|address| self.colleagues.contains(&address)) {
            return Step::NEXT;
        }
        let page = Response::refuse(StatusCode::SERVICE_UNAVAILABLE, &*self.message);
        Step::respond(page.with_header(header::RETRY_AFTER, HeaderValue::from_static("600")))
    }
}
