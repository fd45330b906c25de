//! `lockgate cert renew`: everything in the storage that is due.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use authenticator_api::{Authenticator, DomainName};
use authenticator_standalone::Standalone;
use authenticator_webroot::{Paths, Webroot};
use certificates::{
    Authenticators, Authority, Completeness, Internal, Issuer, KeyChoice, Lineage, Presented, Renewal, Request, Store,
    Upkeep, Visit,
};
use clap::Args;

use super::{
    attempt::{Failure, PATIENCE, Stopped, block_on, explained},
    options::{Common, HookArguments, LETS_ENCRYPT, STAGING},
    session::{Beside, Session},
    visitors::Visitors,
    watch::Watch,
};
use crate::{
    cli::{Exit, report},
    config::Level,
};

/// Which certificates are renewed, and what is run beside it.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Arguments {
    /// Renew only the certificate with this name; may be given several times.
    #[arg(long = "cert-name", value_name = "NAME")]
    pub(in crate::cli) names: Vec<String>,

    /// Renew also what is not due, or failed a short while ago.
    #[arg(long, visible_alias = "force")]
    pub(in crate::cli) force_renewal: bool,

    /// Renew a certificate for those of its names that can be proven.
    #[arg(long)]
    pub(in crate::cli) allow_subset_of_names: bool,

    /// Prove the names of every certificate to its authority (of Let's Encrypt, the one for tests), and save nothing.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,

    /// The authority's directory URL for `--dry-run`.
    #[arg(long, value_name = "URL", requires = "dry_run")]
    pub(in crate::cli) server: Option<String>,

    #[command(flatten)]
    pub(in crate::cli) hooks: HookArguments,

    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

/// What became of a certificate.
struct Outcome {
    name: String,
    result: Result<&'static str, String>,
}

pub(in crate::cli) fn run(arguments: &Arguments) -> Exit {
    report::start_log(if arguments.common.quiet { Level::Error } else { Level::Warn });
    match renew(arguments) {
        Ok(outcomes) => {
            tell(arguments, &outcomes);
            let is_good = outcomes.iter().all(|outcome| outcome.result.is_ok());
            if is_good { Exit::Success } else { Exit::Failure }
        }
        Err(failure) => failure.told(),
    }
}

/// Renews what is due, one after the other: what becomes of one is nothing to the others.
fn renew(arguments: &Arguments) -> Result<Vec<Outcome>, Failure> {
    block_on(async {
        let session = Session::open(&arguments.common, &arguments.hooks, arguments.dry_run).await?;
        let run = Run { arguments, session, real: Store::at(&arguments.common.storage) };
        let all = run.real.names();
        if let Some(unknown) = arguments.names.iter().find(|name| !all.contains(name)) {
            return Err(Failure::usage(format!("there is no certificate {unknown}"), Some("see `lockgate cert list`")));
        }
        let mut stopped = Stopped::listen()?;
        let mut outcomes = Vec::new();
        let (mut renewed, mut failed) = (Vec::new(), Vec::new());
        for name in all.into_iter().filter(|name| arguments.names.is_empty() || arguments.names.contains(name)) {
            let outcome = run.certificate(&name, &mut stopped).await;
            let lineage = run.real.load(&name);
            let names = lineage.iter().flat_map(|lineage| &lineage.names).map(ToString::to_string);
            match &outcome {
                Ok(Done::Nothing(_)) => {}
                Ok(Done::Renewed | Done::Rehearsed) => renewed.extend(names),
                Err(_) => failed.extend(names),
            }
            let result = outcome.map(Done::word).map_err(|failure| failure.message);
            outcomes.push(Outcome { name, result });
            if stopped.is_stopped() {
                break;
            }
        }
        run.session.hooks.lock().await.end(&renewed, &failed).await;
        Ok(outcomes)
    })
}

/// Proves the names of a certificate as this configuration of its would, and saves nothing.
pub(super) async fn rehearse(arguments: &Arguments, lineage: Lineage, renewal: Renewal) -> Result<(), Failure> {
    let session = Session::open(&arguments.common, &arguments.hooks, true).await?;
    let run = Run { arguments, session, real: Store::at(&arguments.common.storage) };
    let usual_webroot = run.real.configuration(&lineage.name).and_then(|(conf, _)| Renewal::usual_webroot(&conf));
    let mut stopped = Stopped::listen()?;
    let done = run.attempt(lineage, renewal, usual_webroot, &mut stopped).await;
    // Whatever the hooks before it have stopped is started again.
    run.session.hooks.lock().await.end(&[], &[]).await;
    done.map(|_| ())
}

