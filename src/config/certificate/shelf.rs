//! The certificates of a file, one after the other.

use std::{collections::BTreeMap, path::PathBuf};

use plugin_api::{
    config::{Duration, Problem, Problems, Span, Spans, Table},
    schemars::{self, JsonSchema},
};
use serde::Deserialize;

use super::{
    FromFiles, Managed,
    from_files::{self, FileKeys},
    hands,
    managed::{self, Keys, Place, World},
};
use crate::config::acme::{ChoiceKeys, Directory, Texts};

/// The certificates so far.
#[derive(Default)]
pub(super) struct Shelf {
    /// Those that are obtained.
    pub(super) managed: Vec<Managed>,
    /// Those in files of somebody else.
    pub(super) files: Vec<FromFiles>,
    /// The authorities that are asked for any of them.
    pub(super) asked: Vec<Directory>,
    /// The name of the one to show by default, and whether the file says so.
    pub(super) default: Option<(String, bool)>,
    /// Of all of them.
    names: Vec<String>,
}

/// The keys of a certificate of either kind.
#[derive(Deserialize, JsonSchema)]
struct Raw {
    /// Its name in storage and in messages; the first of `domains` when absent, or the path of `certificate`.
    name: Option<String>,
    /// The host names and addresses that it is for.
    domains: Option<Texts>,
    /// The `[[authenticator]]` that answers for them.
    authenticator: Option<String>,
    /// Other authenticators for some of the names: domain = authenticator.
    #[expect(
        dead_code,
        reason = "taken out before, so that its keys keep their places; here for those who misspell it"
    )]
    authenticators: Option<BTreeMap<String, String>>,
    /// Who makes it: `"acme"` (when absent) for the authorities of `directory`; `"internal"` for one of this machine's own, whose
    /// root its clients have to trust; both in a list for the second to fill in for want of better.
    issuer: Option<Texts>,
    /// How long one of the internal authority is valid; 7 days when absent.
    life: Option<Duration>,
    /// As in `[acme]`, for this certificate.
    directory: Option<Texts>,
    /// As in `[acme]`, for this certificate.
    preferred_profile: Option<String>,
    /// As in `[acme]`, for this certificate.
    required_profile: Option<String>,
    /// As in `[acme]`, for this certificate.
    preferred_chain: Option<String>,
    /// Whether a certificate for some of the names is better than none; yes when absent.
    partial: Option<bool>,
    /// Whether visitors are led to us while an authority validates; where there is `[interception]`, and somebody else than
    /// the application answers by HTTP, when absent.
    intercept: Option<bool>,
    /// Whether it is shown to clients that name no host, or one that is not known; else the first one is.
    default: Option<bool>,
    /// A file of somebody else with the certificate, and those between it and its authority, in PEM; read again when it changes.
    certificate: Option<PathBuf>,
    /// A file with its private key in PEM.
    key: Option<PathBuf>,
    /// Whether these files may come later, as on a node of a cluster that starts before there is a certificate: a placeholder is
    /// shown until they are there; no when absent.
    awaited: Option<bool>,
}

impl Shelf {
    /// Adds the certificate of a table. `whole` is where that stands.
    pub(super) fn add(&mut self, whole: Span, mut table: Table<'_>, world: &World<'_>, problems: &mut Problems) {
        let authenticators = table.take_table("authenticators", problems).and_then(|table| {
            let spans = table.spans();
            Some((spans, table.decode::<BTreeMap<String, String>>(problems)?))
        });
        let place = Place { whole, spans: table.spans() };
        let Some(raw) = table.decode::<Raw>(problems) else { return };
        if raw.name.as_deref().is_some_and(|name| !is_file_name(name)) {
            let problem = Problem::new(place.spans.of("name"), "no files can be called by this name");
            problems.push(problem.with_hint("write letters, digits, `.`, `-` and `_`, such as \"example.com\""));
        }
        let (is_default, is_named) = (raw.default == Some(true), raw.name.is_some());
        let Some((name, key)) = self.take(raw, authenticators, &place, world, problems) else { return };
        let named_at = if is_named { place.spans.of("name") } else { place.spans.of_index(key, 0) };
        if self.names.contains(&name) {
            let problem = Problem::new(named_at, format!("there is another certificate `{name}`"));
            problems.push(problem.with_hint("give one of them another `name`: its files are called by it"));
        }
        match &self.default {
            Some((other, true)) if is_default => {
                let problem = Problem::new(place.spans.of("default"), "one certificate is shown by default, not two");
                problems.push(problem.with_hint(format!("the other one is `{other}`")));
            }
            Some(_) if !is_default => {}
            _ => self.default = Some((name.clone(), is_default)),
        }
        self.names.push(name);
    }

