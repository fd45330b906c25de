//! A WebSocket server: Python's websockets, so that both ends of a test are somebody else's.

use std::{net::SocketAddr, time::Duration};

use crate::{Place, Process, Reservation, StartError};

/// A server that greets whoever comes with the number of its connections so far, and sends back every message.
#[derive(Debug)]
pub struct WebSocketEcho {
    addresses: Vec<SocketAddr>,
    process: Process,
}

impl WebSocketEcho {
    /// Listens on this port of both addresses of a place; 0 takes a free one.
    ///
    /// # Errors
    /// Python or its module is missing, or does not start.
    pub fn start_at(place: &Place, port: u16) -> Result<Self, StartError> {
        let reserved = place.reserve_both(port).map_err(StartError::prepare("a port"))?;
        let addresses: Vec<_> = reserved.iter().map(Reservation::address).collect();
        drop(reserved);
        // Debian's own, which has Debian's modules.
        let mut command = place.command("/usr/bin/python3");
        command.args(["-u", "-c", SCRIPT, &addresses[0].port().to_string()]);
        command.args(addresses.iter().map(|address| address.ip().to_string()));
        let mut process = Process::spawn(&command)?;
        process.wait_for_line("a listener", Duration::from_secs(20), |line| line == "listening")?;
        Ok(Self { addresses, process })
    }

    /// Where it listens: IPv4, IPv6.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What it tells about its connections.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.output()
    }
}

/// A message longer than a socket buffer is still one message.
const SCRIPT: &str = "
import asyncio, sys, websockets

connections = 0

async def serve(socket):
    global connections
    connections += 1
    await socket.send(f'welcome {connections}')
    async for message in socket:
        await socket.send(message)

async def main():
    async with websockets.serve(serve, sys.argv[2:], int(sys.argv[1]), max_size=1 << 26):
        print('listening')
        await asyncio.Future()

asyncio.run(main())
";
