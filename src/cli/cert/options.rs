//! Options that several commands have, in certbot's words.

use std::path::PathBuf;

use certificates::{ExternalAccount, Hooks, KeyChoice, KeyKind, Profile};
use clap::{Args, ValueEnum};
use plugin_api::config::Duration;

use super::attempt::Failure;

/// What every command has that works on a storage.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Common {
    /// Where accounts and certificates are kept, in certbot's layout.
    #[arg(long, visible_alias = "config-dir", value_name = "DIR", default_value = "/etc/letsencrypt")]
    pub(in crate::cli) storage: PathBuf,

    /// Certificates (PEM) to trust instead of the system's when talking to the authority.
    #[arg(long, value_name = "PEM")]
    pub(in crate::cli) ca_file: Option<PathBuf>,

    /// How long to wait for another Lockgate or certbot that works on the same storage.
    #[arg(long, value_name = "TIME", default_value = "60s")]
    pub(in crate::cli) lock_timeout: Duration,

    /// Print the result as JSON on standard output.
    #[arg(long)]
    pub(in crate::cli) json: bool,

    /// Say nothing but errors.
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,
}

/// What is run beside renewals.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct HookArguments {
    /// A command to run before the first certificate is obtained, in place of those that certificates have of their own.
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
    pub(in crate::cli) hook_timeout: Duration,
}

impl HookArguments {
    /// Those that are given, and for the rest those that a certificate has of its own.
    pub(super) fn or(&self, own: &Hooks) -> Hooks {
        Hooks {
            pre: self.pre_hook.clone().or_else(|| own.pre.clone()),
            post: self.post_hook.clone().or_else(|| own.post.clone()),
            deploy: self.deploy_hook.clone().or_else(|| own.deploy.clone()),
        }
    }
}

/// What kind of key a certificate has.
#[derive(Args, Clone, Debug, Default)]
pub(in crate::cli) struct KeyArguments {
    /// The kind of private key.
    #[arg(long, value_enum)]
    pub(in crate::cli) key_type: Option<KeyType>,

    /// The curve of an ECDSA key.
    #[arg(long, value_enum)]
    pub(in crate::cli) elliptic_curve: Option<Curve>,

    /// Use the private key of the current certificate again.
    #[arg(long)]
    pub(in crate::cli) reuse_key: bool,

    /// Make a new private key although `--reuse-key` was given before.
    #[arg(long, conflicts_with = "reuse_key")]
    pub(in crate::cli) new_key: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(in crate::cli) enum KeyType {
    /// ECDSA.
    Ecdsa,
    /// RSA, where the current certificate has such a key: new ones are not made.
    Rsa,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "lower")]
pub(in crate::cli) enum Curve {
    /// P-256.
    Secp256r1,
    /// P-384.
    Secp384r1,
}

impl KeyArguments {
    /// Whether any of them is there.
    pub(in crate::cli) fn is_given(&self) -> bool {
        self.choice(None).is_some()
    }

    /// What is said, and for the rest what the key was before. `None` where nothing is said at all.
    pub(super) fn choice(&self, old: Option<KeyChoice>) -> Option<KeyChoice> {
        let is_said = self.key_type.is_some() || self.elliptic_curve.is_some() || self.reuse_key || self.new_key;
        let old = old.unwrap_or_default();
        let kind = match (self.key_type, self.elliptic_curve) {
            (Some(KeyType::Rsa), _) => KeyKind::Rsa,
            (_, Some(Curve::Secp384r1)) => KeyKind::P384,
            (_, Some(Curve::Secp256r1)) => KeyKind::P256,
            (Some(KeyType::Ecdsa), None) if old.kind == KeyKind::Rsa => KeyKind::P256,
            (_, None) => old.kind,
        };
        is_said.then_some(KeyChoice { kind, is_reused: self.reuse_key || old.is_reused && !self.new_key })
    }
}

/// What is asked of an authority.
#[derive(Args, Clone, Debug, Default)]
pub(in crate::cli) struct TermArguments {
    /// The account to use, where there are several.
    #[arg(long, value_name = "ID")]
    pub(in crate::cli) account: Option<String>,

    /// The kind of certificate, where the authority has it.
    #[arg(long, value_name = "NAME", conflicts_with = "required_profile")]
    pub(in crate::cli) preferred_profile: Option<String>,

    /// The kind of certificate: this one or none.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) required_profile: Option<String>,

    /// The common name of the root that the chain should lead to, where the authority offers several.
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) preferred_chain: Option<String>,

    #[command(flatten)]
    pub(in crate::cli) external: ExternalArguments,
}

/// An account that the operator has with an authority by other means.
#[derive(Args, Clone, Debug, Default)]
pub(in crate::cli) struct ExternalArguments {
    /// The name of the key that the authority's operator handed out (external account binding).
    #[arg(long, value_name = "ID", requires = "eab_hmac_key")]
    pub(in crate::cli) eab_kid: Option<String>,

    /// That key, in base64url.
    #[arg(long, value_name = "KEY", requires = "eab_kid")]
    pub(in crate::cli) eab_hmac_key: Option<String>,
}

impl TermArguments {
    pub(super) fn profile(&self) -> Option<Profile> {
        let required = self.required_profile.clone().map(Profile::Required);
        required.or_else(|| self.preferred_profile.clone().map(Profile::Preferred))
    }
}

impl ExternalArguments {
    pub(in crate::cli) fn account(&self) -> Result<Option<ExternalAccount>, Failure> {
        let given = self.eab_kid.as_ref().zip(self.eab_hmac_key.as_ref());
        let account = given.map(|(id, key)| ExternalAccount::new(id, key)).transpose();
        account.map_err(|error| Failure::usage(error.to_string(), None))
    }
}

/// What the options of a hook may say: certbot would look for the value of a name in its own file.
pub(super) fn check_hooks(hooks: &Hooks) -> Result<(), Failure> {
    let all = [&hooks.pre, &hooks.post, &hooks.deploy];
    match all.into_iter().flatten().find(|command| command.contains("%(")) {
        Some(command) => Err(Failure::usage(format!("`{command}`: certbot cannot read `%(` in a hook"), None)),
        None => Ok(()),
    }
}

/// Let's Encrypt.
pub(in crate::cli) const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// Its authority for tests, whose certificates nobody trusts.
pub(in crate::cli) const STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
