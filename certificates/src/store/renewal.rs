//! `renewal/NAME.conf`: how a certificate was obtained, in certbot's words.

use std::path::Path;

use authenticator_api::DomainName;

use crate::Internal;

/// How a certificate was obtained, so that it can be renewed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The authority's directory URL, or [`Internal::SERVER`].
    pub server: String,
    /// `standalone` or `webroot`.
    pub authenticator: String,
    /// Each name with its webroot.
    pub webroots: Vec<(DomainName, String)>,
}

impl Renewal {
    /// The directory URL that such a file names.
    pub(super) fn server_in(text: &str) -> Option<String> {
        let mut file = Ini::parse(text);
        let line = file.lines(PARAMETERS).iter().find(|line| key_of(line) == Some("server"))?;
        Some(line.split_once('=')?.1.trim().to_owned())
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
        file.set(PARAMETERS, "authenticator", &self.authenticator);
        file.set(PARAMETERS, "server", &self.server);
        file.set(PARAMETERS, "key_type", "ecdsa");
        if self.server == Internal::SERVER {
            // certbot cannot ask this server, and would fail for it at every run.
            file.set(PARAMETERS, "autorenew", "False");
        } else {
            file.remove(PARAMETERS, "autorenew", "False");
        }
        if let Some((_, path)) = self.webroots.first() {
            file.set(PARAMETERS, "webroot_path", &format!("{path},"));
        }
        for (domain, path) in &self.webroots {
            file.set(WEBROOTS, domain.as_str(), path);
        }
        file.text()
    }
}

/// The lowest certbot whose reader understands what we write.
const VERSION: &str = "2.1.0";
const TOP: &str = "";
const PARAMETERS: &str = "[renewalparams]";
const WEBROOTS: &str = "[[webroot_map]]";

/// Sections in order, each with its lines; enough of ConfigObj's format to change values and keep the rest.
struct Ini(Vec<(String, Vec<String>)>);

impl Ini {
    fn parse(text: &str) -> Self {
        let mut sections = vec![(TOP.to_owned(), Vec::new())];
        for line in text.lines() {
            if line.trim_start().starts_with('[') {
                sections.push((line.trim().to_owned(), Vec::new()));
            } else if let Some((_, lines)) = sections.last_mut() {
                lines.push(line.to_owned());
            }
        }
        Self(sections)
    }

    fn set_default(&mut self, section: &str, key: &str, value: &str) {
        if !self.lines(section).iter().any(|line| key_of(line) == Some(key)) {
            self.set(section, key, value);
        }
    }

    fn set(&mut self, section: &str, key: &str, value: &str) {
        let line = format!("{key} = {value}");
        let lines = self.lines(section);
        match lines.iter_mut().find(|line| key_of(line) == Some(key)) {
            Some(old) => *old = line,
            None => lines.push(line),
        }
    }

    /// Removes a key that has this value.
    fn remove(&mut self, section: &str, key: &str, value: &str) {
        let is_it = |line: &String| {
            key_of(line) == Some(key) && line.split_once('=').is_some_and(|(_, found)| found.trim() == value)
        };
        self.lines(section).retain(|line| !is_it(line));
    }

    fn lines(&mut self, section: &str) -> &mut Vec<String> {
        let at = self.0.iter().position(|(name, _)| name == section).unwrap_or_else(|| {
            // A subsection follows its section directly.
            let end = match section.starts_with("[[") {
                true => self.0.iter().position(|(name, _)| name == PARAMETERS).map_or(self.0.len(), |at| at + 1),
                false => self.0.len(),
            };
            self.0.insert(end, (section.to_owned(), Vec::new()));
            end
        });
        &mut self.0[at].1
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, lines) in &self.0 {
            if !name.is_empty() {
                text.push_str(name);
                text.push('\n');
            }
            for line in lines {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }
}

fn key_of(line: &str) -> Option<&str> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    (!key.starts_with('#')).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_ours_stays() {
        let renewal = Renewal {
            server: "https://ca.example/dir".into(),
            authenticator: "webroot".into(),
            webroots: vec![(DomainName::parse("a.example").unwrap(), "/srv/a".into())],
        };
        let old = "# renew_before_expiry = 30 days\nversion = 5.6.0\ncert = /old\n[renewalparams]\naccount = abc\nserver = old\n[[webroot_map]]\nb.example = /srv/b\n[other]\nx = 1\n";
        let text = renewal.written_into(old, Path::new("/etc/letsencrypt"), "a.example");
        for kept in [
            "# renew_before_expiry = 30 days\n",
            "version = 5.6.0\n",
            "account = abc\n",
            "b.example = /srv/b\n",
            "[other]\nx = 1\n",
        ] {
            assert!(text.contains(kept), "{kept} is not in\n{text}");
        }
        assert!(text.contains("cert = /etc/letsencrypt/live/a.example/cert.pem\n") && !text.contains("/old"));
        assert!(text.contains("server = https://ca.example/dir\n") && !text.contains("server = old"));
        assert!(text.contains("a.example = /srv/a\n"));
        assert_eq!(
            renewal.written_into(&text, Path::new("/etc/letsencrypt"), "a.example"),
            text,
            "writing again changes nothing"
        );
    }
}
