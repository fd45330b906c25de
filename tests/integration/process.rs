//! The process around the proxy: its daemon, identity, files, signals and log, beside tinyproxy's.

use std::{
    fs,
    io::{BufRead as _, BufReader, ErrorKind},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        net::UnixDatagram,
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use test_support::{Connection, Origin, Place, Process, Reservation, Signal, poll, require, scratch_dir};

use crate::support::LOCKGATE;

const DEADLINE: Duration = Duration::from_secs(20);

/// A directory with a program called `tinyproxy`, a port, and what is written there.
struct Stage {
    directory: TempDir,
    port: Reservation,
}

impl Stage {
    fn new() -> Self {
        let directory = scratch_dir().unwrap();
        symlink(LOCKGATE, directory.path().join("tinyproxy")).unwrap();
        Self { directory, port: Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn address(&self) -> SocketAddr {
        self.port.address()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A directory that `nobody` owns.
    fn nobodys(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir(&path).unwrap();
        std::os::unix::fs::chown(&path, Some(65534), Some(65534)).unwrap();
        path
    }

    /// tinyproxy.conf with these lines and those that every one of them needs.
    fn conf(&self, lines: &str) {
        let text = format!("Port {}\nListen 127.0.0.1\nDisableViaHeader Yes\n{lines}\n", self.port.port());
        fs::write(self.path("tinyproxy.conf"), text).unwrap();
    }

    /// Our own configuration with these sections before its listener and its route.
    fn toml(&self, sections: &str, origin: &Origin) {
        let (address, origin) = (self.address(), origin.address());
        let text = format!(
            "{sections}\n[[listener]]\nname = \"http\"\naddress = [\"{address}\"]\n\
             [[route]]\nchain = [{{ use = \"upstream\", servers = [\"{origin}\"] }}]\n"
        );
        fs::write(self.path("lockgate.toml"), text).unwrap();
    }

    /// Lockgate under the name of tinyproxy, in this directory.
    fn tinyproxy(&self, arguments: &[&str]) -> Command {
        self.command(&self.path("tinyproxy"), arguments)
    }

    fn lockgate(&self, arguments: &[&str]) -> Command {
        self.command(Path::new(LOCKGATE), arguments)
    }

    fn command(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(self.directory.path()).env_remove("NOTIFY_SOCKET");
        command
    }

    /// In the foreground, serving.
    fn foreground(&self) -> Process {
        let mut process = Process::spawn(&self.tinyproxy(&["-d", "-c", "tinyproxy.conf"])).unwrap();
        process.wait_for_port(&Place::Loopback, self.address(), DEADLINE).unwrap();
        process
    }

    /// The daemon whose PID file this is.
    fn daemon(&self, pid_file: &str) -> Daemon {
        let text = self.read(pid_file);
        Daemon(text.strip_suffix('\n').unwrap_or_else(|| panic!("{text:?} is no PID file")).parse().unwrap())
    }
}

/// A process that is no child of ours; killed at the end.
struct Daemon(u32);

impl Daemon {
    fn signal(&self, name: &str) {
        kill(self.0, name);
    }

    fn proc(&self, name: &str) -> PathBuf {
        format!("/proc/{}/{name}", self.0).into()
    }

    /// Fields of proc_pid_stat(5) from the state (3) on.
    fn stat(&self) -> Vec<String> {
        let text = fs::read_to_string(self.proc("stat")).unwrap_or_default();
        let after = text.rsplit_once(") ").map_or("", |(_, after)| after);
        after.split_whitespace().map(str::to_owned).collect()
    }

    fn wait(&self, within: Duration) {
        // Whoever inherited it may take its time to collect it.
        let ended = || self.stat().first().is_none_or(|state| state == "Z" || state == "X").then_some(());
        poll(within, ended).expect("the daemon goes on");
    }
}

fn kill(id: u32, signal: &str) {
    assert!(Command::new("kill").args(["-s", signal, &id.to_string()]).status().unwrap().success());
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.stat().first().is_some_and(|state| state != "Z") {
            let _ = Command::new("kill").args(["-s", "KILL", &self.0.to_string()]).status();
            self.wait(DEADLINE);
        }
    }
}

fn text(output: &Output) -> (Option<i32>, String, String) {
    let string = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), string(&output.stdout), string(&output.stderr))
}

/// The lines of a log, when they are such as to satisfy `enough`.
fn wait_for_log(stage: &Stage, name: &str, enough: impl Fn(&str) -> bool) -> String {
    poll(DEADLINE, || Some(stage.read(name)).filter(|text| enough(text)))
        .unwrap_or_else(|| panic!("not in {name}:\n{}", stage.read(name)))
}

fn proxied(address: SocketAddr, origin: &Origin) -> u16 {
    let host = origin.address();
    let mut client = Connection::open(address).unwrap();
    client.exchange(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap().status
}

#[test]
fn the_parent_of_a_daemon_returns_when_it_serves_and_nothing_is_left_of_the_terminal() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    let logs = stage.nobodys("logs").display().to_string();
    stage.conf(&format!("User nobody\nGroup nogroup\nPidFile \"{logs}/proxy.pid\"\nLogFile \"{logs}/proxy.log\""));
    // `output` returns at the end of both streams: the daemon must have let go of them.
    let output = stage.tinyproxy(&["-c", "tinyproxy.conf"]).output().unwrap();
    assert_eq!(text(&output), (Some(0), String::new(), String::new()));
    let daemon = stage.daemon("logs/proxy.pid");
    assert_eq!(proxied(stage.address(), &origin), 200, "no waiting: it serves when the parent returns");
    let stat = daemon.stat();
    let (group, session, terminal) = (&stat[2], &stat[3], &stat[4]);
    assert!(
        *session != daemon.0.to_string() && *group != daemon.0.to_string(),
        "a leader could get a terminal: {stat:?}"
    );
    assert_eq!(terminal, "0");
    let ours = fs::read_to_string("/proc/self/stat").unwrap();
    assert_ne!(ours.rsplit_once(") ").unwrap().1.split(' ').nth(3).unwrap(), session);
    assert_eq!(fs::read_link(daemon.proc("cwd")).unwrap(), Path::new("/"));
    for stream in ["fd/0", "fd/1", "fd/2"] {
        assert_eq!(fs::read_link(daemon.proc(stream)).unwrap(), Path::new("/dev/null"));
    }
    assert_eq!(fs::read_to_string(daemon.proc("comm")).unwrap(), "tinyproxy\n");
    let line = fs::read_to_string(daemon.proc("cmdline")).unwrap();
    assert!(line.ends_with("tinyproxy\0-c\0tinyproxy.conf\0"), "{line:?}");
    daemon.signal("TERM");
    daemon.wait(DEADLINE);
    assert!(!stage.path("logs/proxy.pid").exists());
    assert!(stage.read("logs/proxy.log").contains("Shutting down."));
}

#[test]
fn a_daemon_outlives_the_terminal_that_it_was_started_from() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    let path = stage.path("");
    stage.conf(&format!("PidFile \"{0}proxy.pid\"\nLogFile \"{0}proxy.log\"", path.display()));
    require("script").unwrap();
    let start = "tty && ./tinyproxy -c tinyproxy.conf";
    let (code, output, _) = text(&stage.command(Path::new("script"), &["-qec", start, "/dev/null"]).output().unwrap());
    assert_eq!(code, Some(0), "{output}");
    assert!(output.contains("/dev/pts/"), "there was a terminal: {output}");
    let daemon = stage.daemon("proxy.pid");
    assert_eq!(daemon.stat()[4], "0", "it has none");
    assert_eq!(proxied(stage.address(), &origin), 200);
}

