//! Whole files, and what becomes of them.

use plugin_api::config::{Problems, Source};

use super::{Mode, Surroundings, Translation, translate};
use crate::octet;

fn translated(text: &str, mode: Mode) -> Result<Translation, Problems> {
    let surroundings = Surroundings {
        mode,
        host_name: "proxy.test".to_owned(),
        is_root: false,
        interfaces: [("eth0".to_owned(), 7)].into(),
        kept: None,
    };
    translate(&Source::new("t.conf", text), &surroundings)
}

fn accepted(text: &str) -> Translation {
    translated(text, Mode::Foreground).unwrap_or_else(|problems| panic!("{text}\n{problems}"))
}

/// The TOML of a file with a port.
fn toml(text: &str) -> String {
    accepted(&format!("Port 8888\n{text}")).toml().to_owned()
}

/// The link of this plugin, without its header.
fn link(text: &str, plugin: &str) -> Option<String> {
    let toml = toml(text);
    let links = toml.split("\n[[route.chain]]\n").skip(1);
    links
        .filter_map(|link| link.strip_prefix(&format!("use = \"{plugin}\"\n")))
        .map(|link| link.trim_end().to_owned())
        .next()
}

/// Lines and messages of the remarks about directives of a file.
fn warnings(text: &str) -> Vec<String> {
    let translation = accepted(text);
    translation.warnings.lines().map(|(line, message)| format!("{line}: {message}")).collect()
}

#[test]
fn a_port_alone_is_tinyproxy_with_its_defaults() {
    let expected = r#"[server]
wording = "tinyproxy"
bare_lf = true
half_closed_clients = true
head_limit = "256KiB"
target_limit = "64kB"
max_clients = 100
head_timeout = "10m"
keep_alive_timeout = "10m"
read_timeout = "10m"
write_timeout = "10m"

[log]
program = "stdout"
style = "tinyproxy"
level = "info"

[[listener]]
name = "proxy"
address = ["0.0.0.0:8888", "[::]:8888"]

[[route]]
name = "proxy"

[[route.chain]]
use = "stats"
host = "tinyproxy.stats"
package = "tinyproxy"
version = "1.11.3"
website = "https://github.com/lockgate/lockgate"

[[route.chain]]
use = "headers"
via = "proxy.test (tinyproxy)"

[[route.chain]]
use = "forward"
connect_timeout = "10m"
read_timeout = "10m"
write_timeout = "10m"
idle_timeout = "10m"
unreachable_status = 500
"#;
    assert_eq!(toml(""), expected);
    assert_eq!(warnings("Port 8888"), [""; 0]);
}

#[test]
fn the_process_is_translated() {
    let text = "Port 1\nUser nobody\nGroup 65534\nPidFile \"run/p.pid\"\nLogFile \"x.log\"\nMaxClients 7\nTimeout 90\n\
                LogLevel WARNING\nListen 127.0.0.1\nListen ::1\nListen fe80::1%eth0\n";
    let foreground = accepted(text).toml().to_owned();
    for line in [
        "user = \"nobody\"",
        "group = \"65534\"",
        "pid_file = \"run/p.pid\"",
        "max_clients = 7",
        "head_timeout = \"90s\"",
        "idle_timeout = \"90s\"",
        "program = \"x.log\"",
        "level = \"warn\"",
        "address = [\"127.0.0.1:1\", \"[::1]:1\", \"[fe80::1%7]:1\"]",
    ] {
        assert!(foreground.lines().any(|found| found == line), "{line} is not in\n{foreground}");
    }
    assert!(!foreground.contains("daemon"), "{foreground}");
    let daemon = translated(text, Mode::Daemon).unwrap().toml().to_owned();
    for line in ["pid_file = \"/run/p.pid\"", "program = \"/x.log\"", "daemon = true"] {
        assert!(daemon.lines().any(|found| found == line), "{line} is not in\n{daemon}");
    }
}

