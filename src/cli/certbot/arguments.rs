//! certbot's options, anywhere on the command line.

use std::{net::IpAddr, path::PathBuf};

use clap::{Parser, ValueEnum};

use crate::cli::cert::{ExternalArguments, KeyArguments, Reason};

/// certbot's command line for certificates, done by Lockgate.
#[derive(Debug, Parser)]
#[command(name = "certbot", version, disable_help_subcommand = true)]
pub(super) struct Arguments {
    /// What to do.
    #[arg(value_enum)]
    pub(super) verb: Option<Verb>,

    /// A name for the certificate; several with commas between them, or given several times.
    #[arg(short, long = "domains", visible_alias = "domain", value_name = "NAME", value_delimiter = ',', action = clap::ArgAction::Append)]
    pub(super) domains: Vec<String>,

    /// What the certificate is called.
    #[arg(long, value_name = "NAME", value_delimiter = ',', action = clap::ArgAction::Append)]
    pub(super) cert_name: Vec<String>,

    /// Answer challenges by a server of our own on port 80.
    #[arg(long)]
    pub(super) standalone: bool,

    /// Answer challenges by files below `--webroot-path`.
    #[arg(long)]
    pub(super) webroot: bool,

    /// `standalone` or `webroot`.
    #[arg(short, long, value_name = "NAME")]
    pub(super) authenticator: Option<String>,

    /// The directory that the web server serves, for the names that follow.
    #[arg(short, long, value_name = "DIR", value_delimiter = ',', action = clap::ArgAction::Append)]
    pub(super) webroot_path: Vec<PathBuf>,

    /// JSON: names, with commas between them, to their directories.
    #[arg(long, value_name = "JSON")]
    pub(super) webroot_map: Option<String>,

    /// The port of `--standalone`; the authority comes to port 80 all the same.
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    pub(super) http_01_port: u16,

    /// The address of `--standalone`.
    #[arg(long, value_name = "IP")]
    pub(super) http_01_address: Option<IpAddr>,

    /// Only `http` is there.
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub(super) preferred_challenges: Vec<String>,

    /// The certificate authority's directory URL.
    #[arg(long, value_name = "URL")]
    pub(super) server: Option<String>,

    /// Let's Encrypt's authority for tests.
    #[arg(long, alias = "test-cert")]
    pub(super) staging: bool,

    /// Prove the names and save nothing.
    #[arg(long)]
    pub(super) dry_run: bool,

    /// Renew what is not due.
    #[arg(long, visible_alias = "renew-by-default")]
    pub(super) force_renewal: bool,

    /// Keep a certificate that is not due, which is what happens anyway.
    #[arg(long, visible_alias = "keep", alias = "reinstall")]
    pub(super) keep_until_expiring: bool,

    /// Let the certificate take the place of one for some of the names.
    #[arg(long)]
    pub(super) expand: bool,

    /// Let it have other names than before, which `--cert-name` allows anyway.
    #[arg(long)]
    pub(super) renew_with_new_domains: bool,

    /// Be content with those names that can be proven.
    #[arg(long)]
    pub(super) allow_subset_of_names: bool,

    #[command(flatten)]
    pub(super) key: KeyArguments,

    /// Bits of an RSA key, which is not made here.
    #[arg(long, value_name = "BITS")]
    pub(super) rsa_key_size: Option<u32>,

    /// The kind of certificate, where the authority has it.
    #[arg(long, value_name = "NAME")]
    pub(super) preferred_profile: Option<String>,

    /// The kind of certificate: this one or none.
    #[arg(long, value_name = "NAME")]
    pub(super) required_profile: Option<String>,

    /// The common name of the root that the chain should lead to.
    #[arg(long, value_name = "NAME")]
    pub(super) preferred_chain: Option<String>,

    /// The account to use.
    #[arg(long, value_name = "ID")]
    pub(super) account: Option<String>,

    /// A mail address for the account.
    #[arg(short = 'm', long, value_name = "MAIL")]
    pub(super) email: Option<String>,