#[test]
fn a_reload_that_hangs_does_not_keep_the_process() {
    let stage = Stage::new();
    stage.conf(&format!("LogFile \"{0}proxy.log\"\nPidFile \"{0}proxy.pid\"", stage.path("").display()));
    let mut process = stage.foreground();
    fs::remove_file(stage.path("tinyproxy.conf")).unwrap();
    // Reading it waits for somebody who writes it.
    assert!(Command::new("mkfifo").arg(stage.path("tinyproxy.conf")).status().unwrap().success());
    process.signal(Signal::HUP);
    wait_for_log(&stage, "proxy.log", |text| text.contains("Reloading config file (tinyproxy.conf)"));
    TcpStream::connect(stage.address()).expect("it serves meanwhile");
    process.signal(Signal::TERM);
    assert_eq!(process.wait(DEADLINE).unwrap().code(), Some(1));
    assert!(!stage.path("proxy.pid").exists());
}

#[test]
fn a_daemon_that_cannot_serve_says_so_through_its_parent() {
    let stage = Stage::new();
    stage.conf(&format!("PidFile \"{0}/proxy.pid\"\nLogFile \"{0}/proxy.log\"", stage.path("").display()));
    let _taken = TcpListener::bind(stage.address()).unwrap();
    let (code, _, error) = text(&stage.tinyproxy(&["-c", "tinyproxy.conf"]).output().unwrap());
    assert_eq!(code, Some(71), "{error}");
    assert!(error.contains(&stage.address().to_string()) && error.contains("in use"), "{error}");
    assert!(!stage.path("proxy.pid").exists() && !stage.path("proxy.log").exists());
    let origin = Origin::start().unwrap();
    stage.toml("[server]\ndaemon = true\npid_file = \"proxy.pid\"", &origin);
    let (code, _, error) = text(&stage.lockgate(&["run", "-c", "lockgate.toml"]).output().unwrap());
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("in use") && !stage.path("proxy.pid").exists(), "{error}");
}

