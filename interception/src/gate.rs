//! The gate: opening, what can be asked of it while it is open, and closing in order.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use crate::nft::{self, Holder, Presence, TableError};
use crate::privileges::{self, Capability};
use crate::rules::{self, Method, RuleCount, RuleSet, Shape, TABLE};
use crate::tail;

/// An open gate: new connections to the port reach the listener instead of the application.
///
/// Order of use: [`open`](Self::open), [`stop_intercepting`](Self::stop_intercepting), drain what came through,
/// [`close`](Self::close). Dropping it at any time kills the process that holds the table, and the kernel drops the
/// table: new connections reach the application, but connections that a NAT redirect led here hang. Those that TPROXY
/// led here do not notice.
#[derive(Debug)]
pub struct Gate {
    holder: Holder,
    nft: PathBuf,
    rules: RuleSet,
    refused: Option<String>,
    stopped: bool,
}

/// Which port to intercept, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Plan {
    /// The TCP port whose new connections are intercepted, on all addresses of this host, IPv4 and IPv6.
    pub port: u16,
    /// The port of our listeners, bound to the wildcard addresses before the gate opens. It must not be reachable by
    /// anything else that matters: a NAT redirect needs it open in the host's own firewall.
    pub listener_port: u16,
    /// How.
    pub method: Preference,
    /// The `nft` program; `None` searches `PATH` and the directories of system programs.
    pub nft: Option<PathBuf>,
}

/// Which method to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preference {
    /// TPROXY, or the NAT redirect where the kernel refuses TPROXY.
    #[default]
    Auto,
    /// This one or none. A caller whose [`probe`](crate::probe()) does not come through with TPROXY, as when a container
    /// engine publishes the port, tries again with the redirect.
    Only(Method),
}

/// Why the gate did not open. Nothing was changed, or what was changed is undone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Port 0 can not be intercepted.
    #[error("port 0 cannot be intercepted, nor listened on")]
    PortZero,
    /// The listener would be intercepted itself.
    #[error("port {port} is both the intercepted port and the listener's")]
    SamePort {
        /// The port.
        port: u16,
    },
    /// There is no `nft` program.
    #[error("the nft program is missing")]
    NftMissing,
    /// A privilege is missing.
    #[error("{capability} is missing")]
    MissingCapability {
        /// Which.
        capability: Capability,
    },
    /// A table of the gate's name exists.
    #[error("the nftables table inet {TABLE} exists already{}", if *.owned { ", held by a running process" } else { "" })]
    TableExists {
        /// Whether a live process holds it, so another gate is open.
        owned: bool,
    },
    /// A table that dies with the process that holds it cannot be had.
    #[error("the kernel or nft does not know tables with an owner: {message}")]
    NoOwner {
        /// What nft said.
        message: String,
    },
    /// The kernel accepts no method.
    #[error("the kernel accepted no method of interception: {}", tried(.attempts))]
    NoMethod {
        /// What was tried, with what nft said.
        attempts: Vec<(Method, String)>,
    },
    /// A step failed.
    #[error("the interception table could not be set up")]
    Table(#[from] TableError),
}

impl Plan {
    /// Intercepts `port` for listeners on `listener_port` with the first method that works.
    pub fn new(port: u16, listener_port: u16) -> Self {
        Self { port, listener_port, method: Preference::Auto, nft: None }
    }

    fn check(&self) -> Result<(), OpenError> {
        match (self.port, self.listener_port) {
            (0, _) | (_, 0) => Err(OpenError::PortZero),
            (port, listener_port) if port == listener_port => Err(OpenError::SamePort { port }),
            _ => Ok(()),
        }
    }

    fn methods(&self) -> &'static [Method] {
        match self.method {
            Preference::Auto => &[Method::Tproxy, Method::Redirect],
            Preference::Only(Method::Tproxy) => &[Method::Tproxy],
            Preference::Only(Method::Redirect) => &[Method::Redirect],
        }
    }
}

