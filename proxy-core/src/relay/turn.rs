//! What happens next with a request: the chain decides.

use http::StatusCode;
use pingora::http::RequestHeader;
use plugin_api::chain::Decision;

use super::view;
use crate::{
    answer::Answer,
    flight::{Flight, Reply},
    upstream::Attempts,
};

/// Whose turn it is.
pub(super) enum Turn {
    /// A peer is named: `flight.attempts`.
    Upstream,
    /// An answer is settled: `flight.reply`.
    Reply,
}

/// Lets the chain decide, from where it stands.
pub(super) async fn decide(head: &RequestHeader, flight: &mut Flight) -> Turn {
    let request = view(head, &flight.line);
    let answer = match flight.run.request(request, &flight.origin.connection).await {
        Ok(Decision::Upstream { peer, .. }) => {
            flight.attempts = Some(Attempts::new(peer));
            return Turn::Upstream;
        }
        Ok(Decision::Respond { response, .. }) => {
            flight.count_fault(&response);
            (*response).into()
        }
        Ok(Decision::Tunnel { by, .. }) => {
            tracing::error!(target: "lockgate::chain", plugin = by, "a tunnel was asked for a request that is not CONNECT");
            Answer::page(
                StatusCode::INTERNAL_SERVER_ERROR,
                "This proxy is configured to tunnel what cannot be tunnelled.",
            )
        }
        Ok(Decision::Exhausted) => {
            tracing::error!(target: "lockgate::chain", route = &**flight.run.chain().name(), "no plugin of the chain ended the request");
            Answer::page(StatusCode::INTERNAL_SERVER_ERROR, "No part of this proxy took the request.")
        }
        Err(broken) => {
            flight.broken(&broken);
            return Turn::Reply;
        }
    };
    flight.reply = Some(Reply::Hooked(answer));
    Turn::Reply
}