#[test]
fn relative_paths_mean_the_same_in_a_daemon_and_after_a_reload() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    let sections =
        "[server]\ndaemon = true\npid_file = \"proxy.pid\"\n[log]\naccess = \"access.log\"\nprogram = \"program.log\"";
    stage.toml(sections, &origin);
    assert_eq!(text(&stage.lockgate(&["run", "-c", "lockgate.toml"]).output().unwrap()).0, Some(0));
    let daemon = stage.daemon("proxy.pid");
    for name in ["access.log", "program.log"] {
        fs::rename(stage.path(name), stage.path(&format!("{name}.1"))).unwrap();
    }
    let more = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let config = stage.read("lockgate.toml");
    let address = format!("address = [\"{}\", ", more.address());
    fs::write(stage.path("lockgate.toml"), config.replace("address = [", &address)).unwrap();
    daemon.signal("HUP");
    wait_for_log(&stage, "program.log", |text| text.contains("Reloading config file finished"));
    let mut client = Connection::open(more.address()).unwrap();
    assert_eq!(client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200);
    wait_for_log(&stage, "access.log", |text| text.contains("GET / "));
    daemon.signal("TERM");
    daemon.wait(DEADLINE);
    assert!(stage.read("program.log").contains("stopped"), "the log was opened again");
}

#[test]
fn every_thread_gives_up_root() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    let logs = stage.nobodys("logs");
    let sections = format!(
        "[server]\nuser = \"nobody\"\ngroup = \"nogroup\"\npid_file = \"{0}/proxy.pid\"\nshards = 3\n\
         [log]\naccess = \"{0}/access.log\"\nprogram = \"{0}/program.log\"",
        logs.display()
    );
    stage.toml(&sections, &origin);
    let mut process = Process::spawn(&stage.lockgate(&["run", "-c", "lockgate.toml"])).unwrap();
    process.wait_for_port(&Place::Loopback, stage.address(), DEADLINE).unwrap();
    wait_for_log(&stage, "logs/program.log", |text| text.contains("listening"));
    let threads: Vec<_> = fs::read_dir(format!("/proc/{}/task", process.id())).unwrap().collect();
    assert!(threads.len() > 4, "{} threads", threads.len());
    for thread in threads {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!((field("Uid:"), field("Gid:")), (vec!["65534".to_owned(); 4], vec!["65534".to_owned(); 4]));
        assert!(field("Groups:").is_empty(), "{status}");
        for set in ["CapPrm:", "CapEff:", "CapAmb:"] {
            assert_eq!(field(set), ["0000000000000000"], "{status}");
        }
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.id())).unwrap();
    let files: Vec<_> =
        limits.lines().find(|line| line.starts_with("Max open files")).unwrap().split_whitespace().collect();
    assert_eq!(files[3], files[4], "as many descriptors as there may be");
    let about = fs::metadata(logs.join("proxy.pid")).unwrap();
    assert_eq!((about.uid(), about.permissions().mode() & 0o777), (0, 0o644));
    for name in ["access.log", "program.log"] {
        let about = fs::metadata(logs.join(name)).unwrap();
        assert_eq!((about.uid(), about.gid(), about.permissions().mode() & 0o777), (65534, 65534, 0o640), "{name}");
        fs::rename(logs.join(name), logs.join("old")).unwrap();
    }
    process.signal(Signal::HUP);
    wait_for_log(&stage, "logs/program.log", |_| logs.join("program.log").exists() && logs.join("access.log").exists());
    process.signal(Signal::TERM);
    assert!(process.wait(DEADLINE).unwrap().success());
    assert!(!logs.join("proxy.pid").exists());
}

