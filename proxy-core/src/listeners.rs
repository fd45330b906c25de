//! The addresses that are listened on, and how a new configuration changes them: all of it, or nothing.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use tokio::sync::{Notify, watch};

use crate::{
    ListenAddress, Listener, StartError,
    listener::{self, ListeningSocket, SocketFile},
};

/// An address that is listened on, for as long as the configuration names it.
pub(crate) struct Slot {
    /// As configured; its port may be 0.
    wanted: ListenAddress,
    pub(crate) address: ListenAddress,
    /// Of a unix socket.
    file: Option<SocketFile>,
    /// The listener that it belongs to now.
    pub(crate) listener: ArcSwap<Listener>,
    closing: watch::Sender<bool>,
    /// Connections that came by it and are open.
    open: AtomicU64,
    emptied: Notify,
}

/// One shard's socket of a slot.
pub(crate) struct Socket {
    pub(crate) slot: Arc<Slot>,
    pub(crate) socket: ListeningSocket,
}

/// The slots of an engine.
#[derive(Default)]
pub(crate) struct Listeners {
    slots: Mutex<Vec<Arc<Slot>>>,
}

/// The addresses of a listener of a running engine, for whoever leads visitors there for a while.
#[derive(Clone)]
pub struct Entrance(Vec<Arc<Slot>>);

impl Entrance {
    /// The port of its addresses; the first one where there are several, and `None` where it has none or is gone.
    pub fn port(&self) -> Option<u16> {
        self.0.iter().find_map(|slot| slot.address.inet()).map(|address| address.port())
    }

    /// How many connections are open that came this way.
    pub fn open(&self) -> u64 {
        self.0.iter().map(|slot| slot.open.load(Ordering::Acquire)).sum()
    }

    /// Ready when there is none. New ones may come at any time: whoever waits has seen to it that they do not.
    pub async fn empty(&self) {
        for slot in &self.0 {
            slot.empty().await;
        }
    }
}

/// A change that can no longer fail.
pub(crate) struct Change {
    kept: Vec<(Arc<Slot>, Arc<Listener>)>,
    opened: Vec<Arc<Slot>>,
    /// The new sockets, for each shard.
    pub(crate) sockets: Vec<Vec<Socket>>,
}

impl Change {
    /// Makes what it opens somebody else's.
    pub(crate) fn give_to(&self, user: u32, group: u32) -> io::Result<()> {
        use rustix::fs::{Gid, Uid, fchown};
        for Socket { socket, .. } in self.sockets.iter().flatten() {
            fchown(socket, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))?;
        }
        for slot in &self.opened {
            slot.file.as_ref().map_or(Ok(()), |file| file.give_to(user, group, &slot.listener.load().access))?;
        }
        Ok(())
    }

    /// Names and addresses of what it opens.
    pub(crate) fn addresses(&self) -> Vec<(Arc<str>, ListenAddress)> {
        self.opened.iter().map(|slot| (Arc::clone(&slot.listener.load().name), slot.address.clone())).collect()
    }
}

impl Slot {
    /// Lets nobody find it any more. Whoever has connected is still served.
    fn hide(&self) {
        if let Some(file) = &self.file {
            file.remove();
        }
    }

    /// A connection has come.
    pub(crate) fn opens(&self) {
        self.open.fetch_add(1, Ordering::Relaxed);
    }

    /// It has ended.
    pub(crate) fn closes(&self) {
        if self.open.fetch_sub(1, Ordering::Release) == 1 {
            self.emptied.notify_waiters();
        }
    }

    /// Ready when nobody is there who came by it.
    async fn empty(&self) {
        loop {
            let mut emptied = std::pin::pin!(self.emptied.notified());
            // From here on nobody who leaves is missed.
            emptied.as_mut().enable();
            if self.open.load(Ordering::Acquire) == 0 {
                return;
            }
            emptied.await;
        }
    }

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
            for address in &listener.addresses {
                let failed = |source| {
                    let (listener, address) = (Arc::clone(&listener.name), address.clone());
                    StartError::Listen { listener, address, source }
                };
                let is_any_port = address.inet().is_some_and(|address| address.port() == 0);
                let serves = |slot: &Arc<Slot>| {
                    slot.wanted == *address && (!is_any_port || slot.listener.load().name == listener.name)
                };
                if let Some(index) = left.iter().position(serves) {
                    let slot = left.swap_remove(index);
                    if slot.listener.load().transparent != listener.transparent {
                        return Err(failed(io::Error::other("`transparent` can only change with a restart")));
                    }
                    if slot.file.is_some() && slot.listener.load().access != listener.access {
                        let message = "`mode`, `owner` and `group` can only change with a restart";
                        return Err(failed(io::Error::other(message)));
                    }
                    change.kept.push((slot, Arc::clone(&listener)));
                    continue;
                }
                // One's own socket on the port, such as `0.0.0.0:80` that becomes `192.0.2.1:80`, is no other program's.
                let neighbour = all.iter().any(|slot| address.port() != 0 && slot.address.port() == address.port());
                let bound = listener::bind(&listener, address, shards, neighbour).map_err(failed)?;
                let slot = Arc::new(Slot {
                    wanted: address.clone(),
                    address: bound.address,
                    file: bound.file,
                    listener: ArcSwap::from(Arc::clone(&listener)),
                    closing: watch::Sender::new(false),
                    open: AtomicU64::new(0),
                    emptied: Notify::new(),
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
            slot.hide();
            slot.closing.send_replace(true);
        }
        *slots = now;
    }

    /// Lets nobody find the unix sockets any more. Whoever has connected is still served.
    pub(crate) fn hide(&self) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|slot| slot.hide());
    }

    /// The addresses of one listener.
    pub(crate) fn entrance(&self, name: &str) -> Entrance {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        Entrance(slots.iter().filter(|slot| *slot.listener.load().name == *name).cloned().collect())
    }

    /// Names and addresses, with the ports that the system chose.
    pub(crate) fn addresses(&self) -> Vec<(Arc<str>, ListenAddress)> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.iter().map(|slot| (Arc::clone(&slot.listener.load().name), slot.address.clone())).collect()
    }
}
