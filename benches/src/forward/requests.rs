//! A load of requests through a proxy, each for a whole URL, and of tunnels that are opened and closed.

use std::{
    io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::count::{Count, repeat};

/// What is asked for, of whom.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request {
    pub(crate) proxy: SocketAddr,
    pub(crate) site: SocketAddr,
    /// Whether the client keeps its connection for the next request, if the proxy does.
    pub(crate) kept: bool,
}

/// Requests on so many connections.
pub(crate) async fn run(request: Request, connections: usize, time: Duration) -> Count {
    repeat(connections, time, move |deadline| visit(request, deadline)).await
}

/// CONNECT, an answer, and an end.
pub(crate) async fn connects(proxy: SocketAddr, target: SocketAddr, connections: usize, time: Duration) -> Count {
    repeat(connections, time, move |deadline| async move {
        let mut count = Count::default();
        while Instant::now() < deadline {
            match timeout(PATIENCE, open(proxy, target)).await {
                Ok(Ok(_stream)) => count.done += 1,
                _ => count.bad += 1,
            }
        }
        count
    })
    .await
}

/// A tunnel.
pub(crate) async fn open(proxy: SocketAddr, target: SocketAddr) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(proxy).await?;
    stream.set_nodelay(true)?;
    stream.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n").as_bytes()).await?;
    let mut buffer = Vec::with_capacity(1024);
    let (status, _) = head(&mut stream, &mut buffer).await?;
    if status == 200 { Ok(stream) } else { Err(io::Error::other(format!("status {status}"))) }
}

async fn visit(request: Request, deadline: Instant) -> Count {
    let close = if request.kept { "" } else { "Connection: close\r\n" };
    let text = format!("GET http://{0}/small HTTP/1.1\r\nHost: {0}\r\n{close}\r\n", request.site);
    let mut count = Count::default();
    let mut connection: Option<TcpStream> = None;
    let mut buffer = Vec::with_capacity(4096);
    while Instant::now() < deadline {
        let reused = connection.is_some();
        let result = timeout(PATIENCE, exchange(request.proxy, connection.take(), &text, &mut buffer)).await;
        match result {
            Ok(Ok((stream, keeps))) => {
                count.done += 1;
                connection = (request.kept && keeps).then_some(stream);
            }
            // It had been closed before the request came: the request was for nothing, and is made again.
            Ok(Err(error)) if reused && ended(&error) && buffer.is_empty() => {}
            _ => count.bad += 1,
        }
    }
    count
}

/// Makes a request; says whether the connection may be used again.
async fn exchange(
    proxy: SocketAddr,
    connection: Option<TcpStream>,
    request: &str,
    buffer: &mut Vec<u8>,
) -> io::Result<(TcpStream, bool)> {
    buffer.clear();
    let mut stream = match connection {
        Some(stream) => stream,
        None => {
            let stream = TcpStream::connect(proxy).await?;
            stream.set_nodelay(true)?;
            stream
        }
    };
    stream.write_all(request.as_bytes()).await?;
    let (status, end) = head(&mut stream, buffer).await?;
    let text = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default()).to_ascii_lowercase();
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim);
    let length: usize = field("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    while buffer.len() < end + length {
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if status != 200 || length == 0 {
        return Err(io::Error::other(format!("status {status}, {length} bytes")));
    }
    Ok((stream, field("connection") != Some("close")))
}

/// Reads a head; its status, and where it ends.
async fn head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<(u16, usize)> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let line = String::from_utf8_lossy(buffer.get(..end).unwrap_or_default());
            let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
            return Ok((status.ok_or(io::ErrorKind::InvalidData)?, end + 4));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn ended(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    [BrokenPipe, ConnectionReset, UnexpectedEof].contains(&error.kind())
}

const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use test_support::{Nginx, Place, Tinyproxy};

    #[tokio::test]
    async fn what_a_proxy_does_is_counted() {
        let nginx = Nginx::start_at(&Place::Loopback, 0).unwrap();
        fs::write(nginx.root().join("small"), "small").unwrap();
        let proxy = Tinyproxy::start_at(&Place::Loopback, 0, "ConnectPort 1\n").unwrap();
        let time = Duration::from_millis(300);
        for kept in [true, false] {
            let mut request = Request { proxy: proxy.addresses()[0], site: nginx.addresses()[0], kept };
            let count = run(request, 4, time).await;
            assert!(count.done > 4 && count.bad == 0, "{count:?}");
            fs::rename(nginx.root().join("small"), nginx.root().join("other")).unwrap();
            let count = run(request, 4, time).await;
            assert!(count.done == 0 && count.bad > 4, "{count:?}");
            fs::rename(nginx.root().join("other"), nginx.root().join("small")).unwrap();
            // Without a proxy at all, too.
            request.proxy = nginx.addresses()[0];
            assert!(run(request, 4, time).await.done > 4);
        }
        // It refuses all ports but one.
        let count = connects(proxy.addresses()[0], nginx.addresses()[0], 4, time).await;
        assert!(count.done == 0 && count.bad > 4, "{count:?}");
    }
}
