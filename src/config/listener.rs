//! `[[listener]]`: where the proxy listens.

mod secure;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use plugin_api::{
    config::{Array, Problem, Problems, Span, Spans},
    schemars::{self, JsonSchema},
};
use proxy_core::{ListenAddress, Listener, SocketAccess};
use serde::Deserialize;

use super::server::Account;
use crate::{
    cli::report,
    lasting::Lasting,
    process::{group_id, user_id},
};

#[derive(Deserialize, JsonSchema)]
struct Raw {
    /// A name for routes and logs.
    name: String,
    /// Addresses with ports, and paths of unix sockets; `[::]` takes IPv6 only.
    address: Vec<String>,
    /// Permissions of its unix sockets, in octal.
    mode: Option<String>,
    /// The user to whom its unix sockets belong.
    owner: Option<Account>,
    /// The group to whom its unix sockets belong.
    group: Option<Account>,
    /// Clients that announce for whom they speak (PROXY protocol): addresses, ranges, or `"unix"`.
    proxy_protocol: Option<Vec<String>>,
    /// Whether clients speak TLS here. They are shown what `[[certificate]]` names, by the host that they ask for.
    tls: Option<bool>,
    /// The oldest version of TLS that is spoken: `"1.2"` or `"1.3"`.
    tls_minimum: Option<secure::Version>,
    /// Whether HTTP/2 is offered to clients who speak TLS. Tunnels (`CONNECT`) need HTTP/1.1.
    http2: Option<bool>,
    /// File with certificates of authorities in PEM, for certificates that clients show.
    client_ca: Option<PathBuf>,
    /// Whether every client must show a certificate of `client_ca` (`"required"`), or may (`"optional"`).
    client_certificate: Option<secure::Demand>,
    /// Whether connections are kept for further requests.
    keep_alive: Option<bool>,
    /// Whether lines of the log in tinyproxy's style about new connections say to which address they came.
    log_local_address: Option<bool>,
    /// Whether a firewall redirects connections here (nftables `redirect` or `dnat`).
    redirected: Option<bool>,
    /// Whether a firewall leads connections here with TPROXY.
    transparent: Option<bool>,
}

/// Builds them, and says where the first one is that speaks TLS.
pub(super) fn build(
    array: Option<Array<'_>>,
    lasting: &Lasting,
    problems: &mut Problems,
) -> (Vec<Listener>, Option<Span>) {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut taken: Vec<ListenAddress> = Vec::new();
    let mut secure_at = None;
    for (_, table) in array.into_iter().flat_map(|array| array.items) {
        let spans = table.spans();
        let Some(raw) = table.decode::<Raw>(problems) else { continue };
        if listeners.iter().any(|listener| *listener.name == *raw.name) {
            problems.push(Problem::new(spans.of("name"), format!("there is another listener `{}`", raw.name)));
        }
        if raw.address.is_empty() {
            problems.push(Problem::new(spans.of("address"), "a listener needs an address"));
        }
        let mut addresses = Vec::new();
        for (index, text) in raw.address.iter().enumerate() {
            match address(text) {
                Ok(address) if is_certain(&address) && taken.contains(&address) => {
                    let span = spans.of_index("address", index);
                    problems.push(Problem::new(span, format!("{address} is listened on twice")));
                }
                Ok(address) => {
                    taken.push(address.clone());
                    addresses.push(address);
                }
                Err(AddressError { message, hint }) => {
                    let problem = Problem::new(spans.of_index("address", index), message);
                    problems.push(problem.with_hint(hint));
                }
            }
        }
        let unix_only = addresses.iter().all(|address| address.inet().is_none());
        let led = [("redirected", raw.redirected), ("transparent", raw.transparent)];
        for (key, _) in led.into_iter().filter(|(_, given)| unix_only && *given == Some(true)) {
            problems.push(Problem::new(spans.of(key), "a firewall leads nobody to a unix socket"));
        }
        let mut listener = Listener::new(raw.name, addresses);
        listener.keep_alive = raw.keep_alive.unwrap_or(true);
        listener.tell_local = raw.log_local_address.unwrap_or(false);
        for (index, text) in raw.proxy_protocol.iter().flatten().enumerate() {
            match text.parse() {
                Ok(source) => listener.announcers.push(source),
                Err(error) => {
                    let problem = Problem::new(spans.of_index("proxy_protocol", index), format!("`{text}`: {error}"));
                    problems.push(problem.with_hint("write an address, a range such as \"10.0.0.0/8\", or \"unix\""));
                }
            }
        }
        let wanted = secure::Wanted {
            tls: raw.tls.unwrap_or(false),
            minimum: raw.tls_minimum,
            http2: raw.http2,
            client_ca: raw.client_ca,
            demand: raw.client_certificate,
        };
        listener.tls = wanted.build(lasting, &spans, problems);
        if listener.tls.is_some() {
            secure_at.get_or_insert_with(|| spans.of_key("tls"));
        }
        listener.redirected = raw.redirected.unwrap_or(false);
        listener.transparent = raw.transparent.unwrap_or(false);
        let has_socket = listener.addresses.iter().any(|address| address.inet().is_none());
        listener.access = access(raw.mode, raw.owner, raw.group, has_socket, &spans, problems);
        listeners.push(listener);
    }
    (listeners, secure_at)
}

/// Why a text is no address to listen on.
struct AddressError {
    message: String,
    hint: &'static str,
}

