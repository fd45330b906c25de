//! Why an engine does not start, or does not take a new configuration.

use std::{io, sync::Arc};

use plugin_api::PluginError;

use crate::ListenAddress;

/// Why an engine did not start, or did not take a new configuration. Nothing new is left running, and nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("listener `{listener}` cannot listen on {address}")]
    Listen {
        /// The listener's name.
        listener: Arc<str>,
        /// The address.
        address: ListenAddress,
        /// What the system said.
        source: io::Error,
    },
    /// The access log cannot be opened.
    #[error("cannot open the access log {path}")]
    Log {
        /// Its place.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// A thread cannot be started.
    #[error("cannot start a thread")]
    Thread {
        /// What the system said.
        source: io::Error,
    },
    /// A plugin did not start.
    #[error("plugin `{plugin}` of route `{route}` did not start")]
    Plugin {
        /// The plugin's name.
        plugin: &'static str,
        /// The route's name.
        route: Arc<str>,
        /// What the plugin said.
        source: PluginError,
    },
}

impl StartError {
    /// What the operator can do about it.
    pub fn hint(&self) -> Option<String> {
        if let Self::Log { .. } = self {
            return Some("its directory must exist and be writable; `[log] access` names it".into());
        }
        let Self::Listen { address, source, .. } = self else { return None };
        let ListenAddress::Inet(address) = address else { return hint_for_file(source) };
        match source.kind() {
            io::ErrorKind::AddrInUse => Some(format!(
                "another program listens there; `ss -ltnp 'sport = :{}'` shows which",
                address.port()
            )),
            io::ErrorKind::PermissionDenied if address.port() < 1024 => Some(
                "ports below 1024 need root or CAP_NET_BIND_SERVICE (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)".into(),
            ),
            io::ErrorKind::PermissionDenied => Some("a transparent listener needs root or CAP_NET_ADMIN".into()),
            io::ErrorKind::AddrNotAvailable => Some("this machine does not have that address".into()),
            _ => None,
        }
    }
}

fn hint_for_file(source: &io::Error) -> Option<String> {
    Some(match source.kind() {
        io::ErrorKind::AddrInUse => "`ss -lxp` shows which; two proxies need two sockets".into(),
        io::ErrorKind::AlreadyExists => "nothing is removed that was not made to be listened on; choose another path".into(),
        io::ErrorKind::NotFound => "the directory must exist (systemd: RuntimeDirectory=lockgate makes /run/lockgate)".into(),
        io::ErrorKind::PermissionDenied => {
            "the user that the proxy runs as must be able to write to the directory, and to give the file to its `owner` and `group`"
                .into()
        }
        _ => return None,
    })
}
