//! What systemd is told (sd_notify(3)).

use std::{
    env,
    ffi::OsStr,
    io,
    os::{
        linux::net::SocketAddrExt as _,
        unix::{
            ffi::OsStrExt as _,
            net::{SocketAddr, UnixDatagram},
        },
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// The service manager, if there is one that listens.
pub(super) struct Notifier(Option<(UnixDatagram, SocketAddr)>);

impl Notifier {
    /// The one that `NOTIFY_SOCKET` names.
    pub(super) fn from_environment() -> Self {
        Self::to(env::var_os("NOTIFY_SOCKET").as_deref())
    }

    fn to(address: Option<&OsStr>) -> Self {
        // Without one, and with an address of another kind, there is nobody to tell: as sd_notify(3) itself has it.
        Self(address.and_then(|address| connect(address.as_bytes()).ok()))
    }

    /// It serves.
    pub(super) fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nMAINPID={}\nSTATUS={status}", std::process::id()));
    }

    /// It reads its configuration again; [`ready`](Self::ready) follows.
    pub(super) fn reloading(&self) {
        // Compared with the time at which the reload was asked for, on the same clock.
        let now = clock_gettime(ClockId::Monotonic);
        let microseconds = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={microseconds}\nSTATUS=reading the configuration"));
    }

    /// It ends.
    pub(super) fn stopping(&self, status: &str) {
        self.send(&format!("STOPPING=1\nSTATUS={status}"));
    }

    fn send(&self, message: &str) {
        if let Some((socket, address)) = &self.0 {
            // A manager that does not listen any more is no reason to stop serving.
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }
}

fn connect(address: &[u8]) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match address {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(OsStr::from_bytes(address))?,
        _ => return Err(io::ErrorKind::Unsupported.into()),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(Duration::from_secs(1)))?;
    Ok((socket, address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    #[test]
    fn a_socket_of_either_kind_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let name = format!("lockgate-notify-{}", std::process::id());
        let abstract_address = SocketAddr::from_abstract_name(&name).unwrap();
        let name = format!("@{name}");
        let sockets = [UnixDatagram::bind(&path).unwrap(), UnixDatagram::bind_addr(&abstract_address).unwrap()];
        for (socket, address) in sockets.iter().zip([path.as_os_str(), OsStr::new(&name)]) {
            let notifier = Notifier::to(Some(address));
            notifier.ready("serving");
            assert_eq!(received(socket), format!("READY=1\nMAINPID={}\nSTATUS=serving", std::process::id()));
            notifier.reloading();
            let text = received(socket);
            let since = text.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")).unwrap();
            assert!(text.starts_with("RELOADING=1\n") && since.parse::<u64>().unwrap() > 0, "{text}");
            notifier.stopping("draining");
            assert_eq!(received(socket), "STOPPING=1\nSTATUS=draining");
        }
    }

    #[test]
    fn nobody_listening_is_fine() {
        for address in [None, Some("/nowhere/at/all"), Some("vsock:2:1"), Some(""), Some("@")] {
            Notifier::to(address.map(OsStr::new)).ready("serving");
        }
    }
}
