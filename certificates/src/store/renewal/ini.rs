//! ConfigObj's format, as much of it as changing values and keeping the rest takes.

/// Sections in order. The first has no name.
pub(super) struct Ini(Vec<Section>);

struct Section {
    /// Its brackets and name, without blanks that make no difference.
    name: String,
    /// Its header as it is written.
    header: String,
    /// What stands below it: keys with their values, comments, empty lines. A value in triple quotes may have several lines.
    entries: Vec<String>,
}

impl Ini {
    pub(super) fn parse(text: &str) -> Self {
        let mut sections = vec![Section { name: String::new(), header: String::new(), entries: Vec::new() }];
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(section) = sections.last_mut() else { break };
            if line.trim_start().starts_with('[') {
                sections.push(Section { name: name_of(line), header: line.to_owned(), entries: Vec::new() });
                continue;
            }
            let mut entry = line.to_owned();
            let open =
                key_of(line).and_then(|_| line.split_once('=')).and_then(|(_, value)| triple(value.trim_start()));
            if let Some((quotes, inner)) = open
                && !inner.contains(quotes)
            {
                for line in lines.by_ref() {
                    entry.push('\n');
                    entry.push_str(line);
                    if line.contains(quotes) {
                        break;
                    }
                }
            }
            section.entries.push(entry);
        }
        Self(sections)
    }

    pub(super) fn has(&self, section: &str) -> bool {
        self.0.iter().any(|found| found.name == section)
    }

    /// Removes a section.
    pub(super) fn drop(&mut self, section: &str) {
        self.0.retain(|found| found.name != section);
    }

    /// The values of a key, of which a list has several. `None` when it is not there.
    pub(super) fn values(&self, section: &str, key: &str) -> Option<Vec<String>> {
        self.pairs(section).find(|(found, _)| *found == key).map(|(_, values)| values)
    }

    /// The value of a key that is no list.
    pub(super) fn value(&self, section: &str, key: &str) -> Option<String> {
        self.values(section, key)?.into_iter().next().filter(|value| value != "None")
    }

    /// All keys of a section with their values.
    pub(super) fn pairs(&self, section: &str) -> impl Iterator<Item = (&str, Vec<String>)> {
        let entries = self.0.iter().filter(move |found| found.name == section).flat_map(|found| &found.entries);
        entries.filter_map(|entry| Some((key_of(entry)?, values(entry.split_once('=')?.1))))
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
        let entry = format!("{key} = {written}");
        let entries = self.entries(section);
        match entries.iter_mut().find(|entry| key_of(entry) == Some(key)) {
            Some(old) => *old = entry,
            None => entries.push(entry),
        }
    }

    pub(super) fn remove(&mut self, section: &str, key: &str) {
        self.entries(section).retain(|entry| key_of(entry) != Some(key));
    }

    fn entries(&mut self, section: &str) -> &mut Vec<String> {
        let at = self.0.iter().position(|found| found.name == section).unwrap_or_else(|| {
            // A subsection follows its section directly.
            let parent = self.0.iter().position(|found| found.name == super::PARAMETERS);
            let end = match section.starts_with("[[") {
                true => parent.map_or(self.0.len(), |at| at + 1),
                false => self.0.len(),
            };
            self.0.insert(end, Section { name: section.to_owned(), header: section.to_owned(), entries: Vec::new() });
            end
        });
        &mut self.0[at].entries
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Section { header, entries, .. } in &self.0 {
            for line in Some(header).filter(|header| !header.is_empty()).into_iter().chain(entries) {
                text.push_str(line);
                text.push('\n');
            }
        }
        text
    }
}

/// Brackets and name: there may be blanks between them, and a comment behind.
fn name_of(header: &str) -> String {
    let depth = header.trim_start().chars().take_while(|character| *character == '[').count();
    let name = header.trim_start().trim_start_matches('[').split(']').next().unwrap_or_default().trim();
    format!("{}{}{}", "[".repeat(depth), name.trim_matches(['"', '\'']), "]".repeat(depth))
}

fn key_of(entry: &str) -> Option<&str> {
    let (key, _) = entry.split_once('=')?;
    let key = key.trim();
    (!key.starts_with('#')).then_some(key.trim_matches(['"', '\'']))
}

/// The quotes that a value begins with, if there are three of them, and what follows.
fn triple(value: &str) -> Option<(&'static str, &str)> {
    ["'''", "\"\"\""].into_iter().find_map(|quotes| Some((quotes, value.strip_prefix(quotes)?)))
}

/// What is written after `=`: values between commas, some of them quoted, and a comment perhaps.
fn values(text: &str) -> Vec<String> {
    let mut rest = text.trim_start();
    // Whatever has three quotes is no list.
    if let Some((quotes, inner)) = triple(rest) {
        return vec![inner.rsplit_once(quotes).map_or(inner, |(value, _comment)| value).to_owned()];
    }
    let mut found = Vec::new();
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

/// A value as ConfigObj reads it. It knows no escapes: what has quotes of both kinds, or several lines, is put into three of a kind.
fn quoted(value: &str) -> String {
    let is_plain = !value.is_empty()
        && value.trim() == value
        && !value.contains([',', '#', '\n', '"', '\''])
        && triple(value).is_none();
    let is_simple = !value.contains('\n');
    match (is_plain, value.contains('"'), value.contains('\'')) {
        (true, ..) => value.to_owned(),
        (false, false, _) if is_simple => format!("\"{value}\""),
        (false, true, false) if is_simple => format!("'{value}'"),
        (false, false, _) => format!("\"\"\"{value}\"\"\""),
        (false, true, _) => format!("'''{value}'''"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let mut ini = Ini::parse("");
        for value in [
            "/srv/a",
            "a, b",
            "true # no",
            " x ",
            "",
            "say \"hi\", all",
            "it's",
            "'q'",
            "sh -c 'echo \"x\"'",
            "sh -c 'echo \"x\"', # \"y\" it's",
            "one\ntwo 'three' \"four\"",
            "one\ntwo",
        ] {
            ini.set("", "key", value);
            ini.set("", "after", "1");
            let again = Ini::parse(&ini.text());
            assert_eq!(again.values("", "key"), Some(vec![value.to_owned()]), "{}", ini.text());
            assert_eq!((again.value("", "after").as_deref(), again.text()), (Some("1"), ini.text()));
        }
        for list in [&["/srv/a"][..], &["/srv/a", "b,c"], &["a", "b", "c"]] {
            ini.set_list("", "key", list);
            assert_eq!(Ini::parse(&ini.text()).values("", "key").unwrap(), list, "{}", ini.text());
        }
        ini.set_list("", "key", &["/srv/a"]);
        assert_eq!(ini.text(), "key = /srv/a,\nafter = 1\n");
        ini.remove("", "key");
        assert_eq!((ini.values("", "key"), ini.text().as_str()), (None, "after = 1\n"));
    }

    #[test]
    fn a_header_may_be_written_loosely() {
        let text = "[ renewalparams ]  # what was asked for\nserver = x\n [[ webroot_map ]]\na = /a\n";
        let mut ini = Ini::parse(text);
        assert_eq!(ini.value("[renewalparams]", "server").as_deref(), Some("x"));
        ini.set("[[webroot_map]]", "a", "/b");
        assert_eq!(ini.text(), text.replace("/a", "/b"));
    }
}
