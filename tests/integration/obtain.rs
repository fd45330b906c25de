//! `lockgate cert obtain` by itself: what it prints and stores, and what it says when something is not right.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;
use tempfile::TempDir;
use test_support::{Namespace, Network, Nginx, Pebble, Place, Process, Reservation, Signal};

use crate::support::{self, LOCKGATE, obtain};

/// A certificate authority that comes to a port of this machine, and an empty storage.
struct Stage {
    pebble: Pebble,
    storage: TempDir,
    port: Reservation,
}

impl Stage {
    fn new() -> Self {
        let port = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
        let pebble = Pebble::start(port.port()).unwrap();
        Self { pebble, storage: test_support::scratch_dir().unwrap(), port }
    }

    /// Where the authority looks.
    fn listen(&self) -> String {
        self.port.address().to_string()
    }

    fn command(&self, domains: &[&str]) -> Command {
        let mut command = obtain(&Place::Loopback, &self.pebble, self.storage.path(), domains);
        command.args(["--listen", &self.listen()]);
        command
    }

    /// Orders that the authority was asked for.
    fn orders(&self) -> usize {
        self.pebble.output().matches("POST /order-plz").count()
    }

    fn live(&self, name: &str) -> PathBuf {
        self.storage.path().join("live").join(name)
    }

    /// This fails with exit code `code`, says all of `expected`, and leaves a storage that works.
    fn fails(&self, command: &Command, code: i32, expected: &[&str]) -> String {
        let (status, output) = outcome(command);
        assert_eq!(status, Some(code), "{output}");
        for words in expected {
            assert!(output.contains(words), "it does not say {words:?}:\n{output}");
        }
        assert!(!output.contains("panicked"), "{output}");
        let (status, again) = outcome(&self.command(&["site.example"]));
        assert_eq!(status, Some(0), "the next run fails: {again}");
        output
    }
}

/// Exit status and output of a command that ends by itself.
fn outcome(command: &Command) -> (Option<i32>, String) {
    let mut process = Process::spawn(command).unwrap();
    let status = process.wait(Duration::from_secs(60)).unwrap();
    (status.code(), process.output())
}

fn succeeds(command: &Command) -> String {
    let (status, output) = outcome(command);
    assert_eq!(status, Some(0), "{output}");
    output
}

/// The object that `--json` prints.
fn object(output: &str) -> Value {
    let line = output.lines().find(|line| line.starts_with('{'));
    serde_json::from_str(line.unwrap_or_else(|| panic!("no object in {output}"))).unwrap()
}

/// Everything below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

fn accounts(storage: &Path) -> Vec<PathBuf> {
    files(storage).into_iter().filter(|file| file.ends_with("regr.json")).collect()
}

fn openssl(arguments: &[&str], file: &Path) -> String {
    let mut command = Command::new("openssl");
    command.args(arguments).arg(file);
    succeeds(&command)
}

/// What `account …` says: the same account has the same URL.
fn account(output: &str) -> String {
    let line = output.lines().find(|line| line.contains("account https://"));
    line.and_then(|line| line.split_whitespace().last()).unwrap_or_else(|| panic!("no account in {output}")).to_owned()
}

#[test]
fn a_certificate_is_kept_until_it_is_due_or_forced() {
    let stage = Stage::new();
    let first = succeeds(&stage.command(&["site.example", "www.site.example"]));
    let live = stage.live("site.example");
    assert!(first.contains(&live.display().to_string()) && first.contains("www.site.example"), "{first}");
    assert_eq!((stage.orders(), accounts(stage.storage.path()).len()), (1, 1), "{first}");
    let names = openssl(&["x509", "-noout", "-ext", "subjectAltName", "-in"], &live.join("cert.pem"));
    assert!(names.contains("DNS:site.example") && names.contains("DNS:www.site.example"), "{names}");
    let root = stage.storage.path().join("root.pem");
    fs::write(&root, stage.pebble.issuer_root().unwrap()).unwrap();
    let (root, chain) = (root.to_str().unwrap(), live.join("chain.pem"));
    openssl(&["verify", "-CAfile", root, "-untrusted", chain.to_str().unwrap()], &live.join("cert.pem"));
    let key = openssl(&["pkey", "-pubout", "-in"], &live.join("privkey.pem"));
    assert_eq!(key, openssl(&["x509", "-noout", "-pubkey", "-in"], &live.join("fullchain.pem")));

    // The order of names does not matter.
    let again = object(&succeeds(stage.command(&["www.site.example", "site.example"]).arg("--json")));
    assert_eq!((&again["result"], &again["version"]), (&"unchanged".into(), &1.into()), "{again}");
    assert_eq!(stage.orders(), 1);

    let forced = succeeds(stage.command(&["site.example", "www.site.example"]).args(["--json", "--force"]));
    let told = object(&forced);
    assert_eq!(
        (&told["result"], &told["version"], &told["name"]),
        (&"issued".into(), &2.into(), &"site.example".into())
    );
    assert_eq!(told["live"], live.display().to_string());
    assert_eq!(told["names"], serde_json::json!(["site.example", "www.site.example"]));
    assert!(told["not_after"].as_u64().unwrap() > 1_700_000_000, "{told}");
    assert_eq!(account(&forced), account(&first), "another account");
    assert_eq!((stage.orders(), accounts(stage.storage.path()).len()), (2, 1));
    assert_eq!(fs::read_link(live.join("cert.pem")).unwrap(), Path::new("../../archive/site.example/cert2.pem"));
}

