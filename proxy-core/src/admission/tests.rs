//! Who gets a place, and who gives one up.

use std::{
    future::Future as _,
    pin::pin,
    task::{Context, Waker},
};

use super::*;

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn seat(admission: &Arc<Admission>) -> Seat {
    seat_of(admission, [10, 0, 0, 1])
}

fn who(client: [u8; 4]) -> Client {
    Client::Inet((client, 1).into())
}

fn seat_of(admission: &Arc<Admission>, client: [u8; 4]) -> Seat {
    admission.try_seat(who(client)).ok().flatten().unwrap()
}

/// A request that is served at once.
async fn served(admission: &Arc<Admission>, seat: &Seat) -> Place {
    tokio::time::timeout(Duration::ZERO, admission.enter(Some(seat.guest()))).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_is_served_when_somebody_leaves_or_the_limit_grows() {
    let admission = Admission::new(Some(1));
    let first = admission.enter(None).await;
    let mut second = pin!(admission.enter(None));
    let mut third = pin!(admission.enter(None));
    assert!(second.as_mut().poll(&mut cx()).is_pending() && third.as_mut().poll(&mut cx()).is_pending());
    drop(first);
    // Nobody passes those who wait.
    let mut fourth = pin!(admission.enter(None));
    assert!(fourth.as_mut().poll(&mut cx()).is_pending());
    let inside = second.as_mut().poll(&mut cx());
    assert!(inside.is_ready() && third.as_mut().poll(&mut cx()).is_pending());
    admission.set_limit(Some(2));
    let third = third.as_mut().poll(&mut cx());
    assert!(third.is_ready() && fourth.as_mut().poll(&mut cx()).is_pending());
    admission.set_limit(None);
    assert!(fourth.as_mut().poll(&mut cx()).is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_place_for_one_who_has_given_up_goes_to_the_next() {
    let admission = Admission::new(Some(1));
    let first = admission.enter(None).await;
    let mut third = pin!(admission.enter(None));
    {
        let mut second = pin!(admission.enter(None));
        assert!(second.as_mut().poll(&mut cx()).is_pending() && third.as_mut().poll(&mut cx()).is_pending());
    }
    drop(first);
    assert!(third.as_mut().poll(&mut cx()).is_ready());
}

#[tokio::test(start_paused = true)]
async fn no_limit_lets_everybody_in_and_zero_nobody() {
    let open = Admission::new(None);
    let mut places = Vec::new();
    for _ in 0..1000 {
        assert!(open.seat(who([10, 0, 0, 1])).await.is_none());
        places.push(open.enter(None).await);
    }
    let closed = Admission::new(Some(0));
    assert!(tokio::time::timeout(Duration::from_secs(60), closed.enter(None)).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn most_of_all_who_keep_us_waiting_make_room_soon() {
    let admission = Admission::new(Some(4));
    let seats: Vec<_> = (0..5).map(|_| seat(&admission)).collect();
    let mut places = Vec::new();
    for seat in &seats[..4] {
        places.push(served(&admission, seat).await);
    }
    // The first is waiting for its server; the others keep us waiting, the second for the longest.
    for seat in &seats[1..4] {
        seat.guest().waits(&cx());
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    let away = || seats.iter().map(|seat| seat.guest().is_sent_away()).collect::<Vec<_>>();
    let mut late = pin!(admission.enter(Some(seats[4].guest())));
    assert!(late.as_mut().poll(&mut cx()).is_pending());
    assert!(tokio::time::timeout(Duration::from_millis(400), late.as_mut()).await.is_err());
    assert_eq!(away(), [false; 5]);
    assert!(tokio::time::timeout(Duration::from_millis(300), late.as_mut()).await.is_err());
    assert_eq!(away(), [false, true, false, false, false], "as many as wait, and no more");
    assert!(tokio::time::timeout(Duration::from_secs(5), late.as_mut()).await.is_err());
    assert_eq!(away(), [false, true, false, false, false], "it is on its way");
    drop(places.remove(1));
    let place = tokio::time::timeout(Duration::ZERO, late).await.unwrap();
    assert!(admission.state().guests.values().all(|guest| guest.leaving() == 0));
    drop((place, places));
    assert_eq!(admission.state().served, 0);
}

#[tokio::test(start_paused = true)]
async fn a_few_who_pause_have_ten_seconds() {
    let admission = Admission::new(Some(4));
    let seats: Vec<_> = (0..5).map(|_| seat(&admission)).collect();
    let mut places = Vec::new();
    for seat in &seats[..4] {
        places.push(served(&admission, seat).await);
    }
    seats[0].guest().waits(&cx());
    // One that has become a tunnel may be silent.
    seats[1].guest().waits(&cx());
    seats[1].guest().becomes_tunnel();
    let mut late = pin!(admission.enter(Some(seats[4].guest())));
    assert!(tokio::time::timeout(Duration::from_millis(9_300), late.as_mut()).await.is_err());
    assert!(!seats[0].guest().is_sent_away());
    assert!(tokio::time::timeout(Duration::from_millis(500), late.as_mut()).await.is_err());
    assert!(seats[0].guest().is_sent_away() && !seats[1].guest().is_sent_away());
}

#[tokio::test(start_paused = true)]
async fn many_from_one_address_do_not_keep_others_waiting() {
    let admission = Admission::new(Some(2));
    let many: Vec<_> = (0..10).map(|_| seat(&admission)).collect();
    let mut places = vec![served(&admission, &many[0]).await, served(&admission, &many[1]).await];
    let mut queue: Vec<_> = many[2..].iter().map(|seat| Box::pin(admission.enter(Some(seat.guest())))).collect();
    for waiting in &mut queue {
        assert!(waiting.as_mut().poll(&mut cx()).is_pending());
    }
    let other = seat_of(&admission, [10, 0, 0, 2]);
    let mut late = pin!(admission.enter(Some(other.guest())));
    assert!(late.as_mut().poll(&mut cx()).is_pending());
    places.pop();
    let place = late.as_mut().poll(&mut cx());
    assert!(place.is_ready() && queue[0].as_mut().poll(&mut cx()).is_pending());
    places.pop();
    assert!(queue[0].as_mut().poll(&mut cx()).is_ready());
    let guest = |client: &str| Guest::new(client.parse().unwrap());
    assert_eq!(guest("[2001:db8::1]:1").origin(), guest("[2001:db8::ffff:2]:2").origin());
    assert_eq!(guest("[::ffff:10.0.0.1]:1").origin(), Some([10, 0, 0, 1].into()));
    let announced = guest("10.0.0.1:1");
    announced.is("10.0.0.2:1".parse().unwrap());
    assert_eq!(announced.origin(), Some([10, 0, 0, 2].into()));
    assert_eq!(guest("unix:").origin(), None);
}

#[tokio::test(start_paused = true)]
async fn who_moves_enough_is_never_late() {
    let admission = Admission::new(Some(1));
    let (slow, dripping) = (Guest::new(who([10, 0, 0, 1])), Guest::new(who([10, 0, 0, 1])));
    for guest in [&slow, &dripping] {
        guest.is_served();
        guest.waits(&cx());
    }
    for _ in 0..100 {
        tokio::time::advance(Duration::from_millis(450)).await;
        assert_eq!(slow.overdue(Instant::now()), None);
        slow.moves(512);
        slow.waits(&cx());
        dripping.moves(20);
        dripping.waits(&cx());
    }
    tokio::time::advance(Duration::from_millis(100)).await;
    assert!(dripping.overdue(Instant::now()).is_some());
    drop(admission);
}

#[tokio::test(start_paused = true)]
async fn who_has_moved_much_may_pause() {
    let (reader, deaf) = (
        Guest::new(std::net::SocketAddr::from(([10, 0, 0, 1], 1)).into()),
        Guest::new(std::net::SocketAddr::from(([10, 0, 0, 1], 1)).into()),
    );
    for guest in [&reader, &deaf] {
        guest.is_served();
        // A buffer takes the beginning.
        guest.moves(4_000_000);
        guest.waits(&cx());
    }
    for _ in 0..10 {
        tokio::time::advance(Duration::from_millis(200)).await;
        reader.moves(64 * 1024);
        reader.waits(&cx());
    }
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(reader.overdue(Instant::now()), None);
    assert_eq!(deaf.overdue(Instant::now()), Some(Duration::from_millis(6_500)));
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(reader.overdue(Instant::now()).is_some());
}

#[tokio::test(start_paused = true)]
async fn those_who_ask_for_nothing_give_up_their_seats() {
    let admission = Admission::new(Some(2));
    let mut seats = Vec::new();
    for _ in 0..LOBBY + 2 {
        seats.push(seat(&admission));
        tokio::time::advance(Duration::from_millis(1)).await;
    }
    // The first two are served, and the third waits for a place.
    let places = [served(&admission, &seats[0]).await, served(&admission, &seats[1]).await];
    let waits = Arc::clone(seats[2].guest());
    let mut queueing = pin!(admission.enter(Some(&waits)));
    assert!(queueing.as_mut().poll(&mut cx()).is_pending());
    seats.push(seat(&admission));
    let away: Vec<_> = seats.iter().map(|seat| seat.guest().is_sent_away()).collect();
    assert_eq!(away.iter().position(|away| *away), Some(3));
    assert_eq!(away.iter().filter(|away| **away).count(), ROOM);
    drop(places);
}

#[tokio::test(start_paused = true)]
async fn a_seat_is_waited_for_when_all_wait_for_places() {
    let admission = Admission::new(Some(0));
    let mut seats: Vec<_> = (0..LOBBY).map(|_| seat(&admission)).collect();
    for seat in &seats {
        seat.guest().queues();
    }
    let mut late = pin!(admission.seat(who([10, 0, 0, 1])));
    assert!(late.as_mut().poll(&mut cx()).is_pending());
    seats.pop();
    assert!(late.as_mut().poll(&mut cx()).is_ready());
}
