//! The authenticators of a file, as certificates name them.

use std::{path::PathBuf, sync::Arc};

use authenticator_api::{
    Authenticator, BoxFuture, Challenge, ChallengeKind, DomainName, Error, Kind as _, Lookup, Token,
};
use authenticator_webroot::{Paths, Webroot};
use plugin_api::{
    BuildCx, Named, SharedStore,
    config::{Problem, Problems, Source, Span, did_you_mean, parse},
};

/// The authenticators of a file.
pub(super) struct Answerers(Vec<Answerer>);

/// One of them.
pub(super) struct Answerer {
    /// By which certificates name it.
    name: String,
    /// The word after `use`.
    pub(super) kind: String,
    /// Where its files are, when it is one that writes them.
    paths: Option<Paths>,
    /// `None` when it cannot be built, which has been told.
    built: Option<Arc<dyn Authenticator>>,
}

impl Answerers {
    /// Those that were built, and those that the file has besides. What certbot needs to know about one is only in its
    /// table, which is used up by now, so the text is read again; its mistakes have been told.
    pub(super) fn read(source: &Source, named: &Named) -> Self {
        let mut told = Problems::new(source.clone());
        let shared = SharedStore::default();
        let built = BuildCx::new(named, &shared);
        let tables = parse(source, &mut told).take_tables("authenticator", &mut told);
        let answerer = |(_, mut table): (Span, plugin_api::config::Table<'_>)| {
            let (_, name) = table.take_text("name", &mut told)?;
            let (_, kind) = table.take_text("use", &mut told)?;
            let is_webroot = kind == Webroot::NAME;
            let keys = if is_webroot { table.decode::<authenticator_webroot::Config>(&mut told) } else { None };
            Some(Answerer { built: built.named(&name), name, kind, paths: keys.map(|keys| keys.path) })
        };
        Self(tables.into_iter().flat_map(|array| array.items).filter_map(answerer).collect())
    }

    /// The one of this name, if it can be used. `span` is where it is named.
    pub(super) fn find(&self, name: &str, span: Span, problems: &mut Problems) -> Option<&Answerer> {
        let Some(found) = self.0.iter().find(|answerer| answerer.name == name) else {
            let names = self.names();
            let hint = did_you_mean(name, &names).unwrap_or_else(|| self.hint());
            problems.push(Problem::new(span, format!("there is no authenticator `{name}`")).with_hint(hint));
            return None;
        };
        found.built.as_ref().map(|_| found)
    }

    /// What can be named.
    pub(super) fn hint(&self) -> String {
        match self.names().as_slice() {
            [] => "add `[[authenticator]]` with `name = \"memory\"` and `use = \"standalone\"`".to_owned(),
            names => format!("there are: {}", names.join(", ")),
        }
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().map(|answerer| answerer.name.as_str()).collect()
    }
}

impl Answerer {
    /// The authenticator itself.
    pub(super) fn authenticator(&self) -> Arc<dyn Authenticator> {
        self.built.clone().unwrap_or_else(|| Arc::new(Nobody))
    }

    /// Whether it can answer for this name at all.
    pub(super) fn serves(&self, domain: &DomainName) -> bool {
        match &self.paths {
            Some(Paths::PerDomain(paths)) => paths.contains_key(domain),
            Some(Paths::Every(_)) | None => true,
        }
    }

    /// Whether it answers only if visitors come to us: not in handshakes, nor by files that the application shows.
    pub(super) fn needs_visitors(&self) -> bool {
        let is_http = self.built.as_ref().is_some_and(|built| built.kind() == ChallengeKind::Http01);
        is_http && self.paths.is_none()
    }

    /// The directory into which it writes for this name.
    pub(super) fn webroot(&self, domain: &DomainName) -> Option<PathBuf> {
        let path = match self.paths.as_ref()? {
            Paths::Every(path) => path,
            Paths::PerDomain(paths) => paths.get(domain)?,
        };
        std::path::absolute(path).ok()
    }
}

/// Answers for the internal authority, which asks nothing.
pub(super) struct Nobody;

impl Authenticator for Nobody {
    fn present<'a>(&'a self, challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(Err(Error::UnknownDomain { domain: challenge.domain.clone() })))
    }

    fn lookup<'a>(&'a self, _host: Option<&'a DomainName>, _token: &'a Token) -> Lookup<'a> {
        Lookup::Ready(None)
    }

    fn cleanup<'a>(&'a self, _challenge: &'a Challenge) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(std::future::ready(Ok(())))
    }
}
