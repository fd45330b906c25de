//! What is asked of authorities: which of them, and for which kind of certificate.

use certificates::Profile;
use plugin_api::config::{Problem, Problems, Spans};

use super::{Directory, Texts};

/// Which authorities are asked, in this order, and for which kind of certificate.
#[derive(Clone, Debug)]
pub(in crate::config) struct Choice {
    /// At least one, unless something is wrong with them.
    pub(in crate::config) directories: Vec<Directory>,
    /// By the name that the authority has for it.
    pub(in crate::config) profile: Option<Profile>,
    /// Common name of the root that the chain should lead to.
    pub(in crate::config) preferred_chain: Option<String>,
}

/// The keys that say so, in `[acme]` for all certificates and in `[[certificate]]` for one.
#[derive(Debug, Default)]
pub(in crate::config) struct ChoiceKeys {
    /// URLs, or short names of them.
    pub(in crate::config) directory: Option<Texts>,
    /// The profile that is asked for where it is offered.
    pub(in crate::config) preferred_profile: Option<String>,
    /// The profile without which there is no certificate.
    pub(in crate::config) required_profile: Option<String>,
    /// The common name of a root.
    pub(in crate::config) preferred_chain: Option<String>,
}

impl Choice {
    /// The name of the profile, if one is named.
    pub(in crate::config) fn profile_name(&self) -> Option<&str> {
        self.profile.as_ref().map(name_of)
    }

    /// Whether Let's Encrypt is among those that are asked.
    pub(in crate::config) fn asks_lets_encrypt(&self) -> bool {
        self.directories.iter().any(Directory::is_lets_encrypt)
    }

    /// How many names a certificate can have (<https://letsencrypt.org/docs/profiles/>); other authorities allow no more.
    pub(in crate::config) fn most_names(&self) -> usize {
        let is_short = |name: &str| matches!(name, SHORT_LIVED | "tlsserver");
        if self.asks_lets_encrypt() && self.profile_name().is_some_and(is_short) { 25 } else { 100 }
    }
}

/// Let's Encrypt, and whatever it thinks best.
impl Default for Choice {
    fn default() -> Self {
        Self { directories: vec![Directory::default()], profile: None, preferred_chain: None }
    }
}

impl ChoiceKeys {
    /// The keys that are there.
    pub(in crate::config) fn given(&self) -> impl Iterator<Item = &'static str> {
        let given = [
            ("directory", self.directory.is_some()),
            ("preferred_profile", self.preferred_profile.is_some()),
            ("required_profile", self.required_profile.is_some()),
            ("preferred_chain", self.preferred_chain.is_some()),
        ];
        given.into_iter().filter(|(_, is_given)| *is_given).map(|(key, _)| key)
    }

    /// What they say; what they leave open is as usual.
    pub(in crate::config) fn resolve(self, usual: &Choice, spans: &Spans, problems: &mut Problems) -> Choice {
        let texts = [
            ("preferred_profile", &self.preferred_profile),
            ("required_profile", &self.required_profile),
            ("preferred_chain", &self.preferred_chain),
        ];
        for (key, _) in texts.into_iter().filter(|(_, text)| text.as_ref().is_some_and(|text| text.trim().is_empty())) {
            let problem = Problem::new(spans.of(key), format!("`{key}` is empty"));
            problems.push(problem.with_hint("leave it out to leave it to the authority"));
        }
        if self.preferred_profile.is_some() && self.required_profile.is_some() {
            let message = "`preferred_profile` and `required_profile` exclude each other";
            let hint = "`required_profile` is for when no certificate is better than one of another kind";
            problems.push(Problem::new(spans.of_key("preferred_profile"), message).with_hint(hint));
        }
        let required = self.required_profile.map(Profile::Required);
        let profile = required.or(self.preferred_profile.map(Profile::Preferred));
        Choice {
            directories: match self.directory {
                Some(texts) => directories(&texts, spans, problems),
                None => usual.directories.clone(),
            },
            profile: profile.or_else(|| usual.profile.clone()),
            preferred_chain: self.preferred_chain.or_else(|| usual.preferred_chain.clone()),
        }
    }
}

/// The authority's name for a profile.
pub(in crate::config) fn name_of(profile: &Profile) -> &str {
    match profile {
        Profile::Preferred(name) | Profile::Required(name) => name,
    }
}

/// The authorities of a list, each once.
fn directories(texts: &Texts, spans: &Spans, problems: &mut Problems) -> Vec<Directory> {
    if texts.0.is_empty() {
        let problem = Problem::new(spans.of("directory"), "there is no authority in this list");
        problems.push(problem.with_hint("leave `directory` out for Let's Encrypt"));
    }
    let mut directories: Vec<Directory> = Vec::new();
    for (index, text) in texts.0.iter().enumerate() {
        let span = spans.of_index("directory", index);
        let directory = match Directory::parse(text, span.clone()) {
            Ok(directory) => directory,
            Err(problem) => {
                problems.push(problem);
                continue;
            }
        };
        if directories.contains(&directory) {
            let problem = Problem::new(span, format!("`{text}` is in this list twice"));
            problems.push(problem.with_hint("an authority that failed is not asked again at once"));
        } else if directories.first().is_some_and(|first| first.is_for_tests() != directory.is_for_tests()) {
            let problem = Problem::new(span, "a certificate for tests cannot stand in for a real one");
            problems.push(problem.with_hint("name \"letsencrypt-staging\" alone, or not at all"));
        } else {
            directories.push(directory);
        }
    }
    directories
}

/// The only profile of Let's Encrypt for addresses.
pub(in crate::config) const SHORT_LIVED: &str = "shortlived";
