//! The process: its files, its signals, its patience.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, chown, symlink},
        process::ExitStatusExt as _,
    },
    process::Command,
    thread,
    time::{Duration, Instant},
};

use test_support::{Connection, Origin, Place, Process, Signal, poll, require, scratch_dir};

use super::{DEADLINE, Proxy, connect, get, write_conf};
use crate::support::LOCKGATE;

/// CVE-2017-11747: the user of the proxy owned its PID file, and could have root's `kill` meet any process.
#[test]
fn the_pid_file_belongs_to_root() {
    let directory = scratch_dir().unwrap();
    // Where that user can write, as packages have it.
    chown(directory.path(), Some(65534), Some(65534)).unwrap();
    let path = directory.path().join("proxy.pid");
    let lines = format!("User nobody\nGroup nogroup\nPidFile \"{}\"", path.display());
    let proxy = Proxy::start(&lines);
    // The port is open before the file is there.
    poll(DEADLINE, || fs::read_to_string(&path).ok().filter(|text| text.ends_with('\n'))).expect("a PID file");
    let about = fs::symlink_metadata(&path).unwrap();
    assert!(about.is_file() && about.uid() == 0 && about.permissions().mode() & 0o022 == 0, "{about:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", proxy.process.id()));
    // It listens before it gives up root.
    poll(DEADLINE, || {
        let status = fs::read_to_string(format!("/proc/{}/status", proxy.process.id())).unwrap();
        status.contains("Uid:\t65534\t65534\t65534\t65534\n").then_some(())
    })
    .expect("it gives up root");
    drop(proxy);
    // A link that the user left there is not followed, and the proxy does not serve without a file.
    let _ = fs::remove_file(&path);
    let victim = scratch_dir().unwrap();
    fs::write(victim.path().join("file"), "precious").unwrap();
    symlink(victim.path().join("file"), &path).unwrap();
    let conf = scratch_dir().unwrap();
    let port = Place::Loopback.reserve(std::net::Ipv4Addr::LOCALHOST, 0).unwrap();
    write_conf(conf.path(), port.address(), &lines);
    let mut command = Command::new(LOCKGATE);
    command.args(["tinyproxy", "-d", "-c", "tinyproxy.conf"]).current_dir(conf.path());
    let mut process = Process::spawn(&command).unwrap();
    assert_eq!(process.wait(DEADLINE).unwrap().code(), Some(71), "{}", process.output());
    assert_eq!(fs::read_to_string(victim.path().join("file")).unwrap(), "precious");
}

/// A head that comes byte by byte has as much time as one that comes at once; tinyproxy began to count anew at each byte.
#[test]
fn a_byte_now_and_then_buys_no_time() {
    let proxy = Proxy::start("Timeout 1");
    for begin in ["GET http://127.0.0.1:1/", "GET http://127.0.0.1:1/ HTTP/1.1\r\nHost: a\r\nX: ", "\r\n"] {
        let mut client = proxy.open();
        let started = Instant::now();
        client.send(begin).unwrap();
        client.stream().set_nonblocking(true).unwrap();
        let ended = poll(DEADLINE, || {
            // Until the proxy has closed its end, and says so.
            thread::sleep(Duration::from_millis(100));
            let sent = client.send(if begin.starts_with('\r') { "\r" } else { "x" });
            let mut byte = [0];
            let read = std::io::Read::read(&mut { client.stream() }, &mut byte);
            let waits = read.as_ref().is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
            (sent.is_err() || !waits).then_some(())
        });
        assert!(ended.is_some() && started.elapsed() < Duration::from_secs(4), "{begin:?}: {:?}", started.elapsed());
    }
}

