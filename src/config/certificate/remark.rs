//! What is not wrong, and will probably disappoint.

use authenticator_api::DomainName;
use certificates::Issuer;
use plugin_api::config::did_you_mean;

use super::{Certificates, Managed, domain};
use crate::config::acme::{Directory, SHORT_LIVED, name_of};

/// Remarks about the certificates of a file. `has_acme` is whether it says whom to ask.
pub(super) fn remarks(certificates: &Certificates, has_acme: bool) -> Vec<String> {
    let Certificates { managed, files, .. } = certificates;
    let mut remarks = Vec::new();
    if managed.is_empty() && files.is_empty() && has_acme {
        remarks.push("`[acme]` is there and no `[[certificate]]`: none is asked for".to_owned());
    }
    if certificates.interception.is_some() && !managed.iter().any(|one| one.intercept) {
        remarks.push("`[interception]` is there and no certificate needs it".to_owned());
    }
    for one in files.iter().filter(|one| one.is_missing) {
        remarks.push(format!(
            "certificate `{}`: its files are not there yet; a placeholder is shown until they are",
            one.name
        ));
    }
    for (index, one) in managed.iter().enumerate() {
        about_authorities(one, &mut remarks);
        about_others(one, &managed[..index], &mut remarks);
    }
    remarks
}

/// What is known of the authority that is asked.
fn about_authorities(one: &Managed, remarks: &mut Vec<String>) {
    let (name, domains) = (one.name(), &one.request.domains);
    let authorities = one.request.issuers.iter().filter_map(|issuer| match issuer {
        Issuer::Acme(authority) if Directory::of(authority).is_lets_encrypt() => Some(authority),
        Issuer::Acme(_) | Issuer::Internal(_) => None,
    });
    // What is to be said about one of Let's Encrypt's two directories holds for the other.
    let Some(authority) = authorities.into_iter().next() else { return };
    let profile = authority.profile.as_ref().map(name_of);
    if Directory::of(authority).is_for_tests() {
        remarks.push(format!(
            "certificate `{name}`: what letsencrypt-staging issues is for tests, no browser believes it"
        ));
    }
    let listed = |filter: fn(&DomainName) -> bool| {
        let names: Vec<_> = domains.iter().filter(|domain| filter(domain)).map(DomainName::as_str).collect();
        (!names.is_empty()).then(|| names.join(", "))
    };
    if let Some(names) = listed(domain::is_private) {
        remarks.push(format!(
            "certificate `{name}`: no public authority issues for {names}; `issuer = \"internal\"` does, for clients that trust it"
        ));
    }
    if let Some(names) = listed(|domain| domain.address().is_some() && !domain::is_private(domain))
        && profile != Some(SHORT_LIVED)
    {
        remarks.push(format!(
            "certificate `{name}`: Let's Encrypt issues for addresses ({names}) with its profile `{SHORT_LIVED}` only; \
             write `required_profile = \"{SHORT_LIVED}\"`"
        ));
    }
    if let Some(profile) = profile.filter(|profile| !PROFILES.contains(profile)) {
        let hint = did_you_mean(profile, &PROFILES).unwrap_or_else(|| format!("known: {}", PROFILES.join(", ")));
        remarks.push(format!("certificate `{name}`: Let's Encrypt is not known to have a profile `{profile}`; {hint}"));
    }
}

/// Certificates with a name in common are renewed apart, and only one of them is shown for it.
fn about_others(one: &Managed, before: &[Managed], remarks: &mut Vec<String>) {
    for other in before {
        let common: Vec<_> = one
            .request
            .domains
            .iter()
            .filter(|domain| other.request.domains.contains(domain))
            .map(DomainName::as_str)
            .collect();
        if !common.is_empty() {
            let (names, name, first) = (common.join(", "), one.name(), other.name());
            remarks.push(format!("{names}: in the certificates `{first}` and `{name}`; the first of them is shown"));
        }
    }
}

/// Those of Let's Encrypt (<https://letsencrypt.org/docs/profiles/>).
const PROFILES: [&str; 3] = ["classic", SHORT_LIVED, "tlsserver"];
