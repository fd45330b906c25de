//! The signals that the process obeys.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// End, and let requests finish: SIGTERM.
    Drain,
    /// End: SIGINT.
    Stop,
    /// Read the configuration again, and open the logs again: SIGHUP, and SIGUSR1 where tinyproxy is expected.
    Reload,
}

/// The signals, caught from the moment that this is made. SIGPIPE is ignored by every Rust program.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user: Option<Signal>,
}

impl Signals {
    /// Catches them; must be called within a runtime. A signal that comes before the proxy serves waits until it does.
    pub(super) fn catch(with_user: bool) -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user: with_user.then(|| signal(SignalKind::user_defined1())).transpose()?,
        })
    }

    /// The next wish. An end comes before a reload.
    pub(super) async fn next(&mut self) -> Wish {
        let user = async {
            match &mut self.user {
                Some(user) => user.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.terminate.recv() => Wish::Drain,
            _ = self.hang_up.recv() => Wish::Reload,
            _ = user => Wish::Reload,
        }
    }

    /// The next wish to end. Reloads that are asked for meanwhile are remembered, as one.
    pub(super) async fn end(&mut self) -> Wish {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => Wish::Stop,
            _ = self.terminate.recv() => Wish::Drain,
        }
    }

    /// The wish to end at once.
    pub(super) async fn interrupted(&mut self) {
        self.interrupt.recv().await;
    }
}
