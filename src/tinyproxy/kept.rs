//! What one file leaves to the next: tinyproxy listens where it listened, and its level stays what it was set to last.

use plugin_api::config::Span;

use super::{address::Local, argument::At, conf::Conf, directive::LogLevel, warning::Warnings};

/// What a reload keeps of the file before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kept {
    port: u16,
    listen: Vec<Local>,
    level: Option<LogLevel>,
}

impl Kept {
    /// What is to be kept of a file, whose port this is.
    pub(super) fn of(conf: &Conf, port: u16) -> Self {
        let listen = conf.listen.iter().map(|listen| listen.value.clone()).collect();
        Self { port, listen, level: conf.log.level.as_ref().map(|level| level.value) }
    }

    /// Makes a later file say what is kept, at the places where it says something else.
    pub(super) fn put(&self, conf: &mut Conf, warnings: &mut Warnings) {
        let Some(port) = conf.port.as_mut() else { return };
        let place = port.span.clone();
        if port.value != self.port {
            warnings.push(place.clone(), format!("`Port` {RESTART}: it stays {}", self.port));
            port.value = self.port;
        }
        if conf.listen.iter().map(|listen| &listen.value).ne(&self.listen) {
            let first = conf.listen.first().map_or_else(|| place.clone(), |listen| listen.span.clone());
            warnings.push(first.clone(), format!("`Listen` {RESTART}: its addresses stay what they were"));
            conf.listen = self.listen.iter().map(|local| at(local.clone(), &first)).collect();
        }
        if conf.log.level.is_none() {
            conf.log.level = self.level.map(|level| at(level, &place));
        }
    }
}

fn at<T>(value: T, span: &Span) -> At<T> {
    At { value, span: span.clone() }
}

const RESTART: &str = "can only change with a restart";

#[cfg(test)]
mod tests {
    use plugin_api::config::Source;

    use super::super::{Mode, Surroundings, Translation, translate};

    fn read(text: &str, before: Option<&Translation>) -> Translation {
        let mut surroundings = Surroundings::here(Mode::Foreground);
        surroundings.kept = before.map(|before| before.kept.clone());
        surroundings.is_root = false;
        translate(&Source::new("t.conf", text), &surroundings).unwrap()
    }

    fn told(translation: &Translation) -> Vec<(usize, &str)> {
        translation.warnings.lines().collect()
    }

    #[test]
    fn addresses_stay_and_the_rest_changes() {
        let first = read("Port 8888\nListen 127.0.0.1\n", None);
        for (text, expected) in [
            ("Port 8888\nListen 127.0.0.1\nTimeout 5\n", vec![]),
            (
                "Timeout 5\nListen 127.0.0.1\nPort 80\n",
                vec![(3, "`Port` can only change with a restart: it stays 8888")],
            ),
            (
                "Port 8888\nTimeout 5\nListen 999.1.1.1\n",
                vec![(3, "`Listen` can only change with a restart: its addresses stay what they were")],
            ),
            (
                "Port 8888\nTimeout 5\n",
                vec![(1, "`Listen` can only change with a restart: its addresses stay what they were")],
            ),
        ] {
            let next = read(text, Some(&first));
            assert!(next.toml().contains("address = [\"127.0.0.1:8888\"]"), "{text}{}", next.toml());
            assert!(next.toml().contains("read_timeout = \"5s\"") || text.lines().count() == 2, "{text}");
            assert_eq!(told(&next), expected, "{text}");
            assert_eq!(next.kept, first.kept);
        }
    }

    #[test]
    fn a_level_stays_until_another_one_is_set() {
        let first = read("Port 1\nLogLevel Connect\n", None);
        let second = read("Port 1\n", Some(&first));
        assert!(second.toml().contains("level = \"connect\""));
        let third = read("Port 1\n", Some(&second));
        assert!(third.toml().contains("level = \"connect\""));
        assert!(read("Port 1\nLogLevel Error\n", Some(&third)).toml().contains("level = \"error\""));
        assert_eq!(told(&third), []);
    }
}