#[test]
fn root_that_cannot_be_given_up_is_no_way_to_serve() {
    let stage = Stage::new();
    let path = stage.path("proxy.pid");
    stage.conf(&format!("User nobody\nGroup nogroup\nPidFile \"{}\"", path.display()));
    require("tinyproxy").unwrap();
    for program in [Path::new("tinyproxy"), &stage.path("tinyproxy")] {
        let mut command = stage.command(Path::new("setpriv"), &["--bounding-set=-setuid,-setgid", "--"]);
        let output = command.arg(program).args(["-d", "-c", "tinyproxy.conf"]).output().unwrap();
        assert_eq!(output.status.code(), Some(77), "{}: {:?}", program.display(), text(&output));
    }
    let as_daemon = stage.command(Path::new("setpriv"), &["--bounding-set=-setuid", "--"]);
    let output = { as_daemon }.arg(stage.path("tinyproxy")).args(["-c", "tinyproxy.conf"]).output().unwrap();
    assert_eq!(output.status.code(), Some(77), "{:?}", text(&output));
    TcpListener::bind(stage.address()).expect("nothing serves");
}

#[test]
fn a_pid_file_that_cannot_be_removed_is_emptied() {
    let stage = Stage::new();
    let path = stage.path("proxy.pid");
    stage.conf(&format!("User nobody\nGroup nogroup\nPidFile \"{}\"", path.display()));
    let mut process = stage.foreground();
    // It listens a moment before it writes the file, as tinyproxy does.
    wait_for_log(&stage, "proxy.pid", |text| text == format!("{}\n", process.id()));
    process.signal(Signal::TERM);
    assert!(process.wait(DEADLINE).unwrap().success());
    assert_eq!(fs::read_to_string(&path).unwrap(), "", "the number may soon be another process's");
    assert!(process.output().contains("cannot remove the PID file"), "{}", process.output());
}

#[test]
fn a_pid_file_is_never_written_through_links() {
    let stage = Stage::new();
    fs::write(stage.path("victim"), "precious").unwrap();
    symlink(stage.path("victim"), stage.path("soft")).unwrap();
    fs::hard_link(stage.path("victim"), stage.path("hard")).unwrap();
    for link in ["soft", "hard"] {
        stage.conf(&format!("PidFile \"{}\"", stage.path(link).display()));
        require("tinyproxy").unwrap();
        for program in [Path::new("tinyproxy"), &stage.path("tinyproxy")] {
            let output = stage.command(program, &["-d", "-c", "tinyproxy.conf"]).output().unwrap();
            assert_eq!(output.status.code(), Some(71), "{link}: {}", program.display());
        }
        assert_eq!(stage.read("victim"), "precious");
    }
    stage.conf(&format!("PidFile \"{}\"", stage.path("stale").display()));
    fs::write(stage.path("stale"), "4194304\nand more\n").unwrap();
    let process = stage.foreground();
    wait_for_log(&stage, "stale", |text| text == format!("{}\n", process.id()));
}

