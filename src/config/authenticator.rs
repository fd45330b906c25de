//! `[[authenticator]]`: who answers challenges.

use std::sync::Arc;

use authenticator_api::Authenticator;
use plugin_api::{
    Named,
    config::{Array, Problem, Problems, did_you_mean},
};

use crate::{lasting::Lasting, registry::AUTHENTICATORS};

/// Builds them and puts them where plugins find them by name.
pub(super) fn build(
    array: Option<Array<'_>>,
    named: &mut Named,
    lasting: &Lasting,
    problems: &mut Problems,
) -> Vec<Arc<dyn Authenticator>> {
    let mut built = Vec::new();
    for (span, mut table) in array.into_iter().flat_map(|array| array.items) {
        let name = table.take_text("name", problems);
        let kind = table.take_text("use", problems);
        let (Some((name_span, name)), Some((kind_span, kind))) = (name, kind) else {
            problems.push(Problem::new(span, "an authenticator needs `name` and `use`"));
            continue;
        };
        let Some(found) = AUTHENTICATORS.iter().find(|known| known.name == kind) else {
            let names: Vec<_> = AUTHENTICATORS.iter().map(|known| known.name).collect();
            let hint = did_you_mean(&kind, &names).unwrap_or_else(|| format!("there are: {}", names.join(", ")));
            problems.push(Problem::new(kind_span, format!("unknown authenticator `{kind}`")).with_hint(hint));
            continue;
        };
        let fingerprint = format!("{name:?} {kind} {}", table.fingerprint());
        let found = lasting.authenticator(fingerprint, || (found.build)(table, problems));
        let Some(authenticator) = found else { continue };
        if !named.insert::<dyn Authenticator>(&name, Arc::clone(&authenticator)) {
            problems.push(Problem::new(name_span, format!("there is another authenticator `{name}`")));
        }
        built.push(authenticator);
    }
    built
}
