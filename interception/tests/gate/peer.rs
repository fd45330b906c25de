//! The gate in a process of its own: killed, or with fewer privileges than the tests have.
//!
//! The process is this test binary again, told by arguments to run only [`holds_a_gate`].

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use interception::{Capability, Gate, Method, OpenError, Plan, Preference, missing_capabilities};

use crate::site::{Server, Site};
use crate::{METHODS, at_application, at_gate, install, runtime};

#[test]
#[ignore = "the process that other tests start"]
fn holds_a_gate() {
    let mut plan = Plan::new(80, std::env::var("LISTENER_PORT").unwrap().parse().unwrap());
    let redirect = std::env::var("METHOD").is_ok_and(|method| method == "NAT redirect");
    plan.method = Preference::Only(if redirect { Method::Redirect } else { Method::Tproxy });
    let runtime = runtime();
    match runtime.block_on(Gate::open(plan)) {
        Ok(gate) => {
            println!("gate open");
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            runtime.block_on(gate.close()).unwrap();
            println!("gate closed");
        }
        Err(OpenError::MissingCapability { capability }) => {
            assert_eq!(missing_capabilities(&[Capability::NetAdmin]), [capability]);
            println!("missing {capability}");
        }
        Err(error) => println!("other {error:?}"),
    }
}

/// A running peer; killed with the value.
struct Peer(Child, BufReader<std::process::ChildStdout>);

impl Peer {
    /// `wrapper` is a command that runs its arguments, or nothing.
    fn start(wrapper: &str, program: &Path, listener: &Server, method: Method) -> Self {
        let mut words: Vec<&str> = wrapper.split_whitespace().collect();
        words.push(program.to_str().unwrap());
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(["--ignored", "--exact", "--nocapture", "peer::holds_a_gate"]);
        command.env("LISTENER_PORT", listener.port.to_string()).env("METHOD", method.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self(child, output)
    }

    /// The next line that says one of our words.
    fn says(&mut self) -> String {
        loop {
            let mut line = String::new();
            assert_ne!(self.1.read_line(&mut line).unwrap(), 0, "the peer has ended");
            // The test runner has begun the line with the test's name.
            if let Some(start) = ["gate ", "missing ", "other "].iter().filter_map(|word| line.find(word)).max() {
                return line.split_off(start).trim_end().to_owned();
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn this_program() -> std::path::PathBuf {
    std::env::current_exe().unwrap()
}

#[test]
fn after_kill_9_the_table_is_gone_and_visitors_reach_the_application_within_a_second() {
    for method in METHODS {
        let site = Site::new();
        site.inside(|| {
            let (_application, listener) = (Server::application(), Server::behind_gate(method));
            let mut peer = Peer::start("", &this_program(), &listener, method);
            assert_eq!(peer.says(), "gate open");
            assert_eq!(site.answers(), at_gate());
            peer.0.kill().unwrap();
            let killed = Instant::now();
            while !site.tables().is_empty() || site.answers() != at_application() {
                assert!(killed.elapsed() < Duration::from_secs(1), "{method}: {}", site.tables());
            }
        });
    }
}

#[test]
fn without_privilege_the_missing_capability_is_named() {
    let site = Site::new();
    site.inside(|| {
        let listener = Server::behind_gate(Method::Tproxy);
        for wrapper in ["setpriv --bounding-set=-net_admin", "setpriv --reuid=65534 --clear-groups"] {
            let directory = copy_for_others();
            let mut peer = Peer::start(wrapper, &directory.path().join("peer"), &listener, Method::Tproxy);
            assert_eq!(peer.says(), "missing CAP_NET_ADMIN", "{wrapper}");
        }
        assert_eq!(site.tables(), "");
    });
}

#[test]
fn another_user_with_ambient_capabilities_opens_and_closes_the_gate() {
    let wrapper = "setpriv --reuid=65534 --clear-groups --inh-caps=+net_admin,+net_bind_service \
                   --ambient-caps=+net_admin,+net_bind_service";
    opens_and_closes(wrapper, &copy_for_others());
}

#[test]
fn another_user_with_file_capabilities_opens_and_closes_the_gate() {
    let directory = copy_for_others();
    let capabilities = Command::new("setcap").arg("cap_net_admin+ep").arg(directory.path().join("peer")).status();
    assert!(capabilities.unwrap().success());
    opens_and_closes("setpriv --reuid=65534 --clear-groups", &directory);
}

fn opens_and_closes(wrapper: &str, directory: &tempfile::TempDir) {
    for method in METHODS {
        let site = Site::new();
        site.inside(|| {
            let (_application, listener) = (Server::application(), Server::behind_gate(method));
            let mut peer = Peer::start(wrapper, &directory.path().join("peer"), &listener, method);
            assert_eq!(peer.says(), "gate open");
            assert_eq!(site.answers(), at_gate());
            drop(peer.0.stdin.take());
            assert_eq!(peer.says(), "gate closed");
            assert_eq!(site.tables(), "");
        });
    }
}

/// A directory with this program as `peer`, which other users may run.
fn copy_for_others() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    install(&this_program(), &directory.path().join("peer"));
    directory
}
