//! tinyproxy.conf: what the real tinyproxy accepts is accepted, what it refuses is refused.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use test_support::{Place, Process, StartError, scratch_dir};

use crate::support::LOCKGATE;

/// What a program says about a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Refused,
}

/// Files that differ from a good one by these lines. Both programs say the same.
const LINES: &[&str] = &[
    // Comments, blanks, case.
    "# x",
    "#x\0y",
    "\r\n \t\n\x0b\x0c",
    "  \x0b\tTimeout 5 \t",
    "tImEoUt 5",
    "Timeout 5\0 junk",
    "\0 junk",
    "Timeout\x0b5",
    "Timeout 5\x0b",
    "Timeout=5",
    "Timeout",
    "Timeout 5 6",
    "\"Timeout\" 5",
    "; x",
    "// x",
    "Include \"x\"",
    "Timout 5",
    // Numbers.
    "Timeout 0",
    "Timeout 08",
    "Timeout 0x10",
    "Timeout -1",
    "Timeout 5s",
    "Timeout \"5\"",
    "Timeout 4294967297",
    "MaxClients 0",
    "MaxClients x",
    "StartServers 5\nMinSpareServers 5\nMaxSpareServers 5\nMaxRequestsPerChild 5",
    "StartServers x",
    "MaxRequestsPerChild",
    "Port 65536",
    "Port 99999999999999999999",
    // Words.
    "Syslog oFF",
    "BindSame on",
    "BindSame true",
    "DisableViaHeader 1",
    "XTinyproxy Yes",
    "XTinyproxy example.com",
    "LogLevel WARNING",
    "LogLevel Connect",
    "LogLevel debug",
    "LogLevel \"info\"",
    "FilterType FnMatch",
    "FilterType bre ere",
    "FilterExtended Yes\nFilterURLs On\nFilterDefaultDeny Yes\nFilterCaseSensitive No",
    "FilterURLs maybe",
    "Filter \"/dev/null\"",
    "Filter \"/dev/null\"\nFilterType ere\nFilterDefaultDeny Yes",
    "Filter /dev/null",
    // Texts.
    "LogFile \"log\"",
    "LogFile log",
    "LogFile 'log'",
    "LogFile \"\"",
    "LogFile \"log",
    "LogFile \"a\" \"b\"",
    "PidFile \"ready\"",
    "ViaProxyName \"a b\\\"",
    "AddHeader \"X-A\" \"1\"",
    "AddHeader \"X-A\" \"\"",
    "AddHeader \"X-A\"",
    "AddHeader \"X-A\"\"1\"",
    "AddHeader \"X-A\": \"1\"",
    "AddHeader \"Connection\" \"x\"",
    "AddHeader \"Content-Length\" \"4\"",
    "AddHeader \"X Y\" \"x\"",
    "AddHeader \"Host\" \"x\"",
    "Anonymous \"X Y\"",
    "Anonymous \"X-A\"\nAddHeader \"Content-Length\" \"4\"",
    "Anonymous \"Accept\"",
    "Anonymous Accept",
    "StatHost \"x\"",
    "StatFile \"x\"",
    "DefaultErrorFile \"x\"",
    "ErrorFile 404 \"x\"\nErrorFile 404 \"y\"\nErrorFile 99999 \"z\"",
    "ErrorFile \"x\"",
    "ErrorFile 404",
    "User \"root\"",
    "User a/b",
    "Group root",
    // Addresses.
    "Listen 127.0.0.02",
    "Listen 127.0.0.1.1",
    "Listen localhost",
    "Listen [::1]",
    "Listen 127.0.0.1:80",
    "Listen *",
    "Listen 999.1.1.1",
    "Listen dead",
    "Bind ::1\nBind 127.0.0.1",
    "Bind 999.1.1.1",
    "Bind eth0",
    "Bind 999.1.1.1\nBind 127.0.0.1",
    "Allow 127.0.0.1",
    "Allow 10.0.0.0/8\nDeny ::1/128\nallow .example.com\nDENY host",
    "Allow 1.2.3.4/33",
    "Allow ::1/129",
    "Deny 999.1.1.1",
    "Deny dead/8",
    "Allow 10/8",
    "Allow :::",
    "Allow .",
    "Deny a..b",
    "Allow host.",
    "Deny -",
    "Allow 1.2.3.0/255.255.255.0",
    "Allow *",
    "Allow *.x",
    "Allow x:y",
    "Allow \"x\"",
    "Deny 10.0.0.0/",
    "Deny host/8",
    "BasicAuth u p",
    "BasicAuth \tu-1.x_ \t p",
    "BasicAuth u p\nBasicAuth u q\nBasicAuth v p",
    "BasicAuth u",
    "BasicAuth u p@q",
    "BasicAuth u:v p",
    "ConnectPort 443\nConnectPort 0563\nConnectPort 70000",
    "ConnectPort 0",
    "ConnectPort 443-445",
    "ConnectPort https",
    // Reverse.
    "ReversePath \"/a\" \"http://x/\"",
    "ReversePath \"http://x/\"",
    "ReversePath \"/a\" \"x\"",
    "ReversePath \"a\" \"http://x/\"",
    "ReversePath \"/a\"\"http://x/\"",
    "ReversePath /a http://x/",
    "ReverseOnly Yes\nReverseMagic Yes\nReverseBaseURL \"http://x/\"\nReversePath \"/\" \"http://x/\"",
    "ReverseOnly Yes",
    "ReverseMagic",
    "ReversePath \"/a\" \"http://x/\"\nReversePath \"/\" \"http://y/\"\nReversePath \"/\" \"http://z/\"",
    "ReversePath \"/a\" \"http://x:80/b?c\"",
    "ReversePath \"/a?b\" \"http://x/\"",
    "ReversePath \"/a#b/\" \"http://x/\"",
    "ReversePath \"/a\" \"http://u:p@x/\"",
    "ReversePath \"/a\" \"http://x/#b\"",
    "ReverseBaseURL \"nonsense\"",
    // Upstreams.
    "Upstream http h:80",
    "Upstream http h:80 \".x\"\nUpstream socks5 u:p@h:1\nUpstream none \"10.0.0.0/8\"",
    "Upstream socks4 1.2.3.4:1080 \"10.0.0.0/255.0.0.0\"",
    "Upstream http a@b:p:q@h:80",
    "Upstream http u p:p p@h:80",
    "Upstream http h:1\nUpstream http g:1",
    "Upstream HTTP h:80",
    "Upstream HTTP h:80 \"x\"",
    "Upstream None \"x\"",
    "Upstream none \".\" junk",
    "Upstream junk http h:80",
    "Upstream xhttp h:80",
    "Upstream http h:0",
    "Upstream http h:80 \"10.0.0.0/33\"",
    "Upstream http h:80 \"host:80\"",
    "Upstream http h:80 \"10/8\"",
    "Upstream http h:80 \"::1/64\"",
    "Upstream http h:70000",
    "Upstream http 0.0.0.0:0 \"127.0.0.0/8\"",
    "Upstream http 0.0.0.0:0 \"172.0.0/8\"",
    "Upstream h:80",
    "Upstream http h",
    "Upstream http h:80 x",
    "Upstream http h:80\"x\"",
    "Upstream http h:80 \"\"",
    "Upstream none",
    "Upstream none x",
    "Upstream http h:80 \"a b\"",
    "Upstream http h:80 \"10.0.0.0/255.0.255.0\"",
    "No Upstream \"x\"",
];

