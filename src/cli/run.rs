//! `lockgate run`: the proxy.

use std::path::Path;

use plugin_api::config::Source;
use proxy_core::Engine;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, report};
use crate::config::{self, LoadError, Loaded};

pub(super) fn run(file: Option<&Path>) -> Exit {
    let loaded = match load(file) {
        Ok(loaded) => loaded,
        Err(exit) => return exit,
    };
    report::start_log(loaded.level);
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report::chain(&error, None);
            return Exit::Failure;
        }
    };
    serve(&runtime, loaded)
}

/// Reads and builds the configuration; what is wrong is printed.
pub(super) fn load(file: Option<&Path>) -> Result<Loaded, Exit> {
    let loaded = match file {
        Some(file) => config::load_file(file),
        None => config::load(Source::new("quick-start", QUICK_START)).map_err(LoadError::Problems),
    };
    loaded.map_err(|error| {
        match &error {
            LoadError::Problems(problems) => report::plain(problems.to_string()),
            LoadError::Read { .. } => report::chain(&error, None),
        }
        Exit::Usage
    })
}

fn serve(runtime: &tokio::runtime::Runtime, loaded: Loaded) -> Exit {
    let signals = runtime.block_on(async {
        // Before anything serves: a signal that comes early must not kill us without a drain.
        Ok::<_, std::io::Error>((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
    });
    let (mut terminate, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => {
            report::chain(&error, None);
            return Exit::Failure;
        }
    };
    for authenticator in &loaded.authenticators {
        if let Err(error) = runtime.block_on(authenticator.start()) {
            report::chain(&error, None);
            return Exit::Failure;
        }
    }
    let engine = match Engine::start(loaded.engine) {
        Ok(engine) => engine,
        Err(error) => {
            report::chain(&error, error.hint().as_deref());
            return Exit::Failure;
        }
    };
    for (listener, address) in engine.addresses() {
        tracing::info!(target: "lockgate", listener = &*listener, %address, "listening");
    }
    let drained = if runtime.block_on(first_of(&mut terminate, &mut interrupt)) == Wish::Stop {
        engine.stop()
    } else {
        tracing::info!(target: "lockgate", deadline = ?loaded.drain, "draining: no new connections, requests may finish");
        let stop = engine.stopper();
        let impatient = runtime.spawn(async move {
            interrupt.recv().await;
            stop();
        });
        let drained = engine.drain(loaded.drain);
        impatient.abort();
        drained
    };
    for authenticator in &loaded.authenticators {
        runtime.block_on(authenticator.stop());
    }
    tracing::info!(target: "lockgate", cut = drained.cut, unlogged = drained.unlogged, "stopped");
    Exit::Success
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Drain,
    Stop,
}

async fn first_of(terminate: &mut Signal, interrupt: &mut Signal) -> Wish {
    tokio::select! {
        _ = terminate.recv() => Wish::Drain,
        _ = interrupt.recv() => Wish::Stop,
    }
}

/// What `lockgate run` does without a file.
const QUICK_START: &str = r#"
[[listener]]
name = "http"
address = ["0.0.0.0:8080", "[::]:8080"]

[[route]]
chain = [{ use = "upstream", servers = ["127.0.0.1:80"] }]
"#;
