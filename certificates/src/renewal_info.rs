//! Renewal information: when the authority wants to see a certificate renewed (RFC 9773).

use std::time::SystemTime;

use serde::Deserialize;

use crate::{
    Client, Internal, TransportError, moment,
    schedule::{Answer, Window},
};

/// Asks the authority with this directory URL about a certificate, which is named as [`Lineage::id`](crate::Lineage::id) is.
///
/// Two requests without a signature: the directory, and the renewal information. What goes wrong is logged and is an
/// [`Answer`] too, as nothing depends on it but when to ask again.
pub async fn ask(client: &Client, directory: &str, certificate: &str) -> Answer {
    if directory == Internal::SERVER {
        return Answer::Unsupported;
    }
    let client = client.aside();
    let asked = async {
        let directory = client.get(directory).await?;
        let Some(url) = directory["renewalInfo"].as_str() else { return Ok(None) };
        // RFC 9773 §4.1: the name is a further segment of the path.
        client.get(&format!("{}/{certificate}", url.trim_end_matches('/'))).await.map(Some)
    };
    match asked.await {
        Ok(Some(info)) => understood(info, client.retry_after(), certificate),
        Ok(None) => Answer::Unsupported,
        Err(error) => {
            let answer = failed(&error);
            let error: &dyn std::error::Error = &error;
            tracing::info!(target: "lockgate::certificates", certificate, error, "no renewal information");
            answer
        }
    }
}

fn understood(info: serde_json::Value, retry_after: Option<SystemTime>, certificate: &str) -> Answer {
    let parsed: Result<RenewalInfo, _> = serde_json::from_value(info);
    match parsed {
        Ok(RenewalInfo { suggested_window: SuggestedWindow { start, end }, explanation_url: explanation }) => {
            match (moment::parse(&start), moment::parse(&end)) {
                (Some(start), Some(end)) if start < end => {
                    Answer::Suggested { window: Window { start, end }, explanation, retry_after }
                }
                _ => {
                    tracing::info!(target: "lockgate::certificates", certificate, start, end, "renewal information without a usable window");
                    Answer::Failed { temporary: false, retry_after }
                }
            }
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::info!(target: "lockgate::certificates", certificate, error, "renewal information that cannot be understood");
            Answer::Failed { temporary: false, retry_after }
        }
    }
}

/// RFC 9773 §4.3.3: no connection and 5xx may be over in a minute; a certificate that the server does not know will not be
/// known in a minute either.
fn failed(error: &TransportError) -> Answer {
    let temporary = match error {
        TransportError::Unavailable { status, .. } | TransportError::NotAcme { status, .. } => {
            status.is_server_error() || *status == http::StatusCode::TOO_MANY_REQUESTS
        }
        TransportError::CaFile { .. } | TransportError::Roots { .. } => false,
        _ => true,
    };
    Answer::Failed { temporary, retry_after: error.retry_after() }
}

/// RFC 9773 §4.2.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RenewalInfo {
    suggested_window: SuggestedWindow,
    #[serde(rename = "explanationURL")]
    explanation_url: Option<String>,
}

#[derive(Debug, Deserialize)]
struct SuggestedWindow {
    start: String,
    end: String,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;

    #[test]
    fn windows_are_understood_and_nonsense_is_a_lasting_failure() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let info = json!({ "suggestedWindow": { "start": "2027-01-15T08:00:00Z", "end": "2027-01-15T10:00:10+01:00" },
            "explanationURL": "https://ca.example/why" });
        assert_eq!(
            understood(info, Some(at(7)), "id"),
            Answer::Suggested {
                window: Window { start: at(1_800_000_000), end: at(1_800_003_610) },
                explanation: Some("https://ca.example/why".into()),
                retry_after: Some(at(7)),
            }
        );
        for wrong in [
            json!({}),
            json!([]),
            json!({ "suggestedWindow": { "start": "tomorrow", "end": "2027-01-15T09:00:10Z" } }),
            json!({ "suggestedWindow": { "start": "2027-01-15T09:00:10Z", "end": "2027-01-15T08:00:00Z" } }),
        ] {
            assert_eq!(understood(wrong, None, "id"), Answer::Failed { temporary: false, retry_after: None });
        }
    }

    #[test]
    fn a_busy_server_is_told_from_one_that_does_not_know_the_certificate() {
        let said = |status| TransportError::Unavailable {
            host: "ca.example".into(),
            status: http::StatusCode::from_u16(status).unwrap(),
            detail: String::new(),
            retry_after: None,
        };
        for (status, expected) in [(500, true), (503, true), (429, true), (404, false), (400, false)] {
            assert_eq!(failed(&said(status)), Answer::Failed { temporary: expected, retry_after: None }, "{status}");
        }
        let unreachable = TransportError::TimedOut { host: "ca.example".into() };
        assert_eq!(failed(&unreachable), Answer::Failed { temporary: true, retry_after: None });
    }
}
