//! The account that an operator has with an authority by other means
//! ([RFC 8555 §7.3.4](https://www.rfc-editor.org/rfc/rfc8555#section-7.3.4)).

use std::path::PathBuf;

use certificates::ExternalAccount;
use plugin_api::{
    config::{Problem, Problems, Span, Table},
    schemars::{self, JsonSchema},
};
use serde::Deserialize;

use super::Directory;
use crate::cli::report;

/// An account, and with whom.
pub(in crate::config) struct External {
    /// With whom.
    pub(in crate::config) directory: Directory,
    /// Its key.
    pub(in crate::config) account: ExternalAccount,
    /// Where the file says with whom.
    pub(in crate::config) place: Span,
}

/// The keys of `external_account`.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Keys {
    /// The name of the key, as the authority gave it.
    key_id: String,
    /// The key, in base64url, as the authority gave it.
    hmac_key: Option<String>,
    /// A file that holds the key instead.
    hmac_key_file: Option<PathBuf>,
    /// The authority that gave it; needed where several are asked.
    directory: Option<String>,
}

/// Reads the table. `directories` are those that the section names.
pub(super) fn build(table: Table<'_>, directories: &[Directory], problems: &mut Problems) -> Option<External> {
    let (spans, whole) = (table.spans(), table.span());
    let keys = table.decode::<Keys>(problems)?;
    let (directory, place) = match (&keys.directory, directories) {
        (Some(text), _) => {
            let place = spans.of("directory");
            let parsed = Directory::parse(text, place.clone());
            (parsed.map_err(|problem| problems.push(problem)).ok(), place)
        }
        (None, [only]) => (Some(only.clone()), whole.clone()),
        (None, []) => (None, whole.clone()),
        (None, [..]) => {
            let problem =
                Problem::new(whole.clone(), "several authorities are asked: which of them is this account with?");
            problems.push(problem.with_hint("add `directory = \"…\"` to it, as in the list"));
            (None, whole.clone())
        }
    };
    let (key, blamed) = match (keys.hmac_key, keys.hmac_key_file) {
        (Some(key), None) => (Some(key), "hmac_key"),
        (None, Some(path)) => {
            let read = std::fs::read_to_string(&path).map_err(|error| {
                let message = format!("`{}` cannot be read: {}", path.display(), report::sentence(&error));
                let hint = "it is read when the configuration is, by the user who starts Lockgate";
                problems.push(Problem::new(spans.of("hmac_key_file"), message).with_hint(hint));
            });
            (read.ok(), "hmac_key_file")
        }
        (Some(_), Some(_)) => {
            let problem = Problem::new(spans.of_key("hmac_key"), "`hmac_key` and `hmac_key_file` exclude each other");
            problems.push(problem.with_hint("keep the file: a configuration is read by more people"));
            return None;
        }
        (None, None) => {
            let problem = Problem::new(whole, "an external account has a key: `hmac_key` or `hmac_key_file`");
            problems.push(problem.with_hint("the authority gave it together with the key's name"));
            return None;
        }
    };
    let account = ExternalAccount::new(&keys.key_id, &key?).map_err(|error| {
        let problem = Problem::new(spans.of(blamed), error.to_string());
        problems.push(problem.with_hint("take it as the authority gave it: letters, digits, `-` and `_`"));
    });
    Some(External { directory: directory?, account: account.ok()?, place })
}
