//! Clients that break the rules of HTTP/2, or keep them and mean harm. Meanwhile others come, over both versions of HTTP.

mod ends;
mod floods;
mod frames;
mod origin;
mod places;
mod stalls;

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use test_support::{
    Connection, Http2, Usage,
    http2::{Ending, Frame, kind},
    poll,
};

use super::{DEADLINE, Secure};

/// A proxy that is abused, and others who use it meanwhile.
struct Abused {
    secure: Secure,
    /// Resident memory before the abuse.
    before: u64,
    stop: Arc<AtomicBool>,
    others: Option<thread::JoinHandle<Others>>,
}

/// How others fared.
#[derive(Debug, Default)]
struct Others {
    rounds: usize,
    slowest: Duration,
}

impl Abused {
    /// With these keys in `[server]`, and what a request may wait for.
    fn start(server: &str) -> Self {
        Self::start_before("", server)
    }

    /// The same with a route before the one to the origin.
    fn start_before(route: &str, server: &str) -> Self {
        let more = format!(
            "[[listener]]\nname = \"plain\"\naddress = [\"127.0.0.1:0\"]\n\
             [log]\naccess = \"access.log\"\nformat = \"json\"\n[server]\n{server}\n{route}\n\
             [[route]]\npath = \"/metrics\"\nchain = [{{ use = \"stats\", path = \"/metrics\", format = \"prometheus\" }}, \
             {{ use = \"upstream\", servers = [\"127.0.0.1:1\"] }}]\n"
        );
        let secure = Secure::start_with("", &["a.example"], &more);
        let (ca, address, plain) = (secure.authority.ca_file(), secure.address(), secure.lockgate.addresses()[1]);
        let page = secure.origin.site().page.1.len();
        let round = move || {
            let mut client = Http2::open(address, &ca, &[]).unwrap();
            assert_eq!(client.exchange(1, "/").unwrap(), Ending::Answered(200, page));
            let mut client = Connection::open(plain).unwrap();
            let answer = client.exchange("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").unwrap();
            assert_eq!(answer.status, 200);
        };
        round();
        let before = Usage::of_tree(secure.lockgate.id()).resident;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let others = thread::spawn(move || {
            let mut others = Others::default();
            while !stopped.load(Ordering::SeqCst) {
                let since = Instant::now();
                round();
                others = Others { rounds: others.rounds + 1, slowest: others.slowest.max(since.elapsed()) };
                thread::sleep(Duration::from_millis(20));
            }
            others
        });
        Self { secure, before, stop, others: Some(others) }
    }

    /// A client that has opened its connection with these settings.
    fn open(&self, settings: &[(u16, u32)]) -> Http2 {
        Http2::open(self.secure.address(), &self.secure.authority.ca_file(), settings).unwrap()
    }

    /// A client that has said nothing.
    fn connect(&self) -> Http2 {
        Http2::connect(self.secure.address(), &self.secure.authority.ca_file()).unwrap()
    }

    /// Bytes of memory more than before.
    fn grown(&self) -> u64 {
        Usage::of_tree(self.secure.lockgate.id()).resident.saturating_sub(self.before)
    }

    /// Lines of the access log that are about HTTP/2 and not about others.
    fn log(&self) -> Vec<serde_json::Value> {
        let text = fs::read_to_string(self.secure.lockgate.file("access.log")).unwrap_or_default();
        let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines.filter(|line| line["version"] == "HTTP/2.0" && line["target"] != "/").collect()
    }

    /// The log when it has so many such lines.
    fn logged(&self, lines: usize) -> Vec<serde_json::Value> {
        let found = poll(DEADLINE, || Some(self.log()).filter(|log| log.len() >= lines));
        found.unwrap_or_else(|| panic!("fewer than {lines} lines: {:#?}", self.log()))
    }

    /// What a counter says.
    fn counted(&self, name: &str) -> u64 {
        let mut client = Connection::open(self.secure.lockgate.addresses()[1]).unwrap();
        let text = client.exchange("GET /metrics HTTP/1.1\r\nHost: a.example\r\n\r\n").unwrap().text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
    }

    /// The proxy lives, and all others were served in time. Says how they fared.
    fn end(mut self, what: &str, within: Duration) {
        self.stop.store(true, Ordering::SeqCst);
        let others = self.others.take().unwrap().join().expect("others are served");
        eprintln!("{what}: {others:?}, {} KiB more", self.grown() / 1024);
        assert!(others.rounds > 0 && others.slowest < within, "{what}: {others:?}");
        assert!(self.secure.lockgate.is_running());
        let output = self.secure.lockgate.output();
        assert!(!output.contains("panicked"), "{output}");
    }
}

impl Drop for Abused {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
    }
}

/// Waits until the server has read everything up to here.
pub(super) fn is_read(client: &mut Http2) {
    client.send_frames(&[Frame::new(kind::PING, 0, 0, *b"are you?")]).unwrap();
    loop {
        let frame = client.next_frame().unwrap().expect("the server answers");
        if frame.kind == kind::PING {
            return;
        }
    }
}

/// What others may have to wait for in the worst moment, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(5);
const MIB: u64 = 1024 * 1024;
