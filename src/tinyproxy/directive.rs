//! Directives: their names, and the grammar of their arguments.

use plugin_api::config::{Problem, did_you_mean};

use super::{
    address::{Hosts, Local, NotLocal, Numeric},
    argument::{Arguments, At},
    complaint::NOT_A_PORT,
    line::{is_blank, is_space},
    upstream::{self, Upstream},
};
use crate::octet;

/// A directive with its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Directive {
    AddHeader {
        name: At<String>,
        value: At<String>,
    },
    Allow(At<Client>),
    Anonymous(At<String>),
    BasicAuth {
        user: String,
        password: String,
    },
    BasicAuthRealm(At<String>),
    Bind(At<Result<Local, String>>),
    BindSame(At<bool>),
    ConnectPort(At<u32>),
    Deny(At<Client>),
    DefaultErrorFile(At<String>),
    ErrorFile {
        status: At<u32>,
        path: At<String>,
    },
    DisableViaHeader(At<bool>),
    Filter(At<String>),
    FilterCaseSensitive(At<bool>),
    FilterDefaultDeny(At<bool>),
    FilterExtended(At<bool>),
    FilterType(At<FilterType>),
    FilterUrls(At<bool>),
    Group(At<String>),
    Listen(At<Local>),
    LogFile(At<String>),
    LogLevel(At<LogLevel>),
    MaxClients(At<u32>),
    /// A directive that tinyproxy itself ignores, by its name.
    Obsolete(&'static str),
    PidFile(At<String>),
    Port(At<u16>),
    ReverseBaseUrl(At<String>),
    ReverseMagic(At<bool>),
    ReverseOnly(At<bool>),
    ReversePath {
        path: Option<At<String>>,
        url: At<String>,
    },
    StatFile(At<String>),
    StatHost(At<String>),
    Syslog(At<bool>),
    Timeout(At<u32>),
    Upstream(Upstream),
    User(At<String>),
    ViaProxyName(At<String>),
    XTinyproxy(At<bool>),
}

/// Whom `Allow` or `Deny` is about: the text, and what it means unless tinyproxy would drop it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Client {
    pub(super) text: String,
    pub(super) hosts: Option<Hosts>,
}

/// How the lines of a filter file are to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FilterType {
    Basic,
    Extended,
    Wildcards,
}

/// From which level on tinyproxy logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LogLevel {
    Critical,
    Error,
    Warning,
    Notice,
    Connect,
    Info,
}

impl Directive {
    /// Reads the arguments of the directive of this name, in any case.
    pub(super) fn parse(name: &str, mut arguments: Arguments<'_>) -> Result<Self, Problem> {
        let Some((_, parse)) = DIRECTIVES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)) else {
            let problem = Problem::new(arguments.keyword(), format!("unknown directive `{name}`"));
            return Err(match advice(name) {
                Some(hint) => problem.with_hint(hint),
                None => problem,
            });
        };
        let directive = parse(&mut arguments)?;
        arguments.end()?;
        Ok(directive)
    }

    /// What is to be said about the text of a directive that is not UTF-8.
    pub(super) fn remark(&self, text: &str) -> Option<&'static str> {
        match self {
            _ if !octet::has_any(text) => None,
            // These keep their bytes.
            Self::Filter(_) | Self::LogFile(_) | Self::PidFile(_) => None,
            Self::ReversePath { .. } | Self::ReverseBaseUrl(_) => None,
            Self::ErrorFile { .. } | Self::DefaultErrorFile(_) | Self::StatFile(_) => {
                Some("the name of this file is not UTF-8: it is not found, and a page of this program is shown")
            }
            Self::BasicAuth { .. } => {
                Some("this is not UTF-8: it is read as Latin-1, and clients may send it in either encoding")
            }
            _ => Some("this is not UTF-8: it is read as Latin-1, and used and sent as UTF-8"),
        }
    }
}

/// The names of all directives, in the order of the alphabet.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    DIRECTIVES.iter().map(|(name, _)| *name)
}

