//! The keys of a listener that are about TLS.

use std::{path::PathBuf, sync::Arc};

use plugin_api::{
    Roots,
    config::{Problem, Problems, Spans},
    schemars::{self, JsonSchema},
};
use proxy_core::{ClientAuth, ListenerTls, TlsOptions, TlsVersion};
use serde::Deserialize;

use crate::{cli::report, lasting::Lasting};

/// A version of TLS.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
pub(super) enum Version {
    #[serde(rename = "1.2")]
    V1_2,
    #[serde(rename = "1.3")]
    V1_3,
}

/// Whether clients have to show a certificate.
#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Demand {
    Optional,
    Required,
}

/// What the keys say.
pub(super) struct Wanted {
    pub(super) tls: bool,
    pub(super) minimum: Option<Version>,
    pub(super) http2: Option<bool>,
    pub(super) client_ca: Option<PathBuf>,
    pub(super) demand: Option<Demand>,
}

impl Wanted {
    /// TLS as they want it; `None` for a plain listener, and where something is wrong.
    pub(super) fn build(self, lasting: &Lasting, spans: &Spans, problems: &mut Problems) -> Option<ListenerTls> {
        if !self.tls {
            let given = [
                ("tls_minimum", self.minimum.is_some()),
                ("http2", self.http2.is_some()),
                ("client_ca", self.client_ca.is_some()),
                ("client_certificate", self.demand.is_some()),
            ];
            for (key, _) in given.into_iter().filter(|(_, given)| *given) {
                let problem =
                    Problem::new(spans.of_key(key), format!("`{key}` is about TLS, which is not spoken here"));
                problems.push(problem.with_hint("add `tls = true`"));
            }
            return None;
        }
        let mut options = TlsOptions::default();
        options.minimum = match self.minimum {
            Some(Version::V1_3) => TlsVersion::V1_3,
            Some(Version::V1_2) | None => TlsVersion::V1_2,
        };
        options.http2 = self.http2.unwrap_or(true);
        options.clients = clients(self.client_ca, self.demand, spans, problems)?;
        match ListenerTls::new(&options, Arc::clone(&lasting.certificates), &lasting.sessions) {
            Ok(tls) => Some(tls),
            Err(error) => {
                problems.push(Problem::new(spans.of("tls"), format!("TLS cannot be set up: {error}")));
                None
            }
        }
    }
}

fn clients(ca: Option<PathBuf>, demand: Option<Demand>, spans: &Spans, problems: &mut Problems) -> Option<ClientAuth> {
    let Some(path) = ca else {
        if demand.is_some() {
            let problem = Problem::new(spans.of("client_certificate"), "nobody says whose certificates are believed");
            problems.push(problem.with_hint("add `client_ca = \"authorities.pem\"`"));
            return None;
        }
        return Some(ClientAuth::None);
    };
    let read = std::fs::read(&path).map_err(|error| error.to_string());
    let roots = read.and_then(|text| Roots::from_pem(&text).map_err(|error| report::sentence(&error)));
    match (roots, demand) {
        (Ok(roots), Some(Demand::Optional)) => Some(ClientAuth::Optional(roots)),
        // Whoever names authorities and says no more wants them to decide.
        (Ok(roots), Some(Demand::Required) | None) => Some(ClientAuth::Required(roots)),
        (Err(error), _) => {
            problems.push(Problem::new(spans.of("client_ca"), format!("{}: {error}", path.display())));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use plugin_api::config::{Problems, Source, parse};

    use super::*;

    fn built(keys: &str) -> Result<bool, String> {
        let text = format!("[[listener]]\nname = \"a\"\naddress = [\"127.0.0.1:0\"]\n{keys}\n");
        let source = Source::new("f.toml", text);
        let mut problems = Problems::new(source.clone());
        let mut root = parse(&source, &mut problems);
        let tables = root.take_tables("listener", &mut problems);
        let (listeners, _) = super::super::build(tables, &Lasting::default(), &mut problems);
        let is_secure = listeners.first().is_some_and(|listener| listener.tls.is_some());
        problems.or_ok(Some(is_secure)).map_err(|problems| problems.to_string())
    }

    #[test]
    fn a_listener_speaks_tls_when_it_is_told_to() {
        assert_eq!(built("tls = true"), Ok(true));
        assert_eq!(built("tls = true\ntls_minimum = \"1.3\"\nhttp2 = false"), Ok(true));
        assert_eq!(built("tls = false"), Ok(false));
        assert_eq!(built(""), Ok(false));
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        for (keys, expected) in [
            ("http2 = true", "f.toml:4:1: `http2` is about TLS"),
            ("tls_minimum = \"1.3\"", "add `tls = true`"),
            ("tls = true\ntls_minimum = \"1.1\"", "f.toml:5:15"),
            ("tls = true\nclient_certificate = \"required\"", "nobody says whose certificates are believed"),
            ("tls = true\nclient_ca = \"/no/such/file\"", "/no/such/file: No such file"),
            ("tls = true\nclient_ca = \"Cargo.toml\"", "f.toml:5:13: Cargo.toml"),
        ] {
            let told = built(keys).err().unwrap_or_else(|| panic!("{keys} is taken"));
            assert!(told.contains(expected), "{keys}: {told}");
        }
    }
}
