//! What is left by a process that dies, or whose disk is full: the test binary runs itself as that process.

#![expect(clippy::unwrap_used, reason = "the helpers of a test fail like the test")]

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::{PermissionsExt, symlink},
        process::ExitStatusExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use authenticator_api::{Authenticator, Error, conformance};
use authenticator_webroot::{Paths, Webroot};
use tempfile::TempDir;

#[tokio::test]
async fn the_next_start_collects_what_a_killed_process_left() {
    let site = Site::new();
    site.child("hold").kill();
    assert_eq!(site.tokens().len(), 1, "the killed process has left its file");
    site.authenticator().start().await.unwrap();
    site.assert_clean();
}

#[tokio::test]
async fn a_process_killed_at_any_moment_leaves_nothing_after_the_next_start() {
    for round in 0..30 {
        let site = Site::new();
        let child = site.child("churn");
        // Not a wait for a condition: any moment will do, and different ones are wanted.
        std::thread::sleep(Duration::from_micros(round * 731));
        child.kill();
        site.authenticator().start().await.unwrap();
        site.assert_clean();
    }
}

#[tokio::test]
async fn a_process_killed_at_any_system_call_leaves_nothing_after_the_next_start() {
    let mut kills = 0;
    for call in [
        "mkdir",
        "mkdirat",
        "flock",
        "pwrite64",
        "fdatasync",
        "fsync",
        "write",
        "fchmod",
        "renameat2",
        "unlinkat",
        "unlink",
    ] {
        for nth in 1.. {
            let site = Site::new();
            let inject = format!("inject={call}:signal=KILL:when={nth}");
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e", &inject]).arg(std::env::current_exe().unwrap());
            let outcome = site.with_role(&mut strace, "once").output().expect("strace is installed");
            site.authenticator().start().await.unwrap();
            site.assert_clean();
            if outcome.status.success() {
                break;
            }
            // strace ends itself by the signal that ended its tracee.
            assert_eq!(outcome.status.signal(), Some(9), "{}", String::from_utf8_lossy(&outcome.stderr));
            kills += 1;
        }
    }
    assert!(kills > 15, "only {kills} runs were killed: the calls above are not the ones that are made");
}

#[tokio::test]
async fn a_living_process_keeps_what_it_made() {
    let site = Site::new();
    let child = site.child("hold");
    let second = site.authenticator();
    second.start().await.unwrap();
    let own = conformance::challenge_for(conformance::OTHER_DOMAIN);
    second.present(&own).await.unwrap();
    second.cleanup(&own).await.unwrap();
    assert_eq!(site.tokens().len(), 1, "the living process's file is gone");
    assert_eq!(names(site.state.path()).len(), 1, "the living process's journal is gone");
    child.kill();
    second.start().await.unwrap();
    site.assert_clean();
}

#[tokio::test]
async fn the_same_challenge_is_taken_over_from_a_killed_process_without_a_start() {
    let site = Site::new();
    site.child("hold").kill();
    let token = site.tokens().remove(0);
    let text = fs::read_to_string(site.challenges().join(&token)).unwrap();
    let mut challenge = conformance::challenge();
    challenge.token = authenticator_api::Token::parse(&token).unwrap();
    challenge.key_authorization = authenticator_api::KeyAuthorization::parse(&text).unwrap();
    let authenticator = site.authenticator();
    authenticator.present(&challenge).await.unwrap();
    assert_eq!(site.tokens(), [token]);
    authenticator.cleanup(&challenge).await.unwrap();
    site.assert_clean();
}

#[tokio::test]
async fn leftovers_that_changed_are_not_collected() {
    let site = Site::new();
    site.child("hold").kill();
    let file = site.challenges().join(site.tokens().remove(0));
    fs::write(&file, "changed").unwrap();
    site.authenticator().start().await.unwrap();
    assert_eq!(fs::read_to_string(file).unwrap(), "changed");
}

