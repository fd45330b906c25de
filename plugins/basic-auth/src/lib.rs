//! `basic-auth`: asks clients for a user name and a password
//! ([RFC 7617](https://www.rfc-editor.org/rfc/rfc7617)).

mod accounts;
mod config;
mod credentials;
mod htpasswd;
mod side;

use std::thread;

use plugin_api::{
    BuildCx, ConfigError, Cx, Key, Phases, Plugin, RequestHead, Step, Verdict,
    http::{HeaderValue, header},
};
use tokio::sync::Semaphore;

use accounts::{Accounts, Check};
pub use config::{Config, Header, Secret, User};
use credentials::{Credentials, Presented};
use side::{Side, challenge};

/// The name of the user, for later plugins of the chain.
pub const USER: Key<String> = Key::new("basic-auth.user");

/// Lets those go on who give a name and the password for it.
pub struct BasicAuth {
    accounts: Accounts,
    challenge: HeaderValue,
    header: Header,
    origin_hosts: Vec<String>,
    pass_on: bool,
}

impl Plugin for BasicAuth {
    const NAME: &'static str = "basic-auth";
    const PHASES: Phases = Phases::REQUEST.and(Phases::UPSTREAM_REQUEST);
    const PROVIDES: &'static [&'static str] = &[USER.name()];

    type Config = Config;
    /// Whether the request goes on because of its `Authorization`.
    type State = bool;

    fn build(config: Config, cx: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        if config.users.is_none() && config.file.is_none() {
            let nobody = ConfigError::table("`basic-auth` has no users: nobody could pass");
            return Err(nobody.with_hint("add `users = [{ name = \"ann\", password = \"…\" }]`, or `file`"));
        }
        let users = config.users.unwrap_or_default();
        check_users(&users)?;
        // Reading changes nothing, and so `lockgate check` finds what is wrong with the file.
        let hashed = match &config.file {
            Some(path) => {
                cx.watch_file(path);
                htpasswd::read(path).map_err(|error| ConfigError::key("file", error.to_string()))?
            }
            None => htpasswd::Users::new(),
        };
        // Only whoever may need another character set is told which one it is: some clients are irritated by it.
        let is_ascii = |user: &User| user.name.is_ascii() && user.password.0.is_ascii();
        let says_charset = config.file.is_some() || !users.iter().all(is_ascii);
        let realm = || ConfigError::key("realm", "this holds a character that no header field may hold");
        let slots =
            cx.shared("basic-auth.slots", || Semaphore::new(thread::available_parallelism().map_or(1, Into::into)));
        Ok(Self {
            accounts: Accounts::new(&users, hashed, config.remember.0, slots)
                .map_err(|error| ConfigError::table(error.to_string()))?,
            challenge: challenge(&config.realm, says_charset).ok_or_else(realm)?,
            header: config.header,
            origin_hosts: config.origin_hosts,
            pass_on: config.pass_on,
        })
    }

    fn request<'a>(&'a self, cx: &'a mut Cx<'_>, is_for_us: &'a mut bool) -> Step<'a> {
        let side = Side::of(self.header, &self.origin_hosts, cx.request());
        let credentials = match Presented::read(cx.request().headers, &side.field()) {
            Presented::Credentials(credentials) => credentials,
            Presented::Nothing => return Step::done(self.refuse(side)),
            Presented::Nonsense => return Step::done(self.refuse_attempt(side, cx)),
        };
        match self.accounts.check(&credentials) {
            Check::Accepted => Step::done(accept(cx, is_for_us, side, &credentials)),
            Check::Refused => Step::done(self.refuse_attempt(side, cx)),
            Check::Open(test) => Step::wait(async move {
                Ok(match self.accounts.pass(test, &credentials).await? {
                    true => accept(cx, is_for_us, side, &credentials),
                    false => self.refuse_attempt(side, cx),
                })
            }),
        }
    }

    fn upstream_request<'a>(
        &'a self,
        _: &'a mut Cx<'_>,
        is_for_us: &'a mut bool,
        head: &'a mut dyn RequestHead,
    ) -> Step<'a, ()> {
        // The field for a proxy goes no further in any case: the engine sees to that.
        if *is_for_us && !self.pass_on {
            head.remove(&header::AUTHORIZATION);
        }
        Step::done(())
    }
}

impl BasicAuth {
    fn refuse(&self, side: Side) -> Verdict {
        Verdict::Respond(Box::new(side.refusal(&self.challenge)))
    }

    fn refuse_attempt(&self, side: Side, cx: &Cx<'_>) -> Verdict {
        let client = cx.connection().client.name();
        // The words that tinyproxy's log has: scripts look for them. Plugins do not know descriptors.
        tracing::info!(target: "lockgate::narrative", "Failed auth attempt (file descriptor: 0), ip {client}");
        self.refuse(side)
    }
}

fn accept(cx: &mut Cx<'_>, is_for_us: &mut bool, side: Side, credentials: &Credentials) -> Verdict {
    *is_for_us = side == Side::Origin;
    cx.set(&USER, credentials.user().into_owned());
    Verdict::Next
}

fn check_users(users: &[User]) -> Result<(), ConfigError> {
    for (index, user) in users.iter().enumerate() {
        let wrong = |message: &str| Err(ConfigError::key("users", message).index(index));
        if user.name.contains(':') {
            return wrong("the name of a user must not have a colon");
        }
        if user.name.chars().any(char::is_control) {
            return wrong("the name of a user must not hold a control character");
        }
        if user.name.is_empty() || user.password.0.is_empty() {
            return wrong("a user needs a name and a password");
        }
    }
    Ok(())
}
