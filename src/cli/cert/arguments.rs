//! The arguments of `lockgate cert obtain`.

use std::{net::SocketAddr, path::PathBuf};

use authenticator_api::DomainName;
use clap::{Args, ValueEnum};
use plugin_api::config::Duration;

use super::options::{Common, HookArguments, KeyArguments, LETS_ENCRYPT, TermArguments};

/// The arguments of `lockgate cert obtain`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// A name for the certificate; may be given several times.
    #[arg(short, long = "domain", value_name = "NAME", required = true)]
    pub(in crate::cli) domains: Vec<DomainName>,

    /// How the certificate authority's challenges are answered.
    #[arg(long, value_enum, default_value_t = Authenticator::Standalone)]
    pub(in crate::cli) authenticator: Authenticator,

    /// The directory that the running web server serves (with `--authenticator webroot`).
    #[arg(
        long,
        visible_alias = "webroot-path",
        short_alias = 'w',
        value_name = "PATH",
        required_if_eq("authenticator", "webroot")
    )]
    pub(in crate::cli) webroot: Option<PathBuf>,

    /// Where challenges are answered (with `--authenticator standalone`). Without `--intercept` the default is port 80.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(in crate::cli) listen: Vec<SocketAddr>,

    /// Step in front of the application on this port (80 if none is given) while the authority validates.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "80")]
    pub(in crate::cli) intercept: Option<u16>,

    /// How connections are led to us while we intercept.
    #[arg(long, value_enum, default_value_t = Method::Auto, requires = "intercept")]
    pub(in crate::cli) method: Method,

    /// The application, when it is not where visitors connect to.
    #[arg(long, value_name = "ADDR:PORT", requires = "intercept")]
    pub(in crate::cli) upstream: Option<String>,

    /// How long visitors' requests may take to finish when interception ends.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub(in crate::cli) drain: Duration,

    /// The certificate authority's directory URL.
    #[arg(long, value_name = "URL", default_value = LETS_ENCRYPT)]
    pub(in crate::cli) server: String,

    /// A mail address for the account.
    #[arg(short = 'm', long, visible_alias = "email", value_name = "MAIL")]
    pub(in crate::cli) contact: Vec<String>,

    /// Agree to the authority's terms of service.
    #[arg(long)]
    pub(in crate::cli) agree_tos: bool,

    /// What the certificate is called; without, after its first name.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) cert_name: Option<String>,

    /// Ask for a new certificate although the stored one is not due.
    #[arg(long, visible_alias = "force-renewal")]
    pub(in crate::cli) force: bool,

    /// Keep the stored certificate until it is due, which is what happens anyway.
    #[arg(long, conflicts_with = "force")]
    pub(in crate::cli) keep_until_expiring: bool,

    /// Let the new certificate take the place of one for some of the names.
    #[arg(long)]
    pub(in crate::cli) expand: bool,

    /// Be content with a certificate for those names that can be proven.
    #[arg(long)]
    pub(in crate::cli) allow_subset_of_names: bool,

    /// Prove the names to the authority (of Let's Encrypt, the one for tests), and save nothing but the account.
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,

    /// Let's Encrypt's authority for tests.
    #[arg(long, visible_alias = "test-cert")]
    pub(in crate::cli) staging: bool,

    #[command(flatten)]
    pub(in crate::cli) key: KeyArguments,

    #[command(flatten)]
    pub(in crate::cli) terms: TermArguments,

    #[command(flatten)]
    pub(in crate::cli) hooks: HookArguments,

    #[command(flatten)]
    pub(in crate::cli) common: Common,

    /// Webroots of single names, for which there is no option of ours.
    #[arg(skip)]
    pub(in crate::cli) webroots: Vec<(DomainName, PathBuf)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Authenticator {
    /// Lockgate answers itself.
    Standalone,
    /// The running web server answers from a file.
    Webroot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Method {
    /// TPROXY, or a redirect where that does not serve.
    Auto,
    /// TPROXY only.
    Tproxy,
    /// A NAT redirect only.
    Redirect,
}