fn address(text: &str) -> Result<ListenAddress, AddressError> {
    let Some(path) = text.strip_prefix("unix:") else {
        return text.parse::<SocketAddr>().map(ListenAddress::Inet).map_err(|_error| AddressError {
            message: format!("`{text}` is not an address with a port"),
            hint: "write \"0.0.0.0:80\", \"[::]:80\", \"127.0.0.1:8080\" or \"unix:/run/lockgate/proxy.sock\"",
        });
    };
    let unusable = |message: &str| AddressError { message: format!("`{text}`: {message}"), hint: PATH_HINT };
    if path.is_empty() || path.ends_with('/') || path.contains('\0') {
        return Err(unusable("this is not the path of a file"));
    }
    // The one thing that a working directory is needed for here: a daemon has another one later.
    let path = std::path::absolute(Path::new(path)).map_err(|_error| unusable("this is not the path of a file"))?;
    if path.as_os_str().len() > LONGEST_PATH {
        return Err(unusable("the path is too long for a socket: 107 bytes are possible"));
    }
    Ok(path.into())
}

/// Whether it is one and the same place each time that it is written: port 0 is another one every time.
fn is_certain(address: &ListenAddress) -> bool {
    address.inet().is_none_or(|address| address.port() != 0)
}

fn access(
    mode: Option<String>,
    owner: Option<Account>,
    group: Option<Account>,
    has_socket: bool,
    spans: &Spans,
    problems: &mut Problems,
) -> SocketAccess {
    let given = [("mode", mode.is_some()), ("owner", owner.is_some()), ("group", group.is_some())];
    for (key, _) in given.into_iter().filter(|(_, given)| *given && !has_socket) {
        problems.push(Problem::new(spans.of(key), "only a unix socket has permissions and an owner"));
    }
    let mut access = SocketAccess::default();
    if let Some(mode) = mode {
        match u32::from_str_radix(&mode, 8) {
            Ok(bits) if bits <= 0o777 && mode.bytes().all(|byte| byte.is_ascii_digit()) => access.mode = bits,
            _ => problems.push(
                Problem::new(spans.of("mode"), format!("`{mode}` are no permissions"))
                    .with_hint("write them in octal, such as \"0660\": who may write to the socket may connect"),
            ),
        }
    }
    let mut look_up = |key, account: Option<Account>, find: fn(&str) -> Result<u32, _>| match find(&account?.text()) {
        Ok(id) => Some(id),
        Err(error) => {
            problems.push(Problem::new(spans.of(key), report::sentence(&error)));
            None
        }
    };
    access.owner = look_up("owner", owner, user_id);
    access.group = look_up("group", group, group_id);
    access
}

/// Bytes that `sun_path` has for a path (unix(7)).
const LONGEST_PATH: usize = 107;
const PATH_HINT: &str = "write \"unix:/run/lockgate/proxy.sock\"";

#[cfg(test)]
mod tests {
    use plugin_api::config::{Source, parse};

    use super::*;

    fn listeners(text: &str) -> Result<Vec<Listener>, String> {
        let source = Source::new("f.toml", text);
        let mut problems = Problems::new(source.clone());
        let mut root = parse(&source, &mut problems);
        let (built, _) = build(root.take_tables("listener", &mut problems), &Lasting::default(), &mut problems);
        problems.or_ok(Some(built)).map_err(|problems| problems.to_string())
    }

    fn listener(keys: &str) -> Result<Listener, String> {
        listeners(&format!("[[listener]]\nname = \"a\"\n{keys}\n")).map(|mut built| built.remove(0))
    }

    #[test]
    fn unix_sockets_have_a_path_permissions_and_an_owner() {
        let made = listener(
            "address = [\"127.0.0.1:80\", \"unix:/run/a.sock\"]\nmode = \"0600\"\nowner = \"root\"\ngroup = 7",
        );
        let made = made.unwrap();
        assert_eq!(made.addresses[1], PathBuf::from("/run/a.sock").into());
        assert_eq!(made.access, SocketAccess { mode: 0o600, owner: Some(0), group: Some(7) });
        let relative = listener("address = [\"unix:a.sock\"]").unwrap();
        assert_eq!(relative.addresses[0], std::env::current_dir().unwrap().join("a.sock").into());
        assert_eq!(relative.access, SocketAccess::default());
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_key() {
        let long = format!("address = [\"unix:/{}\"]", "x".repeat(107));
        for (keys, expected) in [
            ("address = [\"unix:\"]", "not the path of a file"),
            ("address = [\"unix:/run/\"]", "not the path of a file"),
            (&long, "too long"),
            ("address = [\"/run/a.sock\"]", "unix:/run/lockgate/proxy.sock"),
            ("address = [\"unix:/a\", \"unix:/a\"]", "unix:/a is listened on twice"),
            ("address = [\"127.0.0.1:80\"]\nmode = \"0600\"", "only a unix socket has permissions"),
            ("address = [\"unix:/a\"]\nmode = \"0888\"", "`0888` are no permissions"),
            ("address = [\"unix:/a\"]\nmode = \"+66\"", "`+66` are no permissions"),
            ("address = [\"unix:/a\"]\nmode = \"4660\"", "`4660` are no permissions"),
            ("address = [\"unix:/a\"]\ngroup = \"no-such-group\"", "there is no group `no-such-group`"),
            ("address = [\"unix:/a\"]\ntransparent = true", "a firewall leads nobody to a unix socket"),
        ] {
            let told = listener(keys).err().unwrap_or_else(|| panic!("{keys} is taken"));
            assert!(told.contains(expected), "{keys}: {told}");
        }
    }
}
