//! The operator's own program, which is told what becomes of certificates.

use std::{process::Stdio, time::Duration};

use tokio::{io::AsyncWriteExt as _, process::Command};

/// Something that happened to a certificate.
#[derive(Clone, Debug, Default)]
pub(super) struct Event {
    /// `issued`, `skipped` or `failed`.
    pub(super) what: &'static str,
    pub(super) certificate: String,
    /// The names that it is for.
    pub(super) names: Vec<String>,
    /// Names that could not be had.
    pub(super) refused: Vec<String>,
    /// Why, in a sentence; empty when all is well.
    pub(super) message: String,
    /// Whose fault a failure is, in a word.
    pub(super) class: &'static str,
    /// The directory with its links.
    pub(super) lineage: String,
}

/// Tells it, on a task of its own: however long it takes, nobody waits for it.
pub(super) fn tell(command: &[String], event: Event) {
    let Some((program, arguments)) = command.split_first() else { return };
    let (program, arguments) = (program.clone(), arguments.to_vec());
    tokio::spawn(async move {
        let told = tokio::time::timeout(PATIENCE, run(&program, &arguments, &event)).await;
        let failure = match told {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("it did not end within {PATIENCE:?} and was killed"),
        };
        tracing::error!(target: "lockgate::certificates", program, certificate = event.certificate, failure, "the notify command failed");
    });
}

async fn run(program: &str, arguments: &[String], event: &Event) -> std::io::Result<()> {
    let object = serde_json::json!({
        "event": event.what,
        "certificate": event.certificate,
        "names": event.names,
        "refused": event.refused,
        "class": event.class,
        "message": event.message,
        "lineage": event.lineage,
    });
    let mut child = Command::new(program)
        .args(arguments)
        .env("LOCKGATE_EVENT", event.what)
        .env("LOCKGATE_CERTIFICATE", &event.certificate)
        .env("LOCKGATE_NAMES", event.names.join(" "))
        .env("LOCKGATE_REFUSED", event.refused.join(" "))
        .env("LOCKGATE_CLASS", event.class)
        .env("LOCKGATE_MESSAGE", &event.message)
        .env("LOCKGATE_LINEAGE", &event.lineage)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut input) = child.stdin.take() {
        // Who does not read it has it in its environment.
        let _ = input.write_all(format!("{object}\n").as_bytes()).await;
    }
    let status = child.wait().await?;
    if status.success() { Ok(()) } else { Err(std::io::Error::other(format!("{program}: {status}"))) }
}

/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(60);