/// Whole files; `{port}` is a free port.
const FILES: &[&str] = &[
    "",
    "Port 0",
    "Port 0\nPort {port}\nListen 127.0.0.1",
    "Port {port}\nListen 127.0.0.1\nPort 0",
    "Port {octal}\nListen ::1",
    "Port {port}",
    "Port {port}\nListen 127.0.0.1\nListen 127.0.0.1",
    "Listen 127.0.0.1\nPort {port} \t",
];

/// Where the two differ on purpose. One that agrees fails the test.
const DIFFERENCES: &[(&str, &str)] = &[
    ("Timeout 5\r\n", "files with CR LF are read, with a warning"),
    ("Timeout 5 # x", "comments at the end of a line are read, with a warning"),
    ("  # x", "comments with blanks before them are read, with a warning"),
    ("LONG COMMENT", "long comments are read, with a warning"),
    ("BasicAuthRealm \"x\"", "the reference is 1.11.1; tinyproxy has it since 1.11.3"),
    ("BasicAuth a b c", "the reference is 1.11.1; tinyproxy accepts it since 1.11.2"),
    ("Upstream http [::1]:80", "the reference is 1.11.1; tinyproxy accepts it since 1.11.2"),
    ("BasicAuth a\u{7} p", "the reference is 1.11.1; tinyproxy accepts it since 1.11.2"),
];

