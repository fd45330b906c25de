//! certbot's options in our words.

use std::{collections::BTreeMap, env, net::SocketAddr, path::PathBuf};

use authenticator_api::DomainName;
use certificates::Store;
use clap::ArgMatches;
use plugin_api::config::Duration;

use super::arguments::Arguments;
use crate::cli::{
    account,
    cert::{self, Authenticator, Common, HookArguments, LETS_ENCRYPT, Method, ObtainArguments, TermArguments},
};

pub(super) fn certonly(arguments: &Arguments, matches: &ArgMatches) -> Result<ObtainArguments, String> {
    if arguments.without_meaning.no_autorenew {
        return Err("--no-autorenew: a certificate is left alone when its file in `renewal` is taken away".into());
    }
    if let Some(other) = arguments.preferred_challenges.iter().find(|kind| !kind.starts_with("http")) {
        return Err(format!("{other} challenges are not answered here, only http ones"));
    }
    let is_webroot = match arguments.authenticator.as_deref() {
        Some("webroot") => true,
        Some("standalone") => false,
        Some(other) => return Err(format!("there is no authenticator {other} here: use standalone or webroot")),
        None if arguments.webroot || arguments.standalone => arguments.webroot,
        None => !arguments.webroot_path.is_empty() || arguments.webroot_map.is_some(),
    };
    let mut webroots = if is_webroot { webroots(arguments, matches)? } else { BTreeMap::new() };
    let mut domains = arguments.domains.iter().map(|name| domain(name)).collect::<Result<Vec<_>, _>>()?;
    if domains.is_empty() {
        domains = webroots.keys().cloned().collect();
    }
    if domains.is_empty() {
        return Err("name the certificate's domains with -d".into());
    }
    webroots.retain(|name, _| domains.contains(name));
    is_a_new_one(arguments, &domains)?;
    if let Some(missing) = domains.iter().find(|name| is_webroot && !webroots.contains_key(*name)) {
        return Err(format!("--webroot-path is missing before -d {missing}"));
    }
    let (port, address) = (arguments.http_01_port, arguments.http_01_address);
    let listen = match (address, port) {
        (Some(address), port) => vec![SocketAddr::new(address, port)],
        (None, 80) => Vec::new(),
        (None, port) => {
            ["0.0.0.0", "::"].iter().filter_map(|any| Some(SocketAddr::new(any.parse().ok()?, port))).collect()
        }
    };
    Ok(ObtainArguments {
        domains,
        authenticator: if is_webroot { Authenticator::Webroot } else { Authenticator::Standalone },
        webroot: webroots.values().next().cloned(),
        webroots: webroots.into_iter().collect(),
        listen,
        intercept: None,
        method: Method::Auto,
        upstream: None,
        drain: Duration(std::time::Duration::ZERO),
        server: arguments.server.clone().unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
        contact: arguments.email.clone().into_iter().collect(),
        agree_tos: arguments.agree_tos,
        cert_name: arguments.cert_name.first().cloned(),
        force: arguments.force_renewal,
        keep_until_expiring: arguments.keep_until_expiring,
        // Whoever wants it by force wants it in that place, too.
        expand: arguments.expand || arguments.force_renewal,
        allow_subset_of_names: arguments.allow_subset_of_names,
        dry_run: arguments.dry_run,
        staging: arguments.staging,
        key: arguments.key.clone(),
        terms: TermArguments {
            account: arguments.account.clone(),
            preferred_profile: arguments.preferred_profile.clone(),
            required_profile: arguments.required_profile.clone(),
            preferred_chain: arguments.preferred_chain.clone(),
            external: arguments.external.clone(),
        },
        hooks: hooks(arguments),
        common: common(arguments),
    })
}

pub(super) fn renew(arguments: &Arguments) -> Result<cert::RenewArguments, String> {
    let is_rehearsal = arguments.dry_run;
    // What would be ignored is told: each certificate is renewed as it was obtained.
    let refused = [
        ("-d: name certificates with --cert-name", !arguments.domains.is_empty()),
        ("--server without --dry-run", arguments.server.is_some() && !is_rehearsal),
        ("--staging without --dry-run", arguments.staging && !is_rehearsal),
        ("authenticators", arguments.authenticator.is_some() || arguments.standalone || arguments.webroot),
        ("--webroot-path", !arguments.webroot_path.is_empty() || arguments.webroot_map.is_some()),
        ("--http-01-port and --http-01-address", arguments.http_01_port != 80 || arguments.http_01_address.is_some()),
        ("options about keys", arguments.key.is_given()),
        (
            "profiles and chains",
            arguments.preferred_profile.is_some()
                || arguments.required_profile.is_some()
                || arguments.preferred_chain.is_some(),
        ),
        ("--account", arguments.account.is_some()),
    ];
    if let Some((what, _)) = refused.into_iter().find(|(_, is_given)| *is_given) {
        return Err(format!(
            "renew does not take {what}; `lockgate cert reconfigure` changes how a certificate is renewed"
        ));
    }
    Ok(cert::RenewArguments {
        names: arguments.cert_name.clone(),
        force_renewal: arguments.force_renewal,
        allow_subset_of_names: arguments.allow_subset_of_names,
        dry_run: arguments.dry_run,
        server: arguments.server.clone(),
        hooks: hooks(arguments),
        common: common(arguments),
    })
}

