//! The two programs, their files, and what happens to them.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, ErrorKind, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream},
    os::unix::fs::{MetadataExt as _, symlink},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use socket2::{Domain, Socket, Type};
use tempfile::TempDir;
use test_support::{Place, Reservation, poll, scratch_dir};

use super::{
    case::{Group, Start, Step},
    log,
    observation::{Observation, after_head, is_complete, latin},
    origin::{Origin, Script, reserve},
};
use crate::support::LOCKGATE;

const DEADLINE: Duration = Duration::from_secs(20);

/// How long a program that should say nothing more is listened to.
const SILENCE: Duration = Duration::from_secs(5);

/// How long a program may take to end.
const ENDING: Duration = Duration::from_secs(3);

/// How long the files of [`LOGS`] are, and which files they are.
type Marks = [(u64, usize); 3];

/// Where a program may write.
const LOGS: [&str; 3] = ["stdout", "stderr", "log"];

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Program {
    Tinyproxy,
    Lockgate,
}

/// What texts of cases may name.
pub(super) struct Ports {
    pub(super) origin: u16,
    pub(super) dead: u16,
}

/// A directory with a configuration, and a program that may run in it.
pub(super) struct Stage<'a> {
    program: Program,
    place: &'a Place,
    ports: &'a Ports,
    directory: TempDir,
    port: [Reservation; 2],
    listen: String,
    child: Option<Child>,
    /// How much of each file of [`LOGS`] belongs to earlier cases.
    read: Marks,
    /// The last level that a file has set.
    level: String,
}

impl<'a> Stage<'a> {
    pub(super) fn new(program: Program, place: &'a Place, ports: &'a Ports) -> Self {
        let port = reserve(place);
        let listen = format!("PidFile \"pid\"\nPort {}\nListen 127.0.0.1\n", port[0].port());
        Self {
            program,
            place,
            ports,
            directory: scratch_dir().unwrap(),
            port,
            listen,
            child: None,
            read: Marks::default(),
            level: "info".to_owned(),
        }
    }

    /// Runs with the configuration of a group, and serves. An error is what it did instead.
    pub(super) fn serve(&mut self, group: &Group) -> Result<(), String> {
        if group.ipv6 {
            self.listen += "Listen ::1\n";
        }
        self.write(&group.files);
        self.configure(&group.conf);
        self.spawn(&["-d", "-c", "tinyproxy.conf"].map(str::to_owned));
        let outcome = self.outcome(None);
        if outcome != "serves" {
            return Err(format!(
                "{:?} does not serve with {:?}, but {outcome}: {}",
                self.program,
                group.conf,
                self.output()
            ));
        }
        self.end_case()
    }

    /// What happens when it is started so.
    pub(super) fn start(&mut self, start: &Start) -> Observation {
        self.write(&start.files);
        for (name, target) in &start.links {
            symlink(self.filled(target), self.path(name)).unwrap();
        }
        if let Some(conf) = &start.conf {
            fs::write(self.path("tinyproxy.conf"), bytes(&self.filled(conf))).unwrap();
        }
        let arguments: Vec<_> = start.args.iter().map(|argument| self.filled(argument)).collect();
        self.spawn(&arguments);
        let mut seen = Observation::default();
        seen.text("exit", self.outcome(Some(start)));
        let read = |name: &str| fs::read(self.path(name)).unwrap_or_default();
        let stdout = self.normal(&String::from_utf8_lossy(&log::without_log(&read("stdout"))));
        // Scripts look for what is compiled in.
        if let Some((_, features)) = stdout.split_once("Features compiled in:\n") {
            seen.text("stdout.features", features.split("\n\n").next().unwrap_or_default());
        }
        seen.text("stdout", stdout);
        seen.text("stderr", self.normal(&log::named(&String::from_utf8_lossy(&read("stderr")))));
        self.look(&mut seen, "", &start.look);
        seen
    }

    fn spawn(&mut self, arguments: &[String]) {
        // Whoever started the tests may not care for hang-ups, and what is ignored stays so for children.
        let mut command: Command = self.place.command("env");
        command.args(["--default-signal=HUP,INT,TERM,USR1,USR2,PIPE", "setpriv", "--pdeathsig", "KILL", "--"]);
        match self.program {
            Program::Tinyproxy => command.arg("tinyproxy"),
            Program::Lockgate => command.args([LOCKGATE, "tinyproxy"]),
        };
        command.args(arguments).current_dir(self.directory.path()).env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        let file = |name| File::create(self.path(name)).unwrap();
        command.stdout(file("stdout")).stderr(file("stderr"));
        self.child = Some(command.spawn().unwrap());
    }