impl Gate {
    /// Opens the gate. When this returns, new connections reach the listener.
    ///
    /// Needs a tokio runtime with I/O and time enabled. If the future is dropped, nothing is left.
    ///
    /// # Errors
    /// See [`OpenError`]; each has a [`hint`](OpenError::hint).
    pub async fn open(plan: Plan) -> Result<Self, OpenError> {
        plan.check()?;
        let path = std::env::var_os("PATH");
        let nft = nft::find(plan.nft.as_deref(), path.as_deref()).ok_or(OpenError::NftMissing)?;
        if let Some(&capability) = privileges::missing(&[Capability::NetAdmin]).first() {
            return Err(OpenError::MissingCapability { capability });
        }
        refuse_existing(&nft).await?;
        let mut holder = Holder::start(&nft)?;
        match install(&mut holder, &nft, &plan).await {
            Ok((rules, refused)) => {
                let Plan { port, listener_port, .. } = plan;
                tracing::info!(method = %rules.method, port, listener_port, holder = holder.pid(), "gate open");
                Ok(Self { holder, nft, rules, refused, stopped: false })
            }
            Err(error) => {
                holder.end().await;
                Err(error)
            }
        }
    }

    /// How connections are led to the listener.
    pub fn method(&self) -> Method {
        self.rules.method
    }

    /// Why TPROXY was not used, when the redirect is the fallback: what nft said.
    pub fn fallback_reason(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// The process that holds the table.
    pub fn holder_pid(&self) -> Option<u32> {
        self.holder.pid()
    }

    /// Resolves when the process that holds the table has ended, which closes the gate: abort, and say so. It resolves
    /// after [`close`](Self::close) as well, so stop waiting before closing.
    pub fn died(&self) -> impl Future<Output = Option<ExitStatus>> + Send + use<> {
        self.holder.ended()
    }

    /// What the rules have counted, for the log. After [`stop_intercepting`](Self::stop_intercepting) there are none.
    ///
    /// # Errors
    /// The table could not be listed.
    pub async fn counters(&self) -> Result<Vec<RuleCount>, TableError> {
        Ok(rules::counts(&nft::list(&self.nft).await?))
    }

    /// Removes the rules: new connections reach the application. What came through goes on, and what has been led to the
    /// listener but not been accepted yet is still there: keep accepting for a moment before closing the listener.
    ///
    /// May be called again, also after a failure or when the future was dropped.
    ///
    /// # Errors
    /// The rules may still be there: drop the gate.
    pub async fn stop_intercepting(&mut self) -> Result<(), TableError> {
        if self.stopped {
            return Ok(());
        }
        self.holder.run(&serde_json::to_string(&self.rules.flush())?).await?;
        confirm(&self.nft, &self.rules.flushed()).await?;
        self.stopped = true;
        tracing::info!(port = self.rules.port, "gate no longer intercepts");
        Ok(())
    }

    /// Deletes the table and ends the process that holds it, after removing the rules if that was not done.
    ///
    /// With a redirect it first waits, up to a few seconds, until the peers have received what the drained connections
    /// still had to send: translation ends with the table.
    ///
    /// # Errors
    /// The process that holds the table is killed all the same, so the kernel drops the table.
    pub async fn close(mut self) -> Result<(), TableError> {
        self.stop_intercepting().await?;
        if self.rules.method == Method::Redirect {
            let unfinished = tail::wait(self.rules.listener_port, TAIL_LIMIT).await;
            if unfinished > 0 {
                tracing::warn!(unfinished, "connections are cut by the end of the redirect");
            }
        }
        self.holder.run(&RuleSet::delete_table()).await?;
        let ended = self.holder.end().await;
        match nft::presence(&self.nft).await? {
            Presence::Absent => {}
            // What ours held has gone with it: another run has opened its gate meanwhile.
            Presence::Held if ended => {}
            Presence::Held | Presence::Unheld => {
                let (expected, found) = ("no table".to_owned(), format!("a table inet {TABLE}"));
                return Err(TableError::Differs { expected, found });
            }
        }
        tracing::info!(port = self.rules.port, "gate closed");
        Ok(())
    }
}

impl OpenError {
    /// What an operator can do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NftMissing => "install it: apt-get install nftables".to_owned(),
            Self::MissingCapability { capability } => capability.hint().to_owned(),
            Self::TableExists { owned: true } => format!(
                "another run has the gate open; wait for it, or look: nft list table inet {TABLE}; pgrep -af 'nft -j -i'"
            ),
            Self::TableExists { owned: false } => format!(
                "no process holds it, so it is not a gate of ours; look: nft list table inet {TABLE}; \
                 if nobody needs it: nft delete table inet {TABLE}"
            ),
            Self::NoMethod { .. } => "the kernel needs nft_fib and nft_tproxy, or nft_fib, nft_redir and nf_nat; \
                 in a container they are loaded on the host"
                .to_owned(),
            Self::NoOwner { .. } => {
                "Linux 5.12 or newer and an nft that knows the flag `owner` of tables are needed".to_owned()
            }
            Self::PortZero | Self::SamePort { .. } | Self::Table(_) => return None,
        })
    }
}

