//! `[acme]`: the certificate authorities, what is agreed with them, and where certificates are kept.

mod choice;
mod directory;
mod external;
mod notify;
mod texts;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use certificates::Authority;
use plugin_api::{
    Roots,
    config::{Duration as Time, Problem, Problems, Span, Spans, Table},
    schemars::{self, JsonSchema},
};
use serde::Deserialize;

use self::external::External;
pub(super) use self::{
    choice::{Choice, ChoiceKeys, SHORT_LIVED, name_of},
    directory::Directory,
    texts::Texts,
};
use crate::cli::report;

/// What a file says about certificate authorities.
pub(super) enum Section {
    /// There is no such section.
    Absent,
    /// What is wrong with it has been told; nothing can be said about what depends on it.
    Broken,
    /// It can be read.
    Given(Box<Acme>),
}

/// The section, resolved.
pub(super) struct Acme {
    /// What is agreed with authorities.
    pub(super) account: Account,
    /// Who answers challenges where a certificate does not say, and where it is written.
    pub(super) authenticator: Option<(Span, String)>,
    /// What is asked of them where a certificate does not say.
    pub(super) choice: Choice,
    /// How long an authority may take.
    pub(super) patience: Duration,
    /// The directory for accounts and certificates.
    pub(super) storage: PathBuf,
    /// Certificates to believe about authorities, instead of the system's.
    pub(super) ca: Option<PathBuf>,
    /// Whether to look at each name before an order.
    pub(super) self_check: bool,
    /// The command that is told what became of a certificate; its program is an absolute path.
    pub(super) notify: Option<Vec<String>>,
}

/// What accounts are made with.
pub(super) struct Account {
    /// `mailto:` URLs.
    pub(super) contact: Vec<String>,
    /// An account that the operator has by other means.
    pub(super) external: Option<External>,
    /// Whether the operator agrees to the terms of service.
    pub(super) agreed: bool,
    /// Where the file says so, or where it should.
    pub(super) agreed_at: Span,
}

/// The keys of the section.
#[derive(Deserialize, JsonSchema)]
struct Raw {
    /// The directory URL of the certificate authority, or of several: the next one is asked when one fails for a reason of its
    /// own. `"letsencrypt"` (when absent) and `"letsencrypt-staging"` are short for Let's Encrypt's.
    directory: Option<Texts>,
    /// File with certificates of authorities in PEM: the only ones that are believed about the directory's server.
    ca: Option<PathBuf>,
    /// Mail addresses for the account.
    contact: Option<Texts>,
    /// Whether you agree to the authority's terms of service. Needed for certificates of an authority.
    agree_to_terms: Option<bool>,
    /// The directory for accounts and certificates, in certbot's layout; `/etc/letsencrypt` when absent.
    storage: Option<PathBuf>,
    /// The `[[authenticator]]` for certificates that name none.
    authenticator: Option<String>,
    /// The kind of certificate (profile) that is asked for where the authority offers it.
    preferred_profile: Option<String>,
    /// The kind of certificate without which there is none.
    required_profile: Option<String>,
    /// Common name of the root that the chain should lead to, where the authority offers several.
    preferred_chain: Option<String>,
    /// The account that you have with the authority by other means.
    #[expect(
        dead_code,
        reason = "taken out before, so that its keys keep their places; here for those who misspell it"
    )]
    external_account: Option<external::Keys>,
    /// Whether each name is looked at from here before an authority is asked to do so; yes when absent.
    self_check: Option<bool>,
    /// A command, with its arguments, that is told what became of a certificate.
    notify: Option<Vec<String>>,
    /// How long an authority may take to validate, and again to issue; 5 minutes when absent.
    patience: Option<Time>,
}

/// Resolves the section. What is wrong with it goes to `problems`; reads the files that it names, and no others.
pub(super) fn build(table: Option<Table<'_>>, problems: &mut Problems) -> Section {
    let Some(mut table) = table else { return Section::Absent };
    let external = table.take_table("external_account", problems);
    let spans = table.spans();
    let Some(raw) = table.decode::<Raw>(problems) else { return Section::Broken };
    let keys = ChoiceKeys {
        directory: raw.directory,
        preferred_profile: raw.preferred_profile,
        required_profile: raw.required_profile,
        preferred_chain: raw.preferred_chain,
    };
    let choice = keys.resolve(&Choice::default(), &spans, problems);
    let account = Account {
        contact: contact(raw.contact.unwrap_or_default().0, &spans, problems),
        external: external.and_then(|table| external::build(table, &choice.directories, problems)),
        agreed: raw.agree_to_terms == Some(true),
        agreed_at: spans.of("agree_to_terms"),
    };
    Section::Given(Box::new(Acme {
        account,
        authenticator: raw.authenticator.map(|name| (spans.of("authenticator"), name)),
        choice,
        patience: raw.patience.map_or(PATIENCE, |patience| bounded(patience, &spans, problems)),
        storage: raw.storage.map_or_else(|| STORAGE.into(), |path| absolute(path, "storage", &spans, problems)),
        ca: raw.ca.map(|path| roots(path, &spans, problems)),
        self_check: raw.self_check.unwrap_or(true),
        notify: raw.notify.and_then(|command| notify::build(command, &spans, problems)),
    }))
}