    /// What becomes of it: `serves`, or how it ended; for a daemon, how its parent ended first.
    fn outcome(&mut self, start: Option<&Start>) -> String {
        let is_daemon = start.is_some_and(|start| !start.args.iter().any(|argument| argument.starts_with("-d")));
        let mut parent = String::new();
        let outcome = poll(DEADLINE, || {
            if parent.is_empty()
                && let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap()
            {
                let code = status.code().map_or_else(|| status.to_string(), |code| code.to_string());
                if !is_daemon || code != "0" || !self.is_configured() {
                    return Some(code);
                }
                parent = format!("{code}, and ");
            }
            let is_due = !is_daemon || !parent.is_empty();
            (is_due && self.is_serving(start.is_some())).then(|| format!("{parent}serves"))
        });
        outcome.unwrap_or_else(|| "(does nothing)".to_owned())
    }

    fn is_configured(&self) -> bool {
        self.path("tinyproxy.conf").exists()
    }

    /// Whether somebody is served; those whose log is read are only asked whether they are ready.
    fn is_serving(&self, may_ask: bool) -> bool {
        // It is written when the program listens on all addresses.
        let is_ready = fs::read(self.path("pid")).is_ok_and(|text| !text.is_empty());
        if !may_ask {
            return is_ready;
        }
        // One that cannot give up root listens for a moment, too.
        self.place.connect((Ipv4Addr::LOCALHOST, self.port[0].port()).into()).is_ok() && {
            let (answer, end) = self.talk(&Step::default(), b"probe\r\n\r\n");
            !answer.is_empty() || end == "open"
        }
    }

    fn configure(&self, lines: &str) {
        let text = self.listen.clone() + &self.filled(lines) + "\n";
        fs::write(self.path("tinyproxy.conf"), bytes(&text)).unwrap();
    }

