//! `lockgate cert renew`: everything in the storage that is due.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::SystemTime,
};

use authenticator_api::{Authenticator, BoxFuture, DomainName};
use authenticator_standalone::Standalone;
use authenticator_webroot::{Paths, Webroot};
use certificates::{
    Authenticators, Authority, BoxError, Client, Completeness, Internal, Issuer, Lineage, Observer, Presented,
    Progress, Renewal, Request, Store, Upkeep, Visit,
};
use clap::Args;
use plugin_api::config::Duration as Time;
use tokio::sync::Mutex;

use super::{
    attempt::{Failure, PATIENCE, Stopped, block_on, explained, open_store},
    hooks::Hooks,
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

    #[command(flatten)]
    pub(in crate::cli) hooks: HookArguments,

    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

/// What is run beside renewals.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct HookArguments {
    /// A command to run before the first certificate is renewed, in place of those that certificates have of their own.
    #[arg(long, value_name = "COMMAND")]
    pub(in crate::cli) pre_hook: Option<String>,

    /// A command to run after the last one, with RENEWED_DOMAINS and FAILED_DOMAINS in its environment.
    #[arg(long, value_name = "COMMAND")]
    pub(in crate::cli) post_hook: Option<String>,

    /// A command to run after each one, with RENEWED_LINEAGE and RENEWED_DOMAINS in its environment.
    #[arg(long, visible_alias = "renew-hook", value_name = "COMMAND")]
    pub(in crate::cli) deploy_hook: Option<String>,

    /// Do not run what is in the storage's `renewal-hooks`.
    #[arg(long)]
    pub(in crate::cli) no_directory_hooks: bool,

    /// How long a command may take.
    #[arg(long, value_name = "TIME", default_value = "10m")]
    pub(in crate::cli) hook_timeout: Time,
}

/// What every command has that works on a storage.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Common {
    /// Where accounts and certificates are kept, in certbot's layout.
    #[arg(long, value_name = "DIR", default_value = "/etc/letsencrypt")]
    pub(in crate::cli) storage: PathBuf,

    /// Certificates (PEM) to trust instead of the system's when talking to the authority.
    #[arg(long, value_name = "PEM")]
    pub(in crate::cli) ca_file: Option<PathBuf>,

    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub(in crate::cli) json: bool,

    /// Say nothing but errors.
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,
}

/// What became of a certificate.
pub(in crate::cli) struct Outcome {
    pub(in crate::cli) name: String,
    pub(in crate::cli) result: Result<&'static str, String>,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
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
pub(in crate::cli) fn renew(arguments: &Arguments) -> Result<Vec<Outcome>, Failure> {
    block_on(async {
        let client = Client::new(arguments.common.ca_file.as_deref()).map_err(|error| Failure::new(&error))?;
        let store = open_store(arguments.common.storage.clone()).await?;
        let all = store.names();
        if let Some(unknown) = arguments.names.iter().find(|name| !all.contains(name)) {
            return Err(Failure::usage(format!("there is no certificate {unknown}"), Some("see `lockgate cert list`")));
        }
        let directory = (!arguments.hooks.no_directory_hooks).then(|| store.root().join("renewal-hooks"));
        let run = Run {
            arguments,
            hooks: Mutex::new(Hooks::new(directory, arguments.hooks.hook_timeout.0, arguments.common.quiet)),
            client,
            store,
        };
        let mut stopped = Stopped::listen()?;
        let mut outcomes = Vec::new();
        let (mut renewed, mut failed) = (Vec::new(), Vec::new());
        for name in all.into_iter().filter(|name| arguments.names.is_empty() || arguments.names.contains(name)) {
            let outcome = run.certificate(&name, &mut stopped).await;
            match &outcome {
                Ok(Done::Renewed { names, is_deployed: true }) => renewed.extend(names.clone()),
                Ok(Done::Renewed { names, .. }) => failed.extend(names.clone()),
                Ok(Done::Nothing(_)) => {}
                Err(_) => failed.extend(run.store.load(&name).map(|lineage| names_of(&lineage)).unwrap_or_default()),
            }
            let result = match outcome {
                Ok(Done::Renewed { is_deployed: true, .. }) => Ok("renewed"),
                Ok(Done::Renewed { .. }) => {
                    Err("it is renewed, and a deploy hook failed: it is run again next time".into())
                }
                Ok(Done::Nothing(why)) => Ok(why),
                Err(failure) => Err(failure.message),
            };
            outcomes.push(Outcome { name, result });
            if stopped.is_stopped() {
                break;
            }
        }
        run.hooks.lock().await.end(&renewed, &failed).await;
        Ok(outcomes)
    })
}

/// One run of the command.
struct Run<'a> {
    arguments: &'a Arguments,
    client: Client,
    store: Store,
    hooks: Mutex<Hooks>,
}