#[test]
fn exit_codes_are_tinyproxys() {
    require("tinyproxy").unwrap();
    let stage = Stage::new();
    let _taken = TcpListener::bind(stage.address()).unwrap();
    fs::create_dir(stage.path("directory")).unwrap();
    let good = format!("Port {}\nListen 127.0.0.1\nDisableViaHeader Yes\n", stage.port.port());
    for (name, lines) in [
        ("taken", good.clone()),
        ("syntax", format!("{good}Nonsense 1\n")),
        ("no-port", "Listen 127.0.0.1\n".into()),
        // The port is looked at last, so that it is not what ends it.
        ("user", format!("User no-such-user\n{good}").replace(&stage.port.port().to_string(), &free_port())),
        ("group", format!("Group no-such-group\n{good}").replace(&stage.port.port().to_string(), &free_port())),
    ] {
        fs::write(stage.path(name), lines).unwrap();
    }
    for (arguments, code) in [
        (&["-v"][..], 0),
        (&["-h"], 0),
        (&["-dvc"], 0),
        (&["word", "-v"], 0),
        (&["-x"], 64),
        (&["--help"], 64),
        (&["-d", "-c"], 64),
        (&["-dc", "missing"], 70),
        (&["-dcsyntax"], 70),
        (&["-d", "-c", "no-port"], 70),
        (&["-dc", "directory"], 70),
        (&["-dc", "taken"], 71),
        (&["-dc", "user"], 67),
        (&["-dc", "group"], 67),
    ] {
        let reference = stage.command(Path::new("tinyproxy"), arguments).output().unwrap();
        let ours = stage.tinyproxy(arguments).output().unwrap();
        let sub = stage.lockgate(&[&["tinyproxy"], arguments].concat()).output().unwrap();
        let codes = [&reference, &ours, &sub].map(|output| output.status.code());
        assert_eq!(codes, [Some(code); 3], "{arguments:?}: {:?}", text(&ours));
        // The same streams have something to say.
        assert_eq!(reference.stdout.is_empty(), ours.stdout.is_empty(), "{arguments:?}: {:?}", text(&ours));
        assert!(code == 0 || !ours.stderr.is_empty(), "{arguments:?}");
    }
    let version = text(&stage.tinyproxy(&["-v"]).output().unwrap()).1;
    assert!(version.starts_with("tinyproxy 1.11.3") && version.contains("Lockgate"), "{version}");
    let help = text(&stage.tinyproxy(&["-h"]).output().unwrap()).1;
    let theirs = text(&Command::new("tinyproxy").arg("-h").output().unwrap()).1;
    let features = theirs.lines().skip_while(|line| *line != "Features compiled in:");
    let features: Vec<_> = features.take_while(|line| !line.is_empty()).collect();
    assert!(features.len() == 6 && help.contains(&features.join("\n")), "{help}");
}

fn free_port() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string()
}

/// A line with every number, and what is written into quotes, replaced: the form that scripts know.
fn form(line: &str) -> String {
    let mut form = String::new();
    for character in line.chars() {
        match character {
            '0'..='9' if form.ends_with('9') => {}
            '0'..='9' => form.push('9'),
            other => form.push(other),
        }
    }
    form
}

#[test]
fn log_lines_have_tinyproxys_form() {
    let origin = Origin::start().unwrap();
    let log_of = |program: &Path, stage: &Stage| {
        stage.conf(&format!("LogFile \"{}\"\nLogLevel Info", stage.path("proxy.log").display()));
        let mut process = Process::spawn(&stage.command(program, &["-d", "-c", "tinyproxy.conf"])).unwrap();
        process.wait_for_port(&Place::Loopback, stage.address(), DEADLINE).unwrap();
        assert_eq!(proxied(stage.address(), &origin), 200);
        wait_for_log(stage, "proxy.log", |text| text.contains("Request (file descriptor"));
        process.signal(Signal::TERM);
        assert!(process.wait(DEADLINE).unwrap().success());
        let text = stage.read("proxy.log");
        let id = process.id();
        assert!(text.lines().all(|line| line.contains(&format!(" [{id}]: "))), "{text}");
        text
    };
    require("tinyproxy").unwrap();
    let (ours, theirs) = (Stage::new(), Stage::new());
    let ours = log_of(&ours.path("tinyproxy"), &ours);
    let theirs = log_of(Path::new("tinyproxy"), &theirs);
    let forms: Vec<_> = ours.lines().map(form).collect();
    for needle in [
        "Initializing tinyproxy ...",
        "Connect (file descriptor",
        "Request (file descriptor",
        "Shutting down.",
        "Starting main loop",
    ] {
        let reference = form(theirs.lines().find(|line| line.contains(needle)).unwrap());
        assert!(forms.contains(&reference), "{reference}\nis not in\n{ours}");
    }
}

