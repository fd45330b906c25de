//! The settings of a whole file: what is left when every directive has been seen.

use plugin_api::config::{Problem, Problems, Source, Span};

use super::{
    address::{Hosts, Local},
    argument::{Arguments, At},
    directive::{Client, Directive, FilterType, LogLevel},
    line::{self, Line, is_blank, is_space},
    refusal,
    reverse::Reverse,
    upstream::Rule,
    warning::Warnings,
};

/// A file. What may stand several times is a list, of everything else the last one counts.
#[derive(Debug, Default)]
pub(super) struct Conf {
    pub(super) port: Option<At<u16>>,
    pub(super) listen: Vec<At<Local>>,
    pub(super) process: Process,
    pub(super) log: Log,
    pub(super) pages: Pages,
    pub(super) access: Option<List<AccessRule>>,
    pub(super) auth: Auth,
    pub(super) filter: Filter,
    pub(super) headers: Headers,
    pub(super) reverse: Reverse,
    pub(super) outgoing: Outgoing,
}

/// What exists as soon as a directive names it, even if that one is dropped: an empty list lets nobody in.
#[derive(Debug)]
pub(super) struct List<T> {
    /// The first directive.
    pub(super) span: Span,
    pub(super) items: Vec<At<T>>,
}

#[derive(Debug, Default)]
pub(super) struct Process {
    pub(super) user: Option<At<String>>,
    pub(super) group: Option<At<String>>,
    pub(super) pid_file: Option<At<String>>,
    pub(super) max_clients: Option<At<u32>>,
    /// In seconds.
    pub(super) timeout: Option<At<u32>>,
}

#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) file: Option<At<String>>,
    pub(super) syslog: Option<At<bool>>,
    pub(super) level: Option<At<LogLevel>>,
}

/// Whose error pages are served.
#[derive(Debug, Default)]
pub(super) struct Pages {
    /// Each status once.
    pub(super) files: Vec<At<(u16, String)>>,
    pub(super) default: Option<At<String>>,
    pub(super) stat_host: Option<At<String>>,
    pub(super) stat_file: Option<At<String>>,
}

/// The first that is about a client decides; as soon as there is a list, all others are denied.
#[derive(Debug)]
pub(super) enum AccessRule {
    Allow(Hosts),
    Deny(Hosts),
}

#[derive(Debug, Default)]
pub(super) struct Auth {
    /// Who may use the proxy, as soon as there is one `BasicAuth`.
    pub(super) users: Option<List<(String, String)>>,
    pub(super) realm: Option<At<String>>,
}

#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) file: Option<At<String>>,
    pub(super) extended: Option<Span>,
    pub(super) wildcards: Option<Span>,
    pub(super) urls: Option<Span>,
    pub(super) default_deny: Option<Span>,
    pub(super) case_sensitive: Option<Span>,
}

#[derive(Debug, Default)]
pub(super) struct Headers {
    pub(super) anonymous: Vec<At<String>>,
    pub(super) add: Vec<At<(String, String)>>,
    pub(super) via_name: Option<At<String>>,
    pub(super) no_via: Option<At<bool>>,
    pub(super) x_tinyproxy: Option<At<bool>>,
}

#[derive(Debug, Default)]
pub(super) struct Outgoing {
    pub(super) connect_ports: Vec<At<u32>>,
    pub(super) bind: Vec<At<Result<Local, String>>>,
    pub(super) bind_same: Option<At<bool>>,
    /// In the order of the file; the last that is about a host counts.
    pub(super) upstreams: Vec<At<Rule>>,
}

impl Conf {
    /// Reads a file. What tinyproxy would refuse and cannot be understood either is a problem.
    pub(super) fn read(source: &Source, warnings: &mut Warnings, problems: &mut Problems) -> Self {
        let mut conf = Self::default();
        let mut has_crlf = false;
        for line in line::lines(source.text()) {
            if line.text.ends_with('\r') && !line.text.trim().is_empty() && !has_crlf {
                has_crlf = true;
                let end = line.start + line.text.len() - 1;
                warnings.push(end..end + 1, "lines end with CR LF; tinyproxy refuses such a file");
            }
            match read_line(line, warnings) {
                Ok(directives) => {
                    for (span, directive) in directives {
                        if let Some(remark) = source.text().get(span.clone()).and_then(|text| directive.remark(text)) {
                            warnings.push(span.clone(), remark);
                        }
                        conf.add(span, directive, warnings);
                    }
                }
                Err(problem) => problems.push(problem),
            }
        }
        conf
    }

