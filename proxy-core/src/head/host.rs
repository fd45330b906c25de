//! Hosts and ports, as `Host` fields and request targets write them.

use super::{Refusal, bad, set};

/// `host` or `host:port` (RFC 9110 §4.2, without user information, which nobody may send).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// Lower case; an IPv6 address keeps its brackets.
    pub(super) host: Box<str>,
    pub(super) port: Option<u16>,
}

impl Authority {
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(bytes).ok().filter(|text| text.is_ascii()).ok_or(WRONG)?;
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, after) = rest.split_once(']').ok_or(WRONG)?;
                address.parse::<std::net::Ipv6Addr>().ok().ok_or(WRONG)?;
                let port = if after.is_empty() { None } else { Some(after.strip_prefix(':').ok_or(WRONG)?) };
                (text.get(..address.len() + 2).ok_or(WRONG)?, port)
            }
            None => {
                let (host, port) = text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
                let is_allowed = |byte: u8| HOST[usize::from(byte)];
                if host.is_empty() || host.len() > 255 || !host.bytes().all(is_allowed) {
                    return Err(WRONG);
                }
                (host, port)
            }
        };
        let port = match port {
            None | Some("") => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok().ok_or(WRONG_PORT)?),
            Some(_) => return Err(WRONG_PORT),
        };
        Ok(Self { host: host.to_ascii_lowercase().into(), port })
    }
}

/// A registered name (RFC 3986 §3.2.2), but no comma, which joins two fields.
const HOST: [bool; 256] = set(b"-._~!$&'()*+;=%");
const WRONG: Refusal = bad("The host of the request is malformed.");
const WRONG_PORT: Refusal = bad("The port of the request is malformed.");

#[cfg(test)]
mod fuzz;
