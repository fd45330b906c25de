//! Proves that the gate leads to us, before a certificate authority is told to come.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
};

use crate::rules::PROBE_MARK;

/// Why the gate does not seem to lead to us.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// Nothing can be said about an address.
    #[error("a probe of {address} failed")]
    Failed {
        /// The address.
        address: SocketAddr,
        /// What happened.
        source: io::Error,
    },
    /// Somebody else answered.
    #[error("a probe of {address} was answered by somebody else: {answer}")]
    WrongAnswer {
        /// The address.
        address: SocketAddr,
        /// The first line of the answer.
        answer: String,
    },
    /// This machine's own addresses are not known.
    #[error("cannot find this machine's addresses with `ip`")]
    NoAddresses {
        /// What the system said.
        source: io::Error,
    },
}

/// Fetches `path` from `port` of each address, with the mark that lets local packets pass the gate, and expects `body`.
///
/// It proves the gate, not what lies before this machine: a firewall outside may still keep visitors away.
///
/// # Errors
///
/// See [`ProbeError`]; the first address that fails ends it.
pub async fn probe(addresses: &[IpAddr], port: u16, path: &str, body: &str) -> Result<(), ProbeError> {
    for address in addresses.iter().map(|ip| SocketAddr::new(*ip, port)) {
        let answer = tokio::time::timeout(DEADLINE, fetch(address, path))
            .await
            .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            .map_err(|source| ProbeError::Failed { address, source })?;
        if !answer.starts_with("HTTP/1.1 200 ") || !answer.ends_with(body) {
            let answer = answer.lines().next().unwrap_or("nothing").to_owned();
            return Err(ProbeError::WrongAnswer { address, answer });
        }
    }
    Ok(())
}

async fn fetch(address: SocketAddr, path: &str) -> io::Result<String> {
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), socket2::Type::STREAM, None)?;
    socket.set_mark(PROBE_MARK)?;
    socket.set_nonblocking(true)?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => return Err(error),
        _ => {}
    }
    let mut stream = TcpStream::from_std(socket.into())?;
    stream.writable().await?;
    if let Some(error) = stream.take_error()? {
        return Err(error);
    }
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: lockgate-probe\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The addresses under which other machines know this one: all of its own but loopback and link-local ones.
///
/// # Errors
///
/// `ip` (iproute2) cannot be run or does not answer in JSON.
pub async fn own_addresses() -> Result<Vec<IpAddr>, ProbeError> {
    let failed = |source| ProbeError::NoAddresses { source };
    let output = Command::new("ip").args(["-j", "address", "show", "up"]).output().await.map_err(failed)?;
    let interfaces: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| failed(io::Error::other(error)))?;
    let all = interfaces.as_array().into_iter().flatten();
    let entries = all.flat_map(|interface| interface["addr_info"].as_array().into_iter().flatten());
    Ok(entries
        .filter(|entry| entry["scope"] == "global" && entry["tentative"] != true)
        .filter_map(|entry| entry["local"].as_str()?.parse().ok())
        .collect())
}

const DEADLINE: Duration = Duration::from_secs(5);
