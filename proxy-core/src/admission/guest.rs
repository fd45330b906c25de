//! One connection, as the admission sees it.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Waker},
    time::Duration,
};

use plugin_api::Client;
use tokio::time::Instant;

/// A connection that has a seat.
#[derive(Debug)]
pub(crate) struct Guest {
    standing: Mutex<Standing>,
}

/// Where clients come from: an address or a network, or this machine's unix sockets, which have none.
pub(super) type Origin = Option<IpAddr>;

#[derive(Debug)]
struct Standing {
    origin: Origin,
    doing: Doing,
    /// Requests that are served: over HTTP/2 there may be several.
    served: usize,
    /// How many of them wait for the client.
    waiting: usize,
    sent_away: bool,
    /// The task that waits for the client.
    waker: Option<Waker>,
}

#[derive(Debug)]
enum Doing {
    /// Sending a head, or nothing, since then.
    Asking(Instant),
    /// Waiting for a place.
    Queueing,
    /// Being served.
    Served(Pace),
    /// A tunnel, or another protocol: its silence is nobody's business.
    Tunnel,
}

/// How long the client has made us wait, and how much of that it may.
#[derive(Debug)]
struct Pace {
    since: Option<Instant>,
    credit: Duration,
    /// The most credit that it can have: who has moved much may pause for longer.
    most: Duration,
}

impl Guest {
    pub(super) fn new(client: Client) -> Self {
        let doing = Doing::Asking(Instant::now());
        let standing = Standing { origin: origin(client), doing, served: 0, waiting: 0, sent_away: false, waker: None };
        Self { standing: Mutex::new(standing) }
    }

    /// A proxy has announced whose connection this is. Only before its first request: places are counted by origin.
    pub(crate) fn is(&self, client: Client) {
        self.standing().origin = origin(client);
    }

    /// Where it comes from.
    pub(super) fn origin(&self) -> Origin {
        self.standing().origin
    }

    /// There is nothing to read from the client, or it takes nothing: we wait for it.
    pub(crate) fn waits(&self, cx: &Context<'_>) {
        let mut standing = self.standing();
        if let Doing::Served(pace) = &mut standing.doing {
            pace.since.get_or_insert_with(Instant::now);
        }
        standing.keep(cx);
    }

    /// There is nothing to read from an HTTP/2 client, for which so many of its requests wait.
    pub(crate) fn listens(&self, waiting: usize, cx: &Context<'_>) {
        let mut standing = self.standing();
        standing.waiting = waiting;
        if let Doing::Served(pace) = &mut standing.doing {
            match waiting {
                0 => drop(pace.settle(Instant::now())),
                _ => drop(pace.since.get_or_insert_with(Instant::now)),
            }
        }
        standing.keep(cx);
    }

    /// So many bytes have come from the client, or gone to it.
    pub(crate) fn moves(&self, bytes: usize) {
        let mut standing = self.standing();
        // They are all that its requests get together.
        let bytes = bytes / standing.waiting.max(1);
        if let Doing::Served(pace) = &mut standing.doing {
            pace.moves(bytes, Instant::now());
        }
    }

    /// Whether it has to go.
    pub(crate) fn is_sent_away(&self) -> bool {
        self.standing().sent_away
    }

    /// From now on it may be silent.
    pub(crate) fn becomes_tunnel(&self) {
        self.standing().doing = Doing::Tunnel;
    }

    pub(super) fn queues(&self) {
        let mut standing = self.standing();
        if standing.served == 0 {
            standing.doing = Doing::Queueing;
        }
    }

    pub(super) fn is_served(&self) {
        let mut standing = self.standing();
        standing.served += 1;
        if standing.served == 1 {
            // Over HTTP/2, nothing may come to pass any more that would tell of a wait.
            let since = (standing.waiting > 0).then(Instant::now);
            standing.doing = Doing::Served(Pace { since, credit: GRACE, most: GRACE });
            // Its request came before it could go.
            standing.sent_away = false;
        }
    }

    /// Its request has ended.
    pub(super) fn leaves(&self) {
        let mut standing = self.standing();
        standing.served = standing.served.saturating_sub(1);
        if standing.served == 0 {
            standing.doing = Doing::Asking(Instant::now());
        }
    }

    /// Its places.
    pub(super) fn served(&self) -> usize {
        self.standing().served
    }

    /// Its places that are as good as free, because it was sent away.
    pub(super) fn leaving(&self) -> usize {
        let standing = self.standing();
        if standing.sent_away { standing.served } else { 0 }
    }

    /// Since when it has not sent a whole head, unless it goes already.
    pub(super) fn asks_since(&self) -> Option<Instant> {
        match *self.standing() {
            Standing { doing: Doing::Asking(since), sent_away: false, .. } => Some(since),
            _ => None,
        }
    }

    /// By how much it keeps us waiting for too long, unless it goes already.
    pub(super) fn overdue(&self, now: Instant) -> Option<Duration> {
        match &*self.standing() {
            Standing { doing: Doing::Served(pace), sent_away: false, .. } => pace.overdue(now),
            _ => None,
        }
    }

    pub(super) fn send_away(&self) {
        let mut standing = self.standing();
        standing.sent_away = true;
        if let Some(waker) = standing.waker.take() {
            waker.wake();
        }
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Standing {
    fn keep(&mut self, cx: &Context<'_>) {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
    }
}

fn origin(client: Client) -> Origin {
    client.ip().map(|address| match address {
        // Whoever has one address of a /64 has all of them (RFC 6177).
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        address @ IpAddr::V4(_) => address,
    })
}

impl Pace {
    /// What was waited is used up, and what has come buys time anew.
    fn moves(&mut self, bytes: usize, now: Instant) {
        let time = |rate: u32| Duration::from_secs(1).saturating_mul(u32::try_from(bytes).unwrap_or(u32::MAX)) / rate;
        if self.settle(now) {
            // Only what the client did: the first bytes of an answer go into a buffer, whether somebody reads or not.
            self.most = self.most.saturating_add(time(EARNING)).min(MOST);
        }
        self.credit = self.credit.saturating_add(time(RATE)).min(self.most);
    }

    /// Ends a wait. Whether there was one.
    fn settle(&mut self, now: Instant) -> bool {
        let Some(since) = self.since.take() else { return false };
        self.credit = self.credit.saturating_sub(now.duration_since(since));
        true
    }

    fn overdue(&self, now: Instant) -> Option<Duration> {
        let waited = now.duration_since(self.since?);
        waited.checked_sub(self.credit).filter(|by| !by.is_zero())
    }
}

/// Nobody is late who keeps us waiting for no longer than this, or than this when it has moved much.
const GRACE: Duration = Duration::from_millis(500);
const MOST: Duration = Duration::from_secs(10);
/// Bytes for which a client has a second, and for which it may have a second more at once.
const RATE: u32 = 1024;
const EARNING: u32 = 16 * 1024;