    fn write(&self, files: &BTreeMap<String, String>) {
        for (name, text) in files {
            fs::write(self.path(name), bytes(&self.filled(text))).unwrap();
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn filled(&self, text: &str) -> String {
        let port = self.ports.origin.to_string();
        text.replace("{origin}", &format!("127.0.0.1:{port}"))
            .replace("{port}", &port)
            .replace("{dead}", &self.ports.dead.to_string())
            .replace("{proxy}", &self.port[0].port().to_string())
            .replace("{dir}", &self.directory.path().display().to_string())
            .replace("{1k}", &"x".repeat(1000))
            .replace("{20k}", &"x".repeat(20_000))
            .replace("{70k}", &"x".repeat(70_000))
            .replace("{listen}\n", &self.listen)
    }

    /// Without what must differ between two runs.
    fn normal(&self, text: &str) -> String {
        text.replace(&self.directory.path().display().to_string(), "{dir}")
            .replace(&self.port[0].port().to_string(), "{proxy}")
    }

    /// What it wrote since then, wherever. A file that is another one since is read from its beginning.
    fn written_since(&self, marks: Marks) -> String {
        let since = |(name, (file, mark)): (&str, (u64, usize))| {
            let text = fs::read(self.path(name)).unwrap_or_default();
            let is_same = self.mark(name).0 == file;
            String::from_utf8_lossy(text.get(if is_same { mark } else { 0 }..).unwrap_or_default()).into_owned()
        };
        LOGS.into_iter().zip(marks).map(since).collect()
    }

    fn mark(&self, name: &str) -> (u64, usize) {
        let about = fs::metadata(self.path(name));
        about.map_or((0, 0), |about| (about.ino(), usize::try_from(about.len()).unwrap_or(0)))
    }

    fn marks(&self) -> Marks {
        LOGS.map(|name| self.mark(name))
    }

    fn output(&self) -> String {
        self.written_since(Marks::default())
    }

    /// Does a step, and says what came of it.
    pub(super) fn step(&mut self, step: &Step, prefix: &str, origin: &Origin) -> Observation {
        let mut seen = Observation::default();
        let before = self.marks();
        self.write(&step.write);
        for name in &step.remove {
            // Under another name it keeps its number, so that one that comes instead is known to be another.
            fs::rename(self.path(name), self.path(&format!("{name}.removed"))).unwrap();
        }
        if let Some(lines) = &step.conf {
            self.configure(lines);
        }
        if let Some(signal) = &step.signal {
            let id = self.child.as_ref().unwrap().id().to_string();
            // tinyproxy looks for signals before it waits for clients: one that came between would be seen with the next client.
            let waits = poll(SILENCE, || is_asleep(&id).then_some(())).is_some();
            if !waits || !Command::new("kill").args(["-s", signal, &id]).status().unwrap().success() {
                seen.text(format!("{prefix}signal"), "(nobody waits for it)");
            }
        }
        if let Some(line) = &step.logged {
            let is_logged = || self.written_since(before).contains(line).then_some(());
            seen.text(format!("{prefix}logged"), if poll(SILENCE, is_logged).is_some() { "yes" } else { "no" });
        }
        if step.ends {
            let child = self.child.as_mut().unwrap();
            let ended = poll(ENDING, || child.try_wait().unwrap());
            seen.text(
                format!("{prefix}exit"),
                ended.map_or_else(|| "(goes on)".to_owned(), |status| status.to_string()),
            );
        }
        self.look(&mut seen, prefix, &step.look);
        if let Some(request) = self.request(step) {
            self.exchange(step, &request, prefix, origin, &mut seen);
        }
        seen
    }

    fn look(&self, seen: &mut Observation, prefix: &str, names: &[String]) {
        for name in names {
            let text = match fs::symlink_metadata(self.path(name)) {
                Err(_) => "(absent)".to_owned(),
                Ok(about) => {
                    format!("mode {:o}, {}", about.mode(), if about.len() == 0 { "empty" } else { "not empty" })
                }
            };
            seen.text(format!("{prefix}file.{name}"), text);
        }
    }

    /// What is sent, if anything is.
    fn request(&self, step: &Step) -> Option<Vec<u8>> {
        if let Some(raw) = &step.raw {
            return Some(bytes(&self.filled(raw)));
        }
        let plain = |fields: &String| format!("GET http://{{origin}}/ HTTP/1.1\nHost: {{origin}}\n{fields}");
        let head = step.head.clone().or_else(|| step.fields.as_ref().map(plain))?;
        let head = self.filled(head.trim_end_matches('\n')).replace('\n', "\r\n") + "\r\n\r\n";
        Some(bytes(&(head + &self.filled(&step.body))))
    }

    fn exchange(&self, step: &Step, request: &[u8], prefix: &str, origin: &Origin, seen: &mut Observation) {
        let head = |text: &str| text.trim_end_matches('\n').replace('\n', "\r\n") + "\r\n\r\n";
        let answer = match (&step.answer_raw, &step.answer) {
            (Some(raw), _) => raw.clone(),
            (None, Some(lines)) => head(lines) + step.answer_body.as_deref().unwrap_or_default(),
            (None, None) => head("HTTP/1.1 200 OK\nContent-Length: 5") + "hello",
        };
        origin.act(Script { conduct: step.origin, answer: bytes(&self.filled(&answer)) });
        let (got, end) = self.talk(step, request);
        let word = request.split(|byte| *byte == b' ').next().unwrap_or_default();
        let normal = |got: &[u8]| bytes(&self.normal(&latin(got)));
        seen.answer(prefix, &normal(&got), end, word == b"HEAD");
        let mut origin_got = origin.got(SILENCE);
        origin_got.iter_mut().for_each(|got| got.bytes = normal(&got.bytes));
        seen.origin(prefix, &origin_got);
    }

    /// What the client got, and how it ended.
    fn talk(&self, step: &Step, request: &[u8]) -> (Vec<u8>, &'static str) {
        let Ok(mut stream) = self.dial(step.from) else { return (Vec::new(), "(nobody listens)") };
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        // Whoever is refused at once may find the connection closed.
        let _ = stream.write_all(request);
        if step.shut {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let is_head = request.starts_with(b"HEAD ");
        let is_tunnel = request.starts_with(b"CONNECT ");
        let mut then = step.then.as_ref().map(|text| bytes(&self.filled(text)));
        let echoed = then.clone().unwrap_or_default();
        let mut got = Vec::new();
        let mut piece = [0; 16 * 1024];
        let deadline = Instant::now() + SILENCE;
        loop {
            if let Some(after) = after_head(&got) {
                if let Some(then) = then.take() {
                    let _ = stream.write_all(&then);
                } else if is_tunnel && got.starts_with(b"HTTP/1.") && got[8..].starts_with(b" 200") {
                    // The test ends a tunnel when it has seen that it works.
                    if after.ends_with(&echoed) && !step.shut && !step.to_end {
                        return (got, "tunnel");
                    }
                }
            }
            if self.program == Program::Lockgate && !is_tunnel && !step.to_end && is_complete(&got, is_head) {
                return (got, "kept");
            }
            match stream.read(&mut piece) {
                Ok(0) => return (got, "closed"),
                Ok(read) => got.extend(&piece[..read]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind()) => {
                    return (got, "open");
                }
                Err(_reset) => return (got, "reset"),
            }
            if Instant::now() > deadline {
                return (got, "open");
            }
        }
    }

    fn dial(&self, from: Option<IpAddr>) -> io::Result<TcpStream> {
        let from = from.unwrap_or(Ipv4Addr::LOCALHOST.into());
        let to: IpAddr = if from.is_ipv4() { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        let to = SocketAddr::new(to, self.port[0].port());
        let connect = || {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.bind(&SocketAddr::new(from, 0).into())?;
            socket.connect_timeout(&to.into(), DEADLINE)?;
            Ok(TcpStream::from(socket))
        };
        self.place.enter(connect).unwrap()
    }

    /// Adds the lines of the log that tools depend on, since the last call of [`Self::end_case`].
    pub(super) fn log(&self, seen: &mut Observation) {
        seen.parts.retain(|aspect, _| !aspect.starts_with("log."));
        for (name, lines) in log::by_name(&self.written_since(self.read)) {
            seen.text(format!("log.{name}"), self.normal(&lines));
        }
    }

    /// An error is what keeps its lines from belonging to one case alone.
    pub(super) fn end_case(&mut self) -> Result<(), String> {
        let fenced = self.fence();
        self.read = self.marks();
        fenced
    }

    /// Waits for the lines of everything that was asked until now: a log is written in order, so those of another request
    /// come last.
    fn fence(&mut self) -> Result<(), String> {
        let before = self.marks();
        // tinyproxy 1.11.1 misreads the address of an IPv6 client that comes after one of IPv4.
        let has_ipv6 = self.listen.contains("Listen ::1\n");
        let ip: IpAddr = if has_ipv6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() };
        // A program that has ended writes nothing.
        let Ok(mut stream) = self.place.connect((ip, self.port[0].port()).into()) else { return Ok(()) };
        stream.set_read_timeout(Some(SILENCE)).unwrap();
        let _ = stream.write_all(b"fence\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
        if !self.tells_of_clients() {
            return Ok(());
        }
        let is_told = || {
            let written = self.written_since(before);
            (written.contains("fence") || written.contains("Unauthorized connection")).then_some(())
        };
        let untold = || format!("  {:?} does not tell of a client: {}", self.program, self.output());
        poll(DEADLINE, is_told).ok_or_else(untold)
    }

    /// Whether lines about each client are written where they can be read. A level outlives the line that sets it.
    fn tells_of_clients(&mut self) -> bool {
        let conf = fs::read_to_string(self.path("tinyproxy.conf")).unwrap_or_default().to_ascii_lowercase();
        let last = |name: &str| {
            let words = conf.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            words
                .filter(|words| words.first() == Some(&name))
                .filter_map(|words| words.get(1).map(ToString::to_string))
                .next_back()
        };
        self.level = last("loglevel").unwrap_or_else(|| std::mem::take(&mut self.level));
        let is_syslog = last("syslog").is_some_and(|on| ["yes", "on"].contains(&on.as_str()));
        !is_syslog && ["connect", "info"].contains(&self.level.as_str())
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        // A daemon is nobody's child.
        if let Ok(Ok(id)) = fs::read_to_string(self.path("pid")).map(|text| text.trim().parse::<u32>()) {
            let _ = Command::new("kill").args(["-s", "KILL", &id.to_string()]).stderr(Stdio::null()).status();
        }
    }
}

/// Whether the first thread of a process waits for something.
fn is_asleep(id: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    // The name in parentheses may have blanks.
    stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('S'))
}

/// The bytes of a text in which each character is one.
fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|character| u8::try_from(u32::from(character)).expect("characters of cases are bytes")).collect()
}
