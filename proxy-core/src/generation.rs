//! What one reading of the configuration made: requests hold on to the generation that they started on.

use std::sync::Arc;

use plugin_api::{BoxFuture, StartCx};
use tokio::{runtime::Handle, sync::watch};

use crate::{ClientTimeouts, Config, HeadLimits, Route, Source, StartError, Wording, access_log::AccessLog};

/// The part of the configuration that requests are served by. Replaced as a whole, dropped with its last request.
pub(crate) struct Generation {
    pub(crate) routes: Vec<Route>,
    pub(crate) trusted_proxies: Vec<Source>,
    pub(crate) timeouts: ClientTimeouts,
    pub(crate) limits: HeadLimits,
    pub(crate) wording: Wording,
    pub(crate) half_closed_clients: bool,
    pub(crate) log: Option<AccessLog>,
    /// Background tasks of plugins end when this is dropped.
    _alive: watch::Sender<()>,
}

impl Generation {
    /// Starts every plugin. Waits for them, so not for a runtime's thread.
    pub(crate) fn start(config: Config, log: Option<AccessLog>, background: &Handle) -> Result<Arc<Self>, StartError> {
        let alive = watch::Sender::new(());
        let cx = {
            let (handle, alive) = (background.clone(), alive.clone());
            StartCx::new(move |task| {
                handle.spawn(until_dropped(task, alive.subscribe()));
            })
        };
        for route in &config.routes {
            for link in route.chain.links() {
                background.block_on(link.start(&cx)).map_err(|source| StartError::Plugin {
                    plugin: link.name(),
                    route: Arc::clone(route.chain.name()),
                    source,
                })?;
            }
        }
        let Config { routes, trusted_proxies, timeouts, limits, wording, half_closed_clients, .. } = config;
        Ok(Arc::new(Self {
            routes,
            trusted_proxies,
            timeouts,
            limits,
            wording,
            half_closed_clients,
            log,
            _alive: alive,
        }))
    }
}

async fn until_dropped(task: BoxFuture<'static, ()>, mut alive: watch::Receiver<()>) {
    tokio::select! {
        () = task => {}
        _ = alive.changed() => {}
    }
}
