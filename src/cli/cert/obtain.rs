//! `lockgate cert obtain`.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::SystemTime};

use authenticator_api::Authenticator;
use authenticator_standalone::Standalone;
use authenticator_webroot::{Paths, Webroot};
use certificates::{Authority, Completeness, Issuer, Lineage, Names, Obtained, Renewal, Request, Store};
use interception::{Capability, missing_capabilities};

use super::{
    arguments::{self, Arguments},
    attempt::{self, Failure, Means, PATIENCE, block_on},
    options::{LETS_ENCRYPT, STAGING, check_hooks},
    visitors::Visitors,
};
use crate::{
    cli::{Exit, account::mails, report},
    config::Level,
    intercept::Intercept,
};

pub(in crate::cli) fn run(arguments: &Arguments) -> Exit {
    report::start_log(if arguments.common.quiet { Level::Error } else { Level::Warn });
    if let Some(exit) = missing_privilege(arguments) {
        return exit;
    }
    let obtained = block_on(async { attempt::run(&request(arguments)?, means(arguments)?).await });
    match obtained {
        Ok(obtained) => {
            tell(arguments, &obtained);
            Exit::Success
        }
        Err(failure) => failure.told(),
    }
}

fn means(arguments: &Arguments) -> Result<Means<'_>, Failure> {
    let authenticator = authenticator(arguments)?;
    Ok(Means {
        common: &arguments.common,
        hooks: &arguments.hooks,
        commands: arguments.hooks.or(&before(arguments).1.hooks),
        is_rehearsal: arguments.dry_run,
        intercept: intercept(arguments, &authenticator),
        authenticator,
    })
}

fn authenticator(arguments: &Arguments) -> Result<Arc<dyn Authenticator>, Failure> {
    let every = arguments.webroot.iter().chain(arguments.webroots.iter().map(|(_, path)| path));
    let missing = every.into_iter().find(|path| !path.is_dir());
    Ok(match (arguments.authenticator, missing.or(arguments.webroot.as_ref())) {
        (arguments::Authenticator::Webroot, Some(path)) if missing.is_some() => {
            // Before the authority is asked for anything.
            let message = format!("the webroot {} is not a directory", path.display());
            return Err(Failure::usage(message, Some("name the directory that the web server serves as /")));
        }
        (arguments::Authenticator::Webroot, Some(path)) => {
            let each = arguments.webroots.iter().cloned().collect::<BTreeMap<_, _>>();
            let paths = if each.is_empty() { Paths::Every(path.clone()) } else { Paths::PerDomain(each) };
            Arc::new(Webroot::new(paths, arguments.common.storage.join(".lockgate-webroot")))
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
    Some(Visitors::of(arguments)?.led_to(authenticator))
}

fn request(arguments: &Arguments) -> Result<Request, Failure> {
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
    let webroots = match (&arguments.webroot, arguments.webroots.is_empty()) {
        (Some(path), true) => domains.iter().map(|name| (name.clone(), absolute(path))).collect(),
        _ => arguments.webroots.iter().map(|(name, path)| (name.clone(), absolute(path))).collect(),
    };
    let listen = match arguments.listen.as_slice() {
        [one] => (Some(one.ip()), Some(one.port())),
        // certbot has words for one address, or for all with the same port.
        [first, rest @ ..] if rest.iter().all(|other| other.port() == first.port()) => (None, Some(first.port())),
        _ => (None, None),
    };
    let (lineage, old) = before(arguments);
    check_hooks(&arguments.hooks.or(&old.hooks))?;
    let authority = Authority {
        directory: server(arguments).to_owned(),
        account: arguments.terms.account.clone().filter(|_| !arguments.dry_run),
        contact: mails(&arguments.contact),
        agree_to_terms: arguments.agree_tos,
        external_account: arguments.terms.external.account()?,
        profile: arguments.terms.profile(),
        preferred_chain: arguments.terms.preferred_chain.clone(),
    };
    Ok(Request {
        renewal: Renewal {
            server: authority.directory.clone(),
            account: None,
            authenticator: name.to_owned(),
            webroots,
            listen,
            key: arguments.key.choice(old.key).filter(|_| !arguments.dry_run),
            profile: authority.profile.clone(),
            preferred_chain: authority.preferred_chain.clone(),
            hooks: arguments.hooks.or(&old.hooks),
            own: Some(Visitors::of(arguments).map(|visitors| visitors.written()).unwrap_or_default()),
        },
        name: lineage,
        domains,
        issuers: vec![Issuer::Acme(authority)],
        completeness: match arguments.allow_subset_of_names {
            true => Completeness::Some { resting: Vec::new() },
            false => Completeness::All,
        },
        force: arguments.force || arguments.dry_run,
        is_rehearsal: arguments.dry_run,
        patience: PATIENCE,
    })
}

/// A path as it is for whoever renews the certificate, wherever that is started.
pub(super) fn absolute(path: &Path) -> String {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned()).display().to_string()
}

/// Who is asked: for a rehearsal not the one whose certificates count.
fn server(arguments: &Arguments) -> &str {
    let is_for_tests = arguments.staging || arguments.dry_run;
    if is_for_tests && arguments.server == LETS_ENCRYPT { STAGING } else { &arguments.server }
}

/// What the certificate is called, where that does not follow from its names.
fn lineage(arguments: &Arguments, store: &Store, wanted: &Names) -> Option<String> {
    let loaded = || store.names().into_iter().filter_map(|name| store.load(&name));
    if arguments.cert_name.is_some() || !arguments.expand || loaded().any(|lineage| lineage.is_for(wanted)) {
        return arguments.cert_name.clone();
    }
    let smaller = loaded().filter(|lineage| lineage.is_part_of(wanted));
    Some(smaller.max_by_key(|lineage| lineage.names.len())?.name)
}

/// How the certificate was obtained whose place the new one takes.
fn before(arguments: &Arguments) -> (Option<String>, Renewal) {
    let (store, wanted) = (Store::at(&arguments.common.storage), arguments.domains.iter().cloned().collect());
    let named = lineage(arguments, &store, &wanted);
    let first = arguments.domains.first().map(ToString::to_string).unwrap_or_default();
    let name = named.clone().unwrap_or_else(|| store.name_for(&first, &wanted));
    (named, store.renewal(&name).unwrap_or_default())
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
    if arguments.dry_run && !arguments.common.json {
        if arguments.common.quiet {
            return;
        }
        report::line(format!("the names are proven and nothing is saved: {}", lineage_names(lineage).join(", ")));
        return;
    }
    let live = arguments.common.storage.join("live").join(&lineage.name);
    let names = lineage_names(lineage);
    let seconds = |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    if arguments.common.json {
        let object = serde_json::json!({
            "result": what,
            "name": lineage.name,
            "version": lineage.version,
            "names": names,
            "live": live,
            "not_after": seconds(lineage.not_after),
        });
        report::line(object.to_string());
    } else if !arguments.common.quiet {
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

fn lineage_names(lineage: &Lineage) -> Vec<String> {
    lineage.names.iter().map(ToString::to_string).collect()
}
