//! Tunnels through a proxy that speaks TLS itself, over both versions of HTTP.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use test_support::{
    Authority, Http2, Lockgate, Place, Process, Squid, TlsClient, TlsSite,
    http2::{
        Ending::{Answered, Reset},
        Frame, flag, kind,
    },
    poll,
};

use super::{DEADLINE, LOCKGATE};

/// A proxy for clients that speak TLS with it.
struct Proxy {
    authority: Authority,
    lockgate: Lockgate,
}

impl Proxy {
    fn start(chain: &str) -> Self {
        let authority = Authority::new().unwrap();
        let made = authority.issue("proxy", &["a.example"]).unwrap();
        let config = format!(
            "[log]\naccess = \"access.log\"\nformat = \"json\"\n\
             [[listener]]\nname = \"proxy\"\naddress = [\"127.0.0.1:0\"]\ntls = true\n\
             [[certificate]]\ncertificate = \"{}\"\nkey = \"{}\"\n[[route]]\nchain = [{chain}]\n",
            made.certificate.display(),
            made.key.display()
        );
        let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
        Self { authority, lockgate }
    }

    fn open(&self) -> Http2 {
        Http2::open(self.lockgate.address(), &self.authority.ca_file(), &[]).unwrap()
    }

    fn log(&self, lines: usize) -> Vec<serde_json::Value> {
        let read = || {
            let text = fs::read_to_string(self.lockgate.file("access.log")).unwrap_or_default();
            (text.lines().count() >= lines).then_some(text)
        };
        let text = poll(DEADLINE, read).unwrap_or_else(|| panic!("fewer than {lines} lines"));
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn connect(stream: u32, to: impl ToString) -> Frame {
    Frame::request(stream, &[(":method", "CONNECT"), (":authority", &to.to_string())], true)
}

fn data(stream: u32, bytes: &[u8], is_last: bool) -> Frame {
    Frame::new(kind::DATA, if is_last { flag::END_STREAM } else { 0 }, stream, bytes)
}

/// What comes on a stream until the server has ended its direction.
fn rest(client: &mut Http2, stream: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let frame = client.next_frame().unwrap().expect("the connection goes on");
        if frame.kind == kind::RST_STREAM {
            panic!("reset with {:?} after {} bytes", frame.payload, bytes.len());
        }
        if frame.kind == kind::DATA && frame.stream == stream {
            bytes.extend(&frame.payload);
            let more = u32::try_from(frame.payload.len()).unwrap();
            if more > 0 {
                client.send_frames(&[Frame::window(0, more), Frame::window(stream, more)]).unwrap();
            }
            if frame.flags & flag::END_STREAM != 0 {
                return bytes;
            }
        }
    }
}

/// Serves one connection after the other.
fn server<T: Send + 'static>(
    serve: impl Fn(TcpStream) -> io::Result<T> + Send + 'static,
) -> (SocketAddr, std::sync::mpsc::Receiver<io::Result<T>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            let _ = tell.send(serve(stream));
        }
    });
    (address, told)
}

/// Hears everything before it says anything.
fn patient_echo() -> SocketAddr {
    let echo = |mut stream: TcpStream| {
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard)?;
        stream.write_all(&heard)?;
        stream.write_all(b" was heard")?;
        stream.shutdown(Shutdown::Write)
    };
    server(echo).0
}

