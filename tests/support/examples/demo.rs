//! `cargo xtask demo`: a site that nobody stops gets a certificate from a real ACME server, through Lockgate, twice, while
//! visitors keep coming; then a running Lockgate speaks TLS for it and gets its own. The one argument is the `lockgate` binary.
//!
//! Three hosts, each a network namespace: the site (nginx on port 80, which knows nothing of Lockgate), its visitors, and the
//! authority (pebble, which validates on port 80 and by IPv6 first). Fails when one request fails.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for people on a terminal")]

use std::{
    env,
    ffi::OsString,
    fs,
    io::{self, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    flag,
};
use test_support::{
    Lockgate, Network, Nginx, Pebble, PebbleFeatures, PebbleOptions, Phase, Place, Process, Report, Signal, TlsReport,
    TlsVisitors, Trust, Visitors, scratch_dir,
};

fn main() -> ExitCode {
    match demo() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// One way to obtain the certificate.
struct Way {
    title: &'static str,
    arguments: Vec<OsString>,
}

/// What came of it.
struct Outcome {
    title: &'static str,
    report: Report,
    took: Duration,
    certificate: Certificate,
}

struct Certificate {
    names: String,
    expiry: String,
}

struct Demo {
    lockgate: PathBuf,
    site: Place,
    visitors: Place,
    nginx: Nginx,
    pebble: Pebble,
    interrupted: Arc<AtomicBool>,
}

/// Whether no request failed.
fn demo() -> Result<bool> {
    let lockgate = env::args_os().nth(1).context("usage: demo PATH-OF-LOCKGATE")?;
    let lockgate = fs::canonicalize(&lockgate).with_context(|| format!("no {}", lockgate.display()))?;
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    // Declared first, so that it goes last, when nobody lives there any more.
    let network = Network::new(["site", "visitors", "ca"])?;
    let [site, visitors, authority] = network.hosts();
    let demo = Demo {
        lockgate,
        site: site.into(),
        visitors: visitors.into(),
        nginx: Nginx::start_at(&site.into(), 80)?,
        pebble: Pebble::with_features(
            PebbleOptions {
                place: authority.into(),
                site: site.into(),
                http_port: 80,
                ipv6: true,
                // It refuses good nonces now and then, as authorities may.
                refused_nonces: 5,
            },
            &PebbleFeatures { tls_port: 443, ..PebbleFeatures::default() },
        )?,
        interrupted,
    };
    println!("site      nginx on {}:80 and [{}]:80, untouched", site.ipv4(), site.ipv6());
    println!("authority pebble at {}", demo.pebble.directory_url());
    println!("visitors  {VISITORS}, half of them by IPv6: kept connections, single ones, POST, downloads\n");
    let mut webroot: Vec<OsString> = ["--authenticator", "webroot", "--webroot"].map(OsString::from).into();
    webroot.push(demo.nginx.root().into());
    let ways = [
        Way {
            title: "standalone behind the gate",
            arguments: ["--authenticator", "standalone", "--intercept"].map(OsString::from).into(),
        },
        Way { title: "webroot", arguments: webroot },
    ];
    let outcomes = ways.into_iter().map(|way| demo.obtain(way)).collect::<Result<Vec<_>>>()?;
    print_table(&outcomes);
    let failed = outcomes.iter().flat_map(|outcome| &outcome.report.reasons);
    failed.for_each(|reason| println!("  failed: {reason}"));
    let serving = demo.serve()?;
    serving.print();
    let is_good = serving.report.failed == 0 && serving.report.failed_handshakes == 0;
    Ok(is_good && outcomes.iter().all(|outcome| outcome.report.failed == 0))
}

/// What visitors saw of a running proxy that got its certificate while they came.
struct Serving {
    report: TlsReport,
    took: Duration,
    certificate: Certificate,
}

impl Serving {
    fn print(&self) {
        let Self { report, took, certificate } = self;
        let row = |label: &str, cell: String| println!("{label:<28}  {cell}");
        println!();
        row("", "a running proxy that speaks TLS".to_owned());
        row("handshakes, of them resumed", format!("{} / {}", report.handshakes, report.resumed));
        row("failed", report.failed_handshakes.to_string());
        row("requests, over HTTP/2", format!("{} / {}", report.requests, report.over_http2));
        row("failed", report.failed.to_string());
        row("p99 of handshakes", format!("{:.1} ms", report.p99.as_secs_f64() * 1000.0));
        row("certificates shown", format!("{} (a placeholder, then the authority's)", report.sightings.len()));
        row("certificate for", certificate.names.clone());
        row("valid until", certificate.expiry.clone());
        row("time taken", format!("{:.1} s", took.as_secs_f64()));
        report.reasons.iter().for_each(|reason| println!("  failed: {reason}"));
    }
}

impl Demo {
    /// Obtains a certificate under load.
    fn obtain(&self, way: Way) -> Result<Outcome> {
        let storage = scratch_dir()?;
        let visitors = Visitors::start(&self.visitors, &self.nginx.site(), VISITORS);
        self.watch(&visitors, way.title, "before", QUIET)?;
        visitors.enter(Phase::During);
        let started = Instant::now();
        let mut command = self.site.command(&self.lockgate);
        command.args(["cert", "obtain", "-d", NAMES[0], "-d", NAMES[1], "--agree-tos"]).args(&way.arguments);
        command.args(["--server", &self.pebble.directory_url(), "--ca-file"]).arg(self.pebble.ca_file());
        command.arg("--storage").arg(storage.path());
        let mut lockgate = Process::spawn(&command)?;
        let status = loop {
            if let Some(status) = lockgate.exit_status() {
                break status;
            }
            if let Err(interrupt) = self.watch(&visitors, way.title, "during", TICK) {
                // It takes its gate away itself, and must have the time to.
                lockgate.signal(Signal::INT);
                let _ = lockgate.wait(Duration::from_secs(10));
                return Err(interrupt);
            }
            if started.elapsed() > DEADLINE {
                bail!("{}: not done within {DEADLINE:?}; lockgate's output:\n{}", way.title, lockgate.output());
            }
        };
        let took = started.elapsed();
        visitors.enter(Phase::After);
        let output = lockgate.output();
        ensure!(status.success(), "{}: lockgate ended with {status}; its output:\n{output}", way.title);
        self.watch(&visitors, way.title, "after", QUIET)?;
        let report = visitors.stop();
        let certificate = self.read_certificate(storage.path())?;
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        Ok(Outcome { title: way.title, report, took, certificate })
    }

    /// Lets a proxy that speaks TLS look after its own certificate, under load from its first second.
    fn serve(&self) -> Result<Serving> {
        let title = "a running proxy";
        let storage = scratch_dir()?;
        let config = format!(
            "[[listener]]\nname = \"https\"\naddress = [\"0.0.0.0:443\", \"[::]:443\"]\ntls = true\n\
             [[authenticator]]\nname = \"handshake\"\nuse = \"tls-alpn\"\n\
             [acme]\ndirectory = \"{}\"\nca = \"{}\"\nagree_to_terms = true\nstorage = \"{}\"\nauthenticator = \"handshake\"\n\
             [[certificate]]\ndomains = [\"{}\", \"{}\"]\n\
             [[route]]\nchain = [{{ use = \"upstream\", servers = [\"127.0.0.1:80\"] }}]\n",
            self.pebble.directory_url(),
            self.pebble.ca_file().display(),
            storage.path().display(),
            NAMES[0],
            NAMES[1],
        );
        let started = Instant::now();
        let lockgate = Lockgate::run_at(&self.site, &self.lockgate, &config)?;
        let addresses = vec![(self.site.ipv4(), 443).into(), (self.site.ipv6(), 443).into()];
        let names = NAMES.map(str::to_owned);
        // A placeholder leads to nobody: these look for what is wrong with the service, not with the certificate.
        let site = self.nginx.site().behind(addresses);
        let visitors = TlsVisitors::start(&self.visitors, &site, &names, Trust::Anyone, VISITORS)?;
        let live = storage.path().join("live").join(NAMES[0]).join("fullchain.pem");
        while !live.exists() {
            self.tick(title, visitors.requests())?;
            ensure!(started.elapsed() < DEADLINE, "{title}: no certificate; its output:\n{}", lockgate.output());
        }
        let took = started.elapsed();
        let quiet = Instant::now() + QUIET;
        while Instant::now() < quiet {
            self.tick(title, visitors.requests())?;
        }
        let report = visitors.stop();
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[K");
        }
        ensure!(report.sightings.len() == 2, "{title}: shown were {:?}", report.sightings);
        Ok(Serving { report, took, certificate: self.read_certificate(storage.path())? })
    }

    fn tick(&self, title: &str, requests: u64) -> Result<()> {
        ensure!(!self.interrupted.load(Ordering::SeqCst), "interrupted");
        if io::stderr().is_terminal() {
            eprint!("\r\x1b[K{title}: {requests} requests over TLS");
            let _ = io::stderr().flush();
        }
        thread::sleep(TICK);
        Ok(())
    }

    /// Shows how the visitors do for a while; fails when somebody wants to end the demo.
    fn watch(&self, visitors: &Visitors, title: &str, phase: &str, duration: Duration) -> Result<()> {
        let end = Instant::now() + duration;
        loop {
            if self.interrupted.load(Ordering::SeqCst) {
                bail!("interrupted");
            }
            if io::stderr().is_terminal() {
                let (requests, failed) = (visitors.requests(), visitors.failed());
                eprint!("\r\x1b[K{title}, {phase}: {requests} requests, {failed} failed");
                let _ = io::stderr().flush();
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(TICK));
        }
    }

    /// What openssl, which had no part in it, says of the certificate: its names, its end, and that it leads to the
    /// authority's root.
    fn read_certificate(&self, storage: &Path) -> Result<Certificate> {
        let live = storage.join("live").join(NAMES[0]);
        let chain = live.join("fullchain.pem");
        let root = storage.join("root.pem");
        fs::write(&root, self.pebble.issuer_root()?)?;
        let mut verify = Command::new("openssl");
        verify.args(["verify", "-CAfile"]).arg(&root).arg("-untrusted").arg(&chain).arg(live.join("cert.pem"));
        output(&mut verify)?;
        let mut show = Command::new("openssl");
        show.args(["x509", "-noout", "-enddate", "-ext", "subjectAltName", "-in"]).arg(&chain);
        let text = output(&mut show)?;
        let expiry = text.lines().find_map(|line| line.strip_prefix("notAfter=")).context("no end in it")?.to_owned();
        let names = text.lines().find(|line| line.contains("DNS:")).context("no names in it")?.replace("DNS:", "");
        let names = names.trim().to_owned();
        ensure!(NAMES.iter().all(|name| names.contains(name)), "the certificate is for {names}");
        Ok(Certificate { names, expiry })
    }
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.output().context("cannot run openssl")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "openssl says: {}", errors.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn print_table(outcomes: &[Outcome]) {
    let row = |label: &str, cell: &dyn Fn(&Outcome) -> String| {
        let cells: String = outcomes.iter().map(|outcome| format!("  {:<30}", cell(outcome))).collect();
        println!("{label:<28}{}", cells.trim_end());
    };
    let milliseconds = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
    row("", &|outcome| outcome.title.to_owned());
    row("requests sent", &|outcome| outcome.report.requests.to_string());
    row("  by IPv4 / IPv6", &|outcome| outcome.report.by_family.map(|count| count.to_string()).join(" / "));
    row("  before / during / after", &|outcome| outcome.report.in_phase.map(|count| count.to_string()).join(" / "));
    row("failed", &|outcome| outcome.report.failed.to_string());
    row("p99 before / during / after", &|outcome| format!("{} ms", outcome.report.p99.map(milliseconds).join(" / ")));
    row("certificate for", &|outcome| outcome.certificate.names.clone());
    row("valid until", &|outcome| outcome.certificate.expiry.clone());
    row("time taken", &|outcome| format!("{:.1} s", outcome.took.as_secs_f64()));
}

const NAMES: [&str; 2] = ["site.example", "www.site.example"];
const VISITORS: usize = 16;
/// How long the site is watched before and after.
const QUIET: Duration = Duration::from_secs(3);
const TICK: Duration = Duration::from_millis(100);
/// Longer than a drain may take.
const DEADLINE: Duration = Duration::from_secs(180);