#[test]
fn what_tinyproxy_accepts_is_accepted_and_what_it_refuses_is_refused() {
    let lines = LINES.iter().map(|lines| with_port(lines));
    let files = FILES.iter().map(|file| file.as_bytes().to_vec());
    let latin1 = [with_port("AddHeader \"X-A\" \""), b"\xe9\"\n".to_vec()].concat();
    let same: Vec<_> = lines.chain(files).chain([latin1]).collect();
    assert!(same.len() >= 100, "{}", same.len());
    let wrong = Mutex::new(Vec::new());
    in_parallel(same.len(), |index| {
        let text = &same[index];
        let (theirs, ours, output) = compare(text);
        if ours != theirs {
            let text = String::from_utf8_lossy(text);
            wrong.lock().unwrap().push(format!("{text}\ntinyproxy: {theirs:?}, lockgate: {ours:?}\n{output}"));
        }
    });
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {} differ:\n\n{}", wrong.len(), same.len(), wrong.join("\n"));
}

#[test]
fn differences_from_tinyproxy_are_known_and_have_reasons() {
    let gone = Mutex::new(Vec::new());
    in_parallel(DIFFERENCES.len(), |index| {
        let (text, reason) = DIFFERENCES[index];
        let text = match text {
            "LONG COMMENT" => with_port(&format!("# {}", "x".repeat(5000))),
            text => with_port(text),
        };
        let (theirs, ours, output) = compare(&text);
        if ours == theirs {
            gone.lock().unwrap().push(format!("{reason}: both say {ours:?} to {:?}\n{output}", DIFFERENCES[index].0));
        }
    });
    let gone = gone.into_inner().unwrap();
    assert!(gone.is_empty(), "no difference any more: {}", gone.join("\n"));
}

#[test]
fn the_example_is_a_file_of_tinyproxy_and_its_twin_is_its_translation() {
    let configs = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
    let example = fs::read_to_string(configs.join("tinyproxy.conf")).unwrap();
    let elsewhere = example.replace("Port 12345", "Listen 127.0.0.1\nPort {port}");
    assert_ne!(example, elsewhere);
    assert_eq!(theirs(elsewhere.as_bytes()), Verdict::Accepted);
    let output = Command::new(LOCKGATE).args(["migrate", "tinyproxy.conf"]).current_dir(&configs).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let twin = fs::read_to_string(configs.join("tinyproxy.toml")).unwrap();
    assert_eq!(twin, String::from_utf8(output.stdout).unwrap(), "configs/tinyproxy.toml is not what migrate prints");
}