#[test]
fn quiet_says_nothing_and_json_is_alone_on_standard_output() {
    let stage = Stage::new();
    let output = stage.command(&["site.example"]).args(["--quiet", "--json"]).output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!((text.lines().count(), &object(&text)["result"]), (1, &"issued".into()), "{text}");
    let output = stage.command(&["site.example"]).arg("--quiet").output().unwrap();
    assert_eq!((output.stdout.len(), output.stderr.len()), (0, 0));
}

#[test]
fn a_refused_name_is_told_with_what_the_authority_said() {
    let stage = Stage::new();
    let output = stage.fails(
        &stage.command(&["good.example", "blocked.example"]),
        1,
        &["blocked.example", "rejectedIdentifier"],
    );
    assert!(!stage.live("good.example").exists(), "{output}");
}

#[test]
fn a_validation_that_finds_nobody_is_explained() {
    let stage = Stage::new();
    let elsewhere = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let mut command =
        obtain(&Place::Loopback, &stage.pebble, stage.storage.path(), &["site.example", "www.site.example"]);
    command.args(["--listen", &elsewhere.address().to_string()]);
    let expected = ["site.example", "http-01", "refused", "(connection)", "hint:"];
    stage.fails(&command, 1, &expected);
    // Somebody else answers where the authority looks.
    let origin = test_support::Origin::start().unwrap();
    let pebble = Pebble::start(origin.address().port()).unwrap();
    let mut command = obtain(&Place::Loopback, &pebble, stage.storage.path(), &["other.example"]);
    command.args(["--listen", &elsewhere.address().to_string()]);
    stage.fails(&command, 1, &["other.example", "http-01", "404", "hint:"]);
}

#[test]
fn terms_are_agreed_to_by_people() {
    let stage = Stage::new();
    let mut command = Command::new(LOCKGATE);
    command.args(["cert", "obtain", "-d", "site.example", "--server", &stage.pebble.directory_url()]);
    command.arg("--ca-file").arg(stage.pebble.ca_file()).arg("--storage").arg(stage.storage.path());
    command.args(["--listen", &stage.listen()]);
    let output = stage.fails(&command, 64, &["data:text/plain,Do%20what%20thou%20wilt", "--agree-tos"]);
    assert!(!output.contains("new account"), "{output}");
}

#[test]
fn bad_usage_is_refused_before_anything_is_asked() {
    let stage = Stage::new();
    for (name, says) in [("*.example", "wildcard"), ("192.0.2.1", "IP address"), ("a b.example", "xn--"), ("", "name")]
    {
        let (status, output) = outcome(&stage.command(&[name]));
        assert_eq!(status, Some(64), "{name}: {output}");
        assert!(output.contains(says), "{name}: {output}");
    }
    let (status, output) = outcome(&obtain(&Place::Loopback, &stage.pebble, stage.storage.path(), &[]));
    assert_eq!(status, Some(64), "{output}");
    let (status, output) = outcome(stage.command(&["site.example"]).args(["--authenticator", "webroot"]));
    assert_eq!(status, Some(64), "{output}");
    assert!(output.contains("--webroot"), "{output}");
    assert!(!stage.pebble.output().contains("/sign-me-up"));
}

