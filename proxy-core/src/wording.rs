//! The words of answers that the proxy itself makes.

use http::{HeaderMap, HeaderValue, StatusCode, header};

use crate::{
    answer::Answer,
    edge::{INCOMPLETE, TOO_SLOW},
    head::Refusal,
    upstream::Failure,
};

/// Whose words the answers of the proxy itself have: status line, sentence, and how it signs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wording {
    /// Our own: the phrases of RFC 9110, and no `Server` field.
    #[default]
    Plain,
    /// tinyproxy's, which scripts and error pages of its users rely on.
    Tinyproxy,
}

impl Wording {
    /// The page for a request that no chain may see.
    pub(crate) fn refusal(self, refusal: Refusal) -> Answer {
        let Refusal { status, reason } = refusal;
        match self {
            Self::Plain => Answer::page(status, reason),
            Self::Tinyproxy if refusal == INCOMPLETE => Answer::page(status, HEAD_NOT_THERE),
            // A client that was too slow hears nothing at all from tinyproxy, and is told so here.
            Self::Tinyproxy if refusal == TOO_SLOW => Answer::page(status, HEAD_NOT_THERE),
            Self::Tinyproxy if TOO_LARGE.contains(&status) => Answer::page(StatusCode::BAD_REQUEST, HEAD_NOT_THERE),
            Self::Tinyproxy => Answer::page(StatusCode::BAD_REQUEST, "Request has an invalid format"),
        }
    }

    /// The page for a request that reached nobody; `unreachable` is the status to use when that is the server's fault.
    pub(crate) fn failure(self, failure: Failure, unreachable: Option<StatusCode>) -> Answer {
        let (status, reason) = failure.told();
        let status = unreachable.filter(|_| failure.is_servers()).unwrap_or(status);
        let page = |reason| Answer::page(status, reason).with_error(failure.error());
        match (self, failure) {
            (Self::Plain, _) => page(reason),
            (Self::Tinyproxy, Failure::Loop) => {
                Answer::page(StatusCode::BAD_REQUEST, "You tried to connect to the machine the proxy is running on")
            }
            (Self::Tinyproxy, Failure::Parent | Failure::ParentName) => {
                let reason = "A network error occurred while trying to connect to the upstream web proxy.";
                page(reason).with_phrase("Unable to connect to upstream proxy")
            }
            (Self::Tinyproxy, failure) if failure.is_servers() => {
                let reason = "Tinyproxy was unable to connect to the remote web server.";
                page(reason).with_phrase("Unable to connect")
            }
            (Self::Tinyproxy, _) => page(reason),
        }
    }

    /// The page for a server that sent no head that can be understood.
    pub(crate) fn nonsense(self) -> Answer {
        match self {
            Self::Plain => Answer::page(StatusCode::BAD_GATEWAY, "The server behind this proxy did not speak HTTP."),
            Self::Tinyproxy => {
                let reason = "Tinyproxy was unable to retrieve and process headers from the remote web server.";
                Answer::page(StatusCode::SERVICE_UNAVAILABLE, reason).with_phrase("Could not retrieve all the headers")
            }
        }
    }

    /// Says who made an answer.
    pub(crate) fn sign(self, headers: &mut HeaderMap) {
        if self == Self::Tinyproxy {
            headers.entry(header::SERVER).or_insert(HeaderValue::from_static("tinyproxy"));
        }
    }

    /// Who opened a tunnel.
    pub(crate) fn agent(self) -> &'static str {
        match self {
            Self::Plain => "lockgate",
            Self::Tinyproxy => "tinyproxy",
        }
    }
}

const HEAD_NOT_THERE: &str = "Could not retrieve all the headers from the client.";
/// Statuses that tinyproxy does not have.
const TOO_LARGE: [StatusCode; 2] = [StatusCode::URI_TOO_LONG, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_its_own_words() {
        let told = |answer: &Answer| (answer.status.as_u16(), answer.phrase());
        let unreachable = Some(StatusCode::INTERNAL_SERVER_ERROR);
        let too_long = Refusal { status: StatusCode::URI_TOO_LONG, reason: "long" };
        assert_eq!(told(&Wording::Plain.refusal(too_long)), (414, "URI Too Long"));
        assert_eq!(told(&Wording::Tinyproxy.refusal(too_long)), (400, "Bad Request"));
        assert_eq!(told(&Wording::Plain.failure(Failure::Connect(Some(111)), None)), (502, "Bad Gateway"));
        assert_eq!(
            told(&Wording::Plain.failure(Failure::Connect(Some(111)), unreachable)),
            (500, "Internal Server Error")
        );
        assert_eq!(told(&Wording::Tinyproxy.failure(Failure::Resolve, unreachable)), (500, "Unable to connect"));
        let parent = Wording::Tinyproxy.failure(Failure::Parent, unreachable);
        assert_eq!(told(&parent), (502, "Unable to connect to upstream proxy"));
        assert_eq!(told(&Wording::Tinyproxy.failure(Failure::Loop, unreachable)), (400, "Bad Request"));
    }

    #[test]
    fn a_signature_does_not_replace_another() {
        let mut headers = HeaderMap::new();
        Wording::Plain.sign(&mut headers);
        assert!(headers.is_empty());
        Wording::Tinyproxy.sign(&mut headers);
        assert_eq!(headers["server"], "tinyproxy");
        headers.insert(header::SERVER, HeaderValue::from_static("else"));
        Wording::Tinyproxy.sign(&mut headers);
        assert_eq!(headers["server"], "else");
    }
}