    /// An account without one.
    #[arg(long)]
    pub(super) register_unsafely_without_email: bool,

    /// Agree to the authority's terms of service.
    #[arg(long)]
    pub(super) agree_tos: bool,

    #[command(flatten)]
    pub(super) external: ExternalArguments,

    /// A command before the first certificate.
    #[arg(long, value_name = "COMMAND")]
    pub(super) pre_hook: Option<String>,

    /// A command after the last one.
    #[arg(long, value_name = "COMMAND")]
    pub(super) post_hook: Option<String>,

    /// A command after each one.
    #[arg(long, visible_alias = "renew-hook", value_name = "COMMAND")]
    pub(super) deploy_hook: Option<String>,

    /// Do not run what is in `renewal-hooks`.
    #[arg(long)]
    pub(super) no_directory_hooks: bool,

    /// A file of the certificate that is revoked.
    #[arg(long, value_name = "PEM")]
    pub(super) cert_path: Option<PathBuf>,

    /// Why it is revoked.
    #[arg(long, value_enum, default_value_t = Reason::Unspecified)]
    pub(super) reason: Reason,

    /// Delete it as well.
    #[arg(long, overrides_with = "no_delete_after_revoke")]
    pub(super) delete_after_revoke: bool,

    /// Keep its files.
    #[arg(long)]
    pub(super) no_delete_after_revoke: bool,

    /// Where accounts and certificates are.
    #[arg(long, value_name = "DIR", default_value = "/etc/letsencrypt")]
    pub(super) config_dir: PathBuf,

    /// Ask nothing, which never happens anyway.
    #[arg(short, long, visible_alias = "noninteractive")]
    pub(super) non_interactive: bool,

    /// Say nothing but errors.
    #[arg(short, long)]
    pub(super) quiet: bool,

    #[command(flatten)]
    pub(super) without_meaning: WithoutMeaning,
}

/// What is understood and makes no difference here.
#[derive(Debug, clap::Args)]
pub(super) struct WithoutMeaning {
    /// Files with further options: read before these are looked at.
    #[arg(short = 'c', long, hide = true)]
    config: Vec<PathBuf>,
    #[arg(long, hide = true)]
    work_dir: Option<PathBuf>,
    #[arg(long, hide = true)]
    logs_dir: Option<PathBuf>,
    #[arg(long, hide = true)]
    max_log_backups: Option<String>,
    #[arg(long, hide = true)]
    preconfigured_renewal: bool,
    #[arg(short, long, hide = true, action = clap::ArgAction::Count)]
    verbose: u8,
    #[arg(short, long, hide = true)]
    text: bool,
    #[arg(long, hide = true)]
    debug: bool,
    #[arg(long, hide = true)]
    eff_email: bool,
    #[arg(long, hide = true)]
    no_eff_email: bool,
    #[arg(long, hide = true)]
    pub(super) no_autorenew: bool,
    #[arg(long, hide = true)]
    no_random_sleep_on_renew: bool,
    #[arg(long, hide = true)]
    disable_hook_validation: bool,
    #[arg(long, hide = true)]
    no_self_upgrade: bool,
    #[arg(long, hide = true)]
    no_bootstrap: bool,
    #[arg(long, hide = true)]
    issuance_timeout: Option<String>,
    #[arg(long, hide = true)]
    user_agent: Option<String>,
    #[arg(long, hide = true)]
    user_agent_comment: Option<String>,
    #[arg(long, hide = true)]
    eab_hmac_alg: Option<String>,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(super) enum Verb {
    /// Obtain a certificate.
    #[value(alias = "auth")]
    Certonly,
    /// Renew every certificate that is due.
    Renew,
    /// List certificates.
    Certificates,
    /// Tell the authority that nobody is to trust a certificate any more.
    Revoke,
    /// Delete a certificate.
    Delete,
    /// Make an account.
    Register,
    /// Change the account's mail address.
    UpdateAccount,
    /// End the account.
    Unregister,
    /// Show the account.
    ShowAccount,
}
