//! Bytes through tunnels, and tunnels through which nothing goes.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{net::TcpSocket, runtime::Runtime, task::JoinSet, time::timeout};

use super::{proxy::Way, requests};
use crate::count::Count;

/// Listeners whose connections nobody takes: they stay in the queues, and cost no descriptor.
pub(crate) struct Quiet {
    addresses: Vec<SocketAddr>,
    _listeners: Vec<tokio::net::TcpListener>,
}

impl Quiet {
    pub(crate) fn new(runtime: &Runtime) -> io::Result<Self> {
        let _context = runtime.enter();
        let mut listeners = Vec::new();
        for _ in 0..LISTENERS {
            let socket = TcpSocket::new_v4()?;
            socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
            listeners.push(socket.listen(QUEUE)?);
        }
        let addresses = listeners.iter().map(tokio::net::TcpListener::local_addr).collect::<io::Result<_>>()?;
        Ok(Self { addresses, _listeners: listeners })
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

/// Four queues of 4096, which is what Linux allows, are enough for 10 000 connections and a few that were tried twice.
const LISTENERS: usize = 4;
const QUEUE: u32 = 4096;

/// A server that writes as fast as it is read.
pub(crate) fn source() -> io::Result<SocketAddr> {
    serve(|mut stream| {
        let piece = vec![b'x'; PIECE];
        while stream.write_all(&piece).is_ok() {}
    })
}

/// A server that waits until the other side goes.
pub(crate) fn sink() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    // Thousands come and go in a second: no thread for each.
    thread::spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return };
        runtime.block_on(async {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move { tokio::io::copy(&mut stream, &mut tokio::io::sink()).await });
            }
        });
    });
    Ok(address)
}

fn serve(work: fn(TcpStream)) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || work(stream));
        }
    });
    Ok(address)
}

/// Reads from the source through so many tunnels at once; counts bytes.
pub(crate) fn download(way: Way, streams: usize, time: Duration) -> Count {
    let (bytes, bad, stop) = (AtomicU64::new(0), AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
    let since = Instant::now();
    thread::scope(|scope| {
        for _ in 0..streams {
            scope.spawn(|| {
                let Ok(mut stream) = open(way) else {
                    bad.fetch_add(1, Ordering::Relaxed);
                    return;
                };
                let mut piece = vec![0; PIECE];
                while !stop.load(Ordering::Relaxed) {
                    match stream.read(&mut piece) {
                        Ok(read @ 1..) => bytes.fetch_add(read as u64, Ordering::Relaxed),
                        _ => {
                            bad.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                    };
                }
            });
        }
        thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    Count { done: bytes.into_inner(), bad: bad.into_inner(), took: since.elapsed(), cpu: Duration::ZERO }
}

fn open(way: Way) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(way.address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let Some(target) = way.connect else { return Ok(stream) };
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes())?;
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    if head.get(8..12) == Some(b" 200") { Ok(stream) } else { Err(io::ErrorKind::ConnectionRefused.into()) }
}

/// Opens so many tunnels, evenly over these ways, and hands out those that came to be.
pub(crate) async fn hold(ways: &[Way], number: usize) -> Vec<tokio::net::TcpStream> {
    let mut held = Vec::with_capacity(number);
    let mut tasks = JoinSet::new();
    for index in 0..number {
        let way = ways[index % ways.len()];
        tasks.spawn(async move {
            let opened = async {
                match way.connect {
                    Some(target) => requests::open(way.address, target).await,
                    None => tokio::net::TcpStream::connect(way.address).await,
                }
            };
            timeout(PATIENCE, opened).await
        });
        // A queue of listeners that wait for a slow proxy is no measure.
        if tasks.len() >= AT_ONCE {
            held.extend(finished(tasks.join_next().await));
        }
    }
    while let Some(result) = tasks.join_next().await {
        held.extend(finished(Some(result)));
    }
    // A relay that was not asked to connect does so now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    held
}

type Opened<E> = Option<Result<Result<io::Result<tokio::net::TcpStream>, tokio::time::error::Elapsed>, E>>;

fn finished<E>(result: Opened<E>) -> Option<tokio::net::TcpStream> {
    result?.ok()?.ok()?.ok()
}

const AT_ONCE: usize = 64;
const PIECE: usize = 256 * 1024;
const PATIENCE: Duration = Duration::from_secs(10);
