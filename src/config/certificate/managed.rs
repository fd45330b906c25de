//! A certificate that is obtained and renewed.

use std::sync::Arc;

use authenticator_api::{Authenticator, DomainName};
use certificates::{Authenticators, Completeness, Internal, Issuer, Renewal, Request};
use plugin_api::config::{Duration, Problem, Problems, Span, Spans};

use super::{
    Managed,
    answerer::{Answerers, Nobody},
    domain,
    hands::{self, Hands, Usual},
    maker::Maker,
};
use crate::config::acme::{self, Acme, Choice, ChoiceKeys, Directory, Section, Texts};

/// The keys of a certificate that is obtained.
pub(super) struct Keys {
    /// Of its lineage.
    pub(super) name: Option<String>,
    /// What it is for.
    pub(super) domains: Option<Vec<String>>,
    /// Who makes it.
    pub(super) issuer: Option<Texts>,
    /// How long one of the internal authority is valid.
    pub(super) life: Option<Duration>,
    /// What is asked of authorities.
    pub(super) choice: ChoiceKeys,
    /// Whether some of the names are enough.
    pub(super) partial: Option<bool>,
    /// Whether visitors are led to us while an authority validates.
    pub(super) intercept: Option<bool>,
    /// Who answers authorities.
    pub(super) hands: hands::Wanted,
}

/// What the rest of the file says.
pub(super) struct World<'a> {
    /// `[acme]`.
    pub(super) section: &'a Section,
    /// Its authenticators.
    pub(super) answerers: &'a Answerers,
    /// The one for certificates that name none.
    pub(super) usual: &'a Usual<'a>,
    /// Whether it says how to intercept.
    pub(super) intercepts: bool,
}

/// Where a certificate stands.
pub(super) struct Place {
    /// Its table.
    pub(super) whole: Span,
    /// The keys in that.
    pub(super) spans: Spans,
}

impl Keys {
    /// The keys that are there and make sense for one that is obtained only.
    pub(super) fn given(&self) -> impl Iterator<Item = &'static str> {
        let own = [("issuer", self.issuer.is_some()), ("life", self.life.is_some())];
        own.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).chain(self.for_authorities())
    }

    /// The keys that are there and make sense only where a public authority is asked.
    fn for_authorities(&self) -> impl Iterator<Item = &'static str> {
        let own = [
            ("authenticator", self.hands.one.is_some()),
            ("authenticators", self.hands.each.is_some()),
            ("partial", self.partial.is_some()),
            ("intercept", self.intercept.is_some()),
        ];
        own.into_iter().filter(|(_, given)| *given).map(|(key, _)| key).chain(self.choice.given())
    }
}

/// Resolves the keys. `None` when it cannot be obtained this way; why has been told. Adds the authorities that would be `asked`.
pub(super) fn build(
    keys: Keys,
    place: &Place,
    world: &World<'_>,
    asked: &mut Vec<Directory>,
    problems: &mut Problems,
) -> Option<Managed> {
    let spans = &place.spans;
    let domains = domain::parse(keys.domains.as_deref().unwrap_or_default(), spans, problems);
    let maker = Maker::read(keys.issuer.as_ref(), spans, problems)?;
    let internal = maker.internal(keys.life, spans, problems);
    if keys.intercept == Some(true) && !world.intercepts {
        let problem = Problem::new(spans.of("intercept"), "there is no `[interception]` that says how");
        problems.push(problem.with_hint("add `[interception]` with `port = 80`"));
    }
    let (mut issuers, hands) = if maker.asks_authorities() {
        let hands = hands::find(keys.hands, &domains, place, world, problems);
        let acme = acme_of(world.section, place, problems)?;
        let choice = keys.choice.resolve(&acme.choice, spans, problems);
        for directory in &choice.directories {
            if !asked.contains(directory) {
                asked.push(directory.clone());
            }
        }
        limit(&domains, &choice, spans, problems);
        (acme.authorities(&choice).into_iter().map(Issuer::Acme).collect(), Some(hands?))
    } else {
        for key in keys.for_authorities() {
            let message = format!("`{key}` is about certificate authorities, and only the internal one is asked");
            let hint = "take it away, or write `issuer = [\"acme\", \"internal\"]`";
            problems.push(Problem::new(spans.of_key(key), message).with_hint(hint));
        }
        (Vec::new(), None)
    };
    issuers.extend(internal.map(Issuer::Internal));
    let renewal = match &hands {
        Some(hands) => hands.renewal(),
        None => Renewal { authenticator: Internal::SERVER.to_owned(), ..Renewal::default() },
    };
    let domains: Vec<_> = domains.into_iter().map(|(_, domain)| domain).collect();
    let request = Request {
        name: Some(keys.name.unwrap_or(domains.first()?.to_string())),
        renewal: Renewal { server: issuers.first()?.server().to_owned(), ..renewal },
        domains,
        issuers,
        force: false,
        is_rehearsal: false,
        completeness: match keys.partial {
            Some(false) => Completeness::All,
            Some(true) | None => Completeness::Some { resting: Vec::new() },
        },
        patience: world.section.given().map_or(acme::PATIENCE, |acme| acme.patience),
    };
    let needs_visitors = hands.as_ref().is_some_and(Hands::need_visitors);
    Some(Managed {
        request,
        intercept: keys.intercept.unwrap_or(world.intercepts && needs_visitors),
        authenticators: hands.map_or_else(nobody, |hands| hands.authenticators()),
    })
}

/// The internal authority asks nothing.
fn nobody() -> Authenticators {
    Authenticators::from(Arc::new(Nobody) as Arc<dyn Authenticator>)
}

/// The section that says who issues.
fn acme_of<'a>(section: &'a Section, place: &Place, problems: &mut Problems) -> Option<&'a Acme> {
    if let Section::Absent = section {
        let problem = Problem::new(place.whole.clone(), "there is no `[acme]` that says who issues this certificate");
        let hint =
            "add `[acme]` with `agree_to_terms = true` and an `authenticator`; or write `issuer = \"internal\"` here";
        problems.push(problem.with_hint(hint));
    }
    section.given()
}

/// Finds names beyond what a certificate can have.
fn limit(domains: &[(usize, DomainName)], choice: &Choice, spans: &Spans, problems: &mut Problems) {
    let most = choice.most_names();
    let Some((index, _)) = domains.get(most) else { return };
    let (count, of) = (domains.len(), choice.profile_name().filter(|_| most < 100));
    let of = of.map(|profile| format!(" of the profile `{profile}`")).unwrap_or_default();
    let message = format!("a certificate{of} has {most} names at most, and these are {count}");
    let problem = Problem::new(spans.of_index("domains", *index), message);
    problems.push(problem.with_hint("let another `[[certificate]]` begin here"));
}