type Parse = fn(&mut Arguments<'_>) -> Result<Directive, Problem>;

/// Every directive of tinyproxy 1.11.
const DIRECTIVES: &[(&str, Parse)] = &[
    ("AddHeader", |a| Ok(Directive::AddHeader { name: a.quoted("a name")?, value: a.quoted("a value")? })),
    ("Allow", |a| client(a).map(Directive::Allow)),
    ("Anonymous", |a| a.quoted("the name of a header").map(Directive::Anonymous)),
    ("BasicAuth", basic_auth),
    ("BasicAuthRealm", |a| a.quoted("a realm").map(Directive::BasicAuthRealm)),
    ("Bind", bind),
    ("BindSame", |a| a.switch().map(Directive::BindSame)),
    ("ConnectPort", |a| a.number("a port").map(Directive::ConnectPort)),
    ("DefaultErrorFile", |a| a.quoted_bytes("a path").map(Directive::DefaultErrorFile)),
    ("Deny", |a| client(a).map(Directive::Deny)),
    ("DisableViaHeader", |a| a.switch().map(Directive::DisableViaHeader)),
    ("ErrorFile", error_file),
    ("Filter", |a| a.quoted_bytes("a path").map(Directive::Filter)),
    ("FilterCaseSensitive", |a| a.switch().map(Directive::FilterCaseSensitive)),
    ("FilterDefaultDeny", |a| a.switch().map(Directive::FilterDefaultDeny)),
    ("FilterExtended", |a| a.switch().map(Directive::FilterExtended)),
    ("FilterType", |a| a.choice(FILTER_TYPES).map(Directive::FilterType)),
    ("FilterURLs", |a| a.switch().map(Directive::FilterUrls)),
    ("Group", |a| a.name("the name of a group").map(Directive::Group)),
    ("Listen", listen),
    ("LogFile", |a| a.quoted_bytes("a path").map(Directive::LogFile)),
    ("LogLevel", |a| a.choice(LOG_LEVELS).map(Directive::LogLevel)),
    ("MaxClients", |a| a.number("a number").map(Directive::MaxClients)),
    ("MaxRequestsPerChild", |a| a.number("a number").map(|_| Directive::Obsolete("MaxRequestsPerChild"))),
    ("MaxSpareServers", |a| a.number("a number").map(|_| Directive::Obsolete("MaxSpareServers"))),
    ("MinSpareServers", |a| a.number("a number").map(|_| Directive::Obsolete("MinSpareServers"))),
    ("PidFile", |a| a.quoted_bytes("a path").map(Directive::PidFile)),
    ("Port", port),
    ("ReverseBaseURL", |a| a.quoted_bytes("a URL").map(Directive::ReverseBaseUrl)),
    ("ReverseMagic", |a| a.switch().map(Directive::ReverseMagic)),
    ("ReverseOnly", |a| a.switch().map(Directive::ReverseOnly)),
    ("ReversePath", reverse_path),
    ("StartServers", |a| a.number("a number").map(|_| Directive::Obsolete("StartServers"))),
    ("StatFile", |a| a.quoted_bytes("a path").map(Directive::StatFile)),
    ("StatHost", |a| a.quoted("a host").map(Directive::StatHost)),
    ("Syslog", |a| a.switch().map(Directive::Syslog)),
    ("Timeout", |a| a.number("a number of seconds").map(Directive::Timeout)),
    ("Upstream", |a| upstream::parse(a).map(Directive::Upstream)),
    ("User", |a| a.name("the name of a user").map(Directive::User)),
    ("ViaProxyName", |a| a.quoted("a name").map(Directive::ViaProxyName)),
    ("XTinyproxy", |a| a.switch().map(Directive::XTinyproxy)),
];

const FILTER_TYPES: &[(&str, FilterType)] =
    &[("bre", FilterType::Basic), ("ere", FilterType::Extended), ("fnmatch", FilterType::Wildcards)];

const LOG_LEVELS: &[(&str, LogLevel)] = &[
    ("critical", LogLevel::Critical),
    ("error", LogLevel::Error),
    ("warning", LogLevel::Warning),
    ("notice", LogLevel::Notice),
    ("connect", LogLevel::Connect),
    ("info", LogLevel::Info),
];

/// What was probably meant.
fn advice(name: &str) -> Option<String> {
    let hint = match name.to_ascii_lowercase().as_str() {
        "no" => "write `Upstream none \"host\"`",
        "include" => "there are no includes",
        name if name.contains('=') => "a blank separates a directive from its value",
        name if name.starts_with(['"', '\'']) => "a directive has no quotes",
        name if name.starts_with([';', '/']) => "a comment starts with `#`",
        name => {
            let known: Vec<_> = DIRECTIVES.iter().map(|(known, _)| known.to_ascii_lowercase()).collect();
            let known: Vec<_> = known.iter().map(String::as_str).collect();
            let hint = did_you_mean(name, &known)?;
            // Compared without case, shown as it is written.
            let meant = |known: &&(&str, Parse)| hint.contains(&format!("`{}`", known.0.to_ascii_lowercase()));
            return DIRECTIVES.iter().find(meant).map(|(known, _)| format!("did you mean `{known}`?"));
        }
    };
    Some(hint.to_owned())
}

fn port(arguments: &mut Arguments<'_>) -> Result<Directive, Problem> {
    let port = arguments.number("a port")?;
    match u16::try_from(port.value) {
        Ok(value) => Ok(Directive::Port(At { value, span: port.span })),
        Err(_) => Err(Problem::new(port.span, format!("{}{NOT_A_PORT}", port.value)).with_hint("the highest is 65535")),
    }
}

fn error_file(arguments: &mut Arguments<'_>) -> Result<Directive, Problem> {
    Ok(Directive::ErrorFile { status: arguments.number("a status")?, path: arguments.quoted_bytes("a path")? })
}

/// tinyproxy finds out about a wrong value when it listens, which is another error to those who started it.
fn listen(arguments: &mut Arguments<'_>) -> Result<Directive, Problem> {
    let word = arguments.word("an address")?;
    let local = match Local::parse(word.value) {
        Ok(local) => local,
        Err(NotLocal::Value) => Local { address: Numeric::Nobodys(word.value.to_owned()), scope: None },
        Err(NotLocal::Shape) => return Err(no_address(&word)),
    };
    Ok(Directive::Listen(At { value: local, span: word.span }))
}

/// The same, and then it tries the next one.
fn bind(arguments: &mut Arguments<'_>) -> Result<Directive, Problem> {
    let word = arguments.word("an address")?;
    match Local::parse(word.value) {
        Err(NotLocal::Shape) => Err(no_address(&word)),
        parsed => {
            let value = parsed.map_err(|_value| word.value.to_owned());
            Ok(Directive::Bind(At { value, span: word.span }))
        }
    }
}

fn no_address(word: &At<&str>) -> Problem {
    let text = word.value;
    let hint = match text.trim_matches(['[', ']', '"']) {
        "*" => "leave the directive out for all addresses",
        bare if bare != text && Local::parse(bare).is_ok() => "write it without brackets and quotes",
        bare if bare.parse::<std::net::SocketAddr>().is_ok() || text.contains("]:") => "`Port` sets the port",
        bare if bare.contains('.') && bare.rsplit_once(':').is_some() => "`Port` sets the port",
        _ => "write an address such as 127.0.0.1 or ::1; names are not looked up",
    };
    Problem::new(word.span.clone(), format!("`{text}` is not an address")).with_hint(hint)
}

fn client(arguments: &mut Arguments<'_>) -> Result<At<Client>, Problem> {
    let word = arguments.word("an address, a network or a name")?;
    if Hosts::is_client(word.value) {
        return Ok(word.map(|text| Client { text: text.to_owned(), hosts: Hosts::parse(text) }));
    }
    let problem = Problem::new(word.span.clone(), format!("`{}` is not an address, a network or a name", word.value));
    let unquoted = word.value.trim_matches('"');
    Err(match Hosts::parse(word.value) {
        Some(Hosts::Network(network)) if !network.has_holes() => problem.with_hint(format!("write {network}")),
        _ if word.value == "*" => problem.with_hint("write 0.0.0.0/0 and, on another line, ::/0"),
        _ if word.value.starts_with("*.") => {
            problem.with_hint("a dot in front means all names below it: `.example.com`")
        }
        _ if Hosts::is_client(unquoted) => problem.with_hint(format!("write {unquoted}, without quotes")),
        _ => problem.with_hint("write 192.0.2.7, 10.0.0.0/8, 2001:db8::/32, host.example.com or .example.com"),
    })
}

/// The last word is the password, everything before it the user.
fn basic_auth(arguments: &mut Arguments<'_>) -> Result<Directive, Problem> {
    let keyword = arguments.keyword();
    let rest = arguments.take_rest();
    let text = rest.value.trim_start_matches(is_blank);
    let start = rest.span.end - text.len();
    // tinyproxy takes a blank at the end for the separator, and the password is empty: nobody means that.
    let text = text.trim_end_matches(is_space);
    let Some((user, password)) = text.rsplit_once(is_blank) else {
        let (span, what) = if text.is_empty() {
            (keyword, "a user and a password are")
        } else {
            (start..start + text.len(), "a password is")
        };
        return Err(Problem::new(span, format!("{what} missing")).with_hint("write `BasicAuth user password`"));
    };
    let user = user.trim_end_matches(is_blank);
    if user.contains(':') {
        return Err(Problem::new(start..start + user.len(), "the name of a user must not have a colon")
            .with_hint("a blank separates the user from the password"));
    }
    if password.contains('@') {
        let at = start + text.len() - password.len();
        return Err(Problem::new(at..at + password.len(), "a password must not have an `@`"));
    }
    Ok(Directive::BasicAuth { user: octet::latin1(user), password: octet::latin1(password) })
}

fn reverse_path(arguments: &mut Arguments<'_>) -> Result<Directive, Problem> {
    let first = arguments.quoted_bytes("a path or a URL")?;
    if !arguments.has_more() {
        return Ok(Directive::ReversePath { path: None, url: first });
    }
    Ok(Directive::ReversePath { path: Some(first), url: arguments.quoted_bytes("a URL")? })
}
