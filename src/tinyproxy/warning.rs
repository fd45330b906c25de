//! What is accepted but worth a word.

use plugin_api::config::{Source, Span};

/// Remarks on one file, in the order of the text.
#[derive(Clone, Debug)]
pub(crate) struct Warnings {
    source: Source,
    list: Vec<Warning>,
}

/// One remark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Warning {
    /// Where.
    pub(crate) span: Span,
    /// What.
    pub(crate) message: String,
}

impl Warnings {
    pub(super) fn new(source: Source) -> Self {
        Self { source, list: Vec::new() }
    }

    pub(super) fn push(&mut self, span: Span, message: impl Into<String>) {
        let warning = Warning { span, message: message.into() };
        // One directive may be asked for by two links of the chain.
        if self.list.contains(&warning) {
            return;
        }
        let place = self.list.partition_point(|other| other.span.start <= warning.span.start);
        self.list.insert(place, warning);
    }

    /// Each with the number of its line, from 1.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        self.list.iter().map(|warning| (self.source.position(warning.span.start).0, warning.message.as_str()))
    }

    /// Each with its place, for people: `tinyproxy.conf:3:1: warning: …`.
    pub(crate) fn sentences(&self) -> impl Iterator<Item = String> {
        self.list.iter().map(|Warning { span, message }| {
            let (line, column) = self.source.position(span.start);
            format!("{}:{line}:{column}: warning: {message}", self.source.name())
        })
    }
}