#[test]
fn signals_do_what_tinyproxys_do() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    let logs = stage.nobodys("logs");
    stage.conf(&format!("User nobody\nGroup nogroup\nLogFile \"{}\"", logs.join("proxy.log").display()));
    let mut process = stage.foreground();
    process.signal(Signal::PIPE);
    for signal in [Signal::HUP, Signal::USR1] {
        fs::rename(logs.join("proxy.log"), logs.join("old")).unwrap();
        process.signal(signal);
        // In a new file, as log rotation wants it.
        let text = wait_for_log(&stage, "logs/proxy.log", |text| text.contains("Reloading config file finished"));
        let all = stage.read("logs/old") + &text;
        assert!(all.contains("Reloading config file (tinyproxy.conf)"), "{all}");
    }
    assert_eq!(proxied(stage.address(), &origin), 200);
    // An idle connection and one that waits for an answer: neither delays the end.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let host = silent.local_addr().unwrap();
    let mut waiting = Connection::open(stage.address()).unwrap();
    waiting.send(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
    let _idle = TcpStream::connect(stage.address()).unwrap();
    silent.accept().unwrap();
    let began = Instant::now();
    process.signal(Signal::TERM);
    assert!(process.wait(DEADLINE).unwrap().success());
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[test]
fn an_open_tunnel_keeps_nothing_from_ending_as_in_tinyproxy() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    stage.conf("");
    let mut process = stage.foreground();
    let to = origin.address();
    let mut tunnel = Connection::open(stage.address()).unwrap();
    tunnel.send(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")).unwrap();
    assert_eq!(tunnel.response(true).unwrap().status, 200);
    let since = Instant::now();
    process.signal(Signal::TERM);
    assert!(process.wait(DEADLINE).unwrap().success());
    assert!(since.elapsed() < Duration::from_millis(800), "{:?}", since.elapsed());
    assert!(process.output().contains("Closed connection between local client"), "{}", process.output());
}

#[test]
fn a_refused_reload_changes_nothing_and_says_where() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    stage.conf(&format!("LogFile \"{}\"", stage.path("proxy.log").display()));
    let process = &mut stage.foreground();
    let good = stage.read("tinyproxy.conf");
    fs::write(stage.path("tinyproxy.conf"), format!("Timeout 1\n{good}  Nonsense 1\n")).unwrap();
    process.signal(Signal::USR1);
    let text = wait_for_log(&stage, "proxy.log", |text| text.contains("Nonsense 1"));
    assert!(text.contains("Reloading config file failed!") && text.contains("tinyproxy.conf:6:3: "), "{text}");
    assert!(!text.contains("finished"), "{text}");
    assert_eq!(proxied(stage.address(), &origin), 200);
    // A file that is gone is no better.
    fs::remove_file(stage.path("tinyproxy.conf")).unwrap();
    process.signal(Signal::USR1);
    wait_for_log(&stage, "proxy.log", |text| text.contains("cannot read tinyproxy.conf"));
    fs::write(stage.path("tinyproxy.conf"), format!("{good}User nobody\nPidFile \"elsewhere\"\n")).unwrap();
    process.signal(Signal::USR1);
    let text = wait_for_log(&stage, "proxy.log", |text| text.contains("finished"));
    for key in ["user", "pid_file"] {
        assert!(text.contains(&format!("`{key}` can only change with a restart")), "{text}");
    }
    assert!(!stage.path("elsewhere").exists());
    assert_eq!(proxied(stage.address(), &origin), 200);
}

