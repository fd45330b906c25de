//! `lockgate cert obtain`.

use std::{sync::Arc, time::SystemTime};

use authenticator_api::Authenticator;
use authenticator_standalone::Standalone;
use authenticator_webroot::{Paths, Webroot};
use certificates::{Authority, Completeness, Issuer, Obtained, Renewal, Request};
use interception::{Capability, Method, Preference, missing_capabilities};

use super::{
    arguments::{self, Arguments},
    attempt::{self, Failure, Means, PATIENCE, block_on},
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
    let obtained = block_on(async { attempt::run(&request(arguments), means(arguments)?).await });
    match obtained {
        Ok(obtained) => {
            tell(arguments, &obtained);
            Exit::Success
        }
        Err(failure) => failure.told(),
    }
}

fn means(arguments: &Arguments) -> Result<Means, Failure> {
    let authenticator = authenticator(arguments)?;
    Ok(Means {
        storage: arguments.storage.clone(),
        ca_file: arguments.ca_file.clone(),
        intercept: intercept(arguments, &authenticator),
        authenticator,
        lock_timeout: arguments.lock_timeout.0,
        quiet: arguments.quiet,
    })
}

fn authenticator(arguments: &Arguments) -> Result<Arc<dyn Authenticator>, Failure> {
    Ok(match (arguments.authenticator, &arguments.webroot) {
        (arguments::Authenticator::Webroot, Some(path)) if !path.is_dir() => {
            // Before the authority is asked for anything.
            let message = format!("the webroot {} is not a directory", path.display());
            return Err(Failure::usage(message, Some("name the directory that the web server serves as /")));
        }
        (arguments::Authenticator::Webroot, Some(path)) => {
            Arc::new(Webroot::new(Paths::Every(path.clone()), arguments.storage.join(".lockgate-webroot")))
        }
        (arguments::Authenticator::Webroot, None) => {
            return Err(Failure::usage("--authenticator webroot needs --webroot PATH", None));
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
            ..Renewal::default()
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