#[test]
fn a_port_in_use_is_named_before_anything_is_asked() {
    let stage = Stage::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = obtain(&Place::Loopback, &stage.pebble, stage.storage.path(), &["site.example"]);
    command.args(["--listen", &address]);
    let (status, output) = outcome(&command);
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains(&address) && output.contains("hint:") && output.contains("--intercept"), "{output}");
    assert_eq!(stage.orders(), 0);
    stage.fails(&command, 1, &[&address]);
}

#[test]
fn a_storage_below_a_file_is_named_before_anything_is_asked() {
    let stage = Stage::new();
    let file = stage.storage.path().join("file");
    fs::write(&file, "").unwrap();
    let below = file.join("storage");
    let mut command = obtain(&Place::Loopback, &stage.pebble, &below, &["site.example"]);
    command.args(["--listen", &stage.listen()]);
    let (status, output) = outcome(&command);
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains(&file.display().to_string()) && output.contains("hint:"), "{output}");
    assert!(!stage.pebble.output().contains("/sign-me-up"));
}

/// In a mount namespace of its own: a storage of 64 KiB with so many free.
fn on_a_small_disk(stage: &Stage, free_kib: u32) -> (Option<i32>, String) {
    let inner = stage.command(&["site.example"]);
    let mut command = Command::new("unshare");
    let script = format!(
        "mount -t tmpfs -o size=64k tmpfs \"$1\" && head -c {} /dev/zero > \"$1/filler\" && shift && exec \"$@\"",
        (64 - free_kib) * 1024
    );
    command.args(["-m", "sh", "-c", &script, "sh"]).arg(stage.storage.path()).arg(LOCKGATE).args(inner.get_args());
    outcome(&command)
}

#[test]
fn a_full_disk_is_noticed_before_an_order() {
    let stage = Stage::new();
    for free in [0, 4, 8] {
        let (status, output) = on_a_small_disk(&stage, free);
        assert_eq!(status, Some(1), "{free} KiB: {output}");
        assert!(output.contains("No space left") && output.contains("hint:"), "{free} KiB: {output}");
        assert_eq!(stage.orders(), 0, "{free} KiB: {output}");
    }
    let (status, output) = on_a_small_disk(&stage, 60);
    assert_eq!(status, Some(0), "{output}");
}

#[test]
fn an_authority_that_is_not_there_is_named() {
    let stage = Stage::new();
    let held = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let closed = held.address().to_string();
    let command = with_server(&stage, &Place::Loopback, &format!("https://{closed}/dir"));
    stage.fails(&command, 1, &["cannot be reached", &closed, "refused", "hint:"]);
}

/// The stage's command with another authority.
fn with_server(stage: &Stage, place: &Place, url: &str) -> Command {
    let mut command = place.command(LOCKGATE);
    command.args(["cert", "obtain", "--agree-tos", "-d", "site.example", "--server", url]);
    command.arg("--ca-file").arg(stage.pebble.ca_file()).arg("--storage").arg(stage.storage.path());
    command.args(["--listen", &stage.listen()]);
    command
}

#[test]
fn an_authority_that_never_answers_is_given_up() {
    let stage = Stage::new();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let since = Instant::now();
    let command = with_server(&stage, &Place::Loopback, &format!("https://{address}/dir"));
    let (status, output) = outcome(&command);
    assert!(since.elapsed() < Duration::from_secs(30), "{:?}", since.elapsed());
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains(&address) && output.contains("did not answer") && output.contains("hint:"), "{output}");
    // A wait is no reason not to be interruptible.
    let mut waiting = Process::spawn(&command).unwrap();
    let accepted = test_support::poll(Duration::from_secs(10), || silent.accept().ok());
    assert!(accepted.is_some());
    let _second = silent.accept().unwrap();
    let since = Instant::now();
    waiting.signal(Signal::INT);
    assert_eq!(waiting.wait(Duration::from_secs(10)).unwrap().code(), Some(1), "{}", waiting.output());
    assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    assert!(waiting.output().contains("interrupted"), "{}", waiting.output());
}