#[test]
fn the_log_goes_where_tinyproxy_sends_it() {
    let program = |text: &str, mode| {
        let translation = translated(&format!("Port 1\n{text}"), mode).unwrap();
        translation.toml().lines().find_map(|line| line.strip_prefix("program = ")).unwrap().to_owned()
    };
    for (text, foreground, daemon) in [
        ("", "\"stdout\"", "\"off\""),
        ("LogFile \"/x\"", "\"/x\"", "\"/x\""),
        ("LogFile \"syslog\"", "\"./syslog\"", "\"/syslog\""),
        ("LogFile \"/x\"\nSyslog On", "\"syslog\"", "\"syslog\""),
        ("Syslog On\nSyslog Off\nLogFile \"/y\"\nLogFile \"/x\"", "\"/x\"", "\"/x\""),
    ] {
        assert_eq!(program(text, Mode::Foreground), foreground, "{text}");
        assert_eq!(program(text, Mode::Daemon), daemon, "{text}");
    }
}

#[test]
fn of_a_setting_the_last_one_counts_and_filter_switches_stay_on() {
    let toml = toml("Timeout 1\nTimeout 2\nPort 9\nPort 10\nListen ::1\nXTinyproxy Yes\nXTinyproxy No");
    assert!(toml.contains("head_timeout = \"2s\"") && toml.contains("[\"[::1]:10\"]"), "{toml}");
    assert!(!toml.contains("X-Tinyproxy"), "{toml}");
    let filter =
        link("Filter \"/f\"\nFilterURLs Yes\nFilterURLs No\nFilterType ERE\nFilterType bre\n", "filter").unwrap();
    assert_eq!(
        filter,
        "file = \"/f\"\nsyntax = \"ere\"\nsubject = \"url\"\ndefault = \"allow\"\ncase_sensitive = false\nown_hosts = [\"tinyproxy.stats\"]"
    );
    let all = "FilterType fnmatch\nFilterExtended On\nFilterDefaultDeny On\nFilterCaseSensitive On\nFilter \"/f\"";
    let filter = link(all, "filter").unwrap();
    assert_eq!(
        filter,
        "file = \"/f\"\nsyntax = \"fnmatch\"\nsubject = \"host\"\ndefault = \"deny\"\ncase_sensitive = true\nown_hosts = [\"tinyproxy.stats\"]"
    );
    let wildcards = link("Filter \"/f\"\nFilterType fnmatch", "filter").unwrap();
    assert_eq!(
        wildcards,
        "file = \"/f\"\nsyntax = \"fnmatch\"\nsubject = \"host\"\ndefault = \"allow\"\ncase_sensitive = true\nown_hosts = [\"tinyproxy.stats\"]"
    );
    let reversed =
        "Filter \"/f\"\nReversePath \"/a\" \"http://u:p@a/\"\nReversePath \"/b/\" \"http://b/\"\nReverseOnly On";
    let filter = link(reversed, "filter").unwrap();
    let reverse = "
reverse = { paths = [
    { path = \"/b/\", to = \"http://b/\" },
    { path = \"/a/\", to = \"http://a/\" },
], only = true }";
    assert!(filter.ends_with(reverse), "{filter}");
    assert_eq!(link("FilterDefaultDeny On", "filter"), None);
}

#[test]
fn who_may_use_the_proxy_is_translated_in_order() {
    let rules = link("Allow 127.0.0.1\nDeny 10.1.2.3/8\nallow .example.com\nAllow 2001:db8::1/32", "access").unwrap();
    assert_eq!(
        rules,
        "rules = [\n    { allow = \"127.0.0.1\" },\n    { deny = \"10.0.0.0/8\" },\n    { allow = \".example.com\" },\n    \
         { allow = \"2001:db8::/32\" },\n]"
    );
    let unresolved = "{ deny = \"b.test\" },\n    { allow = \".test\" },\n]\nunresolved = \"pass\"";
    assert_eq!(link("Deny b.test\nAllow .test", "access").unwrap(), format!("rules = [\n    {unresolved}"));
    assert_eq!(link("Allow .\nDeny 999.1.1.1", "access").unwrap(), "rules = []");
    // A rule that is dropped still makes it a list.
    assert_eq!(link("Allow 1.2.3.4/33", "access").unwrap(), "rules = []");
    assert_eq!(link("", "access"), None);
    let users = link("BasicAuth u p\nBasicAuthRealm \"R\"\nBasicAuth a b c \t", "basic-auth").unwrap();
    assert_eq!(
        users,
        "realm = \"R\"\nusers = [\n    { name = \"u\", password = \"p\" },\n    { name = \"a b\", password = \"c\" },\n]\n\
         header = \"proxy\"\norigin_hosts = [\"tinyproxy.stats\"]"
    );
    let long = format!("BasicAuth u {}", "p".repeat(256));
    let nobody = link(&format!("{long}\nStatHost \"s\""), "basic-auth").unwrap();
    assert_eq!(nobody, "realm = \"Tinyproxy\"\nusers = []\nheader = \"proxy\"\norigin_hosts = [\"s\"]");
}

#[test]
fn headers_are_translated() {
    let text = "AddHeader \"X-A\" \"1 \\\"\nAddHeader \"Host\" \"h\"\nViaProxyName \"v\"\nXTinyproxy on";
    let headers = link(text, "headers").unwrap();
    assert_eq!(
        headers,
        "add = [\n    { name = \"X-A\", value = \"1 \\\\\" },\n]\nvia = \"v (tinyproxy)\"\nclient_address = \"X-Tinyproxy\""
    );
    assert_eq!(link("DisableViaHeader Yes", "headers"), None);
    let text = "Anonymous \"Accept\"\nAnonymous \"host\"\nAddHeader \"X-A\" \"1\"\nAddHeader \"ACCEPT\" \"2\"\n\
                AddHeader \"content-type\" \"3\"\nDisableViaHeader Yes";
    assert_eq!(
        link(text, "headers").unwrap(),
        "keep = [\"Accept\", \"host\"]\nadd = [\n    { name = \"ACCEPT\", value = \"2\" },\n    \
         { name = \"content-type\", value = \"3\" },\n]"
    );
}

#[test]
fn reverse_paths_are_tried_from_the_last_to_the_first() {
    let text = "ReversePath \"http://a/\"\nReversePath \"/x\" \"http://b/y\"\nReversePath \"/no\" \"nowhere\"\n\
                ReversePath \"no\" \"http://c/\"\nReverseMagic Yes\nReverseBaseURL \"http://me/\"\n";
    let paths = "paths = [\n    { path = \"/x/\", to = \"http://b/y\" },\n    { path = \"/\", to = \"http://a/\" },\n]";
    let rest = "base_url = \"http://me/\"\nforwarded = false\nunreachable_status = 500\nconnect_timeout = \"10m\"\nread_timeout = \"10m\"\n\
                write_timeout = \"10m\"\nupgraded_idle_timeout = \"10m\"";
    assert_eq!(link(text, "reverse-path").unwrap(), format!("{paths}\nmagic = true\n{rest}"));
    assert!(link(text, "forward").is_some());
    let only = format!("{text}ReverseOnly Yes");
    assert_eq!(link(&only, "reverse-path").unwrap(), format!("{paths}\nmagic = true\nonly = true\n{rest}"));
    assert_eq!(link(&only, "forward"), None);
    assert_eq!(link("ReverseOnly Yes", "reverse-path"), None);
    assert!(link("ReverseOnly Yes", "forward").is_some());
}

#[test]
fn the_last_upstream_for_a_host_comes_first_and_the_general_one_last() {
    let text = "Upstream http d:1\nUpstream socks5 u:p@a:2 \".x\"\nUpstream none \".\"\nUpstream http e:3\n\
                Upstream socks4 u:p@b:4 \"10.0.0.1/8\"";
    let forward = link(text, "forward").unwrap();
    let parents = "parents = [\n    { to = [\"10.0.0.0/8\"], use = \"socks4a\", address = \"b:4\" },\n    \
                   { to = [\".\"], use = \"direct\" },\n    \
                   { to = [\".x\"], use = \"socks5\", address = \"a:2\", user = \"u\", password = \"p\" },\n    \
                   { use = \"http\", address = \"d:1\" },\n]";
    assert!(forward.ends_with(parents), "{forward}");
}

#[test]
fn outgoing_connections_are_translated() {
    let line = |text: &str, key: &str| {
        let forward = link(text, "forward").unwrap();
        forward.lines().find(|line| line.starts_with(key)).map(str::to_owned)
    };
    assert_eq!(line("", "connect_ports"), None);
    assert_eq!(line("ConnectPort 443\nConnectPort 0563", "connect_ports").unwrap(), "connect_ports = [443, 371]");
    assert_eq!(line("ConnectPort 0", "connect_ports").unwrap(), "connect_ports = []");
    assert_eq!(line("ConnectPort 70000\nConnectPort 80", "connect_ports").unwrap(), "connect_ports = [80]");
    assert_eq!(line("Bind 192.0.2.1\nBind ::1", "bind").unwrap(), "bind = [\"192.0.2.1\", \"::1\"]");
    assert_eq!(line("Bind 999.1.1.1\nBind ::1", "bind").unwrap(), "bind = [\"::1\"]");
    assert_eq!(line("Bind 999.1.1.1", "bind").unwrap(), "bind = [\"192.0.2.1\", \"2001:db8::1\"]");
    assert_eq!(line("Bind ::1\nBindSame yes", "bind").unwrap(), "bind_same = true");
}

/// tinyproxy's own grammar, and what is read although tinyproxy refuses it.
#[test]
fn what_has_a_meaning_is_accepted() {
    for text in [
        "# comment\nPort 1",
        "Port 1\n\n \t\n\r\n\u{b}\n",
        "pORT 1\ntimeout 5",
        "  \t Port \t 1 \t ",
        "\u{feff}Port 1",
        "Port 044710",
        "Port 1\n#\0 junk",
        "Port 1\0 junk",
        "Port 4294967297",
        "Port 1\nErrorFile 404 \"x\"\nDefaultErrorFile \"y\"\nStatFile \"z\"\nStatHost \"s\"",
        "Port 1\nMinSpareServers 1\nMaxSpareServers 1\nStartServers 1\nMaxRequestsPerChild 1",
        "Port 1\nFilterType FnMatch\nLogLevel Connect\nSyslog OFF\nBindSame on",
    ] {
        accepted(text);
    }
}

#[test]
fn what_has_none_is_refused_at_its_place() {
    for (text, place, message, hint) in [
        ("", "1:1", "there is no port to listen on", "add `Port 8888`"),
        ("Timeout 1\n Port 0", "2:7", "there is no port to listen on", "add `Port 8888`"),
        ("Port 65536", "1:6", "65536 is not a port", "the highest is 65535"),
        ("Port 0x10", "1:6", "`0x10` is not a port", "write it in digits"),
        ("Port -1", "1:6", "`-1` is not a port", "write it in digits"),
        ("Port", "1:1", "a port is missing", ""),
        ("Port 1 2", "1:8", "nothing may follow here", ""),
        ("Port\u{b}1", "1:5", "a blank is missing before a port", ""),
        ("Port=1", "1:1", "unknown directive `Port=1`", "a blank separates"),
        ("\"Port\" 1", "1:1", "unknown directive `\"Port\"`", "a directive has no quotes"),
        ("Prot 1", "1:1", "unknown directive `Prot`", "did you mean `Port`?"),
        ("CONECTPORT 1", "1:1", "unknown directive `CONECTPORT`", "did you mean `ConnectPort`?"),
        ("Include \"x\"", "1:1", "unknown directive `Include`", "there are no includes"),
        ("No Upstream \"x\"", "1:1", "unknown directive `No`", "write `Upstream none"),
        ("; x", "1:1", "unknown directive `;`", "a comment starts with `#`"),
        ("Syslog true", "1:8", "`true` is not one of yes, on, no, off", ""),
        ("LogLevel debug", "1:10", "`debug` is not one of critical, error", ""),
        ("FilterType pcre", "1:12", "`pcre` is not one of bre, ere, fnmatch", ""),
        ("LogFile /x y", "1:9", "a path stands in double quotes", "write \"/x y\""),
        ("LogFile \"/x", "1:9", "the closing quote is missing", ""),
        ("LogFile \"\"", "1:9", "a path must not be empty", ""),
        ("AddHeader \"a\"", "1:1", "a value is missing", ""),
        ("AddHeader \"a\"\"b\"", "1:14", "a blank is missing before a value", ""),
        ("AddHeader \"a\"é", "1:14", "a blank is missing before a value", ""),
        ("ErrorFile \"x\"", "1:11", "`\"x\"` is not a status", "write it in digits"),
        ("User \"x\"", "1:6", "`\"x\"` is not the name of a user", "write x, without quotes"),
        ("User a/b", "1:6", "`a/b` is not the name of a user", "it may have letters"),
        ("Listen localhost", "1:8", "`localhost` is not an address", "write an address such as"),
        ("Listen 127.0.0.1:80", "1:8", "`127.0.0.1:80` is not an address", "`Port` sets the port"),
        ("Listen [::1]", "1:8", "`[::1]` is not an address", "write it without brackets"),
        ("Listen *", "1:8", "`*` is not an address", "leave the directive out"),
        ("Bind eth0", "1:6", "`eth0` is not an address", "write an address"),
        ("Allow 1.2.3.4/255.255.255.0", "1:7", "`1.2.3.4/255.255.255.0` is not", "write 1.2.3.0/24"),
        ("Allow *", "1:7", "`*` is not an address, a network or a name", "write 0.0.0.0/0"),
        ("Allow *.x", "1:7", "`*.x` is not an address, a network or a name", "a dot in front"),
        ("Deny \"x\"", "1:6", "`\"x\"` is not an address, a network or a name", "write x, without quotes"),
        ("BasicAuth u", "1:11", "a password is missing", "write `BasicAuth user password`"),
        ("BasicAuth u:p", "1:11", "a password is missing", "write `BasicAuth user password`"),
        ("BasicAuth u:v p", "1:11", "the name of a user must not have a colon", ""),
        ("BasicAuth u p@q", "1:13", "a password must not have an `@`", ""),
        ("BasicAuth", "1:1", "a user and a password are missing", ""),
        ("Upstream h:80", "1:10", "`h:80` is not a type of upstream", "write `Upstream http h:80`"),
        ("XTinyproxy example.com", "1:12", "`example.com` is not one of yes", ""),
    ] {
        let problems = translated(text, Mode::Foreground).expect_err(text);
        let shown = problems.to_string();
        assert!(shown.starts_with(&format!("t.conf:{place}: {message}")), "{text}\n{shown}");
        assert!(hint.is_empty() || shown.contains(&format!("= hint: {hint}")), "{text}\n{shown}");
        assert_eq!(problems.sorted().len(), 1, "{text}\n{shown}");
    }
}

#[test]
fn every_mistake_of_a_file_is_told() {
    let problems = translated("Prot 1\nTimeout x\n# ok\nAllow *\n", Mode::Foreground).unwrap_err();
    let lines: Vec<_> = problems.sorted().iter().map(|problem| problem.span.start).collect();
    assert_eq!(lines, [0, 15, 28]);
}

#[test]
fn what_deserves_a_word_is_told_with_its_line() {
    for (text, warning) in [
        ("Port 1\r\nTimeout 5\r\n\r\n", "1: lines end with CR LF; tinyproxy refuses such a file"),
        ("Port 1\n  # x", "2: a comment that does not start in the first column; tinyproxy refuses it"),
        ("Port 1 # x", "1: a comment at the end of a line; tinyproxy refuses it"),
        ("Port 1\nStartServers 5", "2: `StartServers` is obsolete in tinyproxy too and has no effect"),
        (
            "Port 1\nBasicAuth u p # x",
            "2: `#` starts no comment here: it belongs to the name of the user, as in tinyproxy",
        ),
        ("Port 1\nTimeout 0", "2: a time of 0 seconds cannot be kept: like in tinyproxy it means 10 minutes"),
        ("Port 1\nMaxClients 0", "2: with 0 clients at once nobody is served"),
        (
            "Port 1\nAllow 1.2.3.4/33",
            "2: `1.2.3.4/33` is no network: like tinyproxy, the line is ignored, but who is not allowed is denied",
        ),
        (
            "Port 1\nUpstream http a:1\nUpstream http b:1",
            "3: there is another upstream for all hosts: like tinyproxy, this one is ignored",
        ),
        ("Port 1\nUpstream none \"a\" b", "2: this has no effect, as in tinyproxy"),
        ("Port 1\nFilterDefaultDeny On", "2: this has no effect without `Filter`"),
        ("Port 1\nReverseOnly On", "2: this has no effect without `ReversePath`"),
        (
            "Port 1\nDeny 999.1.1.1",
            "2: `999.1.1.1`: this is neither an address, nor a range of addresses, nor the name of a host: as with \
             tinyproxy, no client ever matches it",
        ),
        ("Port 1\nConnectPort 70000", "2: 70000 is no port: like in tinyproxy, it has no effect"),
        ("Port 1\nFilterExtended No\nFilter \"x\"", "2: `FilterExtended` is deprecated in favour of `FilterType ere`"),
        ("Port 1\nReversePath \"/a\" \"x\"", "2: this is no URL: like tinyproxy, the line is ignored"),
    ] {
        assert_eq!(warnings(text), [warning], "{text}");
    }
    let sentences: Vec<_> = accepted("Port 1\n \t# x").warnings.sentences().collect();
    assert!(sentences[0].starts_with("t.conf:2:3: warning: a comment that"), "{sentences:?}");
}

#[test]
fn without_a_user_root_stays_root() {
    let surroundings = Surroundings {
        mode: Mode::Foreground,
        host_name: "h".to_owned(),
        is_root: true,
        interfaces: [].into(),
        kept: None,
    };
    let number = |text| translate(&Source::new("t.conf", text), &surroundings).unwrap().warnings.lines().count();
    assert_eq!((number("Port 1"), number("Port 1\nUser nobody")), (1, 0));
}

#[test]
fn a_long_line_means_what_it_means_to_tinyproxy_if_that_is_anything() {
    let hidden = format!("Port 1\n#{}Port 2", "x".repeat(2046));
    assert!(accepted(&hidden).toml().contains("0.0.0.0:2"), "the rest of a comment is a directive");
    assert_eq!(warnings(&hidden).len(), 1);
    let comment = format!("Port 1\n#{}", "x".repeat(5000));
    assert_eq!(
        warnings(&comment),
        ["2: tinyproxy cuts this line after 2047 bytes and refuses the file; it is read as one line here"]
    );
    let value = format!("Port 1\nViaProxyName \"{}\"", "x".repeat(3000));
    assert!(accepted(&value).toml().contains(&"x".repeat(3000)));
    let blank = format!("Port 1\nTimeout 7{}", " ".repeat(3000));
    assert_eq!(warnings(&blank).len(), 1);
    assert!(accepted(&blank).toml().contains("\"7s\""));
}

#[test]
fn problems_with_the_translation_are_told_at_the_directive() {
    let translation = accepted("Port 1\nListen ::1\nUpstream http a:1\nConnectPort 443\nAllow 127.0.0.1\n");
    let toml = translation.toml();
    for (part, line) in [
        ("\"[::1]:1\"", 2),
        ("{ use = \"http\"", 3),
        ("443", 4),
        ("{ allow = ", 5),
        ("\"access\"", 5),
        ("head_timeout", 1),
    ] {
        let start = toml.find(part).unwrap();
        let origin = translation.origins.find(&(start..start + part.len())).unwrap();
        assert_eq!(translation.source.position(origin.start).0, line, "{part}");
    }
}

#[test]
fn bytes_that_are_not_utf_8_are_kept_or_told() {
    let file = |bytes: &[u8]| octet::text(&[b"Port 1\n", bytes].concat());
    let latin1 = "2: this is not UTF-8: it is read as Latin-1, and used and sent as UTF-8";
    let either = "2: this is not UTF-8: it is read as Latin-1, and clients may send it in either encoding";
    let page = "2: the name of this file is not UTF-8: it is not found, and a page of this program is shown";
    for (line, expected, remarks) in [
        (&b"AddHeader \"X-A\" \"\xe9\""[..], "add = [\n    { name = \"X-A\", value = \"\u{e9}\" },\n]", vec![latin1]),
        (b"ViaProxyName \"caf\xe9\"", "via = \"caf\u{e9} (tinyproxy)\"", vec![latin1]),
        (b"BasicAuth u p\xe9ss", "{ name = \"u\", password = \"p\u{e9}ss\" }", vec![either]),
        (b"LogFile \"l\xf6g\"", "program = \"l\u{eff6}g\"", vec![]),
        (b"PidFile \"p\xf6d\"", "pid_file = \"p\u{eff6}d\"", vec![]),
        (b"Filter \"l\xf6st\"", "file = \"l\u{eff6}st\"", vec![]),
        (b"StatFile \"\xe9\"", "file = \"\u{efe9}\"", vec![page]),
        (b"ReversePath \"http://a/\xe9\"", "to = \"http://a/%E9\"", vec![]),
        (b"ViaProxyName \"\xc3\xa9\"", "via = \"\u{e9} (tinyproxy)\"", vec![]),
    ] {
        let text = file(line);
        let translation = accepted(&text);
        assert!(translation.toml().contains(expected), "{text}\n{}", translation.toml());
        assert_eq!(warnings(&text), remarks, "{text}");
    }
}

#[test]
fn what_tinyproxy_starts_with_has_a_meaning_here_too() {
    for (line, expected, remark) in [
        ("BasicAuth a\u{7} p", "users = []", "2: the name of a user has no control characters"),
        ("ViaProxyName \"a\u{1b}b\"", "via = \"ab (tinyproxy)\"", "2: a name has no control characters"),
        ("Upstream none \"10.0.0.0/255.255.254.255\"", "to = [\"10.0.0.0\", \"10.0.1.0\"]", ""),
        ("ReversePath \"/a\" \"ftp://x/\"", "{ path = \"/a/\", status = 501 }", "2: only `http://` and `https://`"),
        ("ReversePath \"http://::1/\"", "{ path = \"/\", status = 500 }", "2: "),
        ("ReversePath \"/?\" \"http://a/\"\nReverseOnly On", "paths = []\nonly = true", "2: no path holds"),
        ("ReversePath \"http://a/\"\nReverseBaseURL \"\u{1} \"", "base_url = \"%01%20\"", "3: this needs a `/`"),
    ] {
        let text = format!("Port 1\n{line}");
        let translation = accepted(&text);
        assert!(translation.toml().contains(expected), "{line}\n{}", translation.toml());
        let told = warnings(&text);
        assert!(told.iter().all(|told| told.starts_with(remark)) && told.is_empty() == remark.is_empty(), "{told:?}");
    }
    for site in ["*.example", "a b", "!x", "é", "10.0.0.0/0.0.0.255"] {
        let line = format!("Upstream http h:1 \"{site}\"");
        assert!(!toml(&line).contains("parents"), "{site}");
        assert!(
            warnings(&format!("Port 1\n{line}"))[0].ends_with("no host matches it, and the line is ignored"),
            "{site}"
        );
    }
    assert!(!toml("ReversePath \"/?\" \"http://a/\"").contains("reverse-path"));
}
