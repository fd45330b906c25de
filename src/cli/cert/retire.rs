//! `lockgate cert revoke` and `lockgate cert delete`: the end of a certificate.

use certificates::{Administration, Client, Lineage, RevocationReason, Store};
use clap::{Args, ValueEnum};

use super::{
    attempt::{Failure, PATIENCE, block_on, explained, open_store},
    options::Common,
    session::lock,
};
use crate::{
    cli::{Exit, account, report},
    config::Level,
};

/// Which certificate is revoked, and why.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Revoke {
    /// The name of the certificate, as `lockgate cert list` shows it.
    #[arg(long = "cert-name", value_name = "NAME", required_unless_present = "path")]
    pub(in crate::cli) name: Option<String>,

    /// A file of it below `live`, instead of its name.
    #[arg(long = "cert-path", value_name = "PEM", conflicts_with = "name")]
    pub(in crate::cli) path: Option<std::path::PathBuf>,

    /// Why.
    #[arg(long, value_enum, default_value_t = Reason::Unspecified)]
    pub(in crate::cli) reason: Reason,

    /// Delete it as well: whatever uses its files stops working.
    #[arg(long)]
    pub(in crate::cli) delete_after_revoke: bool,

    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

/// Which certificates are deleted.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Delete {
    /// The name of the certificate, as `lockgate cert list` shows it; may be given several times.
    #[arg(long = "cert-name", value_name = "NAME", required = true)]
    pub(in crate::cli) names: Vec<String>,

    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

/// Why a certificate is revoked, in certbot's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(in crate::cli) enum Reason {
    /// Nobody says.
    Unspecified,
    /// Others know the private key, or may.
    KeyCompromise,
    /// The names are somebody else's now.
    AffiliationChanged,
    /// Another certificate has taken its place.
    Superseded,
    /// Nobody uses it any more.
    CessationOfOperation,
}

impl From<Reason> for RevocationReason {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Unspecified => Self::Unspecified,
            Reason::KeyCompromise => Self::KeyCompromise,
            Reason::AffiliationChanged => Self::AffiliationChanged,
            Reason::Superseded => Self::Superseded,
            Reason::CessationOfOperation => Self::CessationOfOperation,
        }
    }
}

pub(in crate::cli) fn revoke(arguments: &Revoke) -> Exit {
    report::start_log(Level::Warn);
    let revoked = block_on(async {
        let client = Client::new(arguments.common.ca_file.as_deref()).map_err(|error| Failure::new(&error))?;
        let store = open_store(arguments.common.storage.clone()).await?;
        let _lock = lock(&store, &arguments.common).await?;
        let name = named(arguments, &store)?;
        let lineage = loaded(&store, &name)?;
        let renewal = store.renewal(&name).filter(|renewal| !renewal.server.is_empty());
        let renewal = renewal.ok_or_else(|| Failure::of(format!("nothing says which authority {name} is from")))?;
        // One that is not there any more is no reason not to try another.
        let known = store.stored_accounts(&renewal.server).map_err(|error| Failure::new(&error))?;
        let own = renewal.account.filter(|id| known.iter().any(|account| account.id == *id));
        let account = account::stored(&store, &renewal.server, own.as_deref())?;
        let administration = Administration { client: &client, store: &store, patience: PATIENCE };
        let reason = arguments.reason.into();
        administration.revoke(&renewal.server, &account, &lineage, reason).await.map_err(explained)?;
        if arguments.delete_after_revoke {
            store.delete(&name).map_err(|error| Failure::new(&error))?;
        }
        Ok(name)
    });
    match revoked {
        Ok(name) => {
            if !arguments.common.quiet {
                let deleted = if arguments.delete_after_revoke { " and deleted" } else { "" };
                report::line(format!("{name} is revoked{deleted}"));
            }
            Exit::Success
        }
        Err(failure) => failure.told(),
    }
}

pub(in crate::cli) fn delete(arguments: &Delete) -> Exit {
    report::start_log(Level::Warn);
    let deleted = block_on(async {
        let store = open_store(arguments.common.storage.clone()).await?;
        let _lock = lock(&store, &arguments.common).await?;
        let known = store.names();
        if let Some(unknown) = arguments.names.iter().find(|name| !known.contains(name)) {
            return Err(unknown_name(unknown));
        }
        for name in &arguments.names {
            store.delete(name).map_err(|error| Failure::new(&error))?;
            if !arguments.common.quiet {
                report::line(format!("{name} is deleted"));
            }
        }
        Ok(())
    });
    deleted.map_or_else(|failure| failure.told(), |()| Exit::Success)
}

fn named(arguments: &Revoke, store: &Store) -> Result<String, Failure> {
    if let Some(name) = &arguments.name {
        return Ok(name.clone());
    }
    let path = arguments.path.clone().unwrap_or_default();
    let found = store.names().into_iter().find(|name| path.parent().is_some_and(|live| same(live, &store.live(name))));
    let hint = Some("name a file below `live`, or use --cert-name");
    found.ok_or_else(|| Failure::usage(format!("{} is of no certificate here", path.display()), hint))
}

fn same(one: &std::path::Path, other: &std::path::Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

fn loaded(store: &Store, name: &str) -> Result<Lineage, Failure> {
    let lineage = store.load(name).filter(|_| store.names().iter().any(|known| known == name));
    lineage.ok_or_else(|| unknown_name(name))
}

fn unknown_name(name: &str) -> Failure {
    Failure::usage(format!("there is no certificate {name}"), Some("see `lockgate cert list`"))
}