#[test]
fn a_reload_of_tinyproxys_file_keeps_listening_where_it_did_and_takes_the_rest() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    stage.conf("");
    let process = &mut stage.foreground();
    for (number, listen) in ["Listen 192.0.2.1", "Listen 999.1.1.1", "Port 1"].into_iter().enumerate() {
        stage.conf(&format!("{listen}\nDeny 127.0.0.{}\nAllow 127.0.0.1", 2 + number));
        process.signal(Signal::USR1);
        let finished = |process: &Process| process.output().matches("Reloading config file finished").count() > number;
        poll(DEADLINE, || finished(process).then_some(())).unwrap_or_else(|| panic!("{}", process.output()));
        assert_eq!(proxied(stage.address(), &origin), 200, "{listen}");
        let key = listen.split(' ').next().unwrap();
        assert!(process.output().contains(&format!("`{key}` can only change with a restart")), "{}", process.output());
    }
}

#[test]
fn a_reload_after_giving_up_root_can_widen_an_address() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    let logs = stage.nobodys("logs").display().to_string();
    let sections = format!(
        "[server]\nuser = \"nobody\"\ngroup = \"nogroup\"\n[log]\nprogram = \"{logs}/proxy.log\"\naccess = \"off\""
    );
    stage.toml(&sections, &origin);
    let mut process = Process::spawn(&stage.lockgate(&["run", "-c", "lockgate.toml"])).unwrap();
    process.wait_for_port(&Place::Loopback, stage.address(), DEADLINE).unwrap();
    let narrow = stage.read("lockgate.toml");
    fs::write(stage.path("lockgate.toml"), narrow.replace("[\"127.0.0.1:", "[\"0.0.0.0:")).unwrap();
    process.signal(Signal::HUP);
    let text = wait_for_log(&stage, "logs/proxy.log", |text| text.contains("finished") || text.contains("failed"));
    assert!(text.contains("Reloading config file finished"), "{text}");
    assert_eq!(proxied((Ipv4Addr::new(127, 0, 0, 3), stage.address().port()).into(), &origin), 200);
}

#[test]
fn an_authenticator_that_stays_goes_on_through_a_reload() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    let answers = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let authenticator = |more: &str| {
        format!(
            "[[authenticator]]\nname = \"memory\"\nuse = \"standalone\"\nlisten = [\"{}\"{more}]",
            answers.address()
        )
    };
    stage.toml(&authenticator(""), &origin);
    let mut process = Process::spawn(&stage.lockgate(&["run", "-c", "lockgate.toml"])).unwrap();
    process.wait_for_port(&Place::Loopback, stage.address(), DEADLINE).unwrap();
    let ask = |request: &str| Connection::open(answers.address()).unwrap().exchange(request).unwrap().status;
    let unknown = "GET /.well-known/acme-challenge/token HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(ask(unknown), 404);
    stage.toml(&format!("# moved\n\n{}", authenticator("")), &origin);
    process.signal(Signal::HUP);
    process.wait_for_line("the reload", DEADLINE, |line| line.contains("Reloading config file finished")).unwrap();
    // Another one could not listen there as long as this one does.
    assert_eq!(ask(unknown), 404);
    // One that is gone is stopped.
    stage.toml("", &origin);
    process.signal(Signal::HUP);
    let gone = || TcpStream::connect(answers.address()).is_err().then_some(());
    poll(DEADLINE, gone).expect("nobody listens there any more");
}

#[test]
fn a_log_that_cannot_be_opened_does_not_keep_tinyproxy_from_serving() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    stage.conf("LogFile \"/nowhere/at/all.log\"");
    let process = stage.foreground();
    assert_eq!(proxied(stage.address(), &origin), 200);
    assert!(process.output().contains("/nowhere/at/all.log"), "{}", process.output());
    drop(process);
    stage.toml("[log]\nprogram = \"/nowhere/at/all.log\"", &origin);
    let (code, _, error) = text(&stage.lockgate(&["run", "-c", "lockgate.toml"]).output().unwrap());
    assert_eq!(code, Some(1));
    assert!(error.contains("/nowhere/at/all.log"), "{error}");
}

