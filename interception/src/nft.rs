//! The `nft` program: one child that owns the table, and short-lived ones that list it.

use std::{
    io,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nftables::{
    schema::{NfListObject, NfObject, Nftables},
    stmt::{Counter, Statement},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
    sync::watch,
    task::JoinHandle,
};

use crate::rules::TABLE;

/// The child that owns the table. When this is dropped the child is killed, and the kernel drops the table.
#[derive(Debug)]
pub(crate) struct Owner {
    input: ChildStdin,
    complaints: Arc<Mutex<String>>,
    ended: watch::Receiver<bool>,
    keeper: JoinHandle<()>,
}

/// What is in the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    pub(crate) rules: usize,
    /// Comment and packet count of each rule.
    pub(crate) counters: Vec<(String, usize)>,
    /// Whether something could not be understood, a foreign table for example.
    pub(crate) raw: String,
}

impl Owner {
    /// Starts the child.
    pub(crate) fn start() -> io::Result<Self> {
        // An ignored signal stays ignored over `exec`: a Ctrl-C that reaches the whole terminal, or a service manager that
        // signals the whole group, must not drop the gate before it is drained.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' INT TERM HUP; exec nft -j -i"])
            // `nft -i` writes a history file into the home directory.
            .env("HOME", "/nonexistent")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let complaints = Arc::new(Mutex::new(String::new()));
        if let Some(mut stderr) = child.stderr.take() {
            let complaints = Arc::clone(&complaints);
            tokio::spawn(async move {
                let mut piece = [0; 1024];
                while let Ok(read @ 1..) = stderr.read(&mut piece).await {
                    let text = String::from_utf8_lossy(&piece[..read]);
                    complaints.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
                }
            });
        }
        let (end, ended) = watch::channel(false);
        let keeper = tokio::spawn(keep(child, end));
        Ok(Self { input, complaints, ended, keeper })
    }

    /// Gives the child a line. Its success is silent; see [`complaint`](Self::complaint).
    pub(crate) async fn say(&mut self, line: &str) -> io::Result<()> {
        self.input.write_all(line.as_bytes()).await?;
        self.input.write_all(b"\n").await?;
        self.input.flush().await
    }

    /// What it has complained about since the last call.
    pub(crate) fn complaint(&self) -> Option<String> {
        let text = std::mem::take(&mut *self.complaints.lock().unwrap_or_else(PoisonError::into_inner));
        let text = text.trim();
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// Changes to `true` when the child has ended.
    pub(crate) fn ended(&self) -> watch::Receiver<bool> {
        self.ended.clone()
    }

    /// Lets the child end.
    pub(crate) async fn end(self) {
        let Self { input, mut ended, keeper, .. } = self;
        drop(input);
        if tokio::time::timeout(Duration::from_secs(2), ended.wait_for(|ended| *ended)).await.is_err() {
            keeper.abort();
        }
        let _ = keeper.await;
    }
}

impl Owner {
    /// Kills the child without waiting.
    pub(crate) fn kill(&self) {
        self.keeper.abort();
    }
}

async fn keep(mut child: Child, end: watch::Sender<bool>) {
    let _ = child.wait().await;
    end.send_replace(true);
}

/// Lists our table; `None` when there is none.
pub(crate) async fn list() -> io::Result<Option<Listing>> {
    let output = Command::new("nft")
        .args(["-j", "list", "table", "inet", TABLE])
        .env("HOME", "/nonexistent")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await?;
    if output.status.success() {
        return Ok(Some(read_listing(&String::from_utf8_lossy(&output.stdout))));
    }
    let message = String::from_utf8_lossy(&output.stderr);
    if message.contains("No such file or directory") {
        return Ok(None);
    }
    Err(io::Error::other(message.trim().to_owned()))
}

fn read_listing(text: &str) -> Listing {
    let Ok(document) = serde_json::from_str::<Nftables<'_>>(text) else {
        return Listing { raw: text.to_owned(), ..Listing::default() };
    };
    let mut listing = Listing::default();
    for object in document.objects.iter() {
        if let NfObject::ListObject(NfListObject::Rule(rule)) = object {
            listing.rules += 1;
            let packets = rule.expr.iter().find_map(|statement| match statement {
                Statement::Counter(Counter::Anonymous(Some(counter))) => counter.packets,
                _ => None,
            });
            listing.counters.push((rule.comment.as_deref().unwrap_or_default().to_owned(), packets.unwrap_or(0)));
        }
    }
    listing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listings_of_nft_are_understood() {
        let text = r#"{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "x", "json_schema_version": 1}},
            {"table": {"family": "inet", "name": "lockgate", "handle": 1}},
            {"rule": {"family": "inet", "table": "lockgate", "chain": "prerouting", "handle": 2, "comment": "visitor", "expr": [
            {"match": {"op": "==", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["fin", "syn", "rst", "ack"]]}, "right": "syn"}},
            {"counter": {"packets": 7, "bytes": 420}}, {"tproxy": {"family": "ip", "port": 9999}}]}}]}"#;
        let listing = read_listing(text);
        assert_eq!((listing.rules, listing.counters), (1, vec![("visitor".to_owned(), 7)]));
    }
}
