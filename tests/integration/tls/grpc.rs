//! gRPC through the proxy, and servers that speak HTTP/2: without TLS and with it.

use std::{fs, net::SocketAddr};

use tempfile::TempDir;
use test_support::{
    Authority, Connection, GrpcServer, Http2, Lockgate, Origin, Place, Process, grpc,
    http2::{Ending::Answered, Frame, flag, kind},
    poll, scratch_dir,
};

use super::{DEADLINE, LOCKGATE};

/// A proxy with a listener with TLS and one without, in front of what this says of `upstream`.
fn proxy(authority: &Authority, upstream: &str) -> Lockgate {
    let made = authority.issue_for_names("a", &["a.example"]).unwrap();
    let config = format!(
        "[log]\naccess = \"access.log\"\nformat = \"json\"\n\
         [[listener]]\nname = \"https\"\naddress = [\"127.0.0.1:0\"]\ntls = true\n\
         [[listener]]\nname = \"http\"\naddress = [\"127.0.0.1:0\"]\n\
         [[certificate]]\ncertificate = \"{}\"\nkey = \"{}\"\n[[route]]\nchain = [{{ use = \"upstream\", {upstream} }}]\n",
        made.certificate.display(),
        made.key.display()
    );
    Lockgate::run(LOCKGATE, &config).unwrap()
}

fn calls_of_every_kind(authority: &Authority, server: &GrpcServer, upstream: &str) {
    let lockgate = proxy(authority, upstream);
    let told = grpc::call(lockgate.address(), &authority.ca_file()).unwrap();
    assert!(told.trim_end().ends_with("fine"), "{told}\n{}", lockgate.output());
    // A deadline and a change of mind.
    let cancelled = || (server.output().matches("cancelled").count() >= 2).then_some(());
    poll(DEADLINE, cancelled).unwrap_or_else(|| panic!("the server still works: {}", server.output()));
    let log = fs::read_to_string(lockgate.file("access.log")).unwrap();
    assert!(log.lines().all(|line| line.contains("\"version\":\"HTTP/2.0\"")), "{log}");
}

#[test]
fn calls_of_every_kind_pass_to_a_server_without_tls() {
    let (authority, server) = (Authority::new().unwrap(), GrpcServer::start(None).unwrap());
    let upstream = format!("servers = [\"{}\"], protocol = \"http2\"", server.address());
    calls_of_every_kind(&authority, &server, &upstream);
}

#[test]
fn calls_of_every_kind_pass_to_a_server_with_tls() {
    let authority = Authority::new().unwrap();
    let server = GrpcServer::start(Some(&authority.issue("server", &["server.example"]).unwrap())).unwrap();
    let upstream = format!(
        "servers = [\"https://{}\"], protocol = \"http2\", ca = \"{}\", server_name = \"server.example\"",
        server.address(),
        authority.ca_file().display()
    );
    calls_of_every_kind(&authority, &server, &upstream);
}

#[test]
fn a_server_that_is_down_is_unavailable() {
    let authority = Authority::new().unwrap();
    let closed = Place::Loopback.reserve(std::net::Ipv4Addr::LOCALHOST, 0).unwrap();
    let lockgate = proxy(&authority, &format!("servers = [\"{}\"], protocol = \"http2\"", closed.address()));
    let told = grpc::call(lockgate.address(), &authority.ca_file()).unwrap();
    assert!(told.contains("StatusCode.UNAVAILABLE"), "{told}");
}

/// nginx, which speaks HTTP/2 with clients (and with TLS HTTP/1.1, too) and passes requests on to an origin.
struct Front {
    plain: SocketAddr,
    secure: SocketAddr,
    _nginx: Process,
    _directory: TempDir,
}

impl Front {
    fn start(authority: &Authority, origin: &Origin) -> Self {
        let (place, directory) = (Place::Loopback, scratch_dir().unwrap());
        let made = authority.issue_for_names("front", &["front.example"]).unwrap();
        let [plain, secure] = [(); 2].map(|()| place.reserve(place.ipv4(), 0).unwrap());
        let addresses = [plain.address(), secure.address()];
        let config = CONFIG
            .replace("@DIR@", &directory.path().display().to_string())
            .replace("@PLAIN@", &addresses[0].to_string())
            .replace("@SECURE@", &addresses[1].to_string())
            .replace("@CERTIFICATE@", &made.certificate.display().to_string())
            .replace("@KEY@", &made.key.display().to_string())
            .replace("@ORIGIN@", &origin.address().to_string());
        let file = directory.path().join("nginx.conf");
        fs::write(&file, config).unwrap();
        drop((plain, secure));
        let mut command = place.command("nginx");
        command.arg("-c").arg(&file).arg("-p").arg(directory.path()).args(["-e", "stderr"]);
        let mut nginx = Process::spawn(&command).unwrap();
        addresses.iter().for_each(|address| nginx.wait_for_port(&place, *address, DEADLINE).unwrap());
        Self { plain: addresses[0], secure: addresses[1], _nginx: nginx, _directory: directory }
    }
}

