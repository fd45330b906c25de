//! A balancer, and what it logged.

use std::{fs, net::IpAddr, path::Path, path::PathBuf, time::Duration};

use test_support::{Lockgate, Namespace, Signal, poll};

use crate::support::LOCKGATE;

/// One of them.
pub(super) struct Balancer {
    pub(super) lockgate: Lockgate,
    log: PathBuf,
}

/// What makes one a master, or not.
pub(super) struct Role<'r> {
    /// Sections of its own.
    pub(super) sections: &'r str,
    /// How it answers challenges.
    pub(super) link: &'r str,
    /// The application.
    pub(super) application: IpAddr,
}

impl Balancer {
    /// Starts one that logs into this directory.
    pub(super) fn start(host: &Namespace, logs: &Path, role: &Role<'_>) -> Self {
        let log = logs.join(format!("{}.log", host.name()));
        Self { lockgate: Lockgate::run_at(&host.into(), LOCKGATE, &role.config(&log)).unwrap(), log }
    }

    /// Gives it another role while it serves.
    pub(super) fn become_one(&mut self, role: &Role<'_>) {
        fs::write(self.lockgate.file("lockgate.toml"), role.config(&self.log)).unwrap();
        self.lockgate.signal(Signal::HUP);
        self.wait_until_said("Reloading config file finished", 1);
    }

    /// Waits until it has said this so often.
    pub(super) fn wait_until_said(&self, what: &str, times: usize) {
        let said = || (self.lockgate.output().matches(what).count() >= times).then_some(());
        assert!(poll(SOON, said).is_some(), "{what}\n{}", self.lockgate.output());
    }

    /// How many requests of these clients there were: for challenges, all of which were answered, and for something else.
    pub(super) fn requests_of(&self, clients: &[IpAddr]) -> [usize; 2] {
        let text = fs::read_to_string(&self.log).unwrap();
        let of_them = |line: &&str| {
            let client = line.split(' ').next().and_then(|client| client.parse().ok());
            client.is_some_and(|client| clients.contains(&client))
        };
        let (challenges, others): (Vec<_>, Vec<_>) =
            text.lines().filter(of_them).partition(|line| line.contains("/.well-known/acme-challenge/"));
        let unanswered: Vec<_> = challenges.iter().filter(|line| !line.contains("\" 200 ")).collect();
        assert!(unanswered.is_empty(), "{unanswered:#?}\n{}", self.lockgate.output());
        [challenges.len(), others.len()]
    }

    /// Ends it when it has finished what it was doing.
    pub(super) fn end(&mut self) {
        self.lockgate.signal(Signal::TERM);
        let status = self.lockgate.wait(Duration::from_secs(60)).unwrap();
        let output = self.lockgate.output();
        assert!(status.success() && !output.contains(" ERROR ") && !output.contains("panicked"), "{output}");
    }
}

impl Role<'_> {
    fn config(&self, log: &Path) -> String {
        let Role { sections, link, application } = self;
        format!(
            "[log]\naccess = {log:?}\n\
             [[listener]]\nname = \"http\"\naddress = [\"0.0.0.0:80\", \"[::]:80\"]\n\
             [[listener]]\nname = \"https\"\naddress = [\"0.0.0.0:443\", \"[::]:443\"]\ntls = true\n\
             {sections}\
             [[route]]\nchain = [\n{{ use = \"acme-challenge\", {link} }},\n\
             {{ use = \"upstream\", servers = [\"{application}:8080\"] }},\n]\n"
        )
    }
}

const SOON: Duration = Duration::from_secs(60);
