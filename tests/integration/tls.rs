//! TLS listeners against openssl, curl and clients that mean harm: certificates by name, sessions, versions, client certificates, both
//! versions of HTTP.

mod abuse;
mod arrivals;
mod browser;
mod clients;
mod grpc;
mod http2;
mod names;
mod scanners;
mod sessions;
mod tunnels;

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use test_support::{Authority, Lockgate, Origin, Place, Process, Signal, poll};

use crate::support::LOCKGATE;

const DEADLINE: Duration = Duration::from_secs(20);

/// A proxy with a TLS listener in front of an origin.
struct Secure {
    authority: Authority,
    origin: Origin,
    lockgate: Lockgate,
}

impl Secure {
    /// With these keys of the listener, and a certificate each for the names: the first is the one for strangers.
    fn start(keys: &str, names: &[&str]) -> Self {
        Self::start_with(keys, names, "")
    }

    /// The same, with more in the configuration: routes of it come first.
    fn start_with(keys: &str, names: &[&str], more: &str) -> Self {
        let (authority, origin) = (Authority::new().unwrap(), Origin::start().unwrap());
        let mut config = format!("[[listener]]\nname = \"https\"\naddress = [\"127.0.0.1:0\"]\ntls = true\n{keys}\n");
        for (index, name) in names.iter().enumerate() {
            let made = authority.issue_for_names(&format!("site-{index}"), &[name]).unwrap();
            config += &format!(
                "[[certificate]]\ncertificate = \"{}\"\nkey = \"{}\"\n",
                made.certificate.display(),
                made.key.display()
            );
        }
        config += more;
        config += &route(&origin);
        let lockgate = Lockgate::run(LOCKGATE, &config).unwrap();
        Self { authority, origin, lockgate }
    }

    fn address(&self) -> SocketAddr {
        self.lockgate.address()
    }

    fn config(&self) -> String {
        fs::read_to_string(self.lockgate.file("lockgate.toml")).unwrap()
    }

    /// Takes another configuration.
    fn reload(&mut self, config: &str) {
        fs::write(self.lockgate.file("lockgate.toml"), config).unwrap();
        let told = |lockgate: &Lockgate| lockgate.output().matches("Reloading config file finished").count();
        let before = told(&self.lockgate);
        self.lockgate.signal(Signal::HUP);
        let lockgate = &self.lockgate;
        poll(DEADLINE, || (told(lockgate) > before).then_some(())).unwrap_or_else(|| panic!("{}", lockgate.output()));
    }

    /// Runs curl with these arguments for a path of a host that is here.
    fn curl(&self, host: &str, path: &str, arguments: &[&str]) -> String {
        let (port, ca) = (self.address().port(), self.authority.ca_file());
        let mut command = Place::Loopback.command("curl");
        command.args(["-sS", "--noproxy", "*", "--max-time", "20", "--cacert"]).arg(ca);
        command.arg("--resolve").arg(format!("{host}:{port}:127.0.0.1")).args(arguments);
        command.arg(format!("https://{host}:{port}{path}"));
        let mut curl = Process::spawn(&command).unwrap();
        let _ = curl.wait(DEADLINE).unwrap();
        curl.output()
    }

    /// What `openssl s_client` says about a handshake, and what it was told after `input`.
    fn openssl(&self, arguments: &[&str], input: &str) -> String {
        openssl(self.address(), &self.authority.ca_file(), arguments, input)
    }
}

fn route(origin: &Origin) -> String {
    format!("[[route]]\nchain = [{{ use = \"upstream\", servers = [\"{}\"] }}]\n", origin.address())
}

fn openssl(address: SocketAddr, ca: &Path, arguments: &[&str], input: &str) -> String {
    let mut command = Place::Loopback.command("sh");
    // It ends when the server does, which is asked to by the request.
    let quoted: Vec<String> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
    command.arg("-c").arg(format!(
        "printf '{input}' | timeout 15 openssl s_client -connect {address} -CAfile {} -ign_eof {} 2>&1",
        ca.display(),
        quoted.join(" ")
    ));
    let mut openssl = Process::spawn(&command).unwrap();
    let _ = openssl.wait(DEADLINE).unwrap();
    openssl.output()
}

/// A request that ends its connection.
const GET: &str = "GET / HTTP/1.1\\r\\nHost: a.example\\r\\nConnection: close\\r\\n\\r\\n";
