//! `renewal/NAME.conf`: how a certificate was obtained, in certbot's words.

mod ini;

use std::{collections::BTreeMap, net::IpAddr, path::Path};

use authenticator_api::DomainName;

use crate::{Internal, KeyChoice, KeyKind, Profile};
use ini::Ini;

/// How a certificate was obtained, so that it can be renewed. What is `None` is not said: where it is written, it stays; an empty text
/// removes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The authority's directory URL, or [`Internal::SERVER`].
    pub server: String,
    /// What the account is called.
    pub account: Option<String>,
    /// `standalone` or `webroot`; others are certbot's.
    pub authenticator: String,
    /// Each name with its webroot.
    pub webroots: Vec<(DomainName, String)>,
    /// Where `standalone` listens.
    pub listen: (Option<IpAddr>, Option<u16>),
    /// What kind of key it has; the usual one where nothing is said at all.
    pub key: Option<KeyChoice>,
    /// The kind of certificate.
    pub profile: Option<Profile>,
    /// Common name of the root that its chain should lead to.
    pub preferred_chain: Option<String>,
    /// What is run beside a renewal.
    pub hooks: Hooks,
    /// What certbot has no words for: keys of a section of our own.
    pub own: Option<BTreeMap<String, String>>,
}

/// Commands of the operator's that are run by a shell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Before the first certificate is renewed.
    pub pre: Option<String>,
    /// After the last one.
    pub post: Option<String>,
    /// After each one that was renewed.
    pub deploy: Option<String>,
}

impl Renewal {
    /// Reads a file of certbot's or of ours. What it does not say has the value that certbot takes for it.
    pub fn read(text: &str) -> Self {
        let file = Ini::parse(text);
        let value = |key: &str| file.value(PARAMETERS, key);
        // What was read must never remove anything.
        let command = |key: &str| value(key).filter(|command| !command.is_empty());
        let mut webroots: Vec<_> =
            file.pairs(WEBROOTS).filter_map(|(name, path)| Some((parsed(name)?, path.into_iter().next()?))).collect();
        webroots.sort();
        Self {
            server: value("server").unwrap_or_default(),
            account: value("account"),
            authenticator: value("authenticator").unwrap_or_default(),
            webroots,
            listen: (
                value("http01_address").and_then(|address| address.parse().ok()),
                value("http01_port").and_then(|port| port.parse().ok()),
            ),
            key: Some(KeyChoice {
                // Before certbot wrote it, there was one kind.
                kind: match (value("key_type").as_deref(), value("elliptic_curve").as_deref()) {
                    (Some("ecdsa"), Some("secp384r1")) => KeyKind::P384,
                    (Some("ecdsa"), _) => KeyKind::P256,
                    _ => KeyKind::Rsa,
                },
                is_reused: value("reuse_key").as_deref() == Some("True"),
            }),
            profile: value("required_profile")
                .map(Profile::Required)
                .or_else(|| value("preferred_profile").map(Profile::Preferred)),
            preferred_chain: value("preferred_chain"),
            hooks: Hooks { pre: command("pre_hook"), post: command("post_hook"), deploy: command("renew_hook") },
            own: file.has(OWN).then(|| {
                let first = |(key, values): (&str, Vec<String>)| Some((key.to_owned(), values.into_iter().next()?));
                file.pairs(OWN).filter_map(first).collect()
            }),
        }
    }

    /// The webroot for names that have none of their own: certbot's last `--webroot-path`.
    pub fn usual_webroot(text: &str) -> Option<String> {
        Ini::parse(text).values(PARAMETERS, "webroot_path")?.pop()
    }

    /// Whether the file says that nobody is to renew this certificate by itself.
    pub fn is_resting(text: &str) -> bool {
        Ini::parse(text).value(PARAMETERS, "autorenew").as_deref() == Some("False")
    }

    /// The text of the file, with everything in `old` kept that is not ours to say.
    pub(super) fn written_into(&self, old: &str, root: &Path, name: &str) -> String {
        let mut file = Ini::parse(old);
        let root = root.display();
        file.set_default(TOP, "version", VERSION);
        file.set(TOP, "archive_dir", &format!("{root}/archive/{name}"));
        for kind in ["cert", "privkey", "chain", "fullchain"] {
            file.set(TOP, kind, &format!("{root}/live/{name}/{kind}.pem"));
        }
        let was_internal = file.value(PARAMETERS, "server").as_deref() == Some(Internal::SERVER);
        file.set(PARAMETERS, "authenticator", &self.authenticator);
        file.set(PARAMETERS, "server", &self.server);
        if self.server == Internal::SERVER {
            // certbot cannot ask this server, and would fail for it at every run.
            file.set(PARAMETERS, "autorenew", "False");
        } else if was_internal {
            file.remove(PARAMETERS, "autorenew");
        }
        file.set_default(PARAMETERS, "key_type", "ecdsa");
        for (key, value) in self.key.map(KeyChoice::written).into_iter().flatten() {
            match value {
                Some(value) => file.set(PARAMETERS, key, value),
                None => file.remove(PARAMETERS, key),
            }
        }
        let (address, port) = self.listen;
        let (required, preferred) = match &self.profile {
            Some(Profile::Required(name)) => (Some(name.clone()), Some(String::new())),
            Some(Profile::Preferred(name)) => (Some(String::new()), Some(name.clone())),
            None => (None, None),
        };
        let said = [
            ("account", self.account.clone()),
            ("http01_address", address.map(|address| address.to_string())),
            ("http01_port", port.map(|port| port.to_string())),
            ("required_profile", required),
            ("preferred_profile", preferred),
            ("preferred_chain", self.preferred_chain.clone()),
            ("pre_hook", self.hooks.pre.clone()),
            ("post_hook", self.hooks.post.clone()),
            ("renew_hook", self.hooks.deploy.clone()),
        ];
        for (key, value) in said {
            match value.as_deref() {
                Some("") => file.remove(PARAMETERS, key),
                Some(value) => file.set(PARAMETERS, key, value),
                None => {}
            }
        }
        if let Some(own) = &self.own {
            file.drop(OWN);
            own.iter().for_each(|(key, value)| file.set(OWN, key, value));
        }
        // Names that have none of their own are the last one's, so another order would lead them elsewhere.
        let known = file.values(PARAMETERS, "webroot_path").unwrap_or_default();
        if let Some((_, path)) = self.webroots.first()
            && !self.webroots.iter().any(|(_, path)| known.contains(path))
        {
            file.set_list(PARAMETERS, "webroot_path", &[path]);
        }
        for (domain, path) in &self.webroots {
            file.set(WEBROOTS, domain.as_str(), path);
        }
        file.text()
    }
}

