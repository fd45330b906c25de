//! What visitors see who come through the authenticator's own listeners.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{net::SocketAddr, time::Duration};

use authenticator_api::{Authenticator, Error, conformance};
use authenticator_standalone::Standalone;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout},
};

#[tokio::test]
async fn a_present_token_is_answered_over_both_families() {
    let standalone = started(&["127.0.0.1:0", "[::1]:0"]).await;
    let challenge = conformance::challenge();
    standalone.present(&challenge).await.unwrap();
    assert_eq!(standalone.addresses().len(), 2);
    for address in standalone.addresses() {
        assert_ne!(address.port(), 0);
        let answer = ask(address, &request("GET", challenge.token.as_str())).await;
        assert_eq!(status(&answer), "200", "{answer}");
        assert_eq!(body(&answer), challenge.key_authorization.as_str());
        for header in [
            "connection: close".to_owned(),
            "content-type: application/octet-stream".to_owned(),
            format!("content-length: {}", challenge.key_authorization.as_str().len()),
        ] {
            assert!(head(&answer).contains(&header), "{header} in {answer}");
        }
    }
    standalone.cleanup(&challenge).await.unwrap();
    for address in standalone.addresses() {
        assert_eq!(status(&ask(address, &request("GET", challenge.token.as_str())).await), "404");
    }
    standalone.stop().await;
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let standalone = started(&["127.0.0.1:0"]).await;
    let challenge = conformance::challenge();
    standalone.present(&challenge).await.unwrap();
    let answer = ask(standalone.addresses()[0], &request("HEAD", challenge.token.as_str())).await;
    assert_eq!(status(&answer), "200");
    assert!(head(&answer).contains(&format!("content-length: {}", challenge.key_authorization.as_str().len())));
    assert_eq!(body(&answer), "");
}

#[tokio::test]
async fn strange_requests_get_a_status() {
    let standalone = started(&["127.0.0.1:0"]).await;
    let address = standalone.addresses()[0];
    let long = "a".repeat(5000);
    for (wanted, request) in [
        ("404", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("404", request("GET", &long)),
        ("404", request("GET", "../../etc/passwd")),
        ("404", request("GET", "%2e%2e")),
        (
            "405",
            format!(
                "{}Content-Length: 5\r\n\r\nhello",
                request("POST", "a").trim_end_matches("\r\n").to_owned() + "\r\n"
            ),
        ),
        ("400", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("400", "this is not HTTP\r\n\r\n".to_owned()),
        ("431", format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(20_000))),
    ] {
        let answer = ask(address, &request).await;
        assert_eq!(status(&answer), wanted, "{request:.60} got {answer}");
    }
    let refused = ask(address, &request("DELETE", "a")).await;
    assert!(head(&refused).contains("allow: get, head"), "{refused}");
}

#[tokio::test]
async fn idle_visitors_do_not_disturb_others() {
    let standalone = started(&["127.0.0.1:0"]).await;
    let address = standalone.addresses()[0];
    let challenge = conformance::challenge();
    standalone.present(&challenge).await.unwrap();
    let mut idle = Vec::new();
    for n in 0..200 {
        let mut visitor = TcpStream::connect(address).await.unwrap();
        if n % 2 == 0 {
            visitor.write_all(b"GET /.well-known/acme").await.unwrap();
        }
        idle.push(visitor);
    }
    let begin = Instant::now();
    let asking: Vec<_> = (0..50)
        .map(|_| {
            let request = request("GET", challenge.token.as_str());
            tokio::spawn(async move { ask(address, &request).await })
        })
        .collect();
    for answer in asking {
        assert_eq!(status(&answer.await.unwrap()), "200");
    }
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_after_its_deadline() {
    let standalone = started(&["127.0.0.1:0"]).await;
    let mut visitor = TcpStream::connect(standalone.addresses()[0]).await.unwrap();
    visitor.write_all(b"GET / HTTP/1.1\r\nHost:").await.unwrap();
    let mut rest = Vec::new();
    let begin = Instant::now();
    let closed = timeout(Duration::from_secs(15), visitor.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "still open after 15 s");
    assert!(begin.elapsed() > Duration::from_secs(8), "cut after {:?} already", begin.elapsed());
}

#[tokio::test]
async fn the_oldest_idle_visitor_makes_room_for_a_new_one() {
    let standalone = started(&["127.0.0.1:0"]).await;
    let address = standalone.addresses()[0];
    let mut oldest = TcpStream::connect(address).await.unwrap();
    let mut idle = Vec::new();
    for _ in 0..1023 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let answer = ask(address, &request("GET", "unknown")).await;
    assert_eq!(status(&answer), "404");
    let closed = timeout(Duration::from_secs(5), oldest.read(&mut [0; 1])).await;
    assert!(matches!(closed, Ok(Ok(0) | Err(_))), "the oldest is still connected: {closed:?}");
    let youngest = idle.last_mut().unwrap();
    assert!(timeout(Duration::from_millis(50), youngest.read(&mut [0; 1])).await.is_err(), "the youngest was dropped");
}

#[tokio::test]
async fn stop_answers_who_is_connected_and_frees_the_port() {
    let standalone = started(&["127.9.8.6:0"]).await;
    let address = standalone.addresses()[0];
    let idle = TcpStream::connect(address).await.unwrap();
    // Both are in the listener's queue when `stop` comes: the test's only thread has not let the listener run.
    let mut waiting = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut waiting, request("GET", "unknown").as_bytes()).unwrap();
    let begin = Instant::now();
    standalone.stop().await;
    assert!(begin.elapsed() < Duration::from_secs(4), "{:?}", begin.elapsed());
    assert_eq!(standalone.addresses(), []);
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut waiting, &mut answer).unwrap();
    assert_eq!(status(&answer), "404");
    drop(idle);
    let refused = TcpStream::connect(address).await;
    assert!(refused.is_err(), "still listening after stop");
    let again = TcpListener::bind(address).await;
    assert!(again.is_ok(), "{again:?}");
}