#[tokio::test]
async fn leftovers_are_not_collected_through_a_link() {
    for planted in [".well-known", ".well-known/acme-challenge"] {
        let site = Site::new();
        site.child("hold").kill();
        let elsewhere = tempfile::tempdir().unwrap();
        let moved = elsewhere.path().join("moved");
        fs::rename(site.root.path().join(planted), &moved).unwrap();
        symlink(&moved, site.root.path().join(planted)).unwrap();
        assert_eq!(site.tokens().len(), 1);
        site.authenticator().start().await.unwrap();
        assert_eq!(site.tokens().len(), 1, "{planted}: removed through a link");
    }
}

#[tokio::test]
async fn a_garbled_journal_deletes_nothing() {
    let site = Site::new();
    site.child("hold").kill();
    let journal = site.state.path().join(names(site.state.path()).remove(0));
    let mut text = fs::read(&journal).unwrap();
    text.extend_from_slice(b"file ../../etc/passwd\n");
    fs::write(&journal, &text).unwrap();
    for (name, garbage) in [("a.journal", &b""[..]), ("b.journal", b"\0\0\0\n"), ("c.journal", b"{}\n"), ("d", b"mine")]
    {
        fs::write(site.state.path().join(name), garbage).unwrap();
    }
    symlink("/etc/passwd", site.state.path().join("e.journal")).unwrap();
    fs::create_dir(site.state.path().join("f.journal")).unwrap();

    let authenticator = site.authenticator();
    authenticator.start().await.unwrap();
    assert_eq!(site.tokens().len(), 1, "a journal with a garbled line was believed");
    assert_eq!(fs::read(&journal).unwrap(), text, "the garbled journal was changed");
    let mut left = names(site.state.path());
    left.retain(|name| name.len() < 10);
    left.sort();
    // Only the empty one, which a process killed at once leaves, is a journal, and it has nothing to say.
    assert_eq!(left, ["b.journal", "c.journal", "d", "e.journal", "f.journal"]);

    let challenge = conformance::challenge_for(conformance::OTHER_DOMAIN);
    authenticator.present(&challenge).await.unwrap();
    authenticator.cleanup(&challenge).await.unwrap();
}

#[tokio::test]
async fn the_umask_does_not_matter() {
    let site = Site::new();
    let child = site.child("umask");
    let mode = |path: PathBuf| fs::metadata(path).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(site.root.path().join(".well-known")), 0o755);
    assert_eq!(mode(site.challenges()), 0o755);
    assert_eq!(mode(site.challenges().join(site.tokens().remove(0))), 0o644);
    assert_eq!(mode(site.state.path().join(names(site.state.path()).remove(0))), 0o600);
    child.kill();
}

#[test]
fn a_full_disk_is_named_and_leaves_nothing() {
    Site::new().succeeds("full");
}

#[test]
fn a_read_only_webroot_is_named() {
    Site::new().succeeds("read-only");
}

/// The other process; which one, says the environment.
#[tokio::test]
#[ignore = "run by the other tests as a process of its own"]
async fn child() {
    let root = PathBuf::from(std::env::var_os("WEBROOT").unwrap());
    let state = PathBuf::from(std::env::var_os("STATE").unwrap());
    let authenticator = Webroot::new(Paths::Every(root.clone()), &state);
    authenticator.start().await.unwrap();
    let challenge = conformance::challenge();
    match std::env::var("ROLE").unwrap().as_str() {
        role @ ("hold" | "umask") => {
            if role == "umask" {
                rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
            }
            authenticator.present(&challenge).await.unwrap();
            report_ready();
            std::future::pending::<()>().await;
        }
        "once" => {
            authenticator.present(&challenge).await.unwrap();
            authenticator.cleanup(&challenge).await.unwrap();
        }
        "churn" => {
            report_ready();
            loop {
                let (one, two) = (conformance::challenge(), conformance::challenge());
                authenticator.present(&one).await.unwrap();
                authenticator.present(&two).await.unwrap();
                authenticator.cleanup(&one).await.unwrap();
                authenticator.cleanup(&two).await.unwrap();
            }
        }
        "full" => {
            fs::create_dir_all(root.join(".well-known/acme-challenge")).unwrap();
            let mut filler = fs::File::create(root.join("filler")).unwrap();
            while filler.write_all(&[0; 512]).is_ok() {}
            let failed = authenticator.present(&challenge).await;
            assert_eq!(kind(&failed), Some(std::io::ErrorKind::StorageFull), "{failed:?}");
            assert_eq!(names(&root.join(".well-known/acme-challenge")), Vec::<String>::new());
            assert_eq!(names(&state), Vec::<String>::new());
            drop(filler);
            fs::remove_file(root.join("filler")).unwrap();
            authenticator.present(&challenge).await.unwrap();
            authenticator.cleanup(&challenge).await.unwrap();
        }
        "read-only" => {
            let failed = authenticator.present(&challenge).await;
            assert_eq!(kind(&failed), Some(std::io::ErrorKind::ReadOnlyFilesystem), "{failed:?}");
            authenticator.cleanup(&challenge).await.unwrap();
            assert_eq!(names(&state), Vec::<String>::new());
        }
        other => panic!("no role {other}"),
    }
}