#[test]
fn a_log_that_nobody_reads_stops_nobody() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    stage.conf("LogFile \"/dev/stdout\"");
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(stage.path("tinyproxy")).args(["-d", "-c", "tinyproxy.conf"]);
    command.current_dir(stage.directory.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let log = child.stdout.take().unwrap();
    poll(DEADLINE, || TcpStream::connect(stage.address()).ok()).expect("it serves");
    let host = origin.address();
    let mut client = Connection::open(stage.address()).unwrap();
    // More lines than the pipe and the queue hold.
    for _ in 0..6000 {
        let response = client.exchange(format!("GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n")).unwrap();
        assert_eq!(response.status, 200);
    }
    assert!(child.try_wait().unwrap().is_none());
    // Somebody reads, and learns that there was more.
    let mut text = String::new();
    let mut lines = BufReader::new(log);
    while !text.contains("lines of this log were lost") {
        text.clear();
        assert!(lines.read_line(&mut text).unwrap() > 0, "it ends without a word on what was lost");
    }
    // And it ends although nobody reads any more.
    kill(child.id(), "TERM");
    assert!(poll(DEADLINE, || child.try_wait().unwrap()).expect("it ends").success());
}

#[test]
fn standard_output_is_a_place_to_log_to() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    for lines in ["LogFile \"/dev/stdout\"", "LogFile \"/dev/stderr\"", ""] {
        // As another user, who may not open the streams of root anew.
        stage.conf(&format!("User nobody\nGroup nogroup\n{lines}"));
        let mut process = stage.foreground();
        assert_eq!(proxied(stage.address(), &origin), 200);
        let connect = |line: &str| line.starts_with("CONNECT   ") && line.contains("]: Connect (file descriptor ");
        process.wait_for_line("a connection", DEADLINE, connect).unwrap();
    }
}

#[test]
fn the_service_manager_is_told_what_happens() {
    let (stage, origin) = (Stage::new(), Origin::start().unwrap());
    stage.toml("", &origin);
    let manager = UnixDatagram::bind(stage.path("notify")).unwrap();
    manager.set_read_timeout(Some(DEADLINE)).unwrap();
    let told = || loop {
        let mut buffer = [0; 1024];
        match manager.recv(&mut buffer) {
            Ok(length) => break String::from_utf8_lossy(&buffer[..length]).into_owned(),
            // A receive with a deadline is not resumed by the kernel when the machine sleeps (signal(7)).
            Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted),
        }
    };
    let mut command = stage.lockgate(&["run", "-c", "lockgate.toml"]);
    let mut process = Process::spawn(command.env("NOTIFY_SOCKET", stage.path("notify"))).unwrap();
    let ready = told();
    TcpStream::connect(stage.address()).expect("ready is when it serves");
    assert!(ready.starts_with("READY=1\n") && ready.contains(&format!("MAINPID={}\n", process.id())), "{ready}");
    process.signal(Signal::HUP);
    let reloading = told();
    assert!(reloading.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{reloading}");
    assert!(told().starts_with("READY=1\n"));
    fs::write(stage.path("lockgate.toml"), "[nonsense]").unwrap();
    process.signal(Signal::HUP);
    assert!(told().starts_with("RELOADING=1\n"));
    assert!(told().contains("STATUS=serving; the new configuration was refused"), "it goes on, and says so");
    process.signal(Signal::TERM);
    assert!(told().starts_with("STOPPING=1\n"));
    assert!(process.wait(DEADLINE).unwrap().success());
}

#[test]
fn the_units_are_what_systemd_understands() {
    require("systemd-analyze").unwrap();
    let stage = Stage::new();
    let units = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    for unit in ["lockgate.service", "tinyproxy.service", "lockgate-renew.service", "lockgate-renew.timer"] {
        let text = fs::read_to_string(units.join(unit)).unwrap();
        // Programs that are not installed are errors, too.
        let text = text.replace("/usr/bin/lockgate", LOCKGATE);
        let text = text.replace("/usr/bin/tinyproxy", stage.path("tinyproxy").to_str().unwrap());
        fs::write(stage.path(unit), text).unwrap();
        let output = Command::new("systemd-analyze").arg("verify").arg(stage.path(unit)).output().unwrap();
        assert_eq!(text_of(&output, unit), "", "{unit}");
        assert!(output.status.success());
    }
}

/// What was said about this unit: others of the machine may have their own troubles.
fn text_of(output: &Output, unit: &str) -> String {
    let all = String::from_utf8_lossy(&output.stderr);
    all.lines().filter(|line| line.contains(unit)).collect()
}