#[test]
fn an_authority_that_talks_to_browsers_is_told_apart() {
    let stage = Stage::new();
    let port = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let address = port.address();
    let mut server = Command::new("openssl");
    server.args(["s_server", "-www", "-accept", &address.to_string()]);
    server.arg("-cert").arg(stage.pebble.ca_file().with_file_name("server.pem"));
    server.arg("-key").arg(stage.pebble.ca_file().with_file_name("server.key"));
    let mut server = Process::spawn(&server).unwrap();
    server.wait_for_line("a listener", Duration::from_secs(20), |line| line.contains("ACCEPT")).unwrap();
    let command = with_server(&stage, &Place::Loopback, &format!("https://{address}/dir"));
    stage.fails(&command, 1, &[&address.to_string(), "is no ACME server", "text/html", "hint:"]);
}

#[test]
fn an_authority_that_is_not_trusted_is_told_apart() {
    let stage = Stage::new();
    let other = Pebble::start(1).unwrap();
    let command = with_server(&stage, &Place::Loopback, &other.directory_url());
    stage.fails(&command, 1, &[&other.address().to_string(), "certificate", "--ca-file", "hint:"]);
}

#[test]
fn an_authority_without_an_address_is_told_apart() {
    let stage = Stage::new();
    // No name server is reached from here.
    let network = Network::new(["site"]).unwrap();
    let [site] = network.hosts();
    let since = Instant::now();
    let command = with_server(&stage, &site.into(), "https://no-such-host.invalid/dir");
    stage.fails(&command, 1, &["no-such-host.invalid", "does not resolve", "hint:"]);
    assert!(since.elapsed() < Duration::from_secs(40), "{:?}", since.elapsed());
}

/// A process that holds the lock as certbot does.
fn lock_holder(storage: &Path) -> Process {
    let script = "import fcntl, sys, time\nfile = open(sys.argv[1], 'a+')\nfcntl.lockf(file, fcntl.LOCK_EX)\n\
                  print('held', flush=True)\ntime.sleep(600)\n";
    let mut command = Command::new("python3");
    command.args(["-c", script]).arg(storage.join(".certbot.lock"));
    let mut process = Process::spawn(&command).unwrap();
    process.wait_for_line("the lock", Duration::from_secs(20), |line| line == "held").unwrap();
    process
}

#[test]
fn a_lock_is_waited_for_and_its_holder_named() {
    let stage = Stage::new();
    let mut holder = lock_holder(stage.storage.path());
    let named = format!("process {}", holder.id());
    let since = Instant::now();
    let (status, output) = outcome(stage.command(&["site.example"]).args(["--lock-timeout", "1s"]));
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains(&named) && output.contains(".certbot.lock"), "{output}");
    assert!((900..10_000).contains(&since.elapsed().as_millis()), "{:?}", since.elapsed());
    assert!(!stage.pebble.output().contains("/sign-me-up"));

    let mut second = Process::spawn(&stage.command(&["site.example"])).unwrap();
    let waits = second.wait_for_line("the wait", Duration::from_secs(20), |line| line.contains("waiting for")).unwrap();
    assert!(waits.contains(&named), "{waits}");
    holder.kill();
    assert!(second.wait(Duration::from_secs(30)).unwrap().success(), "{}", second.output());
}

#[test]
fn of_several_at_once_one_obtains_and_the_others_find_it() {
    let stage = Stage::new();
    let command = {
        let mut command = stage.command(&["site.example"]);
        command.arg("--json");
        command
    };
    let mut all = [(); 6].map(|()| Process::spawn(&command).unwrap());
    for process in &mut all {
        assert!(process.wait(Duration::from_secs(60)).unwrap().success(), "{}", process.output());
    }
    let mut results = all.each_ref().map(|process| object(&process.output())["result"].as_str().unwrap().to_owned());
    results.sort();
    assert_eq!(results, ["issued", "unchanged", "unchanged", "unchanged", "unchanged", "unchanged"]);
    assert_eq!((stage.orders(), accounts(stage.storage.path()).len()), (1, 1));
}

/// The command of somebody who is not root, with these capabilities. Others may not enter the directory of the build.
fn as_nobody(place: &Place, directory: &Path, capabilities: Option<&str>, inner: &Command) -> Command {
    let program = directory.join("lockgate");
    if !program.exists() {
        // By a process of its own: a descriptor open for writing here would be inherited by whatever another test starts at
        // this moment, and the program would be "busy" (ETXTBSY).
        assert!(Command::new("cp").arg(LOCKGATE).arg(&program).status().unwrap().success());
    }
    let mut command = place.command("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    if let Some(capabilities) = capabilities {
        command.args([format!("--inh-caps={capabilities}"), format!("--ambient-caps={capabilities}")]);
    }
    command.arg(program).args(inner.get_args());
    command
}

