//! Programs that people use, through the proxy.
//!
//! Three hosts: the client knows nobody but the proxy, only the proxy knows the site's name, and the site is on the ports that
//! sites are on. What a client gets, it got through the proxy. Each test also runs through squid (and tinyproxy, for what it
//! can do), which shows that it asks for nothing special.

mod idle;
mod protocol;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use test_support::{
    HostsFile, Lockgate, Namespace, Network, Nginx, Origin, Place, Process, Squid, Tinyproxy, TlsSite, WebSocketEcho,
    poll, scratch_dir,
};

use crate::support::LOCKGATE;

/// Which program is between client and site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Through {
    Lockgate,
    Squid,
    Tinyproxy,
}

/// What runs in between.
enum Running {
    Lockgate(Lockgate),
    Squid(Squid),
    Tinyproxy(Tinyproxy),
}

impl Running {
    /// Listens on both addresses of a place.
    fn start(through: Through, place: &Place, port: u16) -> Self {
        match through {
            Through::Lockgate => {
                let config = format!(
                    "[[listener]]\nname = \"proxy\"\naddress = [\"{}:{port}\", \"[{}]:{port}\"]\n\
                     [[route]]\nchain = [{{ use = \"forward\" }}]\n",
                    place.ipv4(),
                    place.ipv6()
                );
                Self::Lockgate(Lockgate::run_at(place, LOCKGATE, &config).unwrap())
            }
            Through::Squid => Self::Squid(Squid::start_at(place, port, "").unwrap()),
            Through::Tinyproxy => Self::Tinyproxy(Tinyproxy::start_at(place, port, "").unwrap()),
        }
    }

    /// Where it listens: IPv4, IPv6.
    fn addresses(&self) -> &[SocketAddr] {
        match self {
            Self::Lockgate(lockgate) => lockgate.addresses(),
            Self::Squid(squid) => squid.addresses(),
            Self::Tinyproxy(tinyproxy) => tinyproxy.addresses(),
        }
    }
}

/// The three hosts. Peers end before their network does.
struct Stage {
    _proxy: Running,
    _names: [HostsFile; 2],
    directory: TempDir,
    network: Network<3>,
}

impl Stage {
    fn new(through: Through) -> Self {
        let network = Network::new(["client", "proxy", "site"]).unwrap();
        let [client, proxy, site] = network.hosts();
        let names = ["site.example", "www.site.example"];
        let known: Vec<(&str, IpAddr)> =
            names.iter().flat_map(|name| [(*name, site.ipv4().into()), (*name, site.ipv6().into())]).collect();
        let names = [HostsFile::new(proxy, &known).unwrap(), HostsFile::new(client, &[]).unwrap()];
        let running = Running::start(through, &Place::from(proxy), PORT);
        let stage = Self { _proxy: running, _names: names, directory: scratch_dir().unwrap(), network };
        for address in stage.proxy_addresses() {
            poll(Duration::from_secs(20), || Place::from(stage.client()).connect(address).ok()).unwrap();
        }
        stage
    }

    fn client(&self) -> &Namespace {
        &self.network.hosts()[0]
    }

    fn site(&self) -> Place {
        Place::from(&self.network.hosts()[2])
    }

    /// IPv4, IPv6.
    fn proxy_addresses(&self) -> [SocketAddr; 2] {
        let proxy = &self.network.hosts()[1];
        [SocketAddr::new(proxy.ipv4().into(), PORT), SocketAddr::new(proxy.ipv6().into(), PORT)]
    }

    /// `http://…` of the proxy, by IPv4.
    fn proxy(&self) -> String {
        format!("http://{}", self.proxy_addresses()[0])
    }

    /// The same by IPv6.
    fn proxy6(&self) -> String {
        format!("http://{}", self.proxy_addresses()[1])
    }

    /// Where the client keeps its files.
    fn home(&self) -> &Path {
        self.directory.path()
    }

