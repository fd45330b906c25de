//! Unix sockets.

use std::{
    fs,
    os::unix::{
        fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown},
        net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use test_support::{Connection, Lockgate, Nginx, Origin, Place, Signal, poll, scratch_dir};

use super::{DEADLINE, lines, reload, told, upstream};
use crate::support::LOCKGATE;

/// A listener on a unix socket in the working directory.
const LISTENER: &str = "[[listener]]\nname = \"local\"\naddress = [\"unix:s\"]\n";

fn open(lockgate: &Lockgate) -> Connection {
    Connection::open_unix(&lockgate.file("s")).unwrap()
}

fn stopped(lockgate: &mut Lockgate) {
    lockgate.signal(Signal::TERM);
    assert!(lockgate.wait(DEADLINE).unwrap().success(), "{}", lockgate.output());
}

#[test]
fn curl_is_served_and_the_file_is_gone_after_a_clean_stop() {
    let nginx = Nginx::start_at(&Place::Loopback, 0).unwrap();
    let site = nginx.site();
    let config = format!(
        "{LISTENER}mode = \"0600\"\n[log]\naccess = \"access.log\"\n[[route]]\nchain = [{{ use = \"upstream\", servers = [\"{}\"] }}]\n",
        nginx.addresses()[0]
    );
    let mut lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let socket = lockgate.file("s");
    let metadata = fs::metadata(&socket).unwrap();
    assert!(metadata.file_type().is_socket() && metadata.permissions().mode() & 0o7777 == 0o600);
    assert!(lockgate.output().contains("address=unix:/"), "{}", lockgate.output());
    for (path, body) in [&site.page, &site.download] {
        let output = Command::new("curl")
            .args(["-sS", "--fail", "--max-time", "20", "--unix-socket"])
            .arg(&socket)
            .arg(format!("http://site.example{path}"))
            .output()
            .unwrap();
        assert!(output.status.success() && *output.stdout == **body, "{}", String::from_utf8_lossy(&output.stderr));
    }
    let log = lines(&lockgate.file("access.log"), 2);
    assert!(log[0].starts_with("unix: - - ["), "{}", log[0]);
    stopped(&mut lockgate);
    assert!(!socket.exists());
}

#[test]
fn a_client_without_an_address_is_never_one_with_an_address() {
    let origin = Origin::start().unwrap();
    let chain = |access: &str| {
        let to = origin.address();
        format!(
            "chain = [{access}{{ use = \"headers\", client_address = \"x-client\" }}, {{ use = \"upstream\", servers = [\"{to}\"] }}]\n"
        )
    };
    let access =
        "{ use = \"access\", rules = [{ allow = \"0.0.0.0/0\" }, { allow = \"::/0\" }, { allow = \"localhost\" }] }, ";
    let routes = format!(
        "[[route]]\nname = \"ranges\"\nclient = [\"0.0.0.0/0\", \"::/0\"]\n{}\
         [[route]]\nname = \"asks\"\nhost = [\"asks\"]\n{}[[route]]\nname = \"unix\"\nclient = [\"unix\"]\n{}",
        chain(""),
        chain(access),
        chain("")
    );
    let log = "[log]\naccess = \"access.log\"\nformat = \"json\"\n";
    let config = format!("{LISTENER}{log}{routes}");
    let mut lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let claims = "X-Forwarded-For: 192.0.2.1\r\nForwarded: for=192.0.2.1\r\nX-Client: 192.0.2.1\r\n";
    let head = told(&mut open(&lockgate), claims);
    assert!(head.contains("\r\nforwarded: for=unknown;proto=http\r\n") && !head.contains("192.0.2.1"), "{head}");
    assert!(!head.contains("x-forwarded-for") && !head.contains("x-client"), "{head}");
    let refused = open(&lockgate).exchange("GET / HTTP/1.1\r\nHost: asks\r\n\r\n").unwrap();
    assert_eq!(refused.status, 403, "no rule of `access` is about it");
    let log = lines(&lockgate.file("access.log"), 2);
    // A line is written when its client has the answer already, so the next request's may come first.
    assert!(log.iter().all(|line| line.contains("\"client\":\"unix:\"")), "{log:?}");
    assert!(log.iter().any(|line| line.contains("\"route\":\"unix\"")), "{log:?}");

    let trusting = format!("{config}[server]\ntrusted_proxies = [\"unix\"]\n");
    reload(&mut lockgate, &trusting, "Reloading config file finished");
    let head = told(&mut open(&lockgate), claims);
    assert!(head.contains("\r\nx-forwarded-for: 192.0.2.1\r\n"), "a proxy of this machine is believed: {head}");
    assert!(head.contains("\r\nforwarded: for=192.0.2.1, for=unknown;proto=http\r\n"), "{head}");
}

#[test]
fn a_forward_proxy_on_a_unix_socket_opens_tunnels_whose_directions_end_apart() {
    let origin = Origin::start().unwrap();
    let to = origin.address();
    let lockgate =
        Lockgate::run(LOCKGATE, &format!("{LISTENER}[[route]]\nchain = [{{ use = \"forward\" }}]\n")).unwrap();
    let page = open(&lockgate).exchange(format!("GET http://{to}/big HTTP/1.1\r\nHost: {to}\r\n\r\n")).unwrap();
    assert!(*page.body == *origin.site().download.1);
    let mut tunnel = open(&lockgate);
    tunnel.send(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n")).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.extend(tunnel.take(1).unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"));
    // Large enough that the kernel's buffers on the way are full more than once.
    let body = vec![b'x'; 4_000_000];
    let post = format!("POST /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
    tunnel.send(post).unwrap();
    tunnel.send(&body).unwrap();
    tunnel.stream().shutdown(std::net::Shutdown::Write).unwrap();
    assert!(tunnel.response(false).unwrap().body == body);
}

#[test]
fn a_dead_socket_is_replaced_and_a_live_one_or_a_file_is_not() {
    let origin = Origin::start().unwrap();
    let directory = scratch_dir().unwrap();
    let path = directory.path().join("s");
    let config =
        format!("[[listener]]\nname = \"local\"\naddress = [\"unix:{}\"]\n{}", path.display(), upstream(&origin));
    let mut killed = Lockgate::run(LOCKGATE, &config).unwrap();
    killed.signal(Signal::KILL);
    killed.wait(DEADLINE).unwrap();
    assert!(path.exists(), "nobody took it away");
    let mut lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    assert_eq!(Connection::open_unix(&path).unwrap().exchange("GET / HTTP/1.0\r\n\r\n").unwrap().status, 200);

    let second = Lockgate::run(LOCKGATE, &config).unwrap_err().to_string();
    assert!(second.contains("another process accepts connections there") && second.contains("ss -lxp"), "{second}");
    assert!(second.contains(&format!("listener `local` cannot listen on unix:{}", path.display())), "{second}");
    assert_eq!(Connection::open_unix(&path).unwrap().exchange("GET / HTTP/1.0\r\n\r\n").unwrap().status, 200);

    // Somebody else's socket in its place is not its own to remove.
    fs::remove_file(&path).unwrap();
    let other = UnixListener::bind(&path).unwrap();
    stopped(&mut lockgate);
    UnixStream::connect(&path).expect("the other's socket is still there");
    drop(other);

    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    let refused = Lockgate::run(LOCKGATE, &config).unwrap_err().to_string();
    assert!(refused.contains("there is a file, and it is not a socket"), "{refused}");
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    let missing = Lockgate::run(LOCKGATE, &config.replace("/s\"", "/missing/s\"")).unwrap_err().to_string();
    assert!(missing.contains("the directory must exist"), "{missing}");
}

/// Clients who ask for a page over and over, half of them on kept connections.
struct Load {
    stopped: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    workers: Vec<JoinHandle<Vec<String>>>,
}

impl Load {
    fn start(path: &Path) -> Self {
        let (stopped, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let workers = (0..8).map(|number| {
            let (path, stopped, served) = (path.to_owned(), Arc::clone(&stopped), Arc::clone(&served));
            thread::spawn(move || {
                let mut failures = Vec::new();
                let mut kept = None;
                while !stopped.load(Ordering::SeqCst) {
                    match ask(&path, kept.take()) {
                        Ok(client) => kept = Some(client).filter(|_| number % 2 == 0),
                        Err(error) => failures.push(error),
                    }
                    served.fetch_add(1, Ordering::SeqCst);
                }
                failures
            })
        });
        let workers = workers.collect();
        Self { stopped, served, workers }
    }

    /// Until so many more requests are served.
    fn goes_on(&self, more: usize) {
        let before = self.served.load(Ordering::SeqCst);
        poll(DEADLINE, || (self.served.load(Ordering::SeqCst) >= before + more).then_some(())).unwrap();
    }

    fn failures(self) -> Vec<String> {
        self.stopped.store(true, Ordering::SeqCst);
        self.workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    }
}

fn ask(path: &Path, kept: Option<Connection>) -> Result<Connection, String> {
    let mut client = match kept {
        Some(kept) => kept,
        None => Connection::open_unix(path).map_err(|error| format!("connect: {error}"))?,
    };
    let response = client.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").map_err(|error| error.to_string())?;
    if response.status == 200 { Ok(client) } else { Err(format!("status {}", response.status)) }
}

#[test]
fn a_reload_loses_no_connection_and_leaves_the_file_alone() {
    let origin = Origin::start().unwrap();
    let config = format!("{LISTENER}{}", upstream(&origin));
    let mut lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let path = lockgate.file("s");
    let inode = || fs::metadata(&path).unwrap().ino();
    let before = inode();
    let load = Load::start(&path);
    for number in 0..10 {
        load.goes_on(50);
        let config = format!("{config}[server]\nhead_timeout = \"{}s\"\n", 10 + number);
        reload(&mut lockgate, &config, "Reloading config file finished");
        assert_eq!(inode(), before);
    }
    load.goes_on(50);
    assert_eq!(load.failures(), Vec::<String>::new());

    let other = config.replace("unix:s\"", "unix:s\", \"unix:t\"");
    let refused = other.replace("\n[[route]]", "\nmode = \"0666\"\n[[route]]");
    reload(&mut lockgate, &refused, "`mode`, `owner` and `group` can only change with a restart");
    assert!(!lockgate.file("t").exists(), "what a refused configuration opened is taken away");
    reload(&mut lockgate, &other, "Reloading config file finished");
    assert!(ask(&lockgate.file("t"), None).is_ok() && ask(&path, None).is_ok());
    reload(&mut lockgate, &config.replace("unix:s", "unix:t"), "Reloading config file finished");
    assert!(!path.exists(), "what is no longer listened on is not there");
    assert!(ask(&lockgate.file("t"), None).is_ok());
}

#[test]
fn the_file_belongs_to_whom_the_proxy_becomes_unless_it_is_said() {
    let origin = Origin::start().unwrap();
    let directory = scratch_dir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let at = |name: &str| -> PathBuf { directory.path().join(name) };
    let listener = |name: &str, keys: &str| {
        format!("[[listener]]\nname = \"{name}\"\naddress = [\"unix:{}\"]\n{keys}\n", at(name).display())
    };
    let config = format!(
        "{}{}{}[server]\nuser = \"nobody\"\n",
        listener("own", ""),
        listener("shared", "mode = \"0666\"\nowner = \"root\"\ngroup = 33"),
        upstream(&origin)
    );
    chown(directory.path(), Some(65534), Some(65534)).unwrap();
    let mut lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let whose = |name: &str| {
        let metadata = fs::metadata(at(name)).unwrap();
        (metadata.uid(), metadata.gid(), metadata.permissions().mode() & 0o7777)
    };
    assert_eq!(whose("own"), (65534, 65534, 0o660));
    assert_eq!(whose("shared"), (0, 33, 0o666));
    assert!(ask(&at("own"), None).is_ok() && ask(&at("shared"), None).is_ok());
    // Only root could give a file away.
    let more = config.replace("[server]", &format!("{}[server]", listener("more", "owner = \"root\"")));
    reload(&mut lockgate, &more, "cannot listen on unix:");
    assert!(!at("more").exists());
    stopped(&mut lockgate);
    assert!(!at("own").exists() && !at("shared").exists());
}

#[test]
fn who_finds_no_place_waits_for_one() {
    let origin = Origin::start().unwrap();
    let config = format!("{LISTENER}{}[server]\nmax_clients = 2\n", upstream(&origin));
    let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
    let clients: Vec<_> = (0..6)
        .map(|_| {
            let mut client = open(&lockgate);
            thread::spawn(move || client.exchange("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status)
        })
        .collect();
    assert!(clients.into_iter().all(|client| client.join().unwrap() == 200));
}