#[test]
fn a_tunnel_over_http2_carries_both_directions_and_their_ends() {
    let (proxy, to) = (Proxy::start("{ use = \"forward\" }"), patient_echo());
    let mut client = proxy.open();
    let words: Vec<u8> = (0..1_000_000_u32).map(|number| (number % 251) as u8).collect();
    client.send_frames(&[connect(1, to)]).unwrap();
    // Before it is open, as a client may that does not wait; and as much as the windows take.
    let mut window = 65_535;
    for piece in words.chunks(16_000) {
        while window < piece.len() {
            let frame = client.next_frame().unwrap().unwrap();
            if frame.kind == kind::WINDOW_UPDATE && frame.stream == 1 {
                window += u32::from_be_bytes(frame.payload[..4].try_into().unwrap()) as usize;
            }
        }
        window -= piece.len();
        client.send_frames(&[data(1, piece, false)]).unwrap();
    }
    client.send_frames(&[data(1, b"", true)]).unwrap();
    let answer = rest(&mut client, 1);
    assert!(answer.strip_suffix(b" was heard") == Some(&words[..]), "{} bytes came back", answer.len());
    let log = proxy.log(1);
    assert_eq!((&log[0]["method"], &log[0]["status"]), (&"CONNECT".into(), &200.into()));
    assert_eq!((&log[0]["version"], &log[0]["ending"]), (&"HTTP/2.0".into(), &"complete".into()));
    assert_eq!((&log[0]["target"], &log[0]["bytes"]), (&to.to_string().into(), &1_000_010.into()));
}

#[test]
fn tunnels_share_a_connection_and_none_waits_for_another() {
    let proxy = Proxy::start("{ use = \"forward\" }");
    let (endless, _told) = server(|mut stream| stream.write_all(&vec![7; 10_000_000]));
    let to = patient_echo();
    let mut client = proxy.open();
    // Nobody opens the window of this one's stream again. That of the connection is larger.
    client.send_frames(&[Frame::window(0, 1 << 20), connect(1, endless)]).unwrap();
    let mut came = 0;
    while came < 65_535 {
        let frame = client.next_frame().unwrap().unwrap();
        came += if frame.kind == kind::DATA { frame.payload.len() } else { 0 };
    }
    for stream in [3, 5, 7] {
        client.send_frames(&[connect(stream, to), data(stream, b"a word", true)]).unwrap();
        assert_eq!(rest(&mut client, stream), b"a word was heard");
    }
    client.send_frames(&[Frame::reset(1)]).unwrap();
    let log = proxy.log(4);
    assert_eq!(log.iter().filter(|line| line["ending"] == "complete").count(), 3, "{log:#?}");
    assert_eq!(log.iter().filter(|line| line["ending"] == "client").count(), 1, "{log:#?}");
}

#[test]
fn an_end_by_force_reaches_the_other_side() {
    let proxy = Proxy::start("{ use = \"forward\" }");
    let (to, told) = server(|mut stream| {
        let mut first = [0];
        stream.read_exact(&mut first)?;
        if first == *b"r" {
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
            return Ok(());
        }
        stream.read(&mut first).map(drop)
    });
    let mut client = proxy.open();
    client.send_frames(&[connect(1, to), data(1, b"r", false)]).unwrap();
    assert_eq!(client.ending(1).unwrap(), Reset(10), "CONNECT_ERROR");
    told.recv_timeout(DEADLINE).unwrap().unwrap();
    client.send_frames(&[connect(3, to), data(3, b"x", false)]).unwrap();
    super::abuse::is_read(&mut client);
    client.send_frames(&[Frame::reset(3)]).unwrap();
    let _ = told.recv_timeout(DEADLINE).expect("the server learns that the client is gone");
    let endings: Vec<_> = proxy.log(2).iter().map(|line| line["ending"].clone()).collect();
    assert_eq!(endings, ["upstream", "client"]);
}

