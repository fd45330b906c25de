//! `headers`: adds, changes and removes header fields on their way to the application and back.

mod config;
mod edits;
mod field;
mod keep;

use std::net::IpAddr;

use plugin_api::{
    BuildCx, ConfigError, Cx, Phases, Plugin, RequestHead, ResponseHead, Step,
    http::{HeaderName, HeaderValue, Version},
};

pub use config::{Config, Field};
use edits::{Edits, append_via};
use field::FieldError;
use keep::Keep;

/// Lets every request go on, and changes the heads of what passes.
pub struct Headers {
    keep: Option<Keep>,
    request: Edits,
    response: Edits,
    via: Option<Via>,
    client_address: Option<HeaderName>,
}

/// Our entry in `Via`, for either version of the message received.
struct Via {
    http_1_0: HeaderValue,
    http_1_1: HeaderValue,
}

impl Plugin for Headers {
    const NAME: &'static str = "headers";
    const PHASES: Phases = Phases::UPSTREAM_REQUEST.and(Phases::RESPONSE);

    type Config = Config;
    /// Whether the request was passed on: only then is the response somebody else's, and passed on as well.
    type State = bool;

    fn build(config: Config, _: &mut BuildCx<'_>) -> Result<Self, ConfigError> {
        let via = config.via.as_deref().map(Via::parse).transpose()?;
        let names = config.keep.as_deref().map(|names| field::kept("keep", names)).transpose()?;
        let headers = Self {
            keep: names.map(|names| Keep::new(names, via.is_some())),
            request: Edits {
                remove: field::removed("remove", &config.remove)?,
                set: field::set("set", &config.set)?,
                add: field::added("add", &config.add)?,
            },
            response: Edits {
                remove: field::removed("response_remove", &config.response_remove)?,
                set: field::set("response_set", &config.response_set)?,
                add: field::added("response_add", &config.response_add)?,
            },
            client_address: config.client_address.map(|name| field::filled("client_address", &name)).transpose()?,
            via,
        };
        headers.check()?;
        Ok(headers)
    }

    fn upstream_request<'a>(
        &'a self,
        cx: &'a mut Cx<'_>,
        passed_on: &'a mut bool,
        head: &'a mut dyn RequestHead,
    ) -> Step<'a, ()> {
        // On a retry the head is made anew from what the client sent: nothing is added twice.
        *passed_on = true;
        if let Some(keep) = &self.keep {
            keep.apply(head);
        }
        self.request.apply(head);
        if let Some(via) = &self.via {
            append_via(head, via.received_with(cx.request().version));
        }
        if let Some(name) = &self.client_address {
            match cx.connection().client.ip() {
                Some(client) => head.set(name.clone(), address(client)),
                // What the client itself says about that must not stand in its place.
                None => head.remove(name),
            }
        }
        Step::done(())
    }

    fn response<'a>(
        &'a self,
        _: &'a mut Cx<'_>,
        passed_on: &'a mut bool,
        head: &'a mut dyn ResponseHead,
    ) -> Step<'a, ()> {
        self.response.apply(head);
        if let (Some(via), true) = (&self.via, *passed_on) {
            // The engine speaks 1.1 with servers, and what an older one answered is not told to plugins.
            append_via(head, via.received_with(Version::HTTP_11));
        }
        Step::done(())
    }
}

impl Headers {
    fn check(&self) -> Result<(), ConfigError> {
        let edits = self.keep.is_some() || !self.request.is_empty() || !self.response.is_empty();
        if !edits && self.via.is_none() && self.client_address.is_none() {
            let nothing = ConfigError::table("`headers` has nothing to do");
            return Err(nothing.with_hint("add, for example, `set = [{ name = \"X-A\", value = \"1\" }]`"));
        }
        let Some(keep) = &self.keep else { return Ok(()) };
        match self.request.add.iter().position(|field| !keep.passes(field.name.name())) {
            Some(index) => {
                let error = ConfigError::key("add", "this field would never be sent: `keep` does not name it");
                Err(error.index(index).with_hint("name it in `keep`, or move it to `set`"))
            }
            None => Ok(()),
        }
    }
}

impl Via {
    fn parse(name: &str) -> Result<Self, ConfigError> {
        if name.trim().is_empty() {
            return Err(ConfigError::key("via", "the name of this proxy must not be empty"));
        }
        let entry = |version: &str| field::value(&format!("{version} {name}"));
        let refused = |error: FieldError| field::refused("via", error);
        Ok(Self { http_1_0: entry("1.0").map_err(refused)?, http_1_1: entry("1.1").map_err(refused)? })
    }

    fn received_with(&self, version: Version) -> &HeaderValue {
        if version == Version::HTTP_10 { &self.http_1_0 } else { &self.http_1_1 }
    }
}

fn address(client: IpAddr) -> HeaderValue {
    HeaderValue::try_from(client.to_string()).expect("an address is visible ASCII")
}
