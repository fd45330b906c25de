//! A browser that trusts the authority of the test: headless Chromium with a certificate database of its own.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use tempfile::TempDir;
use test_support::{Authority, Lockgate, Nginx, Place, Process, WebSocketEcho, scratch_dir};

use crate::{clients::PAGE, support::LOCKGATE};

/// Chromium at home: it trusts this authority, and finds all names of the test on this machine.
struct Browser {
    home: TempDir,
}

impl Browser {
    fn new(authority: &Authority) -> Self {
        let home = scratch_dir().unwrap();
        let database = home.path().join(".pki/nssdb");
        fs::create_dir_all(&database).unwrap();
        let database = format!("sql:{}", database.display());
        let certutil = |arguments: &[&str]| {
            let mut command = Place::Loopback.command("certutil");
            command.args(["-d", &database]).args(arguments);
            let mut certutil = Process::spawn(&command).unwrap();
            assert!(certutil.wait(Duration::from_secs(20)).unwrap().success(), "{}", certutil.output());
        };
        certutil(&["-N", "--empty-password"]);
        let ca = authority.ca_file().display().to_string();
        certutil(&["-A", "-n", "test", "-t", "C,,", "-i", &ca]);
        Self { home }
    }

    /// The page when everything on it has happened.
    fn page(&self, url: &str, arguments: &[String]) -> String {
        let mut command: Command = Place::Loopback.command("env");
        command.args(["-i", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]);
        command.arg(format!("HOME={}", self.home.path().display())).args(["chromium"]).args(ARGUMENTS);
        command.arg(format!("--user-data-dir={}", self.home.path().join("profile").display()));
        let mut chromium = Process::spawn(command.args(arguments).arg(url)).unwrap();
        let _ = chromium.wait(Duration::from_secs(120)).unwrap();
        chromium.output()
    }
}

const ARGUMENTS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=60000",
    "--dump-dom",
];

/// Finds names of the test here, and nobody else's.
fn resolve() -> String {
    "--host-resolver-rules=MAP *.example 127.0.0.1".to_owned()
}

fn listener(authority: &Authority, routes: &str) -> Lockgate {
    let made = authority.issue_for_names("a", &["a.example"]).unwrap();
    let config = format!(
        "[log]\naccess = \"access.log\"\nformat = \"json\"\n\
         [[listener]]\nname = \"https\"\naddress = [\"127.0.0.1:0\"]\ntls = true\n\
         [[certificate]]\ncertificate = \"{}\"\nkey = \"{}\"\n{routes}",
        made.certificate.display(),
        made.key.display()
    );
    Lockgate::run(LOCKGATE, &config).unwrap()
}

/// A site with a page, three things on it, and a WebSocket at this URL.
fn site(socket: &str) -> Nginx {
    let nginx = Nginx::start_at(&Place::Loopback, 0).unwrap();
    fs::write(nginx.root().join("page.html"), PAGE.replace("@SOCKET@", socket).replace("@MORE@", PROTOCOLS)).unwrap();
    fs::write(nginx.root().join("script.js"), "window.loaded = 'the script';").unwrap();
    nginx
}

fn versions(lockgate: &Lockgate, target: &str) -> Vec<String> {
    let text = fs::read_to_string(lockgate.file("access.log")).unwrap();
    let lines = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    lines.filter(|line| line["target"] == target).map(|line| line["version"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn chromium_loads_a_page_over_http2_and_a_web_socket_beside_it() {
    let (authority, echo) = (Authority::new().unwrap(), WebSocketEcho::start_at(&Place::Loopback, 0).unwrap());
    let nginx = site("wss:' + '//' + location.host + '/socket");
    let routes = format!(
        "[[route]]\npath = \"/socket\"\nchain = [{{ use = \"upstream\", servers = [\"{}\"] }}]\n\
         [[route]]\nchain = [{{ use = \"upstream\", servers = [\"{}\"] }}]\n",
        echo.addresses()[0],
        nginx.addresses()[0]
    );
    let lockgate = listener(&authority, &routes);
    let url = format!("https://a.example:{}/page.html", lockgate.address().port());
    let output = Browser::new(&authority).page(&url, &[resolve()]);
    let expected = "the script, 8000000 bytes, h2, welcome 1, hello, 100000 times x, closed 1000";
    assert!(output.contains(&format!("<p id=\"told\">{expected}</p>")), "{output}\n{}", lockgate.output());
    for target in ["/page.html", "/script.js", "/big"] {
        let versions = versions(&lockgate, target);
        assert!(!versions.is_empty() && versions.iter().all(|version| version == "HTTP/2.0"), "{target}: {versions:?}");
    }
    assert_eq!(versions(&lockgate, "/socket"), ["HTTP/1.1"]);
}

#[test]
fn chromium_that_trusts_nobody_loads_nothing() {
    let authority = Authority::new().unwrap();
    let nginx = site("wss://a.example");
    let lockgate = listener(
        &authority,
        &format!("[[route]]\nchain = [{{ use = \"upstream\", servers = [\"{}\"] }}]\n", nginx.addresses()[0]),
    );
    let url = format!("https://a.example:{}/page.html", lockgate.address().port());
    let output = Browser::new(&Authority::new().unwrap()).page(&url, &[resolve()]);
    assert!(!output.contains("the script"), "{output}");
}

#[test]
fn chromium_reaches_sites_through_a_proxy_over_http2() {
    let (authority, echo) = (Authority::new().unwrap(), WebSocketEcho::start_at(&Place::Loopback, 0).unwrap());
    let proxy = listener(&authority, "[[route]]\nchain = [{ use = \"forward\" }]\n");
    // Behind it is a site; a WebSocket goes through a tunnel.
    let socket = format!("ws://127.0.0.1:{}/", echo.addresses()[0].port());
    let nginx = site(&socket);
    let through = |proxy: SocketAddr| {
        // The proxy has names resolved that are behind it: only its own is resolved here.
        [
            format!("--proxy-server=https://a.example:{}", proxy.port()),
            "--proxy-bypass-list=<-loopback>".to_owned(),
            resolve(),
        ]
    };
    let browser = Browser::new(&authority);
    let url = format!("http://{}/page.html", nginx.addresses()[0]);
    let output = browser.page(&url, &through(proxy.address()));
    assert!(
        output.contains("8000000 bytes") && output.contains("welcome 1, hello, 100000 times x"),
        "{output}\n{}",
        proxy.output()
    );
    let log = fs::read_to_string(proxy.file("access.log")).unwrap();
    let (tunnels, others): (Vec<&str>, Vec<&str>) =
        log.lines().partition(|line| line.contains("\"method\":\"CONNECT\""));
    assert!(!tunnels.is_empty() && tunnels.iter().all(|line| line.contains("\"version\":\"HTTP/2.0\"")), "{log}");
    assert!(
        others.iter().any(|line| line.contains(&format!("\"target\":\"{url}\"")) && line.contains("HTTP/2.0")),
        "{log}"
    );
}

/// Tells by which protocols everything came.
const PROTOCOLS: &str = r#"const entries = [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')];
    told.push([...new Set(entries.map(entry => entry.nextHopProtocol))].join(' and '));"#;
