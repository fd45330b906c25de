//! How many clients are served at once, and who makes room for others.
//!
//! A connection needs a place while a request of its is served, from its whole head on. Whoever is still to send a head has a
//! seat only. When all places are taken, requests wait for one: who comes from where the fewest are served is next, in the
//! order in which they came. Meanwhile clients who keep us waiting, with a body or by not reading their answer, may have to go.

mod guest;

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use plugin_api::Client;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};

pub(crate) use self::guest::Guest;
use self::guest::Origin;

/// Gives places to requests, and seats to connections.
#[derive(Debug)]
pub(crate) struct Admission {
    state: Mutex<State>,
    /// A seat has become free.
    freed: Notify,
}

#[derive(Debug)]
struct State {
    /// `None` for any number. Who came then has no seat, and counts as nobody.
    limit: Option<usize>,
    served: usize,
    /// How many of them come from where.
    origins: HashMap<Origin, usize>,
    waiting: VecDeque<(Option<Arc<Guest>>, oneshot::Sender<Place>)>,
    guests: HashMap<u64, Arc<Guest>>,
    next: u64,
    swept: Option<Instant>,
    /// Whether it has been said that requests wait.
    told: bool,
}

/// An open connection; dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct Seat {
    admission: Arc<Admission>,
    id: u64,
    guest: Arc<Guest>,
}

/// A request that is served; dropping it lets the next one be.
#[derive(Debug)]
pub(crate) struct Place(Option<(Arc<Admission>, Option<Arc<Guest>>)>);

impl Admission {
    pub(crate) fn new(limit: Option<usize>) -> Arc<Self> {
        let state = State {
            limit,
            served: 0,
            origins: HashMap::new(),
            waiting: VecDeque::new(),
            guests: HashMap::new(),
            next: 0,
            swept: None,
            told: false,
        };
        Arc::new(Self { state: Mutex::new(state), freed: Notify::new() })
    }

    /// Changes the limit. Nobody who is served is sent away by that.
    pub(crate) fn set_limit(self: &Arc<Self>, limit: Option<usize>) {
        let mut state = self.state();
        state.limit = limit;
        self.hand_out(state);
        self.freed.notify_waiters();
    }

    /// Waits for a seat: for a new connection, which is to be accepted only then. `None` when anybody may come.
    pub(crate) async fn seat(self: &Arc<Self>, client: Client) -> Option<Seat> {
        loop {
            let mut freed = std::pin::pin!(self.freed.notified());
            // From here on nobody who leaves is missed.
            freed.as_mut().enable();
            match self.try_seat(client) {
                Ok(seat) => return seat,
                Err(Full) => freed.await,
            }
        }
    }

    fn try_seat(self: &Arc<Self>, client: Client) -> Result<Option<Seat>, Full> {
        let mut state = self.state();
        let Some(limit) = state.limit else { return Ok(None) };
        if state.guests.len() >= limit.saturating_add(LOBBY) && !state.make_room() {
            return Err(Full);
        }
        let (id, guest) = (state.next, Arc::new(Guest::new(client)));
        state.next += 1;
        state.guests.insert(id, Arc::clone(&guest));
        Ok(Some(Seat { admission: Arc::clone(self), id, guest }))
    }

    /// Waits for a place, for a request whose head is there.
    pub(crate) async fn enter(self: &Arc<Self>, guest: Option<&Arc<Guest>>) -> Place {
        let mut granted = {
            let mut state = self.state();
            if state.limit.is_none() {
                return Place(None);
            }
            if state.has_room() && state.waiting.is_empty() {
                return Place::of(self, &mut state, guest.cloned());
            }
            if let Some(guest) = guest {
                guest.queues();
            }
            if !std::mem::replace(&mut state.told, true) {
                tracing::warn!(target: "lockgate::listener", "Maximum number of connections reached. Refusing new connections.");
            }
            let (grant, granted) = oneshot::channel();
            state.waiting.push_back((guest.cloned(), grant));
            state.sweep(Instant::now());
            granted
        };
        loop {
            let due = Instant::now() + SWEEP;
            tokio::select! {
                biased;
                place = &mut granted => return place.expect("whoever waits is given a place, never forgotten"),
                () = tokio::time::sleep_until(due) => {
                    let (mut state, now) = (self.state(), Instant::now());
                    // All who wait come by here, and one look is enough for them. When we are late ourselves, so may be our
                    // knowledge of who keeps us waiting.
                    let is_soon = state.swept.is_some_and(|swept| now < swept + SWEEP);
                    if !is_soon && now < due + SWEEP {
                        state.sweep(now);
                    }
                }
            }
        }
    }