async fn refuse_existing(nft: &Path) -> Result<(), OpenError> {
    match nft::presence(nft).await? {
        Presence::Absent => Ok(()),
        Presence::Held => Err(OpenError::TableExists { owned: true }),
        Presence::Unheld => Err(OpenError::TableExists { owned: false }),
    }
}

/// Makes the table and fills it; returns the rules in place, and what the kernel said against a method tried before.
async fn install(holder: &mut Holder, nft: &Path, plan: &Plan) -> Result<(RuleSet, Option<String>), OpenError> {
    create(holder, nft).await?;
    let mut attempts = Vec::new();
    for &method in plan.methods() {
        let rules = RuleSet { method, port: plan.port, listener_port: plan.listener_port };
        match fill(holder, nft, &rules).await {
            Ok(()) => return Ok((rules, attempts.pop().map(|(_, message)| message))),
            Err(TableError::Refused { message }) => {
                tracing::debug!(%method, message, "the kernel refused");
                attempts.push((method, message));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(OpenError::NoMethod { attempts })
}

/// Makes the empty table, and sees that it will go with its holder.
async fn create(holder: &mut Holder, nft: &Path) -> Result<(), OpenError> {
    match holder.run(&RuleSet::create_table()).await {
        Ok(()) => {}
        Err(TableError::Refused { message }) => {
            // Another run may have been quicker: `create` leaves the other's table alone.
            refuse_existing(nft).await?;
            // And have gone already. A table that somebody holds may be listed but not made again ("not permitted").
            let existed = ["File exists", "not permitted"].iter().any(|reason| message.contains(reason));
            return Err(if existed { OpenError::TableExists { owned: true } } else { OpenError::NoOwner { message } });
        }
        Err(error) => return Err(error.into()),
    }
    if nft::presence(nft).await? == Presence::Held {
        return Ok(());
    }
    // It would outlive a kill, so it is not left to the holder's end.
    holder.run(&RuleSet::delete_table()).await?;
    Err(OpenError::NoOwner { message: "the flag was ignored".to_owned() })
}

async fn fill(holder: &mut Holder, nft: &Path, rules: &RuleSet) -> Result<(), TableError> {
    holder.run(&serde_json::to_string(&rules.fill())?).await?;
    confirm(nft, &rules.filled()).await
}

async fn confirm(nft: &Path, expected: &Shape) -> Result<(), TableError> {
    let found = Shape::of(&nft::list(nft).await?);
    if found == *expected {
        return Ok(());
    }
    Err(TableError::Differs { expected: expected.to_string(), found: found.to_string() })
}

fn tried(attempts: &[(Method, String)]) -> String {
    attempts.iter().map(|(method, message)| format!("{method}: {message}")).collect::<Vec<_>>().join("; ")
}

/// Longer than a few retransmissions on a bad line; a visitor that is gone must not hold up the end for long.
const TAIL_LIMIT: Duration = Duration::from_secs(5);
