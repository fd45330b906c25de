//! ConfigObj's format, as much of it as changing values and keeping the rest takes.

/// Sections in order, each with its lines. The first has no name.
pub(super) struct Ini(Vec<(String, Vec<String>)>);

impl Ini {
    pub(super) fn parse(text: &str) -> Self {
        let mut sections = vec![(String::new(), Vec::new())];
        for line in text.lines() {
            if line.trim_start().starts_with('[') {
                sections.push((line.trim().to_owned(), Vec::new()));
            } else if let Some((_, lines)) = sections.last_mut() {
                lines.push(line.to_owned());
            }
        }
        Self(sections)
    }

    /// The values of a key, of which a list has several. `None` when it is not there.
    pub(super) fn values(&self, section: &str, key: &str) -> Option<Vec<String>> {
        let (_, lines) = self.0.iter().find(|(name, _)| name == section)?;
        let line = lines.iter().find(|line| key_of(line) == Some(key))?;
        Some(values(line.split_once('=')?.1))
    }

    /// The value of a key that is no list.
    pub(super) fn value(&self, section: &str, key: &str) -> Option<String> {
        self.values(section, key)?.into_iter().next().filter(|value| value != "None")
    }

    /// All keys of a section with their values.
    pub(super) fn pairs(&self, section: &str) -> impl Iterator<Item = (&str, Vec<String>)> {
        let lines = self.0.iter().filter(move |(name, _)| name == section).flat_map(|(_, lines)| lines);
        lines.filter_map(|line| Some((key_of(line)?, values(line.split_once('=')?.1))))
    }

    pub(super) fn has(&self, section: &str) -> bool {
        self.0.iter().any(|(name, _)| name == section)
    }

    /// Removes a section.
    pub(super) fn drop(&mut self, section: &str) {
        self.0.retain(|(name, _)| name != section);
    }

    pub(super) fn set_default(&mut self, section: &str, key: &str, value: &str) {
        if self.values(section, key).is_none() {
            self.set(section, key, value);
        }
    }

    pub(super) fn set(&mut self, section: &str, key: &str, value: &str) {
        self.put(section, key, &quoted(value));
    }

    /// Sets a list, of which ConfigObj knows one with a single value by the comma after it.
    pub(super) fn set_list(&mut self, section: &str, key: &str, values: &[&str]) {
        let list: String = values.iter().map(|value| quoted(value) + ", ").collect();
        self.put(section, key, list.trim_end().trim_end_matches(if values.len() > 1 { ',' } else { ' ' }));
    }

    fn put(&mut self, section: &str, key: &str, written: &str) {
        let line = format!("{key} = {written}");
        let lines = self.lines(section);
        match lines.iter_mut().find(|line| key_of(line) == Some(key)) {
            Some(old) => *old = line,
            None => lines.push(line),
        }
    }

    pub(super) fn remove(&mut self, section: &str, key: &str) {
        self.lines(section).retain(|line| key_of(line) != Some(key));
    }

    fn lines(&mut self, section: &str) -> &mut Vec<String> {
        let at = self.0.iter().position(|(name, _)| name == section).unwrap_or_else(|| {
            // A subsection follows its section directly.
            let end = match section.starts_with("[[") {
                true => self.0.iter().position(|(name, _)| name == super::PARAMETERS).map_or(self.0.len(), |at| at + 1),
                false => self.0.len(),
            };
            self.0.insert(end, (section.to_owned(), Vec::new()));
            end
        });
        &mut self.0[at].1
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for (name, lines) in &self.0 {
            for line in Some(name).filter(|name| !name.is_empty()).into_iter().chain(lines) {
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
    (!key.starts_with('#')).then_some(key.trim_matches(['"', '\'']))
}

/// What is written after `=`: values between commas, some of them quoted, and a comment perhaps.
fn values(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let quote = rest.chars().next().filter(|first| ['"', '\''].contains(first));
        let quoted = quote.and_then(|quote| rest.get(1..)?.split_once(quote));
        let (value, after) = match quoted {
            Some((value, after)) => (value, after.trim_start()),
            None => rest.split_at(rest.find([',', '#']).unwrap_or(rest.len())),
        };
        found.push(if quoted.is_some() { value.to_owned() } else { value.trim().to_owned() });
        rest = after.strip_prefix(',').unwrap_or_default().trim_start();
    }
    found
}

/// A value as ConfigObj reads it. It knows no escapes: what has quotes of both kinds is put into three of a kind.
fn quoted(value: &str) -> String {
    let is_plain = !value.is_empty()
        && value.trim() == value
        && !value.contains([',', '#', '\n'])
        && !value.starts_with(['"', '\'']);
    match (is_plain, value.contains('"'), value.contains('\'')) {
        (true, ..) => value.to_owned(),
        (false, false, _) => format!("\"{value}\""),
        (false, true, false) => format!("'{value}'"),
        (false, true, true) => format!("'''{value}'''"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut ini = Ini::parse("");
        for value in ["/srv/a", "a, b", "true # no", " x ", "", "say \"hi\", all", "it's", "'q'"] {
            ini.set("", "key", value);
            assert_eq!(Ini::parse(&ini.text()).values("", "key"), Some(vec![value.to_owned()]), "{}", ini.text());
        }
        for list in [&["/srv/a"][..], &["/srv/a", "b,c"], &["a", "b", "c"]] {
            ini.set_list("", "key", list);
            assert_eq!(Ini::parse(&ini.text()).values("", "key").unwrap(), list, "{}", ini.text());
        }
        ini.set_list("", "key", &["/srv/a"]);
        assert_eq!(ini.text(), "key = /srv/a,\n");
        ini.remove("", "key");
        assert_eq!((ini.values("", "key"), ini.text().as_str()), (None, ""));
    }
}