impl KeyChoice {
    /// As certbot writes it; what it does not write is `None`.
    fn written(self) -> [(&'static str, Option<&'static str>); 3] {
        [
            ("key_type", Some(if self.kind == KeyKind::Rsa { "rsa" } else { "ecdsa" })),
            ("elliptic_curve", (self.kind == KeyKind::P384).then_some("secp384r1")),
            ("reuse_key", self.is_reused.then_some("True")),
        ]
    }
}

fn parsed(name: &str) -> Option<DomainName> {
    DomainName::parse(name).ok().or_else(|| name.parse().ok().map(DomainName::from_address))
}

/// The lowest certbot whose reader understands what we write.
const VERSION: &str = "2.1.0";
const TOP: &str = "";
const PARAMETERS: &str = "[renewalparams]";
const WEBROOTS: &str = "[[webroot_map]]";
const OWN: &str = "[lockgate]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_stays() {
        let renewal = Renewal {
            server: "https://ca.example/dir".into(),
            authenticator: "webroot".into(),
            webroots: vec![(DomainName::parse("a.example").unwrap(), "/srv/a".into())],
            ..Renewal::default()
        };
        let old = "# renew_before_expiry = 30 days\nversion = 5.6.0\ncert = /old\n[renewalparams]\naccount = abc\nserver = old\n\
                   renew_hook = systemctl reload nginx\n[[webroot_map]]\nb.example = /srv/b\n[other]\nx = 1\n";
        let root = Path::new("/etc/letsencrypt");
        let text = renewal.written_into(old, root, "a.example");
        for kept in [
            "# renew_before_expiry = 30 days\n",
            "version = 5.6.0\n",
            "account = abc\n",
            "renew_hook = systemctl reload nginx\n",
            "b.example = /srv/b\n",
            "[other]\nx = 1\n",
        ] {
            assert!(text.contains(kept), "{kept} is not in\n{text}");
        }
        assert!(text.contains("cert = /etc/letsencrypt/live/a.example/cert.pem\n") && !text.contains("/old"));
        assert!(text.contains("server = https://ca.example/dir\n") && !text.contains("server = old"));
        assert!(text.contains("a.example = /srv/a\n"));
        assert_eq!(renewal.written_into(&text, root, "a.example"), text, "writing again changes nothing");
    }

    #[test]
    fn what_is_written_is_read() {
        let renewal = Renewal {
            server: "https://ca.example/dir".into(),
            account: Some("0123456789abcdef".into()),
            authenticator: "standalone".into(),
            webroots: vec![(DomainName::parse("a.example").unwrap(), "/srv/a, b".into())],
            listen: ("127.0.0.1".parse().ok(), Some(8080)),
            key: Some(KeyChoice { kind: KeyKind::P384, is_reused: true }),
            profile: Some(Profile::Required("shortlived".into())),
            preferred_chain: Some("Root, X1".into()),
            hooks: Hooks { pre: Some("true".into()), post: None, deploy: Some("echo \"$RENEWED_LINEAGE\" # x".into()) },
            own: Some(BTreeMap::from([("intercept".to_owned(), "80".to_owned())])),
        };
        let text = renewal.written_into("", Path::new("/s"), "a.example");
        assert_eq!(Renewal::read(&text), renewal, "{text}");
        let other = Renewal { key: Some(KeyChoice::default()), ..renewal };
        assert_eq!(Renewal::read(&other.written_into(&text, Path::new("/s"), "a.example")), other);
    }

    #[test]
    fn certbots_own_file_is_read() {
        let text = "# renew_before_expiry = 30 days\nversion = 2.1.0\narchive_dir = /l/archive/a\n\
            [renewalparams]\naccount = 5e1f\nkey_type = rsa\nrsa_key_size = 4096\nauthenticator = webroot\n\
            webroot_path = /srv/a, /srv/b,\nserver = https://ca.example/dir\npreferred_chain = None\n\
            [[webroot_map]]\nb.example = /srv/b\na.example = /srv/a\n";
        let read = Renewal::read(text);
        assert_eq!((read.account.as_deref(), read.key.unwrap().kind), (Some("5e1f"), KeyKind::Rsa));
        assert_eq!((read.webroots.len(), read.preferred_chain), (2, None));
        assert_eq!(Renewal::usual_webroot(text).as_deref(), Some("/srv/b"));
        assert!(!Renewal::is_resting(text) && Renewal::is_resting("[renewalparams]\nautorenew = False\n"));
    }
}
