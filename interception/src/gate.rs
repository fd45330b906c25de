//! The gate and its states.

use std::{io, time::Duration};

use tokio::{sync::watch, time::Instant};

use crate::{
    nft::{self, Listing, Owner},
    privileges::{self, Capability},
    rules::{self, Method, Plan},
};

/// An open gate. Dropping it closes it at once: the kernel drops the table when the child that owns it is killed.
///
/// The order of a good end is [`stop_intercepting`](Self::stop_intercepting), then draining the listener, then
/// [`close`](Self::close): connections that NAT brought in hang when their table goes.
#[derive(Debug)]
pub struct Gate {
    owner: Option<Owner>,
    method: Method,
    refused: Option<String>,
}

/// Why the gate did not open. Nothing was changed, or what was changed is undone.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The program that speaks to the kernel is not installed.
    #[error("the program `nft` is not installed")]
    NoNft,
    /// This process may not change the firewall.
    #[error("the capability {capability} is missing")]
    MissingCapability {
        /// Which one.
        capability: Capability,
    },
    /// Somebody else has a table of our name.
    #[error("the nftables table `inet {table}` exists already", table = rules::TABLE)]
    TableExists,
    /// The listener would intercept itself.
    #[error("the gate leads port {port} to another port, not to itself")]
    SamePort {
        /// The port.
        port: u16,
    },
    /// The kernel refused.
    #[error("the kernel refuses: {message}")]
    Refused {
        /// What `nft` said.
        message: String,
    },
    /// `nft` did not do its work in time.
    #[error("`nft` did not answer within {DEADLINE:?}")]
    TimedOut,
    /// `nft` cannot be run.
    #[error("cannot run `nft`")]
    Run {
        /// What the system said.
        source: io::Error,
    },
}

/// Why the gate did not do as asked after it was open.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    /// The child that owns the table has ended, and the table with it.
    #[error("the process that held the gate open has ended; visitors reach the application directly")]
    Died,
    /// `nft` complained.
    #[error("nft: {message}")]
    Refused {
        /// What it said.
        message: String,
    },
    /// `nft` did not do its work in time.
    #[error("`nft` did not answer within {DEADLINE:?}")]
    TimedOut,
    /// `nft` cannot be run.
    #[error("cannot run `nft`")]
    Run {
        /// What the system said.
        source: io::Error,
    },
}

impl OpenError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NoNft => Some("install it: apt-get install nftables"),
            Self::MissingCapability { .. } => {
                Some("run as root, or give the program the capability: setcap cap_net_admin,cap_net_bind_service=ep …")
            }
            Self::TableExists => Some(
                "another `lockgate cert obtain` is running, or the table is somebody else's: `nft list table inet lockgate`",
            ),
            Self::Refused { .. } => Some("the kernel needs nf_tables with tproxy or nat support (modprobe nft_tproxy nft_nat)"),
            _ => None,
        }
    }
}

impl Gate {
    /// Opens the gate. When it returns, new connections to the port from other machines reach the listener, which must be
    /// listening already.
    ///
    /// # Errors
    ///
    /// See [`OpenError`].
    pub async fn open(plan: Plan) -> Result<Self, OpenError> {
        if plan.port == plan.listener_port {
            return Err(OpenError::SamePort { port: plan.port });
        }
        if let Some(capability) = privileges::missing(&[Capability::NetAdmin]).into_iter().next() {
            return Err(OpenError::MissingCapability { capability });
        }
        if list().await?.is_some() {
            return Err(OpenError::TableExists);
        }
        let mut owner = Owner::start().map_err(run_failed)?;
        say(&mut owner, &rules::create_table()).await?;
        reach(&owner, |listing| listing.is_some()).await?;
        let mut refused = None;
        let methods = plan.method.map_or(vec![Method::Tproxy, Method::Redirect], |method| vec![method]);
        for (index, method) in methods.iter().copied().enumerate() {
            match install(&mut owner, &plan, method).await {
                Ok(()) => return Ok(Self { owner: Some(owner), method, refused }),
                Err(OpenError::Refused { message }) if index + 1 < methods.len() => {
                    for line in rules::delete_chains(method) {
                        say(&mut owner, &line).await?;
                    }
                    owner.complaint();
                    refused = Some(message);
                }
                Err(error) => return Err(error),
            }
        }
        Err(OpenError::Refused { message: refused.unwrap_or_default() })
    }

