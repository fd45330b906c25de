//! `access`: lets clients in, or not, by their addresses and names.

mod clients;
mod config;
mod findings;
mod inquiry;
mod names;
mod rules;

use std::{net::IpAddr, sync::Arc, time::Duration};

use plugin_api::{
    BuildCx, Client, ConfigError, Connection, Cx, Phases, Plugin, Response, Step, Verdict, http::StatusCode,
};
use tokio::time::Instant;

pub use config::{Config, Rule, Unresolved};
use findings::Findings;
use inquiry::Inquiry;
use names::Names;
use rules::{Action, Judgement, Rules};

/// Refuses who is not allowed; lets everybody else go on.
pub struct Access {
    rules: Arc<Rules>,
    lookup_timeout: Duration,
    /// Held by every instance, so that the limit on look-ups is one for the process.
    names: Arc<Names>,
    findings: Findings,
}

impl Plugin for Access {
    const NAME: &'static str = "access";
    const PHASES: Phases = Phases::CLIENT.and(Phases::REQUEST);

    type Config = Config;
    type State = ();

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        let parse = |(index, rule): (usize, &Rule)| {
            let (action, clients) = match rule {
                Rule::Allow(clients) => (Action::Allow, clients),
                Rule::Deny(clients) => (Action::Deny, clients),
            };
            let clients = clients.parse().map_err(|error: clients::ClientsError| {
                ConfigError::key("rules", format!("`{clients}`: {error}")).index(index).with_hint(FORMS)
            })?;
            Ok((action, clients))
        };
        let list = config.rules.iter().enumerate().map(parse).collect::<Result<_, ConfigError>>()?;
        Ok(Self {
            rules: Arc::new(Rules { list, unresolved: config.unresolved }),
            lookup_timeout: config.lookup_timeout.0,
            names: cx.shared("access.names", Names::system),
            findings: Findings::default(),
        })
    }

    fn client<'a>(&'a self, connection: &'a Connection) -> Step<'a, Option<Box<Response>>> {
        // No rule is about a client without an address, and whom no rule lets in stays out.
        let Some(client) = connection.client.ip() else { return Step::done(refusal(Action::Deny, connection.client)) };
        match self.rules.judge(0, client) {
            Judgement::Final(action) => Step::done(refusal(action, connection.client)),
            Judgement::Ask { .. } => {
                Step::wait(async move { Ok(refusal(self.finding(client).await, connection.client)) })
            }
        }
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, (): &'a mut ()) -> Step<'a> {
        let who = cx.connection().client;
        let verdict = move |action| refusal(action, who).map_or(Verdict::Next, Verdict::Respond);
        let Some(client) = who.ip() else { return Step::done(verdict(Action::Deny)) };
        match self.rules.judge(0, client) {
            Judgement::Final(action) => Step::done(verdict(action)),
            Judgement::Ask { .. } => Step::wait(async move { Ok(verdict(self.finding(client).await)) }),
        }
    }
}

impl Access {
    async fn finding(&self, client: IpAddr) -> Action {
        self.findings.about(client, || self.inquire(client)).await.action
    }

    fn inquire(&self, client: IpAddr) -> impl Future<Output = inquiry::Finding> + Send + use<> {
        let deadline = Instant::now() + self.lookup_timeout;
        let inquiry = Inquiry::new(Names::clone(&self.names), client, deadline);
        let rules = Arc::clone(&self.rules);
        async move { inquiry.settle(&rules).await }
    }
}

fn refusal(action: Action, client: Client) -> Option<Box<Response>> {
    match action {
        Action::Allow => None,
        Action::Deny => {
            // The words that tinyproxy's log has: scripts look for them.
            tracing::info!(target: "lockgate::narrative::notice", "Unauthorized connection from \"{}\".", client.name());
            Some(Box::new(Response::refuse(StatusCode::FORBIDDEN, REFUSED).with_phrase("Access denied")))
        }
    }
}

const REFUSED: &str = "The administrator of this proxy has not configured it to service requests from your host.";
const FORMS: &str =
    "write an address, a range such as \"10.0.0.0/8\", a name, or \".example.com\" for all names below it";
