//! `Upstream`: a parent proxy, or none, for all hosts or some.

use plugin_api::config::{Problem, Span};

use super::{
    address::Hosts,
    argument::{Arguments, At, is_name, number},
    line::is_blank,
};
use crate::octet;

/// What one directive says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Upstream {
    pub(super) rule: Result<Rule, Dropped>,
    /// What tinyproxy passes over: it looks for a rule anywhere in the line, and not beyond the end of a `none` rule.
    pub(super) ignored: Option<Span>,
}

/// Where requests to some hosts go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) way: Way,
    /// The hosts; all that no other rule is about when absent.
    pub(super) hosts: Option<At<Hosts>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Direct,
    Proxy(Proxy),
}

/// A parent proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proxy {
    pub(super) protocol: Protocol,
    /// A name or an address; IPv6 in brackets.
    pub(super) host: String,
    pub(super) port: u32,
    pub(super) credentials: Option<(String, String)>,
}

impl Proxy {
    /// Whether the user or the password is longer than SOCKS5 can say (RFC 1929 §2).
    pub(super) fn has_too_much_to_say(&self) -> bool {
        let is_long = |(user, password): &(String, String)| user.len() > 255 || password.len() > 255;
        self.protocol == Protocol::Socks5 && self.credentials.as_ref().is_some_and(is_long)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http,
    Socks4,
    Socks5,
}

/// Why tinyproxy drops a rule that its grammar admits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dropped {
    Case,
    Port,
    Hosts,
    Credentials,
}

impl Dropped {
    /// The reason as a sentence.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Case => "the type of an upstream must be in small letters; like tinyproxy, the line is ignored",
            Self::Port => "no proxy can have port 0; like tinyproxy, the line is ignored",
            Self::Hosts => "this is no name and no network; like tinyproxy, the line is ignored",
            Self::Credentials => "the user and password are too long; like tinyproxy, the line is ignored",
        }
    }
}

/// Reads the arguments.
pub(super) fn parse(arguments: &mut Arguments<'_>) -> Result<Upstream, Problem> {
    let keyword = arguments.keyword();
    let all = arguments.take_rest();
    direct(&all).or_else(|| proxied(&all)).ok_or_else(|| problem(keyword, &all))
}

/// `none "hosts"` in front; whatever follows is not looked at.
fn direct(all: &At<&str>) -> Option<Upstream> {
    let text = all.value.trim_start_matches(is_blank);
    let word = text.split(is_blank).next().filter(|word| word.eq_ignore_ascii_case("none"))?;
    let (hosts, rest) = hosts(text.strip_prefix(word)?, all.span.end)?;
    let ignored = nonblank(rest, all.span.end);
    // `None` is understood as `none` by the grammar, but not by what evaluates it.
    let rule = if word == "none" { rule(Way::Direct, Some(hosts)) } else { Err(Dropped::Case) };
    Some(Upstream { rule, ignored })
}

/// The first place from where on the line is `type [user:password@]host:port ["hosts"]`.
fn proxied(all: &At<&str>) -> Option<Upstream> {
    all.value.char_indices().find_map(|(start, _)| {
        let (before, text) = all.value.split_at(start);
        let (word, rest) = TYPES.iter().find_map(|known| {
            let (word, rest) = text.split_at_checked(known.len())?;
            word.eq_ignore_ascii_case(known).then_some((word, rest))
        })?;
        let address = rest.trim_start_matches(is_blank);
        if address.len() == rest.len() {
            return None;
        }
        let (target, hosts) = with_credentials(address, all.span.end).or_else(|| endpoint(address, all.span.end))?;
        let ignored = nonblank(before, all.span.start + before.len());
        Some(Upstream { rule: evaluated(word, target, hosts), ignored })
    })
}

/// What a line that the grammar admits means.
fn evaluated(word: &str, target: Target<'_>, hosts: Option<At<&str>>) -> Result<Rule, Dropped> {
    let protocol = match word {
        "http" => Protocol::Http,
        "socks4" => Protocol::Socks4,
        "socks5" => Protocol::Socks5,
        // A type that is not in small letters counts as `none`.
        _ if hosts.is_some() => return rule(Way::Direct, hosts),
        _ => return Err(Dropped::Case),
    };
    let port = number(target.port);
    if hosts.is_none() && i32::try_from(port).is_ok_and(|port| port < 1) {
        return Err(Dropped::Port);
    }
    let too_long = |(user, password): &(&str, &str)| user.len() + password.len() > LONGEST_CREDENTIALS;
    if protocol == Protocol::Http && target.credentials.as_ref().is_some_and(too_long) {
        return Err(Dropped::Credentials);
    }
    let credentials = target.credentials.map(|(user, password)| (octet::latin1(user), octet::latin1(password)));
    rule(Way::Proxy(Proxy { protocol, host: target.host.to_owned(), port, credentials }), hosts)
}

