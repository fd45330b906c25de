//! The arguments of `lockgate cert obtain`.

use std::{net::SocketAddr, path::PathBuf};

use authenticator_api::DomainName;
use clap::{Args, ValueEnum};
use plugin_api::config::Duration;

/// The arguments of `lockgate cert obtain`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Arguments {
    /// A name for the certificate; may be given several times.
    #[arg(short, long = "domain", value_name = "NAME", required = true)]
    pub(super) domains: Vec<DomainName>,

    /// How the certificate authority's challenges are answered.
    #[arg(long, value_enum, default_value_t = Authenticator::Standalone)]
    pub(super) authenticator: Authenticator,

    /// The directory that the running web server serves (with `--authenticator webroot`).
    #[arg(long, value_name = "PATH", required_if_eq("authenticator", "webroot"))]
    pub(super) webroot: Option<PathBuf>,

    /// Where challenges are answered (with `--authenticator standalone`). Without `--intercept` the default is port 80.
    #[arg(long, value_name = "ADDR:PORT")]
    pub(super) listen: Vec<SocketAddr>,

    /// Step in front of the application on this port (80 if none is given) while the authority validates.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "80")]
    pub(super) intercept: Option<u16>,

    /// How connections are led to us while we intercept.
    #[arg(long, value_enum, default_value_t = Method::Auto, requires = "intercept")]
    pub(super) method: Method,

    /// The application, when it is not where visitors connect to.
    #[arg(long, value_name = "ADDR:PORT", requires = "intercept")]
    pub(super) upstream: Option<String>,

    /// How long visitors' requests may take to finish when interception ends.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub(super) drain: Duration,

    /// The certificate authority's directory URL.
    #[arg(long, value_name = "URL", default_value = LETS_ENCRYPT)]
    pub(super) server: String,

    /// Certificates (PEM) to trust instead of the system's when talking to the authority.
    #[arg(long, value_name = "PEM")]
    pub(super) ca_file: Option<PathBuf>,

    /// Where accounts and certificates are kept, in certbot's layout.
    #[arg(long, value_name = "DIR", default_value = "/etc/letsencrypt")]
    pub(super) storage: PathBuf,

    /// A mail address for the account.
    #[arg(long, value_name = "MAIL")]
    pub(super) contact: Vec<String>,

    /// Agree to the authority's terms of service.
    #[arg(long)]
    pub(super) agree_tos: bool,

    /// Ask for a new certificate although the stored one is not due.
    #[arg(long)]
    pub(super) force: bool,

    /// How long to wait for another Lockgate or certbot that works on the same storage.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub(super) lock_timeout: Duration,

    /// Print the result as one JSON object on standard output.
    #[arg(long)]
    pub(super) json: bool,

    /// Say nothing but errors.
    #[arg(short, long)]
    pub(super) quiet: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Authenticator {
    /// Lockgate answers itself.
    Standalone,
    /// The running web server answers from a file.
    Webroot,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Method {
    /// TPROXY, or a redirect where that does not serve.
    Auto,
    /// TPROXY only.
    Tproxy,
    /// A NAT redirect only.
    Redirect,
}

/// Let's Encrypt.
pub(in crate::cli) const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Its authority for tests, whose certificates nobody trusts.
pub(in crate::cli) const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