    /// A command at the client, which gets nothing from the environment of this run: no proxy, no certificates.
    fn command(&self, program: &str, variables: &[(&str, &str)]) -> Command {
        let mut command = self.client().command("env");
        command.args(["-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]);
        command.arg(format!("HOME={}", self.home().display()));
        command.args(variables.iter().map(|(name, value)| format!("{name}={value}")));
        command.arg(program).current_dir(self.home());
        command
    }

    fn curl(&self, arguments: &[&str]) -> String {
        self.curl_by(&self.proxy(), arguments)
    }

    fn curl_by(&self, proxy: &str, arguments: &[&str]) -> String {
        let mut command = self.command("curl", &[]);
        // Not through a proxy is not at all.
        command.args(["-sS", "--fail", "--max-time", "60", "--noproxy", "", "--proxy", proxy]).args(arguments);
        run(&command)
    }
}

const PORT: u16 = 3128;

/// What a program said, which must have succeeded.
fn run(command: &Command) -> String {
    let (succeeded, output) = try_run(command);
    assert!(succeeded, "{command:?}:\n{output}");
    output
}

fn try_run(command: &Command) -> (bool, String) {
    let mut process = Process::spawn(command).unwrap();
    let status = process.wait(Duration::from_secs(120)).unwrap();
    (status.success(), process.output())
}

fn page(nginx: &Nginx) -> String {
    String::from_utf8(nginx.site().page.1.to_vec()).unwrap()
}

/// Bytes in which no two places look alike.
fn noise(length: usize) -> Vec<u8> {
    let words = (1_u64..).map(|number| number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    words.flatten().take(length).collect()
}

fn curl_gets_pages(through: Through) {
    let stage = Stage::new(through);
    let nginx = Nginx::start_at(&stage.site(), 80).unwrap();
    let tls = TlsSite::start_at(&stage.site(), 443, &["site.example"]).unwrap();
    fs::write(tls.root().join("page"), "a page over TLS").unwrap();
    let ca = tls.ca_file().display().to_string();
    let (v4, v6) = (nginx.addresses()[0].ip(), nginx.addresses()[1].ip());
    let page = page(&nginx);

    for host in ["site.example".to_owned(), "site.example:80".to_owned(), v4.to_string(), format!("[{v6}]")] {
        for proxy in [stage.proxy(), stage.proxy6()] {
            assert_eq!(stage.curl_by(&proxy, &[&format!("http://{host}/")]), page, "{host} by {proxy}");
            assert_eq!(
                stage.curl_by(&proxy, &["--proxytunnel", &format!("http://{host}/")]),
                page,
                "{host} by {proxy}"
            );
        }
    }
    for host in ["site.example".to_owned(), "site.example:443".to_owned(), v4.to_string(), format!("[{v6}]")] {
        for proxy in [stage.proxy(), stage.proxy6()] {
            let url = format!("https://{host}/page");
            assert_eq!(stage.curl_by(&proxy, &["--cacert", &ca, &url]), "a page over TLS", "{host} by {proxy}");
        }
    }
    let head = stage.curl(&["--head", "http://site.example/big"]);
    assert!(head.contains("200 OK") && head.contains("Content-Length: 8000000"), "{head}");
    assert_eq!(stage.curl(&["--http1.0", "http://site.example/"]), page);
    assert_eq!(stage.curl(&["--range", "2-8", "http://site.example/"]), &page[2..9]);
    let big = stage.home().join("big");
    stage.curl(&["-o", big.to_str().unwrap(), "http://site.example/big"]);
    assert!(fs::read(&big).unwrap() == *nginx.site().download.1, "the download is not what the site has");
}

fn curl_uploads(through: Through) {
    let stage = Stage::new(through);
    let _origin = Origin::start_at(&stage.site(), 80).unwrap();
    let (upload, answer) = (stage.home().join("upload"), stage.home().join("answer"));
    let content = noise(5_000_000);
    fs::write(&upload, &content).unwrap();
    let (from, to) = (format!("@{}", upload.display()), answer.to_str().unwrap());
    let url = "http://site.example/echo";
    for options in [&["-H", "Transfer-Encoding: chunked"][..], &[], &["--http1.0"], &["--proxytunnel"]] {
        let _ = fs::remove_file(&answer);
        stage.curl(&[options, &["--data-binary", &from, "-o", to, url]].concat());
        assert!(fs::read(&answer).unwrap() == content, "{options:?}: something else came back");
    }
    // curl would wait so long for leave to send its body.
    let since = Instant::now();
    let patient = ["-v", "-H", "Expect: 100-continue", "--expect100-timeout", "50", "--data", "hello"];
    let output = stage.curl(&[&patient[..], &[url]].concat());
    assert!(output.contains("< HTTP/1.1 100 Continue") && output.contains("hello"), "{output}");
    assert!(since.elapsed() < Duration::from_secs(25), "it took {:?}", since.elapsed());
}

fn curl_keeps_its_connection(through: Through) {
    let stage = Stage::new(through);
    let origin = Origin::start_at(&stage.site(), 80).unwrap();
    let mut arguments = vec!["-w", "|%{num_connects}|"];
    arguments.extend(["http://site.example/echo"; 5]);
    assert_eq!(stage.curl(&arguments), "|1||0||0||0||0|");
    assert_eq!((origin.requests(), origin.connections()), (5, 1));
}

fn wget_mirrors(through: Through) {
    let stage = Stage::new(through);
    let nginx = Nginx::start_at(&stage.site(), 80).unwrap();
    let tls = TlsSite::start_at(&stage.site(), 443, &["site.example"]).unwrap();
    let mut index = String::new();
    for number in 0..20 {
        fs::write(nginx.root().join(format!("{number}.bin")), noise(number * 10_000)).unwrap();
        index += &format!("<a href=\"{number}.bin\">{number}</a>\n");
    }
    fs::write(nginx.root().join("links.html"), &index).unwrap();
    fs::write(tls.root().join("page"), "a page over TLS").unwrap();
    let wget = |arguments: &[&str]| {
        let proxy = stage.proxy();
        let mut command = stage.command("wget", &[("http_proxy", &proxy), ("https_proxy", &proxy)]);
        command.args(["--no-verbose", "--tries=1", "--timeout=30"]).args(arguments);
        run(&command)
    };
    wget(&["--recursive", "--level=1", "http://site.example/links.html"]);
    for number in 0..20 {
        let got = fs::read(stage.home().join(format!("site.example/{number}.bin"))).unwrap();
        assert!(got == noise(number * 10_000), "{number}.bin is another one");
    }
    let ca = format!("--ca-certificate={}", tls.ca_file().display());
    assert_eq!(wget(&[&ca, "-O-", "--quiet", "https://site.example/page"]), "a page over TLS");
}

fn git_clones(through: Through) {
    let stage = Stage::new(through);
    let nginx = Nginx::start_at(&stage.site(), 80).unwrap();
    let tls = TlsSite::start_at(&stage.site(), 443, &["site.example"]).unwrap();
    let git = |arguments: &[&str]| {
        let mut command = stage.command("git", &[("GIT_CONFIG_NOSYSTEM", "1"), ("GIT_TERMINAL_PROMPT", "0")]);
        command.args(["-c", "user.name=A", "-c", "user.email=a@site.example", "-c", "init.defaultBranch=main"]);
        run(command.args(arguments))
    };
    git(&["init", "-q", "work"]);
    let work = stage.home().join("work");
    for number in 0..5_usize {
        fs::write(work.join(format!("{number}.bin")), noise(number * 300_000)).unwrap();
        git(&["-C", "work", "add", "."]);
        git(&["-C", "work", "commit", "-q", "-m", &format!("commit {number}")]);
    }
    for root in [nginx.root(), tls.root()] {
        let bare = root.join("repository.git").display().to_string();
        git(&["clone", "-q", "--bare", "work", &bare]);
        // Loose objects make many requests; so does a server that knows nothing of git.
        git(&["-C", &bare, "update-server-info"]);
    }
    let proxy = format!("http.proxy={}", stage.proxy());
    let ca = format!("http.sslCAInfo={}", tls.ca_file().display());
    let commit = git(&["-C", "work", "rev-parse", "HEAD"]);
    for scheme in ["http", "https"] {
        let url = format!("{scheme}://site.example/repository.git");
        git(&["-c", &proxy, "-c", &ca, "clone", "-q", &url, scheme]);
        assert_eq!(git(&["-C", scheme, "rev-parse", "HEAD"]), commit);
        git(&["-C", scheme, "fsck", "--full"]);
        assert!(fs::read(stage.home().join(scheme).join("4.bin")).unwrap() == noise(1_200_000));
    }
}

fn apt_updates_and_downloads(through: Through) {
    let stage = Stage::new(through);
    let nginx = Nginx::start_at(&stage.site(), 80).unwrap();
    let names: Vec<String> = (0..12).map(|number| format!("lockgate-test-{number}")).collect();
    make_repository(&nginx.root(), stage.home(), &names);
    let home = stage.home().display();
    for folder in ["etc", "state/lists/partial", "cache/archives/partial", "downloads"] {
        fs::create_dir_all(stage.home().join(folder)).unwrap();
    }
    fs::write(stage.home().join("etc/sources.list"), "deb [trusted=yes] http://site.example ./\n").unwrap();
    fs::write(stage.home().join("status"), "").unwrap();
    let config = format!(
        "Dir::Etc \"{home}/etc\";\nDir::State \"{home}/state\";\nDir::State::status \"{home}/status\";\n\
         Dir::Cache \"{home}/cache\";\nAPT::Sandbox::User \"root\";\nAcquire::Languages \"none\";\n\
         Acquire::http::Proxy \"{}/\";\nAcquire::http::Pipeline-Depth \"10\";\nAcquire::Retries \"0\";\n\
         Debug::Acquire::http \"true\";\n",
        stage.proxy()
    );
    fs::write(stage.home().join("apt.conf"), config).unwrap();
    let apt = |arguments: &[&str]| {
        let config = stage.home().join("apt.conf").display().to_string();
        let mut command = stage.command("apt-get", &[("APT_CONFIG", &config)]);
        command.current_dir(stage.home().join("downloads"));
        run(command.args(arguments))
    };
    let output = apt(&["update", "--error-on=any"]);
    assert!(output.contains("GET http://site.example/./Packages"), "{output}");
    let output = apt(&[&["download"][..], &names.iter().map(String::as_str).collect::<Vec<_>>()].concat());
    for name in &names {
        let file = format!("{name}_1.0_all.deb");
        let (got, there) = (stage.home().join("downloads").join(&file), nginx.root().join(&file));
        assert!(fs::read(got).unwrap() == fs::read(there).unwrap(), "{file}");
    }
    let told: Vec<&str> =
        output.lines().filter(|line| line.starts_with("GET ") || line.starts_with("Answer for")).collect();
    assert!(told.windows(2).any(|two| two.iter().all(|line| line.starts_with("GET "))), "no pipelining: {told:#?}");
}

/// A flat repository: packages and their list.
fn make_repository(root: &Path, scratch: &Path, names: &[String]) {
    let mut list = String::new();
    for (number, name) in names.iter().enumerate() {
        let tree = scratch.join("package");
        let _ = fs::remove_dir_all(&tree);
        fs::create_dir_all(tree.join("DEBIAN")).unwrap();
        fs::set_permissions(&tree, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(tree.join("DEBIAN"), fs::Permissions::from_mode(0o755)).unwrap();
        let control = format!(
            "Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: A <a@site.example>\nDescription: a test\n"
        );
        fs::write(tree.join("DEBIAN/control"), &control).unwrap();
        fs::write(tree.join("content"), noise(number * 40_000)).unwrap();
        let file = format!("{name}_1.0_all.deb");
        let path = root.join(&file);
        run(Command::new("dpkg-deb").args(["--build", "--root-owner-group"]).arg(&tree).arg(&path));
        let sum = run(Command::new("sha256sum").arg(&path));
        let sum = sum.split_whitespace().next().unwrap();
        let size = fs::metadata(&path).unwrap().len();
        list += &format!("{control}Filename: ./{file}\nSize: {size}\nSHA256: {sum}\n\n");
    }
    fs::write(root.join("Packages"), list).unwrap();
}

fn python_requests(through: Through) {
    let stage = Stage::new(through);
    let origin = Origin::start_at(&stage.site(), 80).unwrap();
    let tls = TlsSite::start_at(&stage.site(), 443, &["site.example"]).unwrap();
    fs::write(tls.root().join("page"), "a page over TLS").unwrap();
    let mut command = stage.command("/usr/bin/python3", &[]);
    command.args(["-c", REQUESTS, &stage.proxy()]).arg(tls.ca_file());
    assert_eq!(run(&command).trim(), "fine");
    if through == Through::Lockgate {
        assert_eq!((origin.requests(), origin.connections()), (13, 1));
    }
}

const REQUESTS: &str = r"
import sys, requests
session = requests.Session()
session.trust_env = False
session.proxies = {'http': sys.argv[1], 'https': sys.argv[1]}
session.verify = sys.argv[2]
for number in range(10):
    answer = session.post('http://site.example/echo', data=b'x' * number * 1000)
    assert answer.status_code == 200 and answer.content == b'x' * number * 1000, answer
answer = session.get('http://site.example/chunked')
assert answer.text == 'hello world', answer.text
def pieces():
    for number in range(100):
        yield str(number).encode() * 500
answer = session.post('http://site.example/echo', data=pieces())
assert answer.content == b''.join(pieces()), len(answer.content)
assert session.get('http://site.example/status/404').status_code == 404
for number in range(3):
    answer = session.get('https://site.example/page')
    assert answer.text == 'a page over TLS', answer
pools = session.get_adapter('http://').proxy_manager[sys.argv[1]].pools
assert [pools[key].num_connections for key in pools.keys()] == [1], 'the session opened several connections'
for url in ['http://nowhere.example/', 'http://site.example:9/']:
    assert session.get(url).status_code >= 500
try:
    session.get('https://site.example:9/')
    raise SystemExit('nobody listens there')
except requests.exceptions.ProxyError:
    pass
print('fine')
";

fn chromium_loads_a_page_and_a_web_socket(through: Through) {
    let stage = Stage::new(through);
    let nginx = Nginx::start_at(&stage.site(), 80).unwrap();
    let _echo = WebSocketEcho::start_at(&stage.site(), 8080).unwrap();
    fs::write(
        nginx.root().join("page.html"),
        PAGE.replace("@SOCKET@", "ws://site.example:8080/").replace("@MORE@", ""),
    )
    .unwrap();
    fs::write(nginx.root().join("script.js"), "window.loaded = 'the script';").unwrap();
    let mut command = stage.command("chromium", &[]);
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--proxy-bypass-list=<-loopback>",
        "--virtual-time-budget=60000",
        "--dump-dom",
    ]);
    command.arg(format!("--proxy-server={}", stage.proxy()));
    command.arg(format!("--user-data-dir={}", stage.home().join("profile").display()));
    let output = run(command.arg("http://site.example/page.html"));
    let expected = "<p id=\"told\">the script, 8000000 bytes, welcome 1, hello, 100000 times x, closed 1000</p>";
    assert!(output.contains(expected), "{output}");
}

/// A page that tells what became of a script, a large file and the WebSocket `@SOCKET@`; `@MORE@` may tell more before that.
pub(crate) const PAGE: &str = r#"<!doctype html><title>A page</title>
<p id="told">nothing</p>
<script src="script.js"></script>
<script>
const told = [window.loaded];
fetch('/big').then(answer => answer.arrayBuffer()).then(buffer => {
    told.push(buffer.byteLength + ' bytes');
    @MORE@
    const socket = new WebSocket('@SOCKET@');
    const say = text => { told.push(text); document.getElementById('told').textContent = told.join(', '); };
    socket.onmessage = event => {
        if (event.data.startsWith('welcome')) { say(event.data); socket.send('hello'); return; }
        if (event.data === 'hello') { say(event.data); socket.send('x'.repeat(100000)); return; }
        say(event.data.length + ' times ' + event.data[0]);
        socket.close(1000);
    };
    let over = false;
    socket.onclose = event => { say('closed ' + event.code); over = true; };
    socket.onerror = () => say('an error');
    // Chromium's virtual time waits for what is being loaded, and not for sockets.
    const wait = () => over || fetch('/script.js', { cache: 'no-store' }).then(wait);
    wait();
});
</script>
"#;

mod through_lockgate {
    use super::Through::Lockgate;

    #[test]
    fn curl_gets_pages() {
        super::curl_gets_pages(Lockgate);
    }

    #[test]
    fn curl_uploads() {
        super::curl_uploads(Lockgate);
    }

    #[test]
    fn curl_keeps_its_connection() {
        super::curl_keeps_its_connection(Lockgate);
    }

    #[test]
    fn wget_mirrors() {
        super::wget_mirrors(Lockgate);
    }

    #[test]
    fn git_clones() {
        super::git_clones(Lockgate);
    }

    #[test]
    fn apt_updates_and_downloads() {
        super::apt_updates_and_downloads(Lockgate);
    }

    #[test]
    fn python_requests() {
        super::python_requests(Lockgate);
    }

    #[test]
    fn chromium_loads_a_page_and_a_web_socket() {
        super::chromium_loads_a_page_and_a_web_socket(Lockgate);
    }
}

mod through_squid {
    use super::Through::Squid;

    #[test]
    fn curl_gets_pages() {
        super::curl_gets_pages(Squid);
    }

    #[test]
    fn curl_uploads() {
        super::curl_uploads(Squid);
    }

    #[test]
    fn curl_keeps_its_connection() {
        super::curl_keeps_its_connection(Squid);
    }

    #[test]
    fn wget_mirrors() {
        super::wget_mirrors(Squid);
    }

    #[test]
    fn git_clones() {
        super::git_clones(Squid);
    }

    #[test]
    fn apt_updates_and_downloads() {
        super::apt_updates_and_downloads(Squid);
    }

    #[test]
    fn python_requests() {
        super::python_requests(Squid);
    }

    #[test]
    fn chromium_loads_a_page_and_a_web_socket() {
        super::chromium_loads_a_page_and_a_web_socket(Squid);
    }
}

/// What tinyproxy can do: no kept connections, no body of a length that is not known.
mod through_tinyproxy {
    use super::Through::Tinyproxy;

    #[test]
    fn curl_gets_pages() {
        super::curl_gets_pages(Tinyproxy);
    }

    #[test]
    fn wget_mirrors() {
        super::wget_mirrors(Tinyproxy);
    }

    #[test]
    fn git_clones() {
        super::git_clones(Tinyproxy);
    }

    #[test]
    fn chromium_loads_a_page_and_a_web_socket() {
        super::chromium_loads_a_page_and_a_web_socket(Tinyproxy);
    }
}
