//! The way to servers, for plugins that go out: where an authority leads, through which other proxies, and under which address.

mod config;
mod destination;
mod rules;

use std::net::IpAddr;

pub use config::{Addresses, BindOrder, Kind, ParentKeys};
pub use destination::{Destination, Host};
pub use rules::{Parents, Way};

use crate::{Bind, ConfigError, Rotation};

/// The source address that the keys `bind`, `bind_same` and `bind_order` ask for.
///
/// # Errors
///
/// They contradict each other.
pub fn source(bind: Vec<IpAddr>, bind_same: bool, order: BindOrder) -> Result<Bind, ConfigError> {
    if bind_same && !bind.is_empty() {
        let message = "`bind_same` decides the source address; `bind` would never be used";
        return Err(ConfigError::key("bind", message));
    }
    if order == BindOrder::Turn && bind.is_empty() {
        return Err(ConfigError::key("bind_order", "nobody can take turns: `bind` has no address"));
    }
    Ok(match order {
        _ if bind_same => Bind::Same,
        _ if bind.is_empty() => Bind::Any,
        BindOrder::Turn => Bind::InTurn(Rotation::new(bind)),
        BindOrder::First => Bind::Addresses(bind),
    })
}
