//! How visitors are led to us while an authority validates: as options say, and as a certificate's configuration remembers it.

use std::{collections::BTreeMap, sync::Arc};

use authenticator_api::Authenticator;
use clap::ValueEnum as _;
use interception::{Method as Way, Preference};
use plugin_api::config::Duration;

use super::arguments::{Arguments, Method};
use crate::intercept::{Front, Intercept};

/// How visitors are led to us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Visitors {
    pub(super) port: u16,
    pub(super) method: Method,
    /// The application, when it is not where visitors connect to.
    pub(super) upstream: Option<String>,
    /// How long their requests may take to finish.
    pub(super) drain: Duration,
}

impl Visitors {
    pub(super) fn of(arguments: &Arguments) -> Option<Self> {
        let (method, upstream, drain) = (arguments.method, arguments.upstream.clone(), arguments.drain);
        Some(Self { port: arguments.intercept?, method, upstream, drain })
    }

    /// As [`written`](Self::written). `None` where visitors stay where they are.
    pub(super) fn read(own: &BTreeMap<String, String>) -> Option<Self> {
        let method = own.get("method").and_then(|method| Method::from_str(method, true).ok());
        Some(Self {
            port: own.get("intercept")?.parse().ok()?,
            method: method.unwrap_or(Method::Auto),
            upstream: own.get("upstream").cloned(),
            drain: own.get("drain").and_then(|drain| drain.parse().ok()).unwrap_or(DRAIN),
        })
    }

    /// For a certificate's configuration.
    pub(super) fn written(&self) -> BTreeMap<String, String> {
        let method = self.method.to_possible_value().map(|value| value.get_name().to_owned());
        let all = [
            ("intercept", Some(self.port.to_string())),
            ("method", method),
            ("upstream", self.upstream.clone()),
            ("drain", Some(self.drain.to_string())),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
    }

    pub(super) fn led_to(self, authenticator: &Arc<dyn Authenticator>) -> Intercept {
        Intercept {
            port: self.port,
            method: match self.method {
                Method::Auto => Preference::Auto,
                Method::Tproxy => Preference::Only(Way::Tproxy),
                Method::Redirect => Preference::Only(Way::Redirect),
            },
            front: Front::Own { upstream: self.upstream },
            drain: self.drain.0,
            authenticators: vec![Arc::clone(authenticator)],
        }
    }
}

/// Where nothing else is said.
pub(super) const DRAIN: Duration = Duration(std::time::Duration::from_secs(60));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let drain = Duration(std::time::Duration::from_millis(1500));
        for upstream in [None, Some("127.0.0.1:81".to_owned())] {
            let visitors = Visitors { port: 80, method: Method::Redirect, upstream, drain };
            assert_eq!(Visitors::read(&visitors.written()), Some(visitors));
        }
        assert_eq!(Visitors::read(&BTreeMap::new()), None);
    }
}
