//! Files made at random (`cargo xtask fuzz tinyproxy-conf`): each is a configuration that starts, or a problem at a place.

use plugin_api::config::{Problems, Source};
use proptest::{
    prelude::{Just, Strategy, any, prop},
    prop_oneof,
    test_runner::{Config, TestError, TestRunner},
};

use super::{Mode, Surroundings, translate};
use crate::{
    config::{self, LoadError},
    lasting::Lasting,
};

const DIRECTIVES: &[&str] = &[
    "Port",
    "Listen",
    "Bind",
    "BindSame",
    "Timeout",
    "MaxClients",
    "MinSpareServers",
    "StartServers",
    "User",
    "Group",
    "Allow",
    "Deny",
    "BasicAuth",
    "BasicAuthRealm",
    "ConnectPort",
    "Filter",
    "FilterType",
    "FilterExtended",
    "FilterURLs",
    "FilterDefaultDeny",
    "FilterCaseSensitive",
    "Anonymous",
    "AddHeader",
    "ViaProxyName",
    "DisableViaHeader",
    "XTinyproxy",
    "Upstream",
    "ReversePath",
    "ReverseOnly",
    "ReverseMagic",
    "ReverseBaseURL",
    "ErrorFile",
    "DefaultErrorFile",
    "StatHost",
    "StatFile",
    "LogFile",
    "Syslog",
    "LogLevel",
    "PidFile",
    "logfile",
    "PORT",
    "Include",
    "Timout",
    "#",
    "  #",
    "",
];
const ARGUMENTS: &[&str] = &[
    "8888",
    "0",
    "1",
    "80",
    "443",
    "65535",
    "65536",
    "4294967296",
    "010",
    "08",
    "-1",
    "1.5",
    "Yes",
    "no",
    "On",
    "OFF",
    "true",
    "bre",
    "ere",
    "fnmatch",
    "Info",
    "Connect",
    "debug",
    "nobody",
    "127.0.0.1",
    "::1",
    "fe80::1%eth0",
    "fe80::1%nope",
    "10.0.0.0/8",
    "10.0.0.0/33",
    "2001:db8::/32",
    "10.0.0.0/255.0.0.0",
    ".example.com",
    "example.com",
    "user",
    "pass",
    "http",
    "socks5",
    "socks4",
    "none",
    "HTTP",
    "proxy.example:3128",
    "user:pass@[::1]:3128",
    "0.0.0.0:0",
    "[::1]:80",
    "host:0",
    "\"x\"",
    "\"\"",
    "\"/x/y\"",
    "\"10.0.0.0/8\"",
    "\"172.0.0/8\"",
    "\".\"",
    "\".example.com\"",
    "\"/a/\"",
    "\"http://b.example/\"",
    "\"https://b.example/\"",
    "\"ftp://x/\"",
    "\"http://h:99999/\"",
    "\"http:///\"",
    "\"X-Name\"",
    "\"X Name\"",
    "\"va\u{e4}ue\"",
    "\"a\\b\"",
    "\"a\tb\"",
    "\"''\"",
    "\"{x}\"",
    "\"unclosed",
    "404",
    "99",
    "600",
    "# x",
    "\"http://127.0.0.1:1/%\"",
    "\u{fffd}",
    "\"\u{efe9}\"",
    "\u{efe9}",
    "\0",
    "=",
    ";",
];
const BLANKS: &[&str] = &[" ", " ", " ", "\t", "  ", "", "\x0b"];
const ENDS: &[&str] = &["\n", "\n", "\n", "\n", "\r\n", " \n", "", "\n\n", "\r"];

fn one_of(from: &'static [&'static str]) -> impl Strategy<Value = String> {
    prop::sample::select(from).prop_map(str::to_owned)
}

/// A directive that is likely to be right.
fn likely() -> impl Strategy<Value = String> {
    const NUMBERS: [&str; 5] = ["Timeout", "MaxClients", "ConnectPort", "StartServers", "Port"];
    const WORDS: [&str; 9] = [
        "BindSame",
        "FilterURLs",
        "FilterDefaultDeny",
        "XTinyproxy",
        "DisableViaHeader",
        "ReverseOnly",
        "ReverseMagic",
        "Syslog",
        "FilterExtended",
    ];
    const TEXTS: [&str; 9] = [
        "Filter",
        "Anonymous",
        "ViaProxyName",
        "StatHost",
        "StatFile",
        "LogFile",
        "PidFile",
        "ReverseBaseURL",
        "DefaultErrorFile",
    ];
    let text = "[^\"\r\n]{1,12}";
    prop_oneof![
        (prop::sample::select(&NUMBERS[..]), any::<u16>()).prop_map(|(name, number)| format!("{name} {number}\n")),
        (prop::sample::select(&WORDS[..]), any::<bool>())
            .prop_map(|(name, on)| format!("{name} {}\n", if on { "Yes" } else { "No" })),
        (prop::sample::select(&TEXTS[..]), text).prop_map(|(name, text)| format!("{name} \"{text}\"\n")),
        (text, text).prop_map(|(name, value)| format!("AddHeader \"{name}\" \"{value}\"\n")),
        (text, text).prop_map(|(path, url)| format!("ReversePath \"/{path}\" \"http://{url}\"\n")),
        ("[a-z0-9.:@\\[\\]%-]{1,20}", text).prop_map(|(to, site)| format!("Upstream http {to} \"{site}\"\n")),
        ("[a-z0-9.:/-]{1,16}", any::<bool>())
            .prop_map(|(who, allow)| format!("{} {who}\n", if allow { "Allow" } else { "Deny" })),
        ("[!-~]{1,8}", "[!-~]{1,8}").prop_map(|(user, password)| format!("BasicAuth {user} {password}\n")),
        (any::<u16>(), text).prop_map(|(status, path)| format!("ErrorFile {status} \"{path}\"\n")),
        any::<[u8; 4]>().prop_map(|ip| format!("Listen {}\n", std::net::Ipv4Addr::from(ip))),
        any::<[u16; 8]>().prop_map(|ip| format!("Bind {}\n", std::net::Ipv6Addr::from(ip))),
    ]
}