/// One run of the command.
struct Run<'a> {
    arguments: &'a Arguments,
    session: Session,
    /// The storage, also where it is only a rehearsal.
    real: Store,
}

/// What was done about a certificate.
enum Done {
    /// It is renewed, and programs know.
    Renewed,
    /// Its names are proven.
    Rehearsed,
    /// Nothing, for this reason.
    Nothing(&'static str),
}

impl Done {
    fn word(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Rehearsed => "its names are proven, nothing is saved",
            Self::Nothing(why) => why,
        }
    }
}

impl Run<'_> {
    async fn certificate(&self, name: &str, stopped: &mut Stopped) -> Result<Done, Failure> {
        let Some((conf, renewal)) = self.real.configuration(name) else {
            // Whoever takes that away does not want it renewed.
            let message = "nothing says how it is renewed";
            return if self.arguments.names.is_empty() {
                Ok(Done::Nothing(message))
            } else {
                Err(Failure::of(message))
            };
        };
        let is_named = self.arguments.names.iter().any(|named| named == name);
        if renewal.server == Internal::SERVER {
            return Ok(Done::Nothing("made by the internal authority of a running Lockgate, which renews it"));
        }
        if Renewal::is_resting(&conf) && !is_named {
            return Ok(Done::Nothing("its configuration says that it is not renewed"));
        }
        let lineage = self.real.load(name);
        let lineage = lineage.ok_or_else(|| Failure::of("none of its versions can be used: obtain it anew"))?;
        if !lineage.others.is_empty() {
            let others = lineage.others.join(", ");
            return Err(Failure::of(format!("it is for {others}, which HTTP-01 and TLS-ALPN-01 cannot prove")));
        }
        self.attempt(lineage, renewal, Renewal::usual_webroot(&conf), stopped).await
    }

    /// Renews a certificate, or rehearses that, in the way that its configuration says.
    async fn attempt(
        &self,
        lineage: Lineage,
        renewal: Renewal,
        usual_webroot: Option<String>,
        stopped: &mut Stopped,
    ) -> Result<Done, Failure> {
        let authenticator = authenticator(&renewal, usual_webroot, &lineage, self.real.root())?;
        let visitors = renewal.own.as_ref().and_then(Visitors::read);
        let watch = Watch::new(self.arguments.common.quiet, visitors.map(|visitors| visitors.led_to(&authenticator)));
        let commands = self.arguments.hooks.or(&renewal.hooks);
        let beside = Beside::new(&self.session, &watch, &*authenticator, &commands);
        let beside = beside.replacing(Some(lineage.clone()).filter(|_| !self.arguments.dry_run));
        let presented = Presented::default();
        let authenticators = Authenticators::from(Arc::clone(&authenticator));
        let upkeep = Upkeep {
            client: &self.session.client,
            store: &self.session.store,
            authenticators: &authenticators,
            presented: &presented,
            observer: &beside,
            fetcher: None,
            clock: &SystemTime::now,
        };
        let request = self.request(&lineage, renewal);
        let visit = stopped.unless(upkeep.look_after(&request), &watch).await;
        presented.cleanup().await;
        let closed = watch.close().await;
        beside.end().await;
        let visit = visit?;
        // Another process may have renewed it while we waited for it.
        let lineage = self.session.store.load(&lineage.name).unwrap_or(lineage);
        let record = self.session.store.record(&lineage.name);
        closed.map_err(|error| Failure::of(error.to_string()))?;
        match visit {
            Visit::Issued { .. } if self.arguments.dry_run => Ok(Done::Rehearsed),
            Visit::Issued { saved, .. } => stopped.deploying(deployed(&beside, &saved.lineage)).await.flatten(),
            Visit::Failed { error, .. } => Err(explained(error)),
            Visit::Rest { .. } if self.session.store.awaits_deployment(&lineage) => {
                stopped.deploying(deployed(&beside, &lineage)).await.flatten()
            }
            Visit::Rest { until } if record.rests(&lineage, SystemTime::now()) => {
                let minutes = until.duration_since(SystemTime::now()).unwrap_or_default().as_secs().div_ceil(60);
                Err(Failure::of(format!(
                    "its renewal failed a short while ago; it is tried again in {minutes} minutes, or now with --force-renewal"
                )))
            }
            Visit::Rest { .. } => Ok(Done::Nothing("not due")),
            Visit::Incomplete { .. } => Err(Failure::of("some of its names are still not to be had")),
        }
    }

    fn request(&self, lineage: &Lineage, renewal: Renewal) -> Request {
        let is_rehearsal = self.arguments.dry_run;
        // A key that is thrown away need not be of a kind that is not made.
        let key = renewal.key.filter(|_| !is_rehearsal).or(is_rehearsal.then(KeyChoice::default));
        let renewal = Renewal { key, ..renewal };
        let own = if is_rehearsal && renewal.server == LETS_ENCRYPT { STAGING } else { &renewal.server };
        let server = self.arguments.server.as_deref().unwrap_or(own).to_owned();
        Request {
            name: Some(lineage.name.clone()),
            domains: lineage.names.iter().cloned().collect(),
            issuers: vec![Issuer::Acme(Authority {
                account: renewal.account.clone().filter(|_| server == renewal.server),
                directory: server,
                // Whoever made the certificate has agreed; where there is no account for tests yet, it takes one.
                agree_to_terms: is_rehearsal,
                profile: renewal.profile.clone(),
                preferred_chain: renewal.preferred_chain.clone(),
                ..Authority::default()
            })],
            force: self.arguments.force_renewal,
            is_rehearsal,
            completeness: match self.arguments.allow_subset_of_names {
                true => Completeness::Some { resting: Vec::new() },
                false => Completeness::All,
            },
            patience: PATIENCE,
            renewal,
        }
    }
}

