//! `lockgate cert reconfigure`: how a certificate is renewed from now on.

use std::{net::SocketAddr, path::PathBuf};

use certificates::{Renewal, Store};
use clap::Args;

use super::{
    arguments::{Authenticator, Method},
    attempt::{Failure, block_on, open_store},
    obtain::absolute,
    options::{Common, HookArguments, KeyArguments, TermArguments, check_hooks},
    renew,
    session::lock,
    visitors::{DRAIN, Visitors},
};
use crate::{
    cli::{Exit, account, report},
    config::Level,
};

/// What changes; everything else stays as it is.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Arguments {
    /// The name of the certificate, as `lockgate cert list` shows it.
    #[arg(long, value_name = "NAME")]
    cert_name: String,

    /// How the certificate authority's challenges are answered.
    #[arg(long, value_enum)]
    authenticator: Option<Authenticator>,

    /// The directory that the running web server serves.
    #[arg(short = 'w', long, visible_alias = "webroot-path", value_name = "PATH")]
    webroot: Option<PathBuf>,

    /// Where `--authenticator standalone` answers.
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,

    /// Step in front of the application on this port (80 if none is given) while the authority validates.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "80")]
    intercept: Option<u16>,

    /// How connections are led to us while we intercept.
    #[arg(long, value_enum, default_value_t = Method::Auto, requires = "intercept")]
    method: Method,

    /// The application, when it is not where visitors connect to.
    #[arg(long, value_name = "ADDR:PORT", requires = "intercept")]
    upstream: Option<String>,

    /// Leave visitors where they are.
    #[arg(long, conflicts_with = "intercept")]
    no_intercept: bool,

    /// The authority's directory URL for the rehearsal before anything is changed.
    #[arg(long, value_name = "URL")]
    server: Option<String>,

    #[command(flatten)]
    key: KeyArguments,

    #[command(flatten)]
    terms: TermArguments,

    #[command(flatten)]
    hooks: HookArguments,

    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    report::start_log(if arguments.common.quiet { Level::Error } else { Level::Warn });
    let name = &arguments.cert_name;
    let changed = block_on(async {
        let store = Store::at(&arguments.common.storage);
        let unknown = || Failure::usage(format!("there is no certificate {name}"), Some("see `lockgate cert list`"));
        let loaded = store.load(name).zip(store.renewal(name)).filter(|_| store.names().contains(name));
        let (lineage, renewal) = loaded.ok_or_else(unknown)?;
        if let Some(id) = &arguments.terms.account {
            account::stored(&store, &renewal.server, Some(id))?;
        }
        let names: Vec<_> = lineage.names.iter().cloned().collect();
        let changed = changed(arguments, renewal, &names)?;
        // What does not work now would not work when nobody is there.
        renew::rehearse(&rehearsal(arguments), lineage, changed.clone()).await?;
        let store = open_store(arguments.common.storage.clone()).await?;
        let _lock = lock(&store, &arguments.common).await?;
        store.configure(name, &changed).map_err(|error| Failure::new(&error))
    });
    match changed {
        Ok(()) => {
            if !arguments.common.quiet {
                report::line(format!("{name} was proven in this way, and is renewed so from now on"));
            }
            Exit::Success
        }
        Err(failure) => failure.told(),
    }
}

/// The configuration as it is to be.
fn changed(arguments: &Arguments, old: Renewal, names: &[authenticator_api::DomainName]) -> Result<Renewal, Failure> {
    let mut new = old;
    match arguments.authenticator {
        Some(Authenticator::Standalone) => new.authenticator = "standalone".to_owned(),
        Some(Authenticator::Webroot) => new.authenticator = "webroot".to_owned(),
        None if arguments.webroot.is_some() => new.authenticator = "webroot".to_owned(),
        None => {}
    }
    if let Some(webroot) = &arguments.webroot {
        if !webroot.is_dir() {
            return Err(Failure::usage(format!("the webroot {} is not a directory", webroot.display()), None));
        }
        new.webroots = names.iter().map(|name| (name.clone(), absolute(webroot))).collect();
    }
    if let Some(listen) = arguments.listen {
        new.listen = (Some(listen.ip()), Some(listen.port()));
    }
    if let Some(port) = arguments.intercept {
        let (method, upstream) = (arguments.method, arguments.upstream.clone());
        new.own = Some(Visitors { port, method, upstream, drain: DRAIN }.written());
    } else if arguments.no_intercept {
        new.own = Some(std::collections::BTreeMap::new());
    }
    new.key = arguments.key.choice(new.key).or(new.key);
    new.account = arguments.terms.account.clone().or(new.account);
    new.profile = arguments.terms.profile().or(new.profile);
    new.preferred_chain = arguments.terms.preferred_chain.clone().or(new.preferred_chain);
    new.hooks = arguments.hooks.or(&new.hooks);
    check_hooks(&new.hooks)?;
    Ok(new)
}

fn rehearsal(arguments: &Arguments) -> renew::Arguments {
    renew::Arguments {
        names: vec![arguments.cert_name.clone()],
        force_renewal: false,
        allow_subset_of_names: false,
        dry_run: true,
        server: arguments.server.clone(),
        hooks: arguments.hooks.clone(),
        common: arguments.common.clone(),
    }
}