fn report_ready() {
    let mut output = std::io::stdout();
    writeln!(output, "\n{READY}").unwrap();
    output.flush().unwrap();
}

fn kind(result: &Result<(), Error>) -> Option<std::io::ErrorKind> {
    match result {
        Err(Error::File { source, .. }) => Some(source.kind()),
        _ => None,
    }
}

struct Site {
    root: TempDir,
    state: TempDir,
}

impl Site {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() }
    }

    fn authenticator(&self) -> Webroot {
        Webroot::new(Paths::Every(self.root.path().into()), self.state.path())
    }

    fn challenges(&self) -> PathBuf {
        self.root.path().join(".well-known/acme-challenge")
    }

    fn tokens(&self) -> Vec<String> {
        names(&self.challenges())
    }

    fn assert_clean(&self) {
        assert_eq!(names(self.root.path()), Vec::<String>::new(), "challenges: {:?}", self.tokens());
        assert_eq!(names(self.state.path()), Vec::<String>::new());
    }

    /// A process that has said that it is ready.
    fn child(&self, role: &str) -> Process {
        let binary = std::env::current_exe().unwrap();
        let mut process = Process(self.command(&binary, role).stdout(Stdio::piped()).spawn().unwrap());
        let output = BufReader::new(process.0.stdout.take().unwrap());
        let ready = output.lines().map_while(Result::ok).any(|line| line == READY);
        assert!(ready, "the process ended before it was ready");
        process
    }

    /// Runs a process with file systems of its own to its end: the webroot is a tiny one, or cannot be written.
    fn succeeds(&self, role: &str) {
        let mount = match role {
            "full" => "mount -t tmpfs -o size=64k tmpfs \"$WEBROOT\"",
            _ => "mount -t tmpfs -o ro tmpfs \"$WEBROOT\"",
        };
        let script = format!("{mount} && exec \"$0\" \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).arg(std::env::current_exe().unwrap());
        let outcome = self.with_role(&mut command, role).output().unwrap();
        assert!(
            outcome.status.success() && String::from_utf8_lossy(&outcome.stdout).contains("1 passed"),
            "{}{}",
            String::from_utf8_lossy(&outcome.stdout),
            String::from_utf8_lossy(&outcome.stderr)
        );
    }

    fn command(&self, binary: &Path, role: &str) -> Command {
        let mut command = Command::new(binary);
        self.with_role(&mut command, role);
        command
    }

    fn with_role<'c>(&self, command: &'c mut Command, role: &str) -> &'c mut Command {
        command
            .args(["--exact", "child", "--ignored", "--nocapture"])
            .env("ROLE", role)
            .env("WEBROOT", self.root.path())
            .env("STATE", self.state.path())
    }
}

/// A process that does not outlive its test.
struct Process(Child);

impl Process {
    /// By SIGKILL, and waits until it is gone.
    fn kill(self) {}
}

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

const READY: &str = "child is ready";