fn rule(way: Way, hosts: Option<At<&str>>) -> Result<Rule, Dropped> {
    let hosts = match hosts {
        Some(At { value, span }) => Some(At { value: Hosts::parse(value).ok_or(Dropped::Hosts)?, span }),
        None => None,
    };
    Ok(Rule { way, hosts })
}

struct Target<'t> {
    credentials: Option<(&'t str, &'t str)>,
    host: &'t str,
    port: &'t str,
}

type Matched<'t> = (Target<'t>, Option<At<&'t str>>);

/// `user:password@host:port ["hosts"]` to the end of the line, which is at `end`. A user has no `:`, a password no `@`.
fn with_credentials(text: &str, end: usize) -> Option<Matched<'_>> {
    let (user, rest) = text.split_once(':')?;
    let (password, rest) = rest.split_once('@')?;
    let (target, hosts) = endpoint(rest, end)?;
    Some((Target { credentials: Some((user, password)), ..target }, hosts))
}

/// `host:port ["hosts"]` to the end of the line, which is at `end`.
fn endpoint(text: &str, end: usize) -> Option<Matched<'_>> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => {
            let length =
                inner.find(']').filter(|length| inner.split_at(*length).0.parse::<std::net::Ipv6Addr>().is_ok())?;
            text.split_at(length + 2)
        }
        None => text.split_at(text.find(':')?),
    };
    if !host.starts_with('[') && !is_name(host) {
        return None;
    }
    let rest = rest.strip_prefix(':')?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (port, rest) = rest.split_at(digits);
    let target = Target { credentials: None, host, port };
    if port.is_empty() {
        return None;
    }
    if rest.trim_start_matches(is_blank).is_empty() {
        return Some((target, None));
    }
    let (hosts, rest) = hosts(rest, end)?;
    nonblank(rest, end).is_none().then_some((target, Some(hosts)))
}

/// Blanks and a quoted text, and what is left of the line that ends at `end`.
fn hosts(text: &str, end: usize) -> Option<(At<&str>, &str)> {
    let inner = text.trim_start_matches(is_blank).strip_prefix('"').filter(|_| text.starts_with(is_blank))?;
    let (hosts, rest) = inner.split_once('"').filter(|(hosts, _)| !hosts.is_empty())?;
    let start = end - inner.len();
    Some((At { value: hosts, span: start..start + hosts.len() }, rest))
}

/// Where the part of a text that ends at `end` stands, without blanks around it.
fn nonblank(text: &str, end: usize) -> Option<Span> {
    let start = end - text.trim_start_matches(is_blank).len();
    let length = text.trim_matches(is_blank).len();
    (length > 0).then(|| start..start + length)
}

fn problem(keyword: Span, all: &At<&str>) -> Problem {
    let text = all.value.trim_matches(is_blank);
    let Some(span) = nonblank(all.value, all.span.end) else {
        return Problem::new(keyword, "the type of the upstream is missing").with_hint(FORMS);
    };
    let word = text.split(is_blank).next().unwrap_or_default();
    let place = |part: &str| span.start..span.start + part.len();
    if word.eq_ignore_ascii_case("none") {
        return Problem::new(span, "`none` is followed by hosts in double quotes").with_hint(FORMS);
    }
    if !TYPES.iter().any(|known| known.eq_ignore_ascii_case(word)) {
        let problem = Problem::new(place(word), format!("`{word}` is not a type of upstream"));
        // The form of tinyproxy 1.8, where every upstream was an HTTP proxy.
        let is_old_form = word.split_once(':').is_some_and(|(host, _)| is_name(host));
        return problem.with_hint(if is_old_form { format!("write `Upstream http {text}`") } else { FORMS.to_owned() });
    }
    Problem::new(span, "this is no upstream").with_hint(FORMS)
}

const TYPES: [&str; 3] = ["http", "socks4", "socks5"];
const FORMS: &str =
    "write `http host:port`, `socks5 user:password@host:port \".example.com\"` or `none \"10.0.0.0/8\"`";
