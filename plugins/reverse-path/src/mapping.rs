//! Paths and where they lead: which one takes a request, and what the request becomes.

use plugin_api::{
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{self, InvalidHeaderValue},
        uri::PathAndQuery,
    },
    way_out::Destination,
};

use crate::{segment, target::Target};

/// A path and where it leads.
#[derive(Debug)]
pub(crate) struct Mapping {
    /// Begins and ends with `/`.
    pub(crate) path: String,
    pub(crate) way: Way,
}

/// What becomes of requests for a path.
#[derive(Debug)]
pub(crate) enum Way {
    /// They go there.
    To(Target),
    /// They are answered with this status, because nobody is there.
    Refused(StatusCode),
}

/// What the path of a request is to a list of mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// It lies in the mapping of this index.
    In(Chosen),
    /// It is the path of the mapping of this index but for the slash at its end.
    WithoutSlash(usize),
    /// It is none of theirs.
    Nowhere,
}

/// The mapping that takes a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chosen {
    /// Its place in the list.
    pub(crate) index: usize,
    /// How much of the request's target its URL replaces.
    pub(crate) replaced: usize,
}

/// Why a text is no path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("the path must start with `/`")]
    NoSlash,
    #[error("the path holds a character that no path may hold")]
    Character,
}

impl Mapping {
    /// The application, as rules about hosts see it.
    pub(crate) fn destination(&self) -> Option<Destination<'_>> {
        Destination::parse(self.target()?.host.to_str().ok()?, 80)
    }

    pub(crate) fn target(&self) -> Option<&Target> {
        match &self.way {
            Way::To(target) => Some(target),
            Way::Refused(_) => None,
        }
    }

    /// The path as it is compared: with a slash at its end.
    pub(crate) fn path(text: &str) -> Result<String, PathError> {
        if !text.starts_with('/') {
            return Err(PathError::NoSlash);
        }
        if text.contains(['?', '#']) || !text.is_ascii() || PathAndQuery::try_from(text).is_err() {
            return Err(PathError::Character);
        }
        Ok(if text.ends_with('/') { text.to_owned() } else { format!("{text}/") })
    }

    /// What is behind the URL of this mapping in the `Location` of a response.
    fn rest_of<'l>(&self, location: &'l [u8]) -> Option<&'l [u8]> {
        let target = self.target()?;
        target.urls.iter().find_map(|url| {
            let url = url.as_bytes();
            let starts = location.get(..url.len()).is_some_and(|start| start.eq_ignore_ascii_case(url));
            // A URL without a path means `/`.
            let is_root =
                target.prefix == "/" && url.strip_suffix(b"/").is_some_and(|url| url.eq_ignore_ascii_case(location));
            if starts { location.get(url.len()..) } else { is_root.then_some(&[]) }
        })
    }
}

impl Target {
    /// The target of the request to the application.
    pub(crate) fn rewrite(&self, target: &str, replaced: usize) -> String {
        let rest = target.get(replaced..).unwrap_or_default();
        format!("{}{rest}", self.prefix)
    }

    /// Whether a path goes to places that this URL does not name.
    pub(crate) fn is_left_by(&self, path: &str, replaced: usize) -> bool {
        path.get(replaced..).is_none_or(|rest| segment::climbs(&self.prefix, rest))
    }
}

/// Looks for the path of a target; the first mapping that matches takes it. With a query, a path without its slash is not
/// the path of the mapping.
pub(crate) fn find(mappings: &[Mapping], target: &str) -> Found {
    mappings
        .iter()
        .enumerate()
        .find_map(|(index, mapping)| {
            if target.starts_with(&mapping.path) {
                return Some(Found::In(Chosen { index, replaced: mapping.path.len() }));
            }
            (mapping.path.strip_suffix('/') == Some(target)).then_some(Found::WithoutSlash(index))
        })
        .unwrap_or(Found::Nowhere)
}

/// The mapping that a cookie remembers: the first in which its value lies. Others made cookies of this name too, so it may be
/// deeper than the path, or without its slash.
pub(crate) fn remembered(mappings: &[Mapping], headers: &HeaderMap) -> Option<Chosen> {
    let pairs =
        headers.get_all(header::COOKIE).into_iter().flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    let mut values = pairs.filter_map(|pair| pair.trim_ascii().strip_prefix(COOKIE.as_bytes())?.strip_prefix(b"="));
    let index = values.find_map(|value| match find(mappings, str::from_utf8(value).ok()?) {
        Found::In(Chosen { index, .. }) | Found::WithoutSlash(index) => Some(index),
        Found::Nowhere => None,
    })?;
    Some(Chosen { index, replaced: 1 })
}

/// The cookie that remembers a path. One with a semicolon cannot be remembered: a cookie ends there.
pub(crate) fn cookie(path: &str) -> Result<Option<HeaderValue>, PathError> {
    if path.contains(';') {
        return Ok(None);
    }
    let cookie = HeaderValue::try_from(format!("{COOKIE}={path}; path=/"));
    cookie.map(Some).map_err(|_error: InvalidHeaderValue| PathError::Character)
}

/// Where a `Location` leads for visitors, when it leads to an application here; `base_url` ends with `/`.
pub(crate) fn relocate(mappings: &[Mapping], base_url: &str, location: &[u8]) -> Option<HeaderValue> {
    let (mapping, rest) = mappings.iter().find_map(|mapping| Some((mapping, mapping.rest_of(location)?)))?;
    let path = mapping.path.strip_prefix('/').unwrap_or_default();
    HeaderValue::from_bytes(&[base_url.as_bytes(), path.as_bytes(), rest].concat()).ok()
}

/// Its name is tinyproxy's, so that visitors keep theirs.
const COOKIE: &str = "yummy_magical_cookie";