pub(super) fn revoke(arguments: &Arguments) -> cert::Revoke {
    cert::Revoke {
        name: arguments.cert_name.first().cloned(),
        path: arguments.cert_path.clone().filter(|_| arguments.cert_name.is_empty()),
        reason: arguments.reason,
        // As certbot does where nobody can be asked.
        delete_after_revoke: !arguments.no_delete_after_revoke,
        common: common(arguments),
    }
}

pub(super) fn delete(arguments: &Arguments) -> Result<cert::Delete, String> {
    if arguments.cert_name.is_empty() {
        return Err("name the certificate with --cert-name".into());
    }
    Ok(cert::Delete { names: arguments.cert_name.clone(), common: common(arguments) })
}

pub(super) fn which(arguments: &Arguments) -> account::Which {
    account::Which {
        server: arguments.server.clone().unwrap_or_else(|| LETS_ENCRYPT.to_owned()),
        staging: arguments.staging,
        account: arguments.account.clone(),
        common: common(arguments),
    }
}

pub(super) fn register(arguments: &Arguments) -> account::Command {
    account::Command::Register(account::Register {
        which: which(arguments),
        email: arguments.email.clone().into_iter().collect(),
        agree_tos: arguments.agree_tos,
        external: arguments.external.clone(),
    })
}

pub(super) fn update(arguments: &Arguments) -> Result<account::Command, String> {
    if arguments.email.is_none() && !arguments.register_unsafely_without_email {
        return Err("give the new address with --email, or say --register-unsafely-without-email".into());
    }
    let email = arguments.email.clone().into_iter().collect();
    Ok(account::Command::Update(account::Update { which: which(arguments), email }))
}

pub(super) fn common(arguments: &Arguments) -> Common {
    Common {
        storage: arguments.config_dir.clone(),
        // Where certbot's HTTP library looks.
        ca_file: env::var_os("REQUESTS_CA_BUNDLE").map(PathBuf::from),
        lock_timeout: Duration(std::time::Duration::from_secs(60)),
        json: false,
        quiet: arguments.quiet,
    }
}

fn hooks(arguments: &Arguments) -> HookArguments {
    HookArguments {
        pre_hook: arguments.pre_hook.clone(),
        post_hook: arguments.post_hook.clone(),
        deploy_hook: arguments.deploy_hook.clone(),
        no_directory_hooks: arguments.no_directory_hooks,
        hook_timeout: Duration(std::time::Duration::from_secs(600)),
    }
}

/// Each name with its webroot: a `-w` is for the names after it, the first one for those before it, too.
fn webroots(arguments: &Arguments, matches: &ArgMatches) -> Result<BTreeMap<DomainName, PathBuf>, String> {
    let mut all = BTreeMap::new();
    if let Some(map) = &arguments.webroot_map {
        let map: BTreeMap<String, PathBuf> = serde_json::from_str(map)
            .map_err(|error| format!("--webroot-map is no JSON of names and paths: {error}"))?;
        for (names, path) in map {
            for name in names.split(',') {
                all.insert(domain(name.trim())?, path.clone());
            }
        }
    }
    let places = |name: &str| matches.indices_of(name).into_iter().flatten().collect::<Vec<_>>();
    let (paths, names) = (places("webroot_path"), places("domains"));
    for (text, place) in arguments.domains.iter().zip(names) {
        let before = paths.iter().filter(|path| **path < place).count().saturating_sub(1);
        if let Some(path) = arguments.webroot_path.get(before) {
            all.entry(domain(text)?).or_insert_with(|| path.clone());
        }
    }
    Ok(all)
}

/// Where a certificate for some of the names exists, somebody has to say which is meant.
fn is_a_new_one(arguments: &Arguments, domains: &[DomainName]) -> Result<(), String> {
    if !arguments.cert_name.is_empty() || arguments.expand || arguments.force_renewal || arguments.dry_run {
        return Ok(());
    }
    let (store, wanted) = (Store::at(&arguments.config_dir), domains.iter().cloned().collect());
    let loaded = || store.names().into_iter().filter_map(|name| store.load(&name));
    if loaded().any(|lineage| lineage.is_for(&wanted)) {
        return Ok(());
    }
    match loaded().find(|lineage| lineage.is_part_of(&wanted)) {
        None => Ok(()),
        Some(smaller) => Err(format!(
            "the certificate {} is for some of these names: say --expand for one in its place, or --cert-name for another",
            smaller.name
        )),
    }
}

fn domain(text: &str) -> Result<DomainName, String> {
    text.trim().parse().map_err(|error| format!("{text}: {error}"))
}