/// What was done about a certificate.
enum Done {
    /// It is renewed, or was by a run that could not finish.
    Renewed { names: Vec<String>, is_deployed: bool },
    /// Nothing, for this reason.
    Nothing(&'static str),
}

impl Run<'_> {
    async fn certificate(&self, name: &str, stopped: &mut Stopped) -> Result<Done, Failure> {
        let Some((conf, renewal)) = self.store.configuration(name) else {
            return Err(Failure::of("there is no renewal configuration that says how it was obtained"));
        };
        let is_named = self.arguments.names.iter().any(|named| named == name);
        if renewal.server == Internal::SERVER {
            return Ok(Done::Nothing("made by the internal authority of a running Lockgate, which renews it"));
        }
        if Renewal::is_resting(&conf) && !is_named {
            return Ok(Done::Nothing("its configuration says that it is not renewed"));
        }
        let lineage = self.store.load(name);
        let lineage = lineage.ok_or_else(|| Failure::of("none of its versions can be used: obtain it anew"))?;
        if !lineage.others.is_empty() {
            return Err(Failure::of(format!(
                "it is for {}, which HTTP-01 and TLS-ALPN-01 cannot prove",
                lineage.others.join(", ")
            )));
        }
        let deploy = self.arguments.hooks.deploy_hook.clone().or_else(|| renewal.hooks.deploy.clone());
        let request = self.request(name, &lineage, &renewal);
        let authenticator = authenticator(&renewal, Renewal::usual_webroot(&conf), &lineage, self.store.root())?;
        let watch = Watch::new(self.arguments.common.quiet, None);
        let beside = Beside {
            run: self,
            renewal: &renewal,
            authenticator: &*authenticator,
            watch: &watch,
            lineage: &lineage,
            began: OnceLock::new(),
        };
        let presented = Presented::default();
        let authenticators = Authenticators::from(Arc::clone(&authenticator));
        let upkeep = Upkeep {
            client: &self.client,
            store: &self.store,
            authenticators: &authenticators,
            presented: &presented,
            observer: &beside,
            fetcher: None,
            clock: &SystemTime::now,
        };
        let visit = stopped.unless(upkeep.look_after(&request), &watch).await;
        presented.cleanup().await;
        if beside.began.get().is_some() {
            authenticator.stop().await;
        }
        match visit? {
            Visit::Issued { saved, .. } => self.deploy(name, deploy.as_deref(), &saved.lineage).await,
            Visit::Failed { error, .. } => Err(explained(error)),
            Visit::Rest { .. } if self.store.awaits_deployment(&lineage) => {
                self.deploy(name, deploy.as_deref(), &lineage).await
            }
            Visit::Rest { until } if lineage.is_due(SystemTime::now()) => Err(Failure::of(format!(
                "it is due, and its renewal failed a short while ago; it is tried again in {} minutes, or now with --force-renewal",
                until.duration_since(SystemTime::now()).unwrap_or_default().as_secs().div_ceil(60)
            ))),
            Visit::Rest { .. } => Ok(Done::Nothing("not due")),
            Visit::Incomplete { .. } => Err(Failure::of("some of its names are still not to be had")),
        }
    }

    fn request(&self, name: &str, lineage: &Lineage, renewal: &Renewal) -> Request {
        let resting = Vec::new();
        Request {
            name: Some(name.to_owned()),
            domains: lineage.names.iter().cloned().collect(),
            issuers: vec![Issuer::Acme(Authority {
                directory: renewal.server.clone(),
                account: renewal.account.clone(),
                profile: renewal.profile.clone(),
                preferred_chain: renewal.preferred_chain.clone(),
                ..Authority::default()
            })],
            force: self.arguments.force_renewal,
            completeness: match self.arguments.allow_subset_of_names {
                true => Completeness::Some { resting },
                false => Completeness::All,
            },
            patience: PATIENCE,
            renewal: renewal.clone(),
        }
    }

    async fn deploy(&self, name: &str, command: Option<&str>, lineage: &Lineage) -> Result<Done, Failure> {
        let names = names_of(lineage);
        let is_deployed = self.hooks.lock().await.after(command, &self.store.live(name), &names).await;
        if is_deployed {
            self.store.deployed(name, lineage.version).map_err(|error| Failure::new(&error))?;
        }
        Ok(Done::Renewed { names, is_deployed })
    }
}

/// What happens beside a renewal that turns out to be due.
struct Beside<'a> {
    run: &'a Run<'a>,
    renewal: &'a Renewal,
    authenticator: &'a dyn Authenticator,
    watch: &'a Watch,
    lineage: &'a Lineage,
    began: OnceLock<()>,
}

impl Observer for Beside<'_> {
    fn progress(&self, progress: Progress) {
        self.watch.progress(progress);
    }

    fn before_attempt(&self) -> BoxFuture<'_, Result<(), BoxError>> {
        Box::pin(async move {
            let own = &self.renewal.hooks;
            let given = &self.run.arguments.hooks;
            let pre = given.pre_hook.as_deref().or(own.pre.as_deref());
            let post = given.post_hook.as_deref().or(own.post.as_deref());
            let (store, lineage) = (self.run.store.clone(), self.lineage.clone());
            tokio::task::spawn_blocking(move || store.expect_deployment(&lineage)).await??;
            self.run.hooks.lock().await.before(pre, post).await;
            self.authenticator.start().await?;
            let _ = self.began.set(());
            Ok(())
        })
    }
}

/// Who answers the authority, as the configuration of a certificate says.
fn authenticator(
    renewal: &Renewal,
    usual_webroot: Option<String>,
    lineage: &Lineage,
    root: &std::path::Path,
) -> Result<Arc<dyn Authenticator>, Failure> {
    match renewal.authenticator.as_str() {
        "standalone" => {
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
            let paths: std::collections::BTreeMap<_, _> = lineage.names.iter().filter_map(path).collect();
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

fn names_of(lineage: &Lineage) -> Vec<String> {
    lineage.names.iter().map(ToString::to_string).collect()
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