/// Runs the deploy hooks.
async fn deployed(beside: &Beside<'_>, lineage: &Lineage) -> Result<Done, Failure> {
    match beside.deploy(lineage).await? {
        true => Ok(Done::Renewed),
        false => Err(Failure::of("it is renewed, and a deploy hook failed, which is run again next time")),
    }
}

/// Who answers the authority, as the configuration of a certificate says.
fn authenticator(
    renewal: &Renewal,
    usual_webroot: Option<String>,
    lineage: &Lineage,
    root: &Path,
) -> Result<Arc<dyn Authenticator>, Failure> {
    match renewal.authenticator.as_str() {
        "standalone" => {
            if renewal.own.as_ref().and_then(Visitors::read).is_some() {
                return Ok(Arc::new(Standalone::new(Vec::new())));
            }
            let (address, port) = renewal.listen;
            let every = [IpAddr::from(Ipv4Addr::UNSPECIFIED), IpAddr::from(Ipv6Addr::UNSPECIFIED)];
            let addresses = address.map_or_else(|| every.to_vec(), |address| vec![address]);
            let listen = addresses.into_iter().map(|address| SocketAddr::new(address, port.unwrap_or(80))).collect();
            Ok(Arc::new(Standalone::new(listen)))
        }
        "webroot" => {
            let own =
                |name: &DomainName| renewal.webroots.iter().find(|(known, _)| known == name).map(|(_, path)| path);
            let path = |name: &DomainName| Some((name.clone(), PathBuf::from(own(name).or(usual_webroot.as_ref())?)));
            let paths: BTreeMap<_, _> = lineage.names.iter().filter_map(path).collect();
            if let Some(missing) = lineage.names.iter().find(|name| !paths.contains_key(*name)) {
                return Err(Failure::of(format!("its configuration has no webroot for {missing}")));
            }
            Ok(Arc::new(Webroot::new(Paths::PerDomain(paths), root.join(".lockgate-webroot"))))
        }
        other => Err(Failure::of(format!(
            "it was obtained with certbot's `{other}`, which is not known here: see `lockgate cert reconfigure`"
        ))),
    }
}

fn tell(arguments: &Arguments, outcomes: &[Outcome]) {
    if arguments.common.json {
        let all: Vec<_> = outcomes
            .iter()
            .map(|outcome| match &outcome.result {
                Ok(result) => serde_json::json!({ "name": outcome.name, "result": result }),
                Err(message) => serde_json::json!({ "name": outcome.name, "result": "failed", "message": message }),
            })
            .collect();
        report::line(serde_json::Value::Array(all).to_string());
        return;
    }
    for outcome in outcomes {
        match &outcome.result {
            Ok(result) if !arguments.common.quiet => report::line(format!("{}: {result}", outcome.name)),
            Ok(_) => {}
            Err(message) => report::error(format!("{}: {message}", outcome.name)),
        }
    }
    if outcomes.is_empty() && !arguments.common.quiet {
        report::line("there are no certificates");
    }
}
