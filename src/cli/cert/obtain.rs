//! `lockgate cert obtain`.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use authenticator_api::Authenticator;
use authenticator_standalone::Standalone;
use authenticator_webroot::{Paths, Webroot};
use certificates::{
    Authenticators, Authority, Blame, Client, Completeness, Issuer, Lock, ObtainError, Obtained, Presented, Renewal,
    Request, Store, obtain,
};
use interception::{Capability, Method, Preference, missing_capabilities};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    arguments::{self, Arguments},
    watch::Watch,
};
use crate::{
    cli::{Exit, report},
    config::Level,
    intercept::{Front, Intercept},
};

pub(super) fn run(arguments: &Arguments) -> Exit {
    report::start_log(if arguments.quiet { Level::Error } else { Level::Warn });
    if let Some(exit) = missing_privilege(arguments) {
        return exit;
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            report::chain(&error, None);
            return Exit::Failure;
        }
    };
    let result = runtime.block_on(run_to_the_end(arguments));
    // After a second Ctrl-C a drain may still be going on: it is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    match result {
        Ok(obtained) => {
            tell(arguments, &obtained);
            Exit::Success
        }
        Err(failure) => {
            report::error(&failure.message);
            if let Some(hint) = failure.hint {
                report::hint(hint);
            }
            if failure.usage { Exit::Usage } else { Exit::Failure }
        }
    }
}

/// Why there is no certificate, for people.
struct Failure {
    message: String,
    hint: Option<&'static str>,
    usage: bool,
}

impl Failure {
    fn new(error: &dyn std::error::Error) -> Self {
        Self { message: report::sentence(error), hint: None, usage: false }
    }
}

/// Everything that is started is stopped again before this returns, however it ends.
async fn run_to_the_end(arguments: &Arguments) -> Result<Obtained, Failure> {
    let failed = |error: &dyn std::error::Error| Failure::new(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| failed(&error))?;
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| failed(&error))?;
    let mut hang_up = signal(SignalKind::hangup()).map_err(|error| failed(&error))?;

    let client = Client::new(arguments.ca_file.as_deref()).map_err(|error| failed(&error))?;
    let store = open_store(&arguments.storage).await?;
    let authenticator = authenticator(arguments)?;
    let watch = Watch::new(arguments.quiet, intercept(arguments, &authenticator));
    let presented = Presented::default();
    let authenticators = Authenticators::from(Arc::clone(&authenticator));
    let request = request(arguments);

    // Held until everything is put away: who gets it next may want to listen where we do.
    let mut held = None;
    let order = async {
        let waiting = |holder: &str| watch.say("waiting", &format!("waiting for {holder}"));
        let lock = Lock::acquire(&arguments.storage, arguments.lock_timeout.0, waiting).await;
        held = Some(lock.map_err(|error| failed(&error))?);
        authenticator.start().await.map_err(|error| Failure {
            hint: Some("is another server there? with one, use --intercept or --authenticator webroot"),
            ..failed(&error)
        })?;
        obtain(&request, &client, &store, &authenticators, &presented, &watch).await.map_err(explained)
    };
    let ended = |what: &str| Failure {
        message: format!("{what} after {}; everything is undone", watch.stage()),
        hint: None,
        usage: false,
    };
    let result = tokio::select! {
        result = order => result,
        _ = interrupt.recv() => Err(ended("interrupted")),
        _ = terminate.recv() => Err(ended("terminated")),
        _ = hang_up.recv() => Err(ended("hung up")),
        () = watch.lost() => Err(ended("the gate closed by itself: the process that held it ended;")),
    };
    // A second signal means "at once": the gate falls with us, whatever we are doing.
    let undo = async {
        presented.cleanup().await;
        let closed = watch.close().await;
        authenticator.stop().await;
        closed
    };
    let closed = tokio::select! {
        closed = undo => closed,
        _ = interrupt.recv() => Err("interrupted again: visitors who were still being served are cut".into()),
    };
    drop(held);
    match (result, closed) {
        (Ok(_), Err(error)) => {
            Err(Failure { message: format!("the certificate is saved, but: {error}"), hint: None, usage: false })
        }
        (result, _) => result,
    }
}

async fn open_store(path: &Path) -> Result<Store, Failure> {
    let path = path.to_owned();
    let opened = tokio::task::spawn_blocking(move || Store::open(&path)).await;
    let opened = opened.map_err(|error| Failure::new(&error))?;
    opened.map_err(|error| Failure {
        hint: Some("nothing was asked of the certificate authority; choose another place with --storage"),
        ..Failure::new(&error)
    })
}

fn authenticator(arguments: &Arguments) -> Result<Arc<dyn Authenticator>, Failure> {
    Ok(match (arguments.authenticator, &arguments.webroot) {
        (arguments::Authenticator::Webroot, Some(path)) if !path.is_dir() => {
            // Before the authority is asked for anything.
            let message = format!("the webroot {} is not a directory", path.display());
            return Err(Failure {
                message,
                hint: Some("name the directory that the web server serves as /"),
                usage: true,
            });
        }
        (arguments::Authenticator::Webroot, Some(path)) => {
            Arc::new(Webroot::new(Paths::Every(path.clone()), arguments.storage.join(".lockgate-webroot")))
        }
        (arguments::Authenticator::Webroot, None) => {
            return Err(Failure {
                message: "--authenticator webroot needs --webroot PATH".into(),
                hint: None,
                usage: true,
            });
        }
        (arguments::Authenticator::Standalone, _) => Arc::new(Standalone::new(listen(arguments))),
    })
}