/// A signal that comes while the proxy starts ended it with files left, or was lost.
#[test]
fn a_signal_at_the_start_ends_it_and_leaves_nothing() {
    require("strace").unwrap();
    let mut ended_cleanly = 0;
    // The kernel sends it at these calls: while the configuration is read, ports are opened, the PID file is written, root is
    // given up, threads are started, and the first connection is waited for.
    for call in [
        "read",
        "openat",
        "rt_sigaction",
        "bind",
        "listen",
        "fchmod",
        "ftruncate",
        "setresuid",
        "clone3",
        "epoll_wait",
        "accept4",
    ] {
        for number in 1..=3 {
            let directory = scratch_dir().unwrap();
            let port = Place::Loopback.reserve(std::net::Ipv4Addr::LOCALHOST, 0).unwrap();
            let pid_file = directory.path().join("proxy.pid");
            write_conf(directory.path(), port.address(), &format!("User nobody\nPidFile \"{}\"", pid_file.display()));
            let mut command = Command::new("strace");
            command.args(["-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
            command.args(["-e", &format!("inject={call}:signal=TERM:when={number}")]);
            command.arg(LOCKGATE).args(["tinyproxy", "-d", "-c", "tinyproxy.conf"]).current_dir(directory.path());
            let mut process = Process::spawn(&command).unwrap();
            // Calls that do not happen so often do not send it: then it is sent to the proxy that serves.
            let serves = process.wait_until("a listener or the end", DEADLINE, || {
                process_serves(&pid_file, port.address()).then_some(())
            });
            if serves.is_ok()
                && let Ok(id) = fs::read_to_string(&pid_file)
            {
                let _ = Command::new("kill").args(["-s", "TERM", id.trim()]).status();
            }
            let status = process.wait(DEADLINE).unwrap_or_else(|error| panic!("{call} {number}: {error}"));
            let what = format!("{call} {number}: {status}, {}", process.output());
            // Before there is anything to put away, the signal may simply kill.
            assert!(status.success() || status.signal() == Some(15), "{what}");
            assert!(!pid_file.exists() || fs::read(&pid_file).unwrap().is_empty(), "{what}");
            ended_cleanly += usize::from(status.success());
            TcpListener::bind(port.address()).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
    assert!(ended_cleanly > 15, "only {ended_cleanly} ended by themselves");
}

fn process_serves(pid_file: &std::path::Path, address: std::net::SocketAddr) -> bool {
    // The port is open before the file is written.
    fs::read_to_string(pid_file).is_ok_and(|text| text.ends_with('\n')) && std::net::TcpStream::connect(address).is_ok()
}

/// What a configuration consists of was freed while requests were using it.
#[test]
fn reloads_harm_no_request_under_way() {
    let origin = Origin::start().unwrap();
    let list = scratch_dir().unwrap();
    let filter = list.path().join("list");
    fs::write(&filter, (0..1000).map(|index| format!("^blocked{index}\n")).collect::<String>()).unwrap();
    let lines = |number: usize| {
        format!(
            "Filter \"{}\"\nBasicAuth user secret\nAnonymous \"Proxy-Authorization\"\nAddHeader \"X-Number\" \"{number}\"\n\
             Upstream none \"127.0.0.{number}\"\nAllow 127.0.0.0/8\nViaProxyName \"name{number}\"\nConnectPort {}",
            filter.display(),
            origin.address().port()
        )
    };
    let mut proxy = Proxy::start(&lines(1));
    let (address, to) = (proxy.address, origin.address());
    let field = "Proxy-Authorization: Basic dXNlcjpzZWNyZXQ=\r\n";
    let with_password = |request: String| request.replace("\r\n\r\n", &format!("\r\n{field}\r\n"));
    let mut tunnel = proxy.open();
    tunnel.send(with_password(connect(to))).unwrap();
    assert_eq!(tunnel.take(12).unwrap(), b"HTTP/1.1 200");
    while tunnel.take(1).unwrap() != b"\r" || tunnel.take(3).unwrap() != b"\n\r\n" {}
    let request = with_password(get(&format!("http://{to}/slow")));
    let big = with_password(get(&format!("http://{to}/big")));
    thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|index| {
                let (request, big) = (&request, &big);
                scope.spawn(move || {
                    let mut client = Connection::open(address).unwrap();
                    for round in 0..10 {
                        let request = if (index + round) % 4 == 0 { big } else { request };
                        assert_eq!(client.exchange(request).unwrap().status, 200);
                    }
                })
            })
            .collect();
        let mut number = 1;
        while clients.iter().any(|client| !client.is_finished()) {
            number += 1;
            proxy.reload(&lines(number % 200 + 1));
        }
        assert!(number > 5, "only {number} reloads");
        for client in clients {
            client.join().unwrap();
        }
    });
    assert_eq!(tunnel.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().status, 200, "the tunnel is still there");
    proxy.process.signal(Signal::TERM);
    assert!(proxy.process.wait(DEADLINE).unwrap().success());
}