    /// Gives free places to those who wait.
    fn hand_out(self: &Arc<Self>, mut state: MutexGuard<'_, State>) {
        let mut granted = Vec::new();
        while state.has_room()
            && let Some((guest, grant)) = state.next()
        {
            granted.push((grant, Place::of(self, &mut state, guest)));
        }
        drop(state);
        for (grant, place) in granted {
            // The place of one who has given up comes back here, and is dropped.
            let _ = grant.send(place);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// There is no seat, and nobody who could be sent away.
struct Full;

impl State {
    fn has_room(&self) -> bool {
        self.limit.is_none_or(|limit| self.served < limit)
    }

    /// Who is served next: the first of those from where the fewest are served. Many connections from one place do not keep
    /// others waiting for all of them.
    fn next(&mut self) -> Option<(Option<Arc<Guest>>, oneshot::Sender<Place>)> {
        let served =
            |guest: &Option<Arc<Guest>>| guest.as_ref().and_then(|guest| self.origins.get(&guest.origin())).copied();
        let (index, _) = self.waiting.iter().enumerate().min_by_key(|(_, (guest, _))| served(guest).unwrap_or(0))?;
        self.waiting.remove(index)
    }

    /// Sends those away who have had their seats for the longest without sending a request. Whether there were any.
    fn make_room(&mut self) -> bool {
        let mut idle: Vec<_> =
            self.guests.values().filter_map(|guest| guest.asks_since().map(|since| (since, guest))).collect();
        idle.sort_by_key(|(since, _)| *since);
        for (_, guest) in idle.iter().take(ROOM) {
            guest.send_away();
        }
        !idle.is_empty()
    }

    /// Sends as many away as wait for a place, if so many keep us waiting for too long; the longest first.
    fn sweep(&mut self, now: Instant) {
        self.swept = Some(now);
        let leaving = self.guests.values().map(|guest| guest.leaving()).sum();
        let wanted = self.waiting.len().saturating_sub(leaving);
        let Some(limit) = self.limit.filter(|_| wanted > 0) else { return };
        let mut late: Vec<_> =
            self.guests.values().filter_map(|guest| guest.overdue(now).map(|by| (by, guest))).collect();
        // One client may have lost its network for a moment. Half of all have not.
        let is_attack = late.iter().map(|(_, guest)| guest.served()).sum::<usize>() * 2 > limit;
        late.retain(|(by, _)| is_attack || *by > PATIENCE);
        late.sort_by_key(|(by, _)| std::cmp::Reverse(*by));
        late.truncate(wanted);
        for (_, guest) in &late {
            guest.send_away();
        }
        if !late.is_empty() {
            tracing::info!(target: "lockgate::listener", number = late.len(), "clients that kept us waiting made room for others");
        }
    }
}

impl Seat {
    pub(crate) fn guest(&self) -> &Arc<Guest> {
        &self.guest
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.admission.state().guests.remove(&self.id);
        self.admission.freed.notify_one();
    }
}

impl Place {
    fn of(admission: &Arc<Admission>, state: &mut State, guest: Option<Arc<Guest>>) -> Self {
        state.served += 1;
        if let Some(guest) = &guest {
            guest.is_served();
            *state.origins.entry(guest.origin()).or_default() += 1;
        }
        Self(Some((Arc::clone(admission), guest)))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((admission, guest)) = self.0.take() else { return };
        let mut state = admission.state();
        state.served -= 1;
        if let Some(guest) = guest {
            guest.leaves();
            if let Entry::Occupied(mut origin) = state.origins.entry(guest.origin()) {
                *origin.get_mut() -= 1;
                if *origin.get() == 0 {
                    origin.remove();
                }
            }
        }
        if state.limit.is_none_or(|limit| state.served <= limit / 2) {
            state.told = false;
        }
        admission.hand_out(state);
    }
}

/// Seats beside those of the connections that are served: for idle ones, for heads on their way, and for requests that wait.
const LOBBY: usize = 1024;
/// So many seats are cleared at once when there are no more.
const ROOM: usize = 32;
/// How long a client may keep us waiting, beyond what everybody may, before it makes room for one who waits.
const PATIENCE: Duration = Duration::from_secs(9);
/// Between two looks at who keeps us waiting.
const SWEEP: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