    fn add(&mut self, span: Span, directive: Directive, warnings: &mut Warnings) {
        match directive {
            Directive::Allow(client) => self.add_access(span, client, AccessRule::Allow, warnings),
            Directive::Deny(client) => self.add_access(span, client, AccessRule::Deny, warnings),
            Directive::BasicAuth { user, password } => self.auth.add(span, user, password, warnings),
            Directive::BasicAuthRealm(realm) => self.auth.realm = Some(realm),
            Directive::Filter(file) => self.filter.file = Some(file),
            // These stay on once they are on.
            Directive::FilterType(At { value: FilterType::Basic, .. }) => {}
            Directive::FilterType(At { value: FilterType::Extended, .. }) => self.filter.extended = Some(span),
            Directive::FilterType(At { value: FilterType::Wildcards, .. }) => self.filter.wildcards = Some(span),
            Directive::FilterExtended(on) => {
                warnings.push(span.clone(), "`FilterExtended` is deprecated in favour of `FilterType ere`");
                keep(&mut self.filter.extended, &on, span);
            }
            Directive::FilterUrls(on) => keep(&mut self.filter.urls, &on, span),
            Directive::FilterDefaultDeny(on) => keep(&mut self.filter.default_deny, &on, span),
            Directive::FilterCaseSensitive(on) => keep(&mut self.filter.case_sensitive, &on, span),
            Directive::AddHeader { name, value } => {
                self.headers.add.push(At { value: (name.value, value.value), span });
            }
            Directive::Anonymous(name) => self.headers.anonymous.push(name),
            Directive::ViaProxyName(name) => self.headers.via_name = Some(name),
            Directive::DisableViaHeader(on) => self.headers.no_via = Some(on),
            Directive::XTinyproxy(on) => self.headers.x_tinyproxy = Some(on),
            Directive::ReversePath { path, url } => self.reverse.add(span, path, url, warnings),
            Directive::ReverseOnly(on) => self.reverse.only = Some(on),
            Directive::ReverseMagic(on) => self.reverse.magic = Some(on),
            Directive::ReverseBaseUrl(url) => self.reverse.base_url = Some(url),
            Directive::Obsolete(name) => {
                warnings.push(span, format!("`{name}` is obsolete in tinyproxy too and has no effect"));
            }
            Directive::StatFile(path) => self.pages.stat_file = Some(path),
            Directive::StatHost(host) => self.pages.stat_host = Some(host),
            Directive::ErrorFile { status, path } => self.pages.add(span, &status, path.value, warnings),
            Directive::DefaultErrorFile(path) => self.pages.default = Some(path),
            Directive::Port(port) => self.port = Some(port),
            Directive::Listen(address) => self.listen.push(address),
            Directive::User(name) => self.process.user = Some(name),
            Directive::Group(name) => self.process.group = Some(name),
            Directive::PidFile(path) => self.process.pid_file = Some(path),
            Directive::MaxClients(number) => self.process.max_clients = Some(number),
            Directive::Timeout(seconds) => self.process.timeout = Some(seconds),
            Directive::LogFile(path) => self.log.file = Some(path),
            Directive::Syslog(on) => self.log.syslog = Some(on),
            Directive::LogLevel(level) => self.log.level = Some(level),
            Directive::ConnectPort(port) => self.outgoing.connect_ports.push(port),
            Directive::Bind(address) => self.outgoing.bind.push(address),
            Directive::BindSame(on) => self.outgoing.bind_same = Some(on),
            Directive::Upstream(upstream) => {
                if let Some(ignored) = upstream.ignored {
                    warnings.push(ignored, "this has no effect, as in tinyproxy");
                }
                match upstream.rule {
                    Ok(rule) => self.outgoing.add(span, rule, warnings),
                    Err(dropped) => warnings.push(span, dropped.reason()),
                }
            }
        }
    }

    fn add_access(
        &mut self,
        span: Span,
        client: At<Client>,
        rule: impl FnOnce(Hosts) -> AccessRule,
        warnings: &mut Warnings,
    ) {
        // A rule that is dropped still makes it a list, and so denies everybody else.
        let list = self.access.get_or_insert_with(|| List { span: span.clone(), items: Vec::new() });
        match client.value.hosts {
            Some(hosts) => list.items.push(At { value: rule(hosts), span }),
            None => {
                let text = client.value.text;
                let message = format!(
                    "`{text}` is no network: like tinyproxy, the line is ignored, but who is not allowed is denied"
                );
                warnings.push(client.span, message);
            }
        }
    }
}