fn files() -> impl Strategy<Value = String> {
    let argument = (one_of(BLANKS), one_of(ARGUMENTS)).prop_map(|(blank, argument)| format!("{blank}{argument}"));
    let odd = (one_of(BLANKS), one_of(DIRECTIVES), prop::collection::vec(argument, 0..4), one_of(ENDS)).prop_map(
        |(blank, directive, arguments, end)| format!("{}{directive}{}{end}", blank.trim_start(), arguments.concat()),
    );
    let line = prop_oneof![6 => likely(), 2 => odd, 1 => Just("Port 8888\n".to_owned())];
    let lines = prop::collection::vec(line, 0..6).prop_map(|lines| lines.concat());
    let composed = (prop_oneof![4 => Just("Port 8888\n"), 1 => Just("")], lines)
        .prop_map(|(port, lines)| format!("{port}{lines}"));
    prop_oneof![20 => composed, 1 => any::<String>()]
}

/// Every problem is somewhere in the file, and can be told.
fn are_somewhere(problems: &Problems, source: &Source) {
    assert!(!problems.is_empty());
    let text = source.text();
    for problem in problems.sorted() {
        assert!(
            text.get(problem.span.clone()).is_some(),
            "{:?} is no part of the file: {}",
            problem.span,
            problem.message
        );
        let (line, column) = source.position(problem.span.start);
        assert!(line >= 1 && column >= 1 && line <= text.split('\n').count(), "{line}:{column}");
        assert!(!problem.message.is_empty() && !problem.message.contains('\n'), "{}", problem.message);
    }
    let told = problems.to_string();
    assert!(told.contains("t.conf"), "{told}");
}

#[test]
fn every_file_starts_or_has_a_problem_at_a_place() {
    let surroundings = |mode| Surroundings {
        mode,
        host_name: "proxy.test".to_owned(),
        is_root: mode == Mode::Daemon,
        interfaces: [("eth0".to_owned(), 7)].into(),
        kept: None,
    };
    let lasting = Lasting::default();
    // What fails is shown, and becomes a case of the tests.
    let config = Config { failure_persistence: None, ..Config::default() };
    let (cases, mut runner) = (u64::from(config.cases), TestRunner::new(config));
    let (translated, started) = (std::cell::Cell::new(0_u64), std::cell::Cell::new(0_u64));
    let result = runner.run(&(files(), any::<bool>()), |(text, foreground)| {
        let source = Source::new("t.conf", &*text);
        let mode = if foreground { Mode::Foreground } else { Mode::Daemon };
        let translation = match translate(&source, &surroundings(mode)) {
            Ok(translation) => translation,
            Err(problems) => {
                are_somewhere(&problems, &source);
                return Ok(());
            }
        };
        translated.set(translated.get() + 1);
        for (line, remark) in translation.remarks() {
            assert!(line >= 1 && line <= text.split('\n').count() && !remark.is_empty(), "{line}: {remark}");
        }
        let toml = translation.toml();
        // Whatever is in the file, it is quoted so that it means itself.
        let parsed: Result<toml::Table, _> = toml.parse();
        assert!(parsed.is_ok(), "{toml}\n{parsed:?}");
        match config::load(Source::new("t.conf", toml), &lasting) {
            Ok(_) => started.set(started.get() + 1),
            Err(problems) => {
                let told = match translation.refusal(&problems) {
                    LoadError::Problems(told) | LoadError::Filter(told) | LoadError::Listen(told) => told,
                    LoadError::Read { .. } => panic!("nothing was read"),
                };
                are_somewhere(&told, &source);
                for problem in told.sorted() {
                    assert!(!problem.span.is_empty(), "{} comes from nowhere\n{toml}", problem.message);
                }
            }
        }
        Ok(())
    });
    if let Err(TestError::Fail(reason, (text, _))) = &result {
        panic!("{text:?}: {reason}");
    }
    result.expect("no case is given up");
    let (translated, started) = (translated.get(), started.get());
    // Nearly everything that can be translated starts; what does not is a missing list or interface.
    assert!(started > cases / 20 && translated >= started, "of {cases} {translated} are translated, {started} start");
}