#[test]
fn whatever_clients_speak_is_passed_to_a_server_that_speaks_http2() {
    let (authority, origin) = (Authority::new().unwrap(), Origin::start().unwrap());
    let front = Front::start(&authority, &origin);
    let secure = format!(
        "servers = [\"https://{}\"], protocol = \"http2\", ca = \"{}\", server_name = \"front.example\"",
        front.secure,
        authority.ca_file().display()
    );
    for upstream in [format!("servers = [\"{}\"], protocol = \"http2\"", front.plain), secure] {
        let lockgate = proxy(&authority, &upstream);
        let mut plain = Connection::open(lockgate.addresses()[1]).unwrap();
        let mut ask = |request: String| plain.exchange(request.replace('|', "\r\n")).unwrap();
        let page = ask("GET / HTTP/1.1|Host: a.example||".to_owned());
        assert_eq!((page.status, &*page.body), (200, &*origin.site().page.1));
        assert_eq!(page.header("x-protocol"), Some("HTTP/2.0"));
        assert_eq!(ask("HEAD / HTTP/1.1|Host: a.example||".to_owned()).status, 200);
        assert_eq!(ask("GET /status/404 HTTP/1.1|Host: a.example||".to_owned()).status, 404);
        assert_eq!(ask("GET /chunked HTTP/1.1|Host: a.example||".to_owned()).text(), "hello world");
        assert_eq!(ask("GET /big HTTP/1.1|Host: a.example||".to_owned()).body, &*origin.site().download.1);
        let long = "0123456789".repeat(20_000);
        let echoed = ask(format!("POST /echo HTTP/1.1|Host: a.example|Content-Length: {}||{long}", long.len()));
        assert!(echoed.text() == long, "{} bytes came back", echoed.body.len());
        let chunks = "POST /echo HTTP/1.1|Host: a.example|Transfer-Encoding: chunked||5|hello|6| world|0||";
        assert_eq!(ask(chunks.to_owned()).text(), "hello world");
        let mut client = Http2::open(lockgate.address(), &authority.ca_file(), &[]).unwrap();
        assert_eq!(client.exchange(1, "/big").unwrap(), Answered(200, origin.site().download.1.len()));
        client.send_frames(&[Frame::post(3, "/echo"), Frame::new(kind::DATA, 0, 3, *b"a body")]).unwrap();
        client.send_frames(&[Frame::new(kind::DATA, flag::END_STREAM, 3, [])]).unwrap();
        assert_eq!(client.ending(3).unwrap(), Answered(200, 6));
        assert!(matches!(client.exchange(5, "/drop").unwrap(), Answered(502, _)));
    }
}

#[test]
fn an_upgrade_is_asked_for_over_http1() {
    let (authority, origin) = (Authority::new().unwrap(), Origin::start().unwrap());
    let front = Front::start(&authority, &origin);
    let secure = format!(
        "servers = [\"https://{}\"], protocol = \"http2\", ca = \"{}\", server_name = \"front.example\"",
        front.secure,
        authority.ca_file().display()
    );
    // The one agrees on HTTP/1.1 instead; the other speaks nothing else.
    for upstream in [secure, format!("servers = [\"{}\"], protocol = \"http2\"", origin.address())] {
        let lockgate = proxy(&authority, &upstream);
        let mut client = Connection::open(lockgate.addresses()[1]).unwrap();
        let request = "GET /upgrade HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
        assert_eq!(client.exchange(request).unwrap().status, 101, "{upstream}");
        client.send("back and forth").unwrap();
        assert_eq!(client.take(14).unwrap(), b"back and forth");
    }
}

const CONFIG: &str = r#"
daemon off;
worker_processes 1;
pid @DIR@/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path @DIR@/body;
    proxy_temp_path @DIR@/proxy;
    fastcgi_temp_path @DIR@/fastcgi;
    uwsgi_temp_path @DIR@/uwsgi;
    scgi_temp_path @DIR@/scgi;
    client_max_body_size 0;
    map $http_upgrade $connection_upgrade { default upgrade; "" close; }
    server {
        listen @PLAIN@ http2;
        listen @SECURE@ ssl http2;
        ssl_certificate @CERTIFICATE@;
        ssl_certificate_key @KEY@;
        add_header X-Protocol $server_protocol always;
        location / {
            proxy_pass http://@ORIGIN@;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }
    }
}
"#;
