//! Bytes between two connections, in both directions, until both have ended.

mod end;
mod flow;
mod pipe;
mod pump;

use std::{
    future::{Future as _, poll_fn},
    io,
    pin::pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::{Instant, Sleep},
};

use self::{
    end::End,
    flow::{Copying, Flow},
    pump::Pump,
};

/// How a tunnel ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Both sides had sent everything.
    Complete,
    /// The client's connection broke.
    Client,
    /// The server's connection broke.
    Server,
    /// Nobody said anything for too long.
    Silent,
}

/// Moves bytes both ways, with back-pressure: a side is read only when the other has taken what was read before. When one
/// side ends its direction the other is told, and the other direction goes on (RFC 9110 §9.3.6 leaves it open; programs that
/// half-close lose their answer otherwise). `moved` counts the bytes towards the client as they go.
pub(crate) async fn carry(
    client: impl Into<End<'_>>,
    server: &TcpStream,
    silence: Option<Duration>,
    moved: &mut u64,
) -> Closed {
    let (client, server) = (client.into(), server.into());
    let mut up = Flow::new(client, server, Copying::WhenNeeded);
    let mut down = Flow::new(server, client, Copying::WhenNeeded);
    until_closed(silence, moved, |cx| Round {
        upward: up.poll(cx),
        downward: down.poll(cx),
        up: up.moved(),
        down: down.moved(),
    })
    .await
}

/// The same where the server's side is not a plain socket.
pub(crate) async fn carry_through_memory(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
    server: &mut (impl AsyncRead + AsyncWrite + Unpin),
    silence: Option<Duration>,
    moved: &mut u64,
) -> Closed {
    let (mut up, mut down) = (Pump::default(), Pump::default());
    until_closed(silence, moved, |cx| Round {
        upward: up.poll(cx, client, server),
        downward: down.poll(cx, server, client),
        up: up.moved(),
        down: down.moved(),
    })
    .await
}

/// What has become of both directions.
struct Round {
    upward: Poll<Result<(), Broken>>,
    downward: Poll<Result<(), Broken>>,
    /// Bytes moved so far.
    up: u64,
    down: u64,
}

async fn until_closed(
    silence: Option<Duration>,
    moved: &mut u64,
    mut round: impl FnMut(&mut Context<'_>) -> Round,
) -> Closed {
    let mut clock = Clock { last: Instant::now(), allowed: silence };
    let mut sleep = pin!(tokio::time::sleep(silence.unwrap_or_default()));
    let mut before = 0;
    poll_fn(|cx| {
        let Round { upward, downward, up, down } = round(cx);
        *moved = down;
        let has_ended = upward.is_ready() || downward.is_ready();
        match (upward, downward) {
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => return Poll::Ready(Closed::Complete),
            (Poll::Ready(Err(error)), _) => return Poll::Ready(error.blame(Closed::Client, Closed::Server)),
            (_, Poll::Ready(Err(error))) => return Poll::Ready(error.blame(Closed::Server, Closed::Client)),
            _ => {}
        }
        if up + down > before {
            before = up + down;
            clock.last = Instant::now();
        }
        if has_ended {
            clock.shorten(sleep.as_mut());
        }
        clock.poll(sleep.as_mut(), cx).map(|()| Closed::Silent)
    })
    .await
}

/// Watches for silence. The timer is set again only when it rings: activity costs nothing.
struct Clock {
    last: Instant,
    allowed: Option<Duration>,
}

impl Clock {
    /// One side has said everything: an answer may still come, but a peer that is gone altogether looks just like this.
    fn shorten(&mut self, sleep: std::pin::Pin<&mut Sleep>) {
        if self.allowed.is_none_or(|allowed| allowed > HALF_CLOSED) {
            self.allowed = Some(HALF_CLOSED);
            sleep.reset(self.last + HALF_CLOSED);
        }
    }

    fn poll(&mut self, mut sleep: std::pin::Pin<&mut Sleep>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(allowed) = self.allowed else { return Poll::Pending };
        while sleep.as_mut().poll(cx).is_ready() {
            let due = self.last + allowed;
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            sleep.as_mut().reset(due);
        }
        Poll::Pending
    }
}

/// The silence that a tunnel may keep once one of its directions has ended.
const HALF_CLOSED: Duration = Duration::from_secs(120);

/// An error, and at which end of a flow it happened.
enum Broken {
    From(io::Error),
    To(io::Error),
}

impl Broken {
    fn blame(self, from: Closed, to: Closed) -> Closed {
        let (closed, error) = match self {
            Self::From(error) => (from, error),
            Self::To(error) => (to, error),
        };
        tracing::debug!(target: "lockgate::tunnel", %error, ?closed, "a tunnel broke");
        closed
    }
}

#[cfg(test)]
mod tests;
