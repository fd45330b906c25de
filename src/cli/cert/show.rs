//! `lockgate cert show`: everything about one certificate.

use std::time::SystemTime;

use certificates::{KeyKind, Profile, Renewal, Store};
use clap::Args;

use super::{attempt::Failure, list::left, options::Common, visitors::Visitors};
use crate::cli::{Exit, report};

/// Which certificate.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Arguments {
    /// The name of the certificate, as `lockgate cert list` shows it.
    #[arg(long, value_name = "NAME")]
    cert_name: String,

    #[command(flatten)]
    common: Common,
}

pub(super) fn run(arguments: &Arguments) -> Exit {
    let (store, name) = (Store::at(&arguments.common.storage), &arguments.cert_name);
    if !store.names().contains(name) {
        let hint = Some("see `lockgate cert list`");
        return Failure::usage(format!("there is no certificate {name}"), hint).told();
    }
    let lines = lines(&store, name);
    if arguments.common.json {
        let object: serde_json::Map<String, serde_json::Value> =
            lines.into_iter().map(|(what, value)| (what.replace(' ', "_"), value.into())).collect();
        report::line(serde_json::Value::Object(object).to_string());
        return Exit::Success;
    }
    let width = lines.iter().map(|(what, _)| what.len()).max().unwrap_or_default();
    for (what, value) in lines {
        report::line(format!("{what:width$}  {value}"));
    }
    Exit::Success
}

fn lines(store: &Store, name: &str) -> Vec<(&'static str, String)> {
    let mut lines = vec![("name", name.to_owned())];
    if let Some(lineage) = store.load(name) {
        let names = lineage.names.iter().map(ToString::to_string).chain(lineage.others.iter().cloned());
        let moment =
            |time: SystemTime| jiff::Timestamp::try_from(time).map(|time| time.to_string()).unwrap_or_default();
        lines.extend([
            ("domains", names.collect::<Vec<_>>().join(" ")),
            ("version", lineage.version.to_string()),
            ("valid from", moment(lineage.not_before)),
            ("valid to", moment(lineage.not_after)),
            ("left", left(lineage.not_after, SystemTime::now())),
            ("chain", store.live(name).join("fullchain.pem").display().to_string()),
            ("private key", store.live(name).join("privkey.pem").display().to_string()),
        ]);
        if store.awaits_deployment(&lineage) {
            lines.push(("deploy hooks", "to be run again".to_owned()));
        }
        lines.extend(lineage.id.map(|id| ("renewal information", id)));
    }
    let Some(renewal) = store.renewal(name) else { return lines };
    let Renewal { server, account, authenticator, webroots, listen, key, profile, preferred_chain, hooks, own } =
        renewal;
    lines.push(("authority", server));
    lines.extend(account.map(|account| ("account", account)));
    lines.push(("authenticator", authenticator));
    let webroots: Vec<_> = webroots.iter().map(|(name, path)| format!("{name}={path}")).collect();
    lines.extend((!webroots.is_empty()).then(|| ("webroots", webroots.join(" "))));
    lines.extend(listen.1.map(|port| ("http port", port.to_string())));
    lines.extend(own.as_ref().and_then(Visitors::read).map(|visitors| ("intercepts port", visitors.port.to_string())));
    lines.extend(key.map(|key| {
        let kind = match key.kind {
            KeyKind::P256 => "ECDSA P-256",
            KeyKind::P384 => "ECDSA P-384",
            KeyKind::Rsa => "RSA",
        };
        ("key", format!("{kind}{}", if key.is_reused { ", used again" } else { "" }))
    }));
    lines.extend(profile.map(|profile| match profile {
        Profile::Preferred(name) => ("preferred profile", name),
        Profile::Required(name) => ("required profile", name),
    }));
    lines.extend(preferred_chain.map(|root| ("preferred chain", root)));
    let hooks = [("pre hook", hooks.pre), ("post hook", hooks.post), ("deploy hook", hooks.deploy)];
    lines.extend(hooks.into_iter().filter_map(|(what, command)| Some((what, command?))));
    lines
}