#[tokio::test]
async fn dropping_it_closes_its_listeners() {
    let standalone = started(&["127.9.8.5:0"]).await;
    let address = standalone.addresses()[0];
    drop(standalone);
    let closed = async {
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    assert!(timeout(Duration::from_secs(5), closed).await.is_ok(), "still listening");
}

#[tokio::test]
async fn an_address_in_use_is_named_and_nothing_else_stays_open() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let busy = taken.local_addr().unwrap();
    // Addresses of their own, here and below: a port that was free a moment ago stays so, whatever other tests bind.
    let free = {
        let probe = TcpListener::bind("127.9.8.7:0").await.unwrap();
        probe.local_addr().unwrap()
    };
    let standalone = Standalone::new(vec![free, busy]);
    match standalone.start().await {
        Err(Error::Listen { address, source }) => {
            assert_eq!(address, busy);
            assert_eq!(source.kind(), std::io::ErrorKind::AddrInUse);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(standalone.addresses(), []);
    assert!(TcpStream::connect(free).await.is_err(), "the first address stayed open");
    drop(taken);
    assert!(standalone.start().await.is_ok(), "start may be repeated after a failure");
}

#[tokio::test]
async fn both_wildcards_can_have_one_port() {
    let first = started(&["0.0.0.0:0"]).await;
    let port = first.addresses()[0].port();
    let second = Standalone::new(vec![SocketAddr::new("::".parse().unwrap(), port)]);
    assert!(second.start().await.is_ok(), "[::] wants IPv4's port too");
}

async fn started(listen: &[&str]) -> Standalone {
    let standalone = Standalone::new(listen.iter().map(|address| address.parse().unwrap()).collect());
    standalone.start().await.unwrap();
    standalone
}

fn request(method: &str, token: &str) -> String {
    format!("{method} /.well-known/acme-challenge/{token} HTTP/1.1\r\nHost: one.conformance.test\r\n\r\n")
}

/// Sends `request` and reads until the other side closes.
async fn ask(address: SocketAddr, request: &str) -> String {
    let exchange = async {
        let mut visitor = TcpStream::connect(address).await.unwrap();
        visitor.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // A reset after the answer is as good as an end, when the request was not read to its own end.
        let _ = visitor.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    };
    timeout(Duration::from_secs(5), exchange).await.expect("an answer within 5 s")
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or("no answer")
}

fn head(answer: &str) -> String {
    answer.split("\r\n\r\n").next().unwrap_or_default().to_ascii_lowercase()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}
