//! One request in flight: everything that is known about it from its head to its log record.

mod pulse;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, Method, StatusCode, Uri, Version};
use plugin_api::{Chain, Connection, Ending, Fault, Form, Outcome, Request, Response, chain::Run};

pub(crate) use self::pulse::Pulse;
use crate::{
    access_log::Record,
    answer::Answer,
    conn::{OriginDate, Watch},
    dial::Own,
    generation::Generation,
    metrics::Metric,
    narrative,
    shard::Shard,
    upstream::{Attempts, Failure},
};

/// A request in flight. Dropping it ends it: it is counted and logged exactly once, whatever happened.
pub(crate) struct Flight {
    pub(crate) origin: Origin,
    pub(crate) line: Line,
    pub(crate) run: Run,
    pub(crate) attempts: Option<Attempts>,
    /// What to answer when pingora next asks how to fail.
    pub(crate) reply: Option<Reply>,
    pub(crate) progress: Progress,
    /// Whether the connection may serve another request.
    pub(crate) reuse: Reuse,
    /// Set for upgrade requests: bounds the wait for the upgrade, then the silence after it.
    pub(crate) watch: Option<Arc<Watch>>,
    /// Where the date of its answer goes.
    pub(crate) date: Option<Arc<OriginDate>>,
    /// Set for requests with a body that came over HTTP/2.
    pub(crate) pulse: Option<Arc<Pulse>>,
    /// Counts the requests that the client of an HTTP/2 connection has given up.
    pub(crate) given_up: Option<Arc<AtomicUsize>>,
    ended: bool,
}

/// Where a request comes from: the shard and its connection, and the generation that it belongs to.
pub(crate) struct Origin {
    pub(crate) shard: Arc<Shard>,
    pub(crate) generation: Arc<Generation>,
    pub(crate) connection: Arc<Connection>,
    /// Where its listener is.
    pub(crate) own: Own,
    /// The descriptor of the client's connection.
    pub(crate) fd: i32,
}

/// The request line and the few fields that logs and routes need.
pub(crate) struct Line {
    /// The bytes of all of it, where a page may tell it.
    pub(crate) bytes: Option<Box<[u8]>>,
    pub(crate) method: Method,
    pub(crate) target: Box<str>,
    pub(crate) version: Version,
    pub(crate) form: Form,
    pub(crate) host: Option<Box<str>>,
    pub(crate) user_agent: Option<Box<str>>,
    pub(crate) referer: Option<Box<str>>,
}

/// An answer of our own that is to be written instead of pingora's.
pub(crate) enum Reply {
    /// Response hooks run on it.
    Hooked(Answer),
    /// A hook has failed: it goes out as it is.
    Plain(Answer),
}

/// What has happened to the request so far.
pub(crate) struct Progress {
    pub(crate) started: Instant,
    pub(crate) status: Option<StatusCode>,
    pub(crate) sent: u64,
    pub(crate) ending: Ending,
    pub(crate) upstream: Option<Box<str>>,
    /// The descriptor of a connection that was made for it.
    pub(crate) made: Option<i32>,
    /// The same once the server has answered there: its end is told.
    pub(crate) server: Option<i32>,
    /// Head and URI as the client sent them, kept only for chains whose plugins want to see the end.
    pub(crate) kept: Option<Box<Kept>>,
}

/// A request head that outlives pingora's session.
pub(crate) struct Kept {
    uri: Uri,
    headers: HeaderMap,
}

/// Whether a connection may serve another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reuse {
    /// If the client wants it too.
    Allowed,
    /// This is its last request.
    Last,
}

impl Line {
    /// All of it as it came, where a page may tell it.
    pub(crate) fn text(&self) -> Option<String> {
        self.bytes.as_deref().map(narrative::first_line)
    }
}

impl Flight {
    pub(crate) fn new(origin: Origin, chain: Arc<Chain>, line: Line) -> Self {
        origin.shard.metrics.count(Metric::Requests);
        Self {
            origin,
            line,
            run: Run::new(chain),
            attempts: None,
            reply: None,
            progress: Progress {
                started: Instant::now(),
                status: None,
                sent: 0,
                ending: Ending::Proxy,
                upstream: None,
                made: None,
                server: None,
                kept: None,
            },
            reuse: Reuse::Allowed,
            watch: None,
            date: None,
            pulse: None,
            given_up: None,
            ended: false,
        }
    }

    /// Keeps the head for the hooks that see the end, which may come when the session is gone.
    pub(crate) fn keep_head(&mut self, uri: &Uri, headers: &HeaderMap) {
        if self.run.chain().sees_the_end() {
            self.progress.kept = Some(Box::new(Kept { uri: uri.clone(), headers: headers.clone() }));
        }
    }