    /// Takes one in, and says its name and the key that this is from when the file gives it none.
    fn take(
        &mut self,
        mut raw: Raw,
        authenticators: Option<(Spans, BTreeMap<String, String>)>,
        place: &Place,
        world: &World<'_>,
        problems: &mut Problems,
    ) -> Option<(String, &'static str)> {
        let (certificate, key, awaited) = (raw.certificate.take(), raw.key.take(), raw.awaited.take());
        let has_files = certificate.is_some() || key.is_some();
        let domains = raw.domains.take();
        let keys = raw.keys(domains.map(|texts| texts.0), authenticators);
        match (keys.domains.is_some(), has_files) {
            (true, true) => {
                let message = "a certificate is either obtained, for `domains`, or read from files";
                let hint = "one from files is shown for the names that are in it: take `domains` away";
                problems.push(Problem::new(place.spans.of_key("domains"), message).with_hint(hint));
                None
            }
            (false, false) => {
                let hint = "add `domains` for one to be obtained, or `certificate` and `key` for one in files";
                problems.push(Problem::new(place.whole.clone(), "this does not say which certificate").with_hint(hint));
                None
            }
            (false, true) => {
                for key in keys.given() {
                    let message =
                        format!("`{key}` is for certificates that are obtained, and this one is read from files");
                    problems.push(Problem::new(place.spans.of_key(key), message).with_hint("take it away"));
                }
                let keys = FileKeys { name: keys.name, certificate, key, awaited: awaited == Some(true) };
                let files = from_files::build(keys, &place.spans, problems)?;
                let name = files.name.clone();
                self.files.push(files);
                Some((name, "certificate"))
            }
            (true, false) => {
                if awaited.is_some() {
                    let message = "`awaited` is for certificates in files, and this one is obtained";
                    let problem = Problem::new(place.spans.of_key("awaited"), message);
                    problems.push(problem.with_hint("take it away: a placeholder is shown until there is one"));
                }
                let managed = managed::build(keys, place, world, &mut self.asked, problems)?;
                let name = managed.name().to_owned();
                self.managed.push(managed);
                Some((name, "domains"))
            }
        }
    }
}

impl Raw {
    /// What is left, for one that is obtained.
    fn keys(self, domains: Option<Vec<String>>, authenticators: Option<(Spans, BTreeMap<String, String>)>) -> Keys {
        Keys {
            name: self.name,
            domains,
            issuer: self.issuer,
            life: self.life,
            choice: ChoiceKeys {
                directory: self.directory,
                preferred_profile: self.preferred_profile,
                required_profile: self.required_profile,
                preferred_chain: self.preferred_chain,
            },
            partial: self.partial,
            intercept: self.intercept,
            hands: hands::Wanted { one: self.authenticator, each: authenticators },
        }
    }
}

/// Whether a text can be the name of a directory beside others, as certbot makes them: not one that leads elsewhere.
fn is_file_name(name: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte);
    let is_taken = name == "README";
    !name.is_empty()
        && name.len() <= LONGEST_NAME
        && !name.starts_with(['.', '-'])
        && name.bytes().all(is_plain)
        && !is_taken
}

/// A file name has 255 bytes at most, and some of ours are longer than that of the certificate.
const LONGEST_NAME: usize = 200;
