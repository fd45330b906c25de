//! `certbot certificates`, in the form that scripts read.

use std::time::SystemTime;

use certificates::{Lineage, Store};
use jiff::{Timestamp, fmt::strtime, tz::TimeZone};

use super::arguments::Arguments;
use crate::cli::{Exit, report};

pub(super) fn run(arguments: &Arguments) -> Exit {
    let store = Store::at(&arguments.config_dir);
    let all = store.names().into_iter();
    let wanted = all.filter(|name| arguments.cert_name.is_empty() || arguments.cert_name.contains(name));
    let found: Vec<_> =
        wanted.filter_map(|name| store.load(&name)).filter(|one| has(one, &arguments.domains)).collect();
    if found.is_empty() {
        report::line("there are no certificates");
    }
    for lineage in found {
        tell(&store, &lineage);
    }
    Exit::Success
}

fn has(lineage: &Lineage, domains: &[String]) -> bool {
    domains.is_empty() || domains.iter().any(|domain| lineage.names.iter().any(|name| name.as_str() == domain))
}

fn tell(store: &Store, lineage: &Lineage) {
    let names = lineage.names.iter().map(ToString::to_string).chain(lineage.others.iter().cloned());
    let live = store.live(&lineage.name);
    let expiry = Timestamp::try_from(lineage.not_after)
        .map(|expiry| strtime::format("%Y-%m-%d %H:%M:%S+00:00", &expiry.to_zoned(TimeZone::UTC)).unwrap_or_default());
    let left = lineage.not_after.duration_since(SystemTime::now()).map(|left| left.as_secs());
    let state = match left {
        Err(_) => "INVALID: EXPIRED".to_owned(),
        Ok(seconds @ 0..86_400) => format!("VALID: {} hour(s)", seconds / 3600),
        Ok(seconds) => format!("VALID: {} days", seconds / 86_400),
    };
    report::line(format!("  Certificate Name: {}", lineage.name));
    report::line(format!("    Domains: {}", names.collect::<Vec<_>>().join(" ")));
    report::line(format!("    Expiry Date: {} ({state})", expiry.unwrap_or_default()));
    report::line(format!("    Certificate Path: {}", live.join("fullchain.pem").display()));
    report::line(format!("    Private Key Path: {}", live.join("privkey.pem").display()));
}
