//! The addresses that are listened on, and how a new configuration changes them: all of it, or nothing.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::{Listener, StartError, listener};

/// An address that is listened on, for as long as the configuration names it.
pub(crate) struct Slot {
    /// As configured; its port may be 0.
    wanted: SocketAddr,
    pub(crate) address: SocketAddr,
    /// The listener that it belongs to now.
    pub(crate) listener: ArcSwap<Listener>,
    closing: watch::Sender<bool>,
}

/// One shard's socket of a slot.
pub(crate) struct Socket {
    pub(crate) slot: Arc<Slot>,
    pub(crate) socket: std::net::TcpListener,
}

/// The slots of an engine.
#[derive(Default)]
pub(crate) struct Listeners {
    slots: Mutex<Vec<Arc<Slot>>>,
}

/// A change that can no longer fail.
pub(crate) struct Change {
    kept: Vec<(Arc<Slot>, Arc<Listener>)>,
    opened: Vec<Arc<Slot>>,
    /// The new sockets, for each shard.
    pub(crate) sockets: Vec<Vec<Socket>>,
}

impl Change {
    /// Names and addresses of what it opens.
    pub(crate) fn addresses(&self) -> Vec<(Arc<str>, SocketAddr)> {
        self.opened.iter().map(|slot| (Arc::clone(&slot.listener.load().name), slot.address)).collect()
    }
}

impl Slot {
    /// Ready when the address is no longer wanted.
    pub(crate) async fn closing(&self) {
        // The sender is in `self`.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }
}

impl Listeners {
    /// Binds what `wanted` names and is not there yet. Nothing that serves is touched.
    pub(crate) fn prepare(&self, wanted: &[Listener], shards: usize) -> Result<Change, StartError> {
        let mut left: Vec<_> = self.slots.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let all = left.clone();
        let mut change =
            Change { kept: Vec::new(), opened: Vec::new(), sockets: (0..shards).map(|_| Vec::new()).collect() };
        for listener in wanted {
            let listener = Arc::new(listener.clone());
            for &address in &listener.addresses {
                let failed = |source| StartError::Listen { listener: Arc::clone(&listener.name), address, source };
                let serves = |slot: &Arc<Slot>| {
                    slot.wanted == address && (address.port() != 0 || slot.listener.load().name == listener.name)
                };
                if let Some(index) = left.iter().position(serves) {
                    let slot = left.swap_remove(index);
                    if slot.listener.load().transparent != listener.transparent {
                        return Err(failed(io::Error::other("`transparent` can only change with a restart")));
                    }
                    change.kept.push((slot, Arc::clone(&listener)));
                    continue;
                }
                // One's own socket on the port, such as `0.0.0.0:80` that becomes `192.0.2.1:80`, is no other program's.
                let neighbour = all.iter().any(|slot| address.port() != 0 && slot.address.port() == address.port());
                let bound = listener::bind(&listener, address, shards, neighbour).map_err(failed)?;
                let slot = Arc::new(Slot {
                    wanted: address,
                    address: bound.address,
                    listener: ArcSwap::from(Arc::clone(&listener)),
                    closing: watch::Sender::new(false),
                });
                for (shard, socket) in change.sockets.iter_mut().zip(bound.sockets) {
                    shard.push(Socket { slot: Arc::clone(&slot), socket });
                }
                change.opened.push(slot);
            }
        }
        Ok(change)
    }

    /// Makes a change true. What is no longer wanted empties its queue and closes.
    pub(crate) fn commit(&self, change: Change) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut now = Vec::new();
        for (slot, listener) in change.kept {
            slot.listener.store(listener);
            now.push(slot);
        }
        now.extend(change.opened);
        for slot in slots.iter().filter(|slot| !now.iter().any(|kept| Arc::ptr_eq(kept, slot))) {
            slot.closing.send_replace(true);
        }
        *slots = now;
    }

    /// Names and addresses, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> Vec<(Arc<str>, SocketAddr)> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().map(|slot| (Arc::clone(&slot.listener.load().name), slot.address)).collect()
    }
}