    /// Replaces whatever was to be answered by the page of `status`, past all hooks, because a plugin is broken.
    pub(crate) fn broken(&mut self, broken: &plugin_api::chain::Broken) {
        self.origin.shard.metrics.count(Metric::BrokenHooks);
        let source: &dyn std::error::Error = &broken.source;
        tracing::error!(
            target: "lockgate::chain",
            plugin = broken.plugin,
            route = &**self.run.chain().name(),
            error = source,
            "a plugin is broken"
        );
        self.progress.ending = Ending::Plugin;
        let page = Answer::page(
            StatusCode::INTERNAL_SERVER_ERROR,
            "A part of this proxy failed. The operator can see why in its log.",
        );
        self.reply = Some(Reply::Plain(page));
    }

    /// The request reached nobody: settles the page that says so. `status` is the one to use when that is the server's fault.
    pub(crate) fn unreachable(&mut self, failure: Failure, status: Option<StatusCode>) {
        if failure == Failure::Loop {
            self.origin.shard.metrics.count(Metric::Bad);
        }
        self.progress.ending = Ending::Upstream;
        self.reply = Some(Reply::Hooked(self.origin.generation.wording.failure(failure, status)));
    }

    /// Counts what an answer of a plugin finds wrong with the request.
    pub(crate) fn count_fault(&self, response: &Response) {
        let metrics = &self.origin.shard.metrics;
        let fault = response.fault.or_else(|| Fault::of(response.status));
        if let Some(Fault::Client | Fault::Target) = fault {
            metrics.count(Metric::Denied);
        }
        if let Some(Fault::Request | Fault::Target) = fault {
            metrics.count(Metric::Bad);
        }
    }

    /// Counts and tells hooks that failed without harm to the answer.
    pub(crate) fn harmless(&self, failures: &[plugin_api::chain::Broken]) {
        for broken in failures {
            self.origin.shard.metrics.count(Metric::BrokenHooks);
            let source: &dyn std::error::Error = &broken.source;
            tracing::error!(target: "lockgate::chain", plugin = broken.plugin, error = source, "a hook is broken");
        }
    }

    /// Notes that its answer went out with so many bytes of body; `None` when the client did not take it.
    pub(crate) fn answered(&mut self, sent: Option<u64>) {
        match sent {
            Some(sent) => {
                self.progress.sent = sent;
                if self.progress.ending == Ending::Proxy {
                    self.progress.ending = Ending::Complete;
                }
            }
            None => self.progress.ending = Ending::Client,
        }
    }

    /// Something has passed.
    pub(crate) fn beat(&self) {
        self.pulse.iter().for_each(|pulse| pulse.beat());
    }

    /// Ends the request.
    pub(crate) fn end(&mut self) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let duration = self.progress.started.elapsed();
        if self.progress.ending == Ending::Proxy && self.pulse.as_ref().is_some_and(|pulse| pulse.has_stopped()) {
            self.progress.ending = Ending::Client;
        }
        if let (Ending::Client, Some(given_up)) = (self.progress.ending, &self.given_up) {
            given_up.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(server) = self.progress.server {
            narrative::closed(self.origin.fd, server);
        }
        self.count();
        self.run_log_hooks(duration);
        let generation = Arc::clone(&self.origin.generation);
        if let Some(log) = &generation.log {
            log.write(self.record(duration));
        }
    }

    fn count(&self) {
        let metrics = &self.origin.shard.metrics;
        metrics.add(Metric::ResponseBytes, self.progress.sent);
        match self.progress.status {
            Some(status) if status.is_server_error() => metrics.count(Metric::ServerErrors),
            Some(status) if status.is_client_error() => metrics.count(Metric::ClientErrors),
            Some(_) => metrics.count(Metric::Succeeded),
            None => {}
        }
        if self.progress.status.is_none() || self.progress.ending != Ending::Complete {
            metrics.count(Metric::Aborted);
        }
    }

    fn run_log_hooks(&mut self, duration: Duration) {
        let Some(kept) = self.progress.kept.take() else { return };
        let outcome = Outcome::new(self.progress.status, self.progress.sent, duration, self.progress.ending);
        let request = Request {
            method: &self.line.method,
            uri: &kept.uri,
            version: self.line.version,
            headers: &kept.headers,
            host: self.line.host.as_deref(),
            form: self.line.form,
        };
        let failures = self.run.log(request, &self.origin.connection, &outcome);
        self.harmless(&failures);
    }

    fn record(&mut self, duration: Duration) -> Record {
        Record {
            time: SystemTime::now(),
            client: self.origin.connection.client,
            listener: Arc::clone(&self.origin.connection.listener),
            route: Some(Arc::clone(self.run.chain().name())),
            method: self.line.method.clone(),
            host: self.line.host.take(),
            target: std::mem::take(&mut self.line.target),
            version: self.line.version,
            status: self.progress.status,
            bytes: self.progress.sent,
            duration,
            upstream: self.progress.upstream.take(),
            ending: self.progress.ending.as_str(),
            user_agent: self.line.user_agent.take(),
            referer: self.line.referer.take(),
        }
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        self.end();
    }
}