/// What a line says. A long one is read as tinyproxy reads it if that makes sense, and else as one line.
fn read_line(line: Line<'_>, warnings: &mut Warnings) -> Result<Vec<(Span, Directive)>, Problem> {
    let parts = line::parts(line);
    if parts.len() > 1 {
        let read: Result<Vec<_>, _> = parts.iter().map(|part| read_strictly(*part)).collect();
        let message = "tinyproxy cuts this line after 2047 bytes";
        if let Ok(read) = read {
            // A line without the rest of a comment, or blanks: nothing to say.
            let directives: Vec<_> = read.into_iter().flatten().collect();
            if !directives.is_empty() {
                warnings.push(line.start..line.start + 1, format!("{message}, and so it is read here"));
            }
            return Ok(directives);
        }
        warnings
            .push(line.start..line.start + 1, format!("{message} and refuses the file; it is read as one line here"));
    }
    let problem = match read_strictly(line) {
        Ok(directive) => return Ok(Vec::from_iter(directive)),
        Err(problem) => problem,
    };
    let text = line.text.trim_start_matches(is_space);
    if text.starts_with('#') {
        let start = line.start + line.text.len() - text.len();
        warnings.push(start..start + 1, "a comment that does not start in the first column; tinyproxy refuses it");
        return Ok(Vec::new());
    }
    let code = without_comment(line.text);
    let clean = Line { text: code.trim_end_matches([' ', '\t', '\r']), start: line.start };
    if clean.text.len() == line.text.len() {
        return Err(problem);
    }
    let directive = read_strictly(clean)?;
    if code.len() < line.text.len() {
        let start = line.start + code.len();
        warnings.push(start..start + 1, "a comment at the end of a line; tinyproxy refuses it");
    }
    Ok(Vec::from_iter(directive))
}

/// Reads a line by tinyproxy's own grammar.
fn read_strictly(line: Line<'_>) -> Result<Option<(Span, Directive)>, Problem> {
    let text = line.text.trim_start_matches(is_space);
    if line.text.starts_with('#') || text.is_empty() {
        return Ok(None);
    }
    let (name, rest) = text.split_at(text.find(is_space).unwrap_or(text.len()));
    let start = line.start + line.text.len() - text.len();
    let directive = Directive::parse(name, Arguments::new(start..start + name.len(), rest, start + name.len()))?;
    Ok(Some((start..start + text.trim_end_matches(is_space).len(), directive)))
}

/// The text before the first `#` that follows a blank outside of quotes.
fn without_comment(text: &str) -> &str {
    let (mut quoted, mut after_blank) = (false, false);
    for (at, character) in text.char_indices() {
        match character {
            '"' => quoted = !quoted,
            '#' if !quoted && after_blank => return text.split_at(at).0,
            _ => {}
        }
        after_blank = is_blank(character);
    }
    text
}

/// A switch that stays on.
fn keep(switch: &mut Option<Span>, on: &At<bool>, span: Span) {
    if on.value {
        switch.get_or_insert(span);
    }
}

impl Auth {
    fn add(&mut self, span: Span, user: String, password: String, warnings: &mut Warnings) {
        if user.split(is_blank).any(|word| word.starts_with('#')) {
            warnings
                .push(span.clone(), "`#` starts no comment here: it belongs to the name of the user, as in tinyproxy");
        }
        let users = self.users.get_or_insert_with(|| List { span: span.clone(), items: Vec::new() });
        if user.len() + password.len() > LONGEST_CREDENTIALS {
            warnings.push(span, "the user and password are too long: like tinyproxy, the line is ignored");
        } else if user.contains(char::is_control) {
            // Nobody is let in by it, which is what becomes of all others, too.
            warnings.push(span, "the name of a user has no control characters (RFC 7617): the line is ignored");
        } else {
            users.items.push(At { value: (user, password), span });
        }
    }
}

impl Pages {
    fn add(&mut self, span: Span, status: &At<u32>, path: String, warnings: &mut Warnings) {
        match u16::try_from(status.value) {
            Ok(status) if self.files.iter().any(|known| known.value.0 == status) => {
                warnings
                    .push(span, format!("there is a page for {status}: like in tinyproxy, the first one is served"));
            }
            Ok(status) => self.files.push(At { value: (status, path), span }),
            Err(_) => warnings.push(span, "no answer has this status"),
        }
    }
}

impl Headers {
    /// Whether a header of `AddHeader` reaches anybody.
    pub(super) fn sends(&self, header: &At<(String, String)>) -> bool {
        let name = &header.value.0;
        let mut kept = self.anonymous.iter().map(|kept| kept.value.as_str()).chain(ALWAYS_KEPT);
        let passes = self.anonymous.is_empty() || kept.any(|kept| kept.eq_ignore_ascii_case(name));
        passes && !name.eq_ignore_ascii_case("host") && refusal::of_added(&header.value).is_none()
    }
}

impl Outgoing {
    fn add(&mut self, span: Span, rule: Rule, warnings: &mut Warnings) {
        if let Some(refusal) = rule.hosts.as_ref().and_then(|hosts| refusal::of_site(&hosts.value)) {
            // A mask with many holes is the only one of these that hosts could match.
            warnings.push(span, format!("{refusal}: no host matches it, and the line is ignored"));
        } else if rule.hosts.is_none() && self.upstreams.iter().any(|known| known.value.hosts.is_none()) {
            warnings.push(span, "there is another upstream for all hosts: like tinyproxy, this one is ignored");
        } else {
            self.upstreams.push(At { value: rule, span });
        }
    }
}

/// These pass `Anonymous` without being named.
const ALWAYS_KEPT: [&str; 2] = ["Content-Length", "Content-Type"];
/// tinyproxy joins both with a colon in a buffer of 258 bytes.
const LONGEST_CREDENTIALS: usize = 256;
