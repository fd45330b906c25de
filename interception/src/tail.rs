//! The tail of drained connections: what the kernel still has to deliver after the program has closed them.

use std::time::Duration;

use tokio::time::{Instant, sleep};

/// Waits until no connection of `port` has anything left to send or to be told, and returns how many still have when
/// `limit` is over.
pub(crate) async fn wait(port: u16, limit: Duration) -> usize {
    let deadline = Instant::now() + limit;
    loop {
        let unfinished = tokio::task::spawn_blocking(move || count(port)).await.unwrap_or(0);
        if unfinished == 0 || Instant::now() >= deadline {
            return unfinished;
        }
        sleep(POLL).await;
    }
}

/// Reads proc(5)'s tables; one that cannot be read (no IPv6) has no connections.
fn count(port: u16) -> usize {
    ["/proc/thread-self/net/tcp", "/proc/thread-self/net/tcp6"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .map(|table| unfinished(&table, port))
        .sum()
}

/// The connections of local `port` in a state in which our side waits for the peer to acknowledge something.
fn unfinished(table: &str, port: u16) -> usize {
    let ours = |line: &&str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (local, _remote, state) = (fields.next(), fields.next(), fields.next());
        let local_port = local.and_then(|local| local.rsplit_once(':')).map(|(_, port)| port);
        local_port.and_then(|hex| u16::from_str_radix(hex, 16).ok()) == Some(port)
            && state.is_some_and(|state| UNFINISHED.contains(&state))
    };
    table.lines().skip(1).filter(ours).count()
}

/// ESTABLISHED, SYN_RECV, FIN_WAIT1, CLOSE_WAIT, LAST_ACK, CLOSING (`include/net/tcp_states.h`). In FIN_WAIT2 the peer
/// has everything.
const UNFINISHED: [&str; 6] = ["01", "03", "04", "08", "09", "0B"];

const POLL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_time_wait_and_other_ports_do_not_count() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
            0: 00000000:270F 00000000:0000 0A 0\n\
            1: 0100007F:270F 0200007F:C000 04 0\n\
            2: 0100007F:270F 0200007F:C001 06 0\n\
            3: 0100007F:270F 0200007F:C002 05 0\n\
            4: 0100007F:0050 0200007F:270F 01 0\n\
            5: 00000000000000000000000001000000:270F 00000000000000000000000001000000:C003 01 0\n";
        assert_eq!(unfinished(table, 9999), 2);
        assert_eq!(unfinished("", 9999), 0);
    }
}