#[test]
fn somebody_without_privileges_learns_which_are_missing_and_works_with_them() {
    let network = Network::new(["site", "visitors", "authority"]).unwrap();
    let [site, visitors, authority]: &[Namespace; 3] = network.hosts();
    let nginx = Nginx::start_at(&site.into(), 80).unwrap();
    let pebble = Pebble::in_network(authority, site, true).unwrap();
    let (programs, storage) = (test_support::scratch_dir().unwrap(), test_support::scratch_dir().unwrap());
    chown(storage.path(), Some(65534), Some(65534)).unwrap();

    let plain = obtain(&Place::Loopback, &pebble, storage.path(), &["site.example"]);
    let (status, output) = outcome(&as_nobody(&site.into(), programs.path(), None, &plain));
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains("NET_BIND_SERVICE") && !output.contains("NET_ADMIN"), "{output}");

    let mut intercepting = obtain(&Place::Loopback, &pebble, storage.path(), &["site.example"]);
    intercepting.arg("--intercept");
    let (status, output) = outcome(&as_nobody(&site.into(), programs.path(), None, &intercepting));
    assert_eq!(status, Some(1), "{output}");
    assert!(output.contains("NET_ADMIN") && output.contains("hint:"), "{output}");
    assert_eq!(pebble.output().matches("/sign-me-up").count(), 0);

    let given = Some("+net_admin,+net_bind_service");
    let (status, output) = outcome(&as_nobody(&site.into(), programs.path(), given, &intercepting));
    assert_eq!(status, Some(0), "{output}");
    assert!(storage.path().join("live/site.example/fullchain.pem").exists(), "{output}");
    support::assert_no_table(site);
    support::site_answers(visitors, nginx.site(), Duration::from_secs(1));
}

#[test]
fn a_storage_that_may_not_be_written_is_named() {
    let stage = Stage::new();
    let programs = test_support::scratch_dir().unwrap();
    let command = as_nobody(&Place::Loopback, programs.path(), None, &stage.command(&["site.example"]));
    stage.fails(&command, 1, &["Permission denied", &stage.storage.path().display().to_string(), "hint:"]);
}

/// `--authenticator webroot` with these arguments, for the stage's authority.
fn by_webroot(stage: &Stage, webroot: &Path) -> Command {
    let mut command = obtain(&Place::Loopback, &stage.pebble, stage.storage.path(), &["site.example"]);
    command.args(["--authenticator", "webroot", "--webroot"]).arg(webroot);
    command
}

#[test]
fn a_webroot_that_is_not_there_is_named() {
    let stage = Stage::new();
    let absent = stage.storage.path().join("absent");
    stage.fails(&by_webroot(&stage, &absent), 64, &[&absent.display().to_string(), "hint:"]);
    let (status, output) = outcome(&by_webroot(&stage, &stage.pebble.ca_file()));
    assert_eq!(status, Some(64), "a file as a webroot: {output}");
}

#[test]
fn a_symlink_planted_in_a_webroot_is_not_followed() {
    let stage = Stage::new();
    let (webroot, target) = (test_support::scratch_dir().unwrap(), test_support::scratch_dir().unwrap());
    std::os::unix::fs::symlink(target.path(), webroot.path().join(".well-known")).unwrap();
    stage.fails(&by_webroot(&stage, webroot.path()), 1, &[".well-known"]);
    assert!(files(target.path()).is_empty() && fs::read_dir(target.path()).unwrap().next().is_none());
}

#[test]
fn a_webroot_of_a_running_server_serves() {
    let port = Place::Loopback.reserve_both(0).unwrap()[0].port();
    let nginx = Nginx::start_at(&Place::Loopback, port).unwrap();
    let pebble = Pebble::start(port).unwrap();
    let storage = test_support::scratch_dir().unwrap();
    let mut command = obtain(&Place::Loopback, &pebble, storage.path(), &["site.example"]);
    command.args(["--authenticator", "webroot", "--webroot"]).arg(nginx.root());
    let output = succeeds(&command);
    assert!(storage.path().join("live/site.example/cert.pem").exists(), "{output}");
    assert!(!nginx.root().join(".well-known").exists(), "something is left: {:?}", files(&nginx.root()));
}