#[test]
fn what_migrate_prints_means_the_same_as_the_file() {
    let directory = scratch_dir().unwrap();
    let (conf, toml) = (directory.path().join("t.conf"), directory.path().join("t.toml"));
    fs::write(&conf, "Port 8888\nUpstream http h:1\nConnectPort 443\nBind 127.0.0.1\nStartServers 5\n").unwrap();
    let output = Command::new(LOCKGATE).arg("migrate").arg(&conf).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("\n# Line 5: `StartServers` is obsolete in tinyproxy too and has no effect.\n"), "{text}");
    fs::write(&toml, text).unwrap();
    for file in [&conf, &toml] {
        let output = Command::new(LOCKGATE).args(["check", "--config"]).arg(file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let daemon = Command::new(LOCKGATE).args(["migrate", "--daemon"]).arg(&conf).output().unwrap();
    let text = String::from_utf8(daemon.stdout).unwrap();
    assert!(text.contains("\ndaemon = true\n") && text.contains("\nprogram = \"off\"\n"), "{text}");
}

#[test]
fn problems_are_told_at_their_place_in_the_file() {
    let directory = scratch_dir().unwrap();
    let conf = directory.path().join("t.conf");
    for (text, expected) in [
        (
            "Port 8888\nProt 1\n  Timeout x",
            ["t.conf:2:1: unknown directive `Prot`", "t.conf:3:11: `x` is not a number"],
        ),
        // The first is found by what reads the translation.
        ("Port 8888\nListen fe80::1%nothing\nAllow ::1", ["t.conf:2:8: ", "hint"]),
        (
            "Port 8888\nListen ::1\nListen 127.0.0.1\nListen ::1",
            ["t.conf:4:8: [::1]:8888 is listened on twice", "hint"],
        ),
    ] {
        fs::write(&conf, text).unwrap();
        let output = Command::new(LOCKGATE).args(["check", "--config"]).arg(&conf).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{stderr}");
        for line in expected.iter().filter(|line| **line != "hint") {
            assert!(stderr.contains(line), "{line} is not in\n{stderr}");
        }
    }
}

fn with_port(lines: &str) -> Vec<u8> {
    format!("Listen ::1\nPort {{port}}\n{lines}").into_bytes()
}

/// What tinyproxy says, what we say, and what was written about it.
fn compare(text: &[u8]) -> (Verdict, Verdict, String) {
    let directory = scratch_dir().unwrap();
    let file = directory.path().join("t.conf");
    fs::write(&file, filled(text, 8888)).unwrap();
    let output = Command::new(LOCKGATE).args(["check", "--config"]).arg(&file).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    let ours = match output.status.code() {
        Some(0) => Verdict::Accepted,
        Some(64) => Verdict::Refused,
        code => panic!("lockgate check ended with {code:?}: {stderr}"),
    };
    (theirs(text), ours, stderr)
}

/// Runs the real one: it ends, or it listens.
fn theirs(text: &[u8]) -> Verdict {
    let directory = scratch_dir().unwrap();
    let file = directory.path().join("t.conf");
    let ports = Place::Loopback.reserve_both(0).unwrap();
    fs::write(&file, filled(text, ports[0].port())).unwrap();
    let mut command = Command::new("tinyproxy");
    command.args(["-d", "-c"]).arg(&file).current_dir(directory.path());
    let mut process = Process::spawn(&command).unwrap();
    // It writes its process id when it listens on all addresses.
    let ready = || fs::read_to_string(directory.path().join("ready")).ok().filter(|id| !id.is_empty());
    match process.wait_until("its process id", Duration::from_secs(20), ready) {
        Ok(_) => Verdict::Accepted,
        // A syntax error, or an address that is none.
        Err(StartError::Exited { status, .. }) if [Some(70), Some(71)].contains(&status.code()) => Verdict::Refused,
        Err(error) => panic!("{}\n{error}", String::from_utf8_lossy(text)),
    }
}

fn filled(text: &[u8], port: u16) -> Vec<u8> {
    let mut filled = [b"PidFile \"ready\"\n", text].concat();
    for (placeholder, value) in [("{port}", port.to_string()), ("{octal}", format!("0{port:o}"))] {
        while let Some(at) = filled.windows(placeholder.len()).position(|part| part == placeholder.as_bytes()) {
            filled.splice(at..at + placeholder.len(), value.bytes());
        }
    }
    filled
}

/// Does the work for each index, on a few threads.
fn in_parallel(number: usize, work: impl Fn(usize) + Sync) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= number {
                        return;
                    }
                    work(index);
                }
            });
        }
    });
}
