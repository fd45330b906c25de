//! Tunnels between sockets on loopback.

use std::{net::Ipv4Addr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

use super::*;

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let there = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    (listener.accept().await.unwrap().0, there)
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("it takes too long")
}

/// How a tunnel moves bytes.
#[derive(Clone, Copy, Debug)]
enum By {
    Kernel,
    Memory,
}

const BOTH: [By; 2] = [By::Kernel, By::Memory];

/// A tunnel between two ends.
async fn tunnel(by: By, silence: Option<Duration>) -> (TcpStream, TcpStream, tokio::task::JoinHandle<(Closed, u64)>) {
    let (mut inner_client, client) = pair().await;
    let (mut inner_server, server) = pair().await;
    let carried = tokio::spawn(async move {
        let mut moved = 0;
        let closed = match by {
            By::Kernel => carry(&inner_client, &inner_server, silence, &mut moved).await,
            By::Memory => carry_through_memory(&mut inner_client, &mut inner_server, silence, &mut moved).await,
        };
        (closed, moved)
    });
    (client, server, carried)
}

#[tokio::test]
async fn an_end_of_one_direction_leaves_the_other_open() {
    for by in BOTH {
        let (mut client, mut server, carried) = tunnel(by, None).await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut asked = String::new();
        within(server.read_to_string(&mut asked)).await.unwrap();
        assert_eq!(asked, "question");
        server.write_all(b"a late answer").await.unwrap();
        server.shutdown().await.unwrap();
        let mut answer = String::new();
        within(client.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(answer, "a late answer");
        assert_eq!(within(carried).await.unwrap(), (Closed::Complete, 13));
    }
}

#[tokio::test]
async fn many_bytes_arrive_in_order_in_both_directions_at_once() {
    for copying in [Copying::WhenNeeded, Copying::Always] {
        let (from, mut sender) = pair().await;
        let (to, mut receiver) = pair().await;
        let data: Vec<u8> = (0..20_000_000_u32).map(|number| (number % 251) as u8).collect();
        let sent = data.clone();
        let sending = tokio::spawn(async move {
            sender.write_all(&sent).await.unwrap();
            sender.shutdown().await.unwrap();
        });
        let carried = tokio::spawn(async move {
            let mut flow = Flow::new((&from).into(), (&to).into(), copying);
            let ended = poll_fn(|cx| flow.poll(cx)).await;
            (ended.is_ok(), flow.moved())
        });
        let mut received = Vec::new();
        within(receiver.read_to_end(&mut received)).await.unwrap();
        assert!(received == data, "{copying:?}");
        assert_eq!(within(carried).await.unwrap(), (true, data.len() as u64));
        sending.await.unwrap();
    }
}

#[tokio::test]
async fn a_receiver_that_does_not_read_stops_the_sender() {
    for by in BOTH {
        let (mut client, _server, carried) = tunnel(by, None).await;
        let data = vec![0; 64 << 20];
        let stuck = tokio::time::timeout(Duration::from_millis(500), client.write_all(&data)).await;
        assert!(stuck.is_err(), "64 MiB went into a tunnel that nobody reads");
        carried.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn silence_ends_a_tunnel_and_words_in_either_direction_do_not() {
    for by in BOTH {
        let silence = Duration::from_secs(10);
        let (mut client, mut server, carried) = tunnel(by, Some(silence)).await;
        for _ in 0..3 {
            tokio::time::sleep(silence * 8 / 10).await;
            server.write_all(b"x").await.unwrap();
            client.read_u8().await.unwrap();
        }
        let before = Instant::now();
        assert_eq!(carried.await.unwrap().0, Closed::Silent);
        let waited = before.elapsed();
        assert!(waited >= silence * 9 / 10 && waited <= silence * 11 / 10, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn half_a_tunnel_is_not_kept_for_ever() {
    for by in BOTH {
        for silence in [None, Some(10 * HALF_CLOSED)] {
            let (mut client, _server, carried) = tunnel(by, silence).await;
            client.shutdown().await.unwrap();
            let before = Instant::now();
            assert_eq!(carried.await.unwrap().0, Closed::Silent);
            let waited = before.elapsed();
            assert!(waited >= HALF_CLOSED * 9 / 10 && waited <= HALF_CLOSED * 11 / 10, "{waited:?}");
        }
    }
}

#[tokio::test]
async fn a_reset_ends_both_directions() {
    for by in BOTH {
        let (client, mut server, carried) = tunnel(by, None).await;
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
        let mut rest = Vec::new();
        let _ = within(server.read_to_end(&mut rest)).await;
        assert_eq!(within(carried).await.unwrap().0, Closed::Client);
    }
}

#[tokio::test]
async fn what_a_side_buffers_is_flushed_before_waiting() {
    let (mut inner_client, mut client) = pair().await;
    let (server, mut far) = tokio::io::duplex(64);
    // It holds what it gets until it is told to flush, as TLS may.
    let mut server = tokio::io::BufStream::new(server);
    let carried = tokio::spawn(async move {
        let mut moved = 0;
        (carry_through_memory(&mut inner_client, &mut server, None, &mut moved).await, moved)
    });
    for word in [&b"a word"[..], &[7; 5000]] {
        client.write_all(word).await.unwrap();
        let mut heard = vec![0; word.len()];
        within(far.read_exact(&mut heard)).await.unwrap();
        assert_eq!(heard, word);
        far.write_all(word).await.unwrap();
        within(client.read_exact(&mut heard)).await.unwrap();
    }
    drop(client);
    assert_eq!(within(far.read_to_end(&mut Vec::new())).await.unwrap(), 0);
    drop(far);
    assert_eq!(within(carried).await.unwrap(), (Closed::Complete, 5006));
}
