//! Requests that a later `reverse-path` takes: what they become is what patterns are about.

use plugin_api::{
    ConfigError, Form, Request,
    http::{Uri, header},
};

use crate::config;

/// The paths of a later `reverse-path`.
pub(crate) struct Reverse {
    paths: Vec<Mapping>,
    magic: bool,
    only: bool,
}

struct Mapping {
    /// Ends with `/`.
    path: String,
    /// Where it leads, if anywhere.
    to: Option<String>,
}

/// What a later `reverse-path` does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It asks this URL for it.
    Becomes(Uri),
    /// It answers by itself, and nobody is asked.
    Answered,
    /// It lets it go on.
    Untouched,
}

impl Reverse {
    pub(crate) fn build(config: config::Reverse) -> Result<Self, ConfigError> {
        let wrong = |index| ConfigError::key("reverse", format!("path {} does not lead to a URL", index + 1));
        let paths = config.paths.into_iter().enumerate().map(|(index, config::Path { mut path, to })| {
            let is_url = |to: &String| to.parse::<Uri>().is_ok_and(|to| to.scheme().is_some() && to.host().is_some());
            let has_host = to.as_ref().is_none_or(is_url);
            if !path.ends_with('/') {
                path.push('/');
            }
            if has_host { Ok(Mapping { path, to }) } else { Err(wrong(index)) }
        });
        Ok(Self { paths: paths.collect::<Result<_, _>>()?, magic: config.magic, only: config.only })
    }

    pub(crate) fn fate(&self, request: &Request<'_>) -> Fate {
        let passed_over = if self.only { Fate::Answered } else { Fate::Untouched };
        let target = request.uri.path_and_query().map_or("", |target| target.as_str());
        if request.form != Form::Origin {
            return passed_over;
        }
        for mapping in &self.paths {
            if let Some(rest) = target.strip_prefix(&mapping.path) {
                return mapping.becomes(rest);
            }
            if mapping.is_without_slash(target) {
                return Fate::Answered;
            }
        }
        match (target.strip_prefix('/'), self.remembered(request)) {
            (Some(rest), Some(mapping)) => mapping.becomes(rest),
            _ => passed_over,
        }
    }

    /// The path that a cookie remembers.
    fn remembered(&self, request: &Request<'_>) -> Option<&Mapping> {
        let cookies = request.headers.get_all(header::COOKIE).into_iter().filter(|_| self.magic);
        let mut pairs = cookies.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
        pairs.find_map(|pair| {
            let value = pair.trim_ascii().strip_prefix(COOKIE)?;
            let value = str::from_utf8(value).ok()?;
            self.paths.iter().find(|mapping| value.starts_with(&mapping.path) || mapping.is_without_slash(value))
        })
    }
}

impl Mapping {
    fn is_without_slash(&self, path: &str) -> bool {
        self.path.strip_suffix('/') == Some(path)
    }

    fn becomes(&self, rest: &str) -> Fate {
        // What no URL can be made of is nothing that anybody is asked for.
        let url = self.to.as_ref().and_then(|to| format!("{to}{rest}").parse().ok());
        url.map_or(Fate::Answered, Fate::Becomes)
    }
}

/// The cookie of `reverse-path`.
const COOKIE: &[u8] = b"yummy_magical_cookie=";
