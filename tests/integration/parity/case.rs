//! What the files of cases say: `tests/parity/cases/*.toml`.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path};

use serde::Deserialize;

/// One file: cases that have to do with the same thing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Area {
    /// Names that are known while these cases run, and their addresses.
    #[serde(default)]
    pub(super) names: BTreeMap<String, IpAddr>,
    /// Cases that look at running proxies.
    #[serde(default)]
    pub(super) group: Vec<Group>,
    /// Cases that look at how a proxy starts.
    #[serde(default)]
    pub(super) start: Vec<Start>,
}

/// Cases that share a configuration, and so a running proxy.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) name: String,
    /// Lines after `Port` and `Listen 127.0.0.1`.
    #[serde(default)]
    pub(super) conf: String,
    /// Whether it listens on `::1` too.
    #[serde(default)]
    pub(super) ipv6: bool,
    /// Files of the working directory, by name.
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    pub(super) case: Vec<Case>,
}

/// What happens to a running proxy: one step, or several.
#[derive(Debug, Deserialize)]
pub(super) struct Case {
    pub(super) name: String,
    /// Instead of a step of its own.
    #[serde(default)]
    steps: Vec<Step>,
    #[serde(flatten)]
    step: Step,
}

impl Case {
    pub(super) fn steps(&self) -> &[Step] {
        if self.steps.is_empty() { std::slice::from_ref(&self.step) } else { &self.steps }
    }
}

/// One thing that happens to a running proxy: a request, a change of its files, a signal. In texts, `{origin}` is the
/// origin's address, `{port}` its port, `{dead}` a port where nobody listens, `{proxy}` the proxy's port, `{dir}` its
/// directory, and `{1k}`, `{20k}` and `{70k}` are so many letters.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Step {
    /// Files that are written first; `tinyproxy.conf` is one.
    pub(super) write: BTreeMap<String, String>,
    /// Files that are removed.
    pub(super) remove: Vec<String>,
    /// Lines that the configuration has from now on, after `Port` and `Listen`.
    pub(super) conf: Option<String>,
    /// A signal that is sent, without `SIG`.
    pub(super) signal: Option<String>,
    /// What both must log then.
    pub(super) logged: Option<String>,
    /// Whether the proxy ends: its exit code is compared.
    pub(super) ends: bool,
    /// Files that are looked at then.
    pub(super) look: Vec<String>,
    /// Fields of a plain request for the origin.
    pub(super) fields: Option<String>,
    /// A whole head, without its empty line; each line ends in CR LF.
    pub(super) head: Option<String>,
    /// What follows the head, exactly.
    pub(super) body: String,
    /// What is sent, exactly; each character is a byte.
    pub(super) raw: Option<String>,
    /// What is sent when the head of the answer has come, through a tunnel.
    pub(super) then: Option<String>,
    /// The client's address.
    pub(super) from: Option<IpAddr>,
    /// Whether the client ends its direction when it has sent everything.
    pub(super) shut: bool,
    /// Whether the client waits until the connection ends, though the answer may be complete before.
    pub(super) to_end: bool,
    /// What the origin does.
    pub(super) origin: Conduct,
    /// The head of the origin's answer, without its empty line.
    pub(super) answer: Option<String>,
    /// The body of the origin's answer.
    pub(super) answer_body: Option<String>,
    /// The origin's answer, exactly.
    pub(super) answer_raw: Option<String>,
}

/// What the origin does with a connection.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Conduct {
    /// Reads a request, answers, and closes.
    #[default]
    Answer,
    /// Reads a request, answers, and leaves the connection open.
    Hold,
    /// Reads a head, answers, and sends back what comes from then on: a parent proxy, seen from inside.
    Tunnel,
    /// Sends back what comes.
    Echo,
    /// A SOCKS proxy of either version before what [`Self::Answer`] does.
    Socks,
    /// A SOCKS proxy of either version before what [`Self::Echo`] does.
    SocksEcho,
    /// A SOCKS proxy that refuses.
    SocksRefuse,
    /// Resets the connection when a head has come.
    Reset,
}

/// A start of the program, which serves or ends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Start {
    pub(super) name: String,
    /// The whole configuration, in which `{listen}` is a good start; nothing for no file.
    pub(super) conf: Option<String>,
    /// Arguments.
    #[serde(default = "foreground")]
    pub(super) args: Vec<String>,
    /// Files of the working directory, by name.
    #[serde(default)]
    pub(super) files: BTreeMap<String, String>,
    /// Symbolic links of the working directory, by name.
    #[serde(default)]
    pub(super) links: BTreeMap<String, String>,
    /// Files that are looked at then.
    #[serde(default)]
    pub(super) look: Vec<String>,
}

fn foreground() -> Vec<String> {
    ["-d", "-c", "tinyproxy.conf"].map(str::to_owned).to_vec()
}

/// Where the files of this test are.
pub(super) fn directory() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/parity"))
}

impl Area {
    pub(super) fn read(name: &str) -> Self {
        Self::of_file(&directory().join("cases").join(format!("{name}.toml")))
    }

    pub(super) fn of_file(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// The names of all its cases, in order.
    pub(super) fn cases(&self) -> Vec<String> {
        let of_group = |group: &Group| -> Vec<String> {
            group.case.iter().map(|case| format!("{}/{}", group.name, case.name)).collect()
        };
        let groups = self.group.iter().flat_map(of_group);
        groups.chain(self.start.iter().map(|start| start.name.clone())).collect()
    }
}
