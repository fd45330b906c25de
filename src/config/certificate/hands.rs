//! Who answers an authority for the names of a certificate.

use std::collections::BTreeMap;

use authenticator_api::DomainName;
use certificates::{Authenticators, Renewal};
use plugin_api::config::{Problem, Problems, Spans, did_you_mean};

use super::{
    answerer::Answerer,
    managed::{Place, World},
};

/// The keys that say so.
#[derive(Default)]
pub(super) struct Wanted {
    /// For all names that no other is for.
    pub(super) one: Option<String>,
    /// By the domain, with where these stand.
    pub(super) each: Option<(Spans, BTreeMap<String, String>)>,
}

/// Who answers where a certificate does not say.
pub(super) enum Usual<'a> {
    /// The file names nobody.
    Unnamed,
    /// Whoever it names is not to be had, which has been told.
    Unusable,
    /// This one.
    One(&'a Answerer),
}

/// Who answers for the names of a certificate.
pub(super) struct Hands<'a> {
    /// For the certificate as a whole.
    usual: &'a Answerer,
    /// In the order of the names.
    each: Vec<(DomainName, &'a Answerer)>,
}

impl Hands<'_> {
    /// For an order.
    pub(super) fn authenticators(&self) -> Authenticators {
        let all = Authenticators::from(self.usual.authenticator());
        let special = self.each.iter().filter(|(_, answerer)| !std::ptr::eq(*answerer, self.usual));
        special.fold(all, |all, (domain, answerer)| all.with(domain.clone(), answerer.authenticator()))
    }

    /// Whether any of them answers only if visitors come to us.
    pub(super) fn need_visitors(&self) -> bool {
        self.each.iter().any(|(_, answerer)| answerer.needs_visitors())
    }

    /// What certbot would have to know to renew the certificate in our place.
    pub(super) fn renewal(&self) -> Renewal {
        let webroot = |(domain, answerer): &(DomainName, &Answerer)| {
            Some((domain.clone(), answerer.webroot(domain)?.display().to_string()))
        };
        Renewal {
            server: String::new(),
            authenticator: self.usual.kind.clone(),
            webroots: self.each.iter().filter_map(webroot).collect(),
            ..Renewal::default()
        }
    }
}

/// Finds those that the keys name. `None` when nobody is to be had; why has been told.
pub(super) fn find<'a>(
    wanted: Wanted,
    domains: &[(usize, DomainName)],
    place: &Place,
    world: &World<'a>,
    problems: &mut Problems,
) -> Option<Hands<'a>> {
    let spans = &place.spans;
    let special =
        wanted.each.map(|(spans, names)| special(&spans, names, domains, world, problems)).unwrap_or_default();
    let own = wanted.one.map(|name| match world.answerers.find(&name, spans.of("authenticator"), problems) {
        Some(answerer) => Usual::One(answerer),
        None => Usual::Unusable,
    });
    let usual = own.as_ref().unwrap_or(world.usual);
    let mut found = Vec::new();
    for (index, domain) in domains {
        let answerer = match (special.get(domain), usual) {
            (Some(special), _) => *special,
            (None, Usual::One(answerer)) => Some(*answerer),
            (None, Usual::Unusable) => None,
            (None, Usual::Unnamed) => {
                let problem = Problem::new(place.whole.clone(), format!("nobody answers the authority for {domain}"));
                let hint = format!("name an `authenticator` here, or in `[acme]` for all; {}", world.answerers.hint());
                problems.push(problem.with_hint(hint));
                return None;
            }
        };
        let Some(answerer) = answerer else { continue };
        if !answerer.serves(domain) {
            let message = format!("the authenticator of {domain} has no path for it");
            let problem = Problem::new(spans.of_index("domains", *index), message);
            let hint = format!("add it to the authenticator's table `path`: \"{domain}\" = \"/var/www/html\"");
            problems.push(problem.with_hint(hint));
        }
        found.push((domain.clone(), answerer));
    }
    let usual = match usual {
        Usual::One(answerer) => *answerer,
        Usual::Unnamed | Usual::Unusable => found.first()?.1,
    };
    Some(Hands { usual, each: found })
}

/// The authenticators of single names; `None` for one that is not to be had, which has been told.
fn special<'a>(
    spans: &Spans,
    names: BTreeMap<String, String>,
    domains: &[(usize, DomainName)],
    world: &World<'a>,
    problems: &mut Problems,
) -> BTreeMap<DomainName, Option<&'a Answerer>> {
    let mut special = BTreeMap::new();
    for (text, name) in names {
        let answerer = world.answerers.find(&name, spans.of(&text), problems);
        let address = || text.parse().ok().map(DomainName::from_address);
        let domain = DomainName::parse(&text).ok().or_else(address);
        match domain.filter(|domain| domains.iter().any(|(_, known)| known == domain)) {
            Some(domain) => _ = special.insert(domain, answerer),
            None => {
                let known: Vec<_> = domains.iter().map(|(_, domain)| domain.as_str()).collect();
                let hint =
                    did_you_mean(&text, &known).unwrap_or_else(|| "add it to `domains`, or take it away".to_owned());
                let problem = Problem::new(spans.of_key(&text), format!("`{text}` is not among `domains`"));
                problems.push(problem.with_hint(hint));
            }
        }
    }
    special
}
