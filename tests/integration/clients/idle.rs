//! Tunnels that nobody uses.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use socket2::{Domain, Socket, Type};
use test_support::{Place, Usage, raise_descriptor_limit};

use super::{Running, Through};

/// A listener whose connections stay in its queue, where they cost no descriptor of this process. Linux allows 4096.
fn quiet_listener() -> TcpListener {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    socket.listen(4096).unwrap();
    socket.into()
}

fn tunnel(proxy: SocketAddr, to: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(proxy).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(format!("CONNECT {to} HTTP/1.1\r\nHost: {to}\r\n\r\n").as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut bytes = [0; 256];
        let read = stream.read(&mut bytes).unwrap();
        assert!(read > 0, "the proxy hangs up: {}", String::from_utf8_lossy(&head));
        head.extend(&bytes[..read]);
    }
    assert!(head.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&head));
    stream
}

#[test]
fn ten_thousand_idle_tunnels_fit_in_150_mib() {
    // The proxy needs two descriptors for each; other tests of this process have theirs.
    let number = 10_000.min(raise_descriptor_limit().unwrap().saturating_sub(1500) / 2);
    assert!(number >= 5000, "the limit of open files leaves room for {number} tunnels only");
    let listeners = [(); 4].map(|()| quiet_listener());
    let running = Running::start(Through::Lockgate, &Place::Loopback, 0);
    let Running::Lockgate(lockgate) = &running else { panic!("another proxy") };
    let id = lockgate.id();
    let empty = Usage::of_tree(id).resident;
    let mut tunnels: Vec<TcpStream> = Vec::with_capacity(number);
    for index in 0..number {
        tunnels.push(tunnel(lockgate.address(), listeners[index % 4].local_addr().unwrap()));
    }
    let usage = Usage::of_tree(id);
    assert!(usage.descriptors >= 2 * number, "{usage:?}");
    assert!(usage.descriptors < 2 * number + 200, "idle tunnels hold more than their two sockets: {usage:?}");
    let each = usage.resident.saturating_sub(empty) / number as u64;
    eprintln!(
        "{number} idle tunnels: {} KiB resident, {} KiB without, {each} bytes each",
        usage.resident >> 10,
        empty >> 10
    );
    assert!(empty + each * 10_000 < 150 << 20, "{number} tunnels: {usage:?}, {each} bytes each");
    // They are no less alive for it: all of one queue.
    let of_first = tunnels.iter_mut().step_by(4);
    for (index, tunnel) in of_first.enumerate() {
        let mut origin = listeners[0].accept().unwrap().0;
        let number = index.to_be_bytes();
        origin.write_all(&number).unwrap();
        let mut heard = number.map(|byte| !byte);
        tunnel.read_exact(&mut heard).unwrap();
        assert_eq!(heard, number);
    }
    // Both sides: a tunnel of which one side is silent stays half open.
    drop((tunnels, listeners));
    let freed = test_support::poll(Duration::from_secs(20), || (Usage::of_tree(id).descriptors < 300).then_some(()));
    assert!(freed.is_some(), "{:?}", Usage::of_tree(id));
}