impl Section {
    /// What it says, if it can be read.
    pub(super) fn given(&self) -> Option<&Acme> {
        match self {
            Self::Given(acme) => Some(acme),
            Self::Absent | Self::Broken => None,
        }
    }
}

impl Acme {
    /// The authorities of a choice, each with what is agreed with it.
    pub(super) fn authorities(&self, choice: &Choice) -> Vec<Authority> {
        let external = |directory: &Directory| {
            let external = self.account.external.as_ref().filter(|external| external.directory == *directory)?;
            Some(external.account.clone())
        };
        let authority = |directory: &Directory| Authority {
            account: None,
            directory: directory.as_str().to_owned(),
            contact: self.account.contact.clone(),
            agree_to_terms: self.account.agreed,
            external_account: external(directory),
            profile: choice.profile.clone(),
            preferred_chain: choice.preferred_chain.clone(),
        };
        choice.directories.iter().map(authority).collect()
    }

    /// Asks for agreement, without which no account can be made with these.
    pub(super) fn demand_agreement(&self, directories: &[Directory], problems: &mut Problems) {
        if self.account.agreed {
            return;
        }
        let names: Vec<_> = directories.iter().map(Directory::as_str).collect();
        let message = "a certificate authority issues only to those who agree to its terms of service";
        // Which terms those are is for the authority to say, and changes.
        let hint = format!(
            "read the terms (`termsOfService`) that {} names, and write `agree_to_terms = true`",
            names.join(" or ")
        );
        problems.push(Problem::new(self.account.agreed_at.clone(), message).with_hint(hint));
    }

    /// Finds an external account that nobody would use.
    pub(super) fn check_external(&self, asked: &[Directory], problems: &mut Problems) {
        let Some(external) = self.account.external.as_ref().filter(|external| !asked.contains(&external.directory))
        else {
            return;
        };
        let names: Vec<_> = asked.iter().map(Directory::as_str).collect();
        let problem = Problem::new(external.place.clone(), "this account is with an authority that is never asked");
        problems.push(problem.with_hint(format!("those that are asked: {}", names.join(", "))));
    }
}

/// A path that means the same in another working directory.
pub(super) fn absolute(path: PathBuf, key: &str, spans: &Spans, problems: &mut Problems) -> PathBuf {
    match std::path::absolute(&path) {
        Ok(path) => path,
        Err(error) => {
            let problem = Problem::new(spans.of(key), format!("this is not a path: {error}"));
            problems.push(problem.with_hint("write an absolute path, such as \"/etc/letsencrypt\""));
            path
        }
    }
}

/// Mail addresses as URLs.
fn contact(texts: Vec<String>, spans: &Spans, problems: &mut Problems) -> Vec<String> {
    let mut urls = Vec::new();
    for (index, text) in texts.iter().enumerate() {
        let (url, mail) = match text.strip_prefix("mailto:") {
            Some(mail) => (text.clone(), mail),
            None => (format!("mailto:{text}"), text.as_str()),
        };
        // One address and no header fields (RFC 8555 §7.3).
        let is_plain = !mail.contains(|character: char| character.is_whitespace() || ",?:/<>".contains(character));
        let is_mail = mail.split_once('@').is_some_and(|(who, host)| !who.is_empty() && !host.is_empty());
        if is_plain && is_mail {
            urls.push(url);
        } else {
            let problem = Problem::new(spans.of_index("contact", index), format!("`{text}` is not a mail address"));
            problems.push(problem.with_hint("write \"mailto:admin@example.com\", one address in each"));
        }
    }
    urls
}

/// How long to wait. Certificates are renewed one at a time: whoever is waited for holds up all the others.
fn bounded(patience: Time, spans: &Spans, problems: &mut Problems) -> Duration {
    if patience < Time(SHORTEST_PATIENCE) || patience > Time(LONGEST_PATIENCE) {
        let problem = Problem::new(spans.of("patience"), format!("{patience} is no time to wait for an authority"));
        problems.push(
            problem.with_hint("write at least \"1s\" and at most \"1h\": certificates are renewed one at a time"),
        );
    }
    patience.0
}

/// A file with certificates of authorities, which the client reads again.
fn roots(path: PathBuf, spans: &Spans, problems: &mut Problems) -> PathBuf {
    let mut told = |message: String| {
        let hint = "name a file with certificates of authorities in PEM, such as pebble's own";
        problems.push(Problem::new(spans.of("ca"), message).with_hint(hint));
    };
    match read(&path) {
        Ok(text) => {
            if let Err(error) = Roots::from_pem(&text) {
                told(report::sentence(&error));
            }
        }
        Err(message) => told(message),
    }
    absolute(path, "ca", spans, problems)
}

/// Reads a file, or says why not.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("`{}` cannot be read: {error}", path.display()))
}

/// Where certbot keeps them.
pub(super) const STORAGE: &str = "/etc/letsencrypt";
/// Some authorities take minutes to issue.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
const SHORTEST_PATIENCE: Duration = Duration::from_secs(1);
const LONGEST_PATIENCE: Duration = Duration::from_secs(3600);

#[cfg(test)]
mod tests;