/// tinyproxy joins both with a colon in a buffer of 258 bytes.
const LONGEST_CREDENTIALS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Upstream, Problem> {
        parse(&mut Arguments::new(0..8, text.strip_prefix("Upstream").unwrap(), 8))
    }

    /// The rule in short: type, credentials, host and port, hosts.
    fn shown(text: &str) -> String {
        let upstream = read(text).unwrap_or_else(|problem| panic!("{text}: {problem:?}"));
        let rule = match upstream.rule {
            Err(dropped) => format!("{dropped:?}"),
            Ok(Rule { way, hosts }) => {
                let way = match way {
                    Way::Direct => "direct".to_owned(),
                    Way::Proxy(Proxy { protocol, host, port, credentials }) => {
                        let credentials =
                            credentials.map_or(String::new(), |(user, password)| format!("{user}|{password}|"));
                        format!("{protocol:?} {credentials}{host}|{port}")
                    }
                };
                hosts.map_or(way.clone(), |hosts| format!("{way} for {}", hosts.value))
            }
        };
        upstream.ignored.map_or(rule.clone(), |span| format!("{rule} without `{}`", text.get(span).unwrap()))
    }

    #[test]
    fn upstreams_mean_what_they_mean_to_tinyproxy() {
        for (text, meaning) in [
            ("Upstream http h:80", "Http h|80"),
            ("Upstream\thttp \t h-1.x_:010  ", "Http h-1.x_|8"),
            ("Upstream socks4 1.2.3.4:1080 \"x\"", "Socks4 1.2.3.4|1080 for x"),
            ("Upstream socks5 u:p@h:1 \".x\" ", "Socks5 u|p|h|1 for .x"),
            ("Upstream http [::1]:80", "Http [::1]|80"),
            ("Upstream http a@b:p:q@h:80", "Http a@b|p:q|h|80"),
            ("Upstream http u p:p p@h:80", "Http u p|p p|h|80"),
            ("Upstream http :@h:80", "Http ||h|80"),
            ("Upstream http h:1 \"a@b\"", "Http h|1 for a@b"),
            ("Upstream none \".\"", "direct for ."),
            ("Upstream none \"10.0.0.1/255.0.0.0\"", "direct for 10.0.0.0/8"),
            ("Upstream none \"x\" junk", "direct for x without `junk`"),
            ("Upstream foo http h:1", "Http h|1 without `foo`"),
            ("Upstream xhttp h:1", "Http h|1 without `x`"),
            ("Upstream HTTP h:1", "Case"),
            ("Upstream HTTP h:1 \"x\"", "direct for x"),
            ("Upstream None \"x\"", "Case"),
            ("Upstream http h:0", "Port"),
            ("Upstream http 0.0.0.0:0 \"127.0.0.0/8\"", "Http 0.0.0.0|0 for 127.0.0.0/8"),
            ("Upstream http h:80 \"10.0.0.0/33\"", "Hosts"),
            ("Upstream http h:80 \"host:80\"", "Hosts"),
        ] {
            assert_eq!(shown(text), meaning, "{text}");
        }
        let long = format!("Upstream http u:{}@h:1", "p".repeat(256));
        assert_eq!(read(&long).unwrap().rule, Err(Dropped::Credentials));
    }

    #[test]
    fn what_is_no_upstream_is_refused_at_its_place() {
        for (text, span, message, hint) in [
            ("Upstream", 0..8, "the type of the upstream is missing", "write `http host:port`"),
            ("Upstream h:80", 9..13, "`h:80` is not a type of upstream", "write `Upstream http h:80`"),
            ("Upstream h", 9..10, "`h` is not a type of upstream", "write `http host:port`"),
            ("Upstream none x", 9..15, "`none` is followed by hosts in double quotes", "write"),
            ("Upstream http h", 9..15, "this is no upstream", "write"),
            ("Upstream http h:80\"x\"", 9..21, "this is no upstream", "write"),
            ("Upstream http h:80 x", 9..20, "this is no upstream", "write"),
            ("Upstream http h:80 \"\"", 9..21, "this is no upstream", "write"),
            ("Upstream http [h]:80", 9..20, "this is no upstream", "write"),
        ] {
            let problem = read(text).unwrap_err();
            assert_eq!((problem.span, problem.message.as_str()), (span, message), "{text}");
            assert!(problem.hint.unwrap().starts_with(hint), "{text}");
        }
    }
}
