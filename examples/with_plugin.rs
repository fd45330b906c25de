//! Lockgate with a plugin of somebody's own: all that such a program needs. Try it:
//! `cargo run --example with_plugin -- plugins`.

use std::process::ExitCode;

use plugin_api::{
    BuildCx, ConfigError, Cx, Kind, Phases, Plugin, Response, Step, http::StatusCode, schemars::JsonSchema,
    serde::Deserialize,
};

fn main() -> ExitCode {
    lockgate::main(const { &[Kind::of::<Teapot>()] })
}

/// Brews no coffee (RFC 2324 §2.3.2).
struct Teapot {
    path: String,
}

/// Keys of the teapot.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "plugin_api::serde")]
#[schemars(crate = "plugin_api::schemars")]
struct Config {
    /// Where coffee is asked for.
    path: String,
}

impl Plugin for Teapot {
    const NAME: &'static str = "teapot";
    const PHASES: Phases = Phases::REQUEST;
    type Config = Config;
    type State = ();

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        Ok(Self { path: config.path })
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        if cx.request().path() == self.path {
            return Step::respond(Response::refuse(StatusCode::IM_A_TEAPOT, "There is tea."));
        }
        Step::NEXT
    }
}