    /// How packets are led.
    pub fn method(&self) -> Method {
        self.method
    }

    /// Why TPROXY was not used, when it was tried.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Ready when the child that owns the table has ended although nobody asked it to.
    pub fn died(&self) -> impl Future<Output = ()> + Send + use<> {
        let ended = self.owner.as_ref().map(Owner::ended);
        async move {
            match ended {
                Some(mut ended) => {
                    let _ = ended.wait_for(|ended| *ended).await;
                }
                None => std::future::pending().await,
            }
        }
    }

    /// Opening packets that were led to the listener: of visitors, and of probes.
    ///
    /// # Errors
    ///
    /// The table is gone, or `nft` cannot be run.
    pub async fn counters(&self) -> Result<(usize, usize), GateError> {
        let listing = nft::list().await.map_err(|source| GateError::Run { source })?.ok_or(GateError::Died)?;
        let sum = |comment: &str| listing.counters.iter().filter(|(of, _)| of == comment).map(|(_, packets)| packets).sum();
        Ok((sum(rules::VISITOR), sum(rules::PROBE)))
    }

    /// Leads no further connections: new ones reach the application again. Those that came through go on.
    ///
    /// # Errors
    ///
    /// See [`GateError`]; when the child has died, visitors reach the application all the same.
    pub async fn stop_intercepting(&mut self) -> Result<(), GateError> {
        let method = self.method;
        let Some(owner) = &mut self.owner else { return Ok(()) };
        for line in rules::flush(method) {
            owner.say(&line).await.map_err(|_: io::Error| GateError::Died)?;
        }
        settled(owner, |listing| listing.is_none_or(|listing| listing.rules == 0)).await
    }

    /// Takes the table away and ends the child.
    ///
    /// # Errors
    ///
    /// See [`GateError`].
    pub async fn close(mut self) -> Result<(), GateError> {
        let Some(mut owner) = self.owner.take() else { return Ok(()) };
        let said = owner.say(&rules::delete_table()).await;
        let gone = settled(&owner, |listing| listing.is_none()).await;
        owner.end().await;
        said.map_err(|_: io::Error| GateError::Died).and(gone)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        if let Some(owner) = &self.owner {
            owner.kill();
        }
    }
}

async fn list() -> Result<Option<Listing>, OpenError> {
    nft::list().await.map_err(run_failed)
}

fn run_failed(source: io::Error) -> OpenError {
    if source.kind() == io::ErrorKind::NotFound { OpenError::NoNft } else { OpenError::Run { source } }
}

async fn say(owner: &mut Owner, line: &str) -> Result<(), OpenError> {
    owner.say(line).await.map_err(|source| OpenError::Run { source })
}

async fn install(owner: &mut Owner, plan: &Plan, method: Method) -> Result<(), OpenError> {
    let document = serde_json::to_string(&rules::document(plan, method))
        .map_err(|error| OpenError::Refused { message: error.to_string() })?;
    say(owner, &document).await?;
    let expected = rules::number_of_rules(method);
    reach(owner, |listing| listing.is_some_and(|listing| listing.rules == expected)).await
}

/// Waits until the table is as it should be: `nft` is silent when it succeeds.
async fn reach(owner: &Owner, is_so: impl Fn(Option<&Listing>) -> bool) -> Result<(), OpenError> {
    settled(owner, is_so).await.map_err(|error| match error {
        GateError::Refused { message } => OpenError::Refused { message },
        GateError::TimedOut => OpenError::TimedOut,
        GateError::Run { source } => run_failed(source),
        GateError::Died => OpenError::Refused { message: "`nft` ended".to_owned() },
    })
}

async fn settled(owner: &Owner, is_so: impl Fn(Option<&Listing>) -> bool) -> Result<(), GateError> {
    let deadline = Instant::now() + DEADLINE;
    let ended: watch::Receiver<bool> = owner.ended();
    loop {
        let listing = nft::list().await.map_err(|source| GateError::Run { source })?;
        if is_so(listing.as_ref()) {
            return Ok(());
        }
        if let Some(message) = owner.complaint() {
            return Err(GateError::Refused { message });
        }
        if *ended.borrow() {
            return Err(GateError::Died);
        }
        if Instant::now() > deadline {
            return Err(GateError::TimedOut);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

const DEADLINE: Duration = Duration::from_secs(5);