#[test]
fn tunnels_over_http2_are_refused_as_over_http1() {
    let closed = Place::Loopback.reserve(Ipv4Addr::LOCALHOST, 0).unwrap();
    let status = |chain: &str, to: &str| {
        let proxy = Proxy::start(chain);
        let mut client = proxy.open();
        client.send_frames(&[connect(1, to)]).unwrap();
        let Answered(over_http2, length) = client.ending(1).unwrap() else { panic!("{chain}: no answer") };
        assert!(length > 0, "{chain}");
        let mut plain =
            TlsClient::connect(proxy.lockgate.address(), &proxy.authority.ca_file(), "a.example", &[]).unwrap();
        write!(plain, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").unwrap();
        let mut over_http1 = [0; 12];
        plain.read_exact(&mut over_http1).unwrap();
        assert_eq!(String::from_utf8_lossy(&over_http1), format!("HTTP/1.1 {over_http2}"), "{chain} for {to}");
        let log = proxy.log(2);
        assert_eq!((&log[0]["status"], &log[0]["ending"]), (&log[1]["status"], &log[1]["ending"]), "{log:#?}");
        over_http2
    };
    let forward = "{ use = \"forward\", connect_ports = [443, 563] }";
    assert_eq!(status(forward, "127.0.0.1:25"), 403);
    assert_eq!(status("{ use = \"forward\" }", &closed.address().to_string()), 502);
    assert_eq!(status("{ use = \"upstream\", servers = [\"127.0.0.1:1\"] }", "127.0.0.1:443"), 405);
    let users = "{ use = \"basic-auth\", realm = \"a\", users = [{ name = \"a\", password = \"b\" }] }";
    assert_eq!(status(&format!("{users}, {{ use = \"forward\" }}"), "127.0.0.1:443"), 407);
    // What another proxy says is passed on.
    let squid = Squid::start_at(&Place::Loopback, 0, "").unwrap();
    let parent =
        format!("{{ use = \"forward\", parents = [{{ use = \"http\", address = [\"{}\"] }}] }}", squid.addresses()[0]);
    assert_eq!(status(&parent, &closed.address().to_string()), 503);
}

#[test]
fn a_client_that_gives_up_while_a_server_is_connected_is_told_of() {
    // Its queue is full: whoever connects waits.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    full.listen(0).unwrap();
    let to = full.local_addr().unwrap().as_socket().unwrap();
    let _waiting: Vec<_> = (0..4).map(|_| TcpStream::connect_timeout(&to, Duration::from_millis(100))).collect();
    let proxy = Proxy::start("{ use = \"forward\", connect_timeout = \"15s\" }");
    let mut client = proxy.open();
    client.send_frames(&[connect(1, to)]).unwrap();
    super::abuse::is_read(&mut client);
    let since = Instant::now();
    client.send_frames(&[Frame::reset(1)]).unwrap();
    assert_eq!(proxy.log(1)[0]["ending"], "client");
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn a_tunnel_over_tls_keeps_the_direction_that_has_not_ended() {
    let (proxy, to) = (Proxy::start("{ use = \"forward\" }"), patient_echo());
    let (address, ca) = (proxy.lockgate.address(), proxy.authority.ca_file());
    let mut client = TlsClient::connect(address, &ca, "a.example", &["http/1.1"]).unwrap();
    write!(client, "CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\nearly, ").unwrap();
    client.write_all(&[b'x'; 100_000]).unwrap();
    client.end().unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    let (head, answer) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(answer.starts_with("early, xxx") && answer.ends_with("x was heard"), "{} bytes", answer.len());
    assert_eq!(answer.len(), 7 + 100_000 + 10);
    assert_eq!(proxy.log(1)[0]["ending"], "complete");
}

#[test]
fn curl_reaches_sites_through_a_proxy_that_speaks_tls() {
    let proxy = Proxy::start("{ use = \"forward\" }");
    let site = TlsSite::start_at(&Place::Loopback, 0, &["site.example"]).unwrap();
    fs::write(site.root().join("page"), "a page over TLS").unwrap();
    let mut command = Place::Loopback.command("curl");
    command.args(["-sS", "--max-time", "20", "--noproxy", "", "--proxy"]);
    command.arg(format!("https://{}", proxy.lockgate.address())).arg("--proxy-cacert").arg(proxy.authority.ca_file());
    command.arg("--cacert").arg(site.ca_file()).arg(format!("https://{}/page", site.addresses()[0]));
    let mut curl = Process::spawn(&command).unwrap();
    let _ = curl.wait(DEADLINE).unwrap();
    assert_eq!(curl.output(), "a page over TLS");
    let log = proxy.log(1);
    assert_eq!((&log[0]["method"], &log[0]["version"]), (&"CONNECT".into(), &"HTTP/1.1".into()));
}
