//! `hsts`: tells browsers to come over TLS only ([RFC 6797](https://www.rfc-editor.org/rfc/rfc6797)).

mod config;
mod policy;

use plugin_api::{
    BuildCx, ConfigError, Cx, Form, Phases, Plugin, ResponseHead, Scheme, Step,
    http::{HeaderValue, header},
};

pub use config::Config;

/// Sets `Strict-Transport-Security`.
pub struct Hsts {
    policy: HeaderValue,
    /// Whether it takes the place of what the application says.
    overrides: bool,
}

impl Plugin for Hsts {
    const NAME: &'static str = "hsts";
    const PHASES: Phases = Phases::RESPONSE;

    type Config = Config;
    type State = ();

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        Ok(Self { policy: policy::value(&config)?, overrides: config.overrides })
    }

    fn response<'a>(&'a self, cx: &'a mut Cx<'_>, (): &'a mut (), head: &'a mut dyn ResponseHead) -> Step<'a, ()> {
        let request = cx.request();
        // RFC 6797 §7.2: never in the clear. What names a URL is asked of a forward proxy, whose answers speak for other sites.
        let is_ours = cx.connection().scheme == Scheme::Https && request.form == Form::Origin;
        if !is_ours || !request.host.is_some_and(policy::is_name) {
            return Step::done(());
        }
        let said = head.headers().get(header::STRICT_TRANSPORT_SECURITY).filter(|_| !self.overrides);
        // Also what is kept is set, which leaves one field of several: no more are allowed (RFC 6797 §7.1), and browsers look
        // at the first (§8.1).
        let policy = said.unwrap_or(&self.policy).clone();
        head.set(header::STRICT_TRANSPORT_SECURITY, policy);
        Step::done(())
    }
}