/// Where standalone listens: where it is told to; else on port 80, unless visitors are led to us anyway.
fn listen(arguments: &Arguments) -> Vec<std::net::SocketAddr> {
    if !arguments.listen.is_empty() || arguments.intercept.is_some() {
        return arguments.listen.clone();
    }
    vec![(std::net::Ipv4Addr::UNSPECIFIED, 80).into(), (std::net::Ipv6Addr::UNSPECIFIED, 80).into()]
}

fn intercept(arguments: &Arguments, authenticator: &Arc<dyn Authenticator>) -> Option<Intercept> {
    arguments.intercept.map(|port| Intercept {
        port,
        method: match arguments.method {
            arguments::Method::Auto => Preference::Auto,
            arguments::Method::Tproxy => Preference::Only(Method::Tproxy),
            arguments::Method::Redirect => Preference::Only(Method::Redirect),
        },
        front: Front::Own { upstream: arguments.upstream.clone() },
        drain: arguments.drain.0,
        authenticators: vec![Arc::clone(authenticator)],
    })
}

fn request(arguments: &Arguments) -> Request {
    let mail = |mail: &String| if mail.starts_with("mailto:") { mail.clone() } else { format!("mailto:{mail}") };
    let webroot = arguments.webroot.as_ref().map(|path| path.display().to_string());
    let name = match arguments.authenticator {
        arguments::Authenticator::Standalone => "standalone",
        arguments::Authenticator::Webroot => "webroot",
    };
    let mut domains = arguments.domains.clone();
    let mut seen = Vec::new();
    domains.retain(|name| {
        !seen.contains(name) && {
            seen.push(name.clone());
            true
        }
    });
    Request {
        renewal: Renewal {
            server: arguments.server.clone(),
            authenticator: name.to_owned(),
            webroots: webroot
                .map(|path| domains.iter().map(|name| (name.clone(), path.clone())).collect())
                .unwrap_or_default(),
        },
        name: None,
        domains,
        issuers: vec![Issuer::Acme(Authority {
            directory: arguments.server.clone(),
            contact: arguments.contact.iter().map(mail).collect(),
            agree_to_terms: arguments.agree_tos,
            ..Authority::default()
        })],
        completeness: Completeness::All,
        force: arguments.force,
        patience: PATIENCE,
    }
}

fn missing_privilege(arguments: &Arguments) -> Option<Exit> {
    let mut needed = Vec::new();
    if arguments.intercept.is_some() {
        needed.push(Capability::NetAdmin);
    }
    if arguments.authenticator == arguments::Authenticator::Standalone
        && listen(arguments).iter().any(|address| address.port() != 0 && address.port() < 1024)
    {
        needed.push(Capability::NetBindService);
    }
    let missing = missing_capabilities(&needed);
    for capability in &missing {
        report::error(format!("the capability {capability} is missing"));
        report::hint(capability.hint());
    }
    (!missing.is_empty()).then_some(Exit::Failure)
}

fn explained(error: ObtainError) -> Failure {
    let hint = match (&error, error.blame()) {
        (ObtainError::Terms { .. }, _) => Some("read them and run again with --agree-tos"),
        (ObtainError::Validation { .. }, _) => {
            Some("does the name lead to this machine, by IPv4 and IPv6, and does port 80 get through its firewall?")
        }
        (_, Blame::Network) => Some("check --server and --ca-file, and that this machine may connect there"),
        (_, Blame::Storage) => Some("check --storage: the space left, and who may write there"),
        _ => None,
    };
    Failure { hint, usage: matches!(error, ObtainError::Terms { .. }), ..Failure::new(&error) }
}

fn tell(arguments: &Arguments, obtained: &Obtained) {
    let (what, lineage) = match obtained {
        Obtained::Issued { saved, .. } => ("issued", &saved.lineage),
        Obtained::Unchanged { lineage, .. } => ("unchanged", lineage),
    };
    let live = arguments.storage.join("live").join(&lineage.name);
    let names: Vec<_> = lineage.names.iter().map(ToString::to_string).collect();
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    if arguments.json {
        let object = serde_json::json!({
            "result": what,
            "name": lineage.name,
            "version": lineage.version,
            "names": names,
            "live": live,
            "not_after": seconds(lineage.not_after),
        });
        report::line(object.to_string());
    } else if !arguments.quiet {
        let days = lineage.not_after.duration_since(SystemTime::now()).unwrap_or_default().as_secs() / 86_400;
        let names = names.join(", ");
        match obtained {
            Obtained::Issued { .. } => {
                report::line(format!("the certificate for {names} is in {}, valid for {days} days", live.display()))
            }
            Obtained::Unchanged { .. } => {
                report::line(format!(
                    "the certificate for {names} in {} is valid for {days} days and not due; --force asks for a new one",
                    live.display()
                ));
            }
        }
    }
}

/// How long the authority may take to validate.
const PATIENCE: Duration = Duration::from_secs(90);
