//! What is on disk while a challenge is present and after it, and what is refused.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail like the test")]

use std::{
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use authenticator_api::{Authenticator, Challenge, DomainName, Error, Kind, conformance};
use authenticator_webroot::{Config, Paths, Webroot};
use tempfile::TempDir;
use tokio::time::timeout;

#[tokio::test]
async fn directories_get_the_webroots_owner_and_files_are_readable() {
    let site = Site::new();
    chown(site.root(), Some(33), Some(34)).unwrap();
    let challenge = site.present().await;
    for directory in [".well-known", ".well-known/acme-challenge"] {
        let status = fs::metadata(site.root().join(directory)).unwrap();
        assert_eq!((status.uid(), status.gid()), (33, 34), "{directory}: run the tests as root");
        assert_eq!(status.mode() & 0o7777, 0o755, "{directory}");
    }
    let status = fs::metadata(site.file(&challenge)).unwrap();
    assert_eq!(status.mode() & 0o7777, 0o644);
    assert_eq!(fs::read_to_string(site.file(&challenge)).unwrap(), challenge.key_authorization.as_str());
    assert_eq!(names(&site.challenges()), [challenge.token.as_str()]);
    assert_eq!(names(site.state.path()).len(), 1, "one journal while a challenge is present");

    site.authenticator.cleanup(&challenge).await.unwrap();
    assert_eq!(names(site.root()), Vec::<String>::new());
    assert_eq!(names(site.state.path()), Vec::<String>::new());
}

#[tokio::test]
async fn directories_that_were_there_stay_as_they_were() {
    let site = Site::new();
    let well_known = site.root().join(".well-known");
    fs::create_dir(&well_known).unwrap();
    fs::set_permissions(&well_known, fs::Permissions::from_mode(0o750)).unwrap();
    chown(&well_known, Some(44), Some(45)).unwrap();
    let challenge = site.present().await;
    site.authenticator.cleanup(&challenge).await.unwrap();
    let status = fs::metadata(&well_known).unwrap();
    assert_eq!((status.uid(), status.gid(), status.mode() & 0o7777), (44, 45, 0o750));
    assert_eq!(names(&well_known), Vec::<String>::new());
}

#[tokio::test]
async fn files_of_others_keep_their_directory() {
    let site = Site::new();
    let challenge = site.present().await;
    fs::write(site.challenges().join("of-another-client"), "x").unwrap();
    site.authenticator.cleanup(&challenge).await.unwrap();
    assert_eq!(names(&site.challenges()), ["of-another-client"]);
    assert_eq!(names(site.state.path()), Vec::<String>::new());
}

#[tokio::test]
async fn what_another_client_wrote_is_answered_and_left() {
    let site = Site::new();
    let challenge = conformance::challenge();
    fs::create_dir_all(site.challenges()).unwrap();
    fs::write(site.file(&challenge), format!("{}\n", challenge.key_authorization.as_str())).unwrap();
    assert_eq!(site.lookup(&challenge).await.as_deref(), Some(challenge.key_authorization.as_str()));
    site.authenticator.present(&challenge).await.unwrap();
    site.authenticator.cleanup(&challenge).await.unwrap();
    assert!(site.file(&challenge).exists(), "the other client's file was removed");

    fs::write(site.file(&challenge), "something else").unwrap();
    let refused = site.authenticator.present(&challenge).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    assert_eq!(fs::read_to_string(site.file(&challenge)).unwrap(), "something else");
    assert_eq!(names(site.state.path()), Vec::<String>::new());
}

#[tokio::test]
async fn a_file_that_was_changed_is_not_removed() {
    let site = Site::new();
    let challenge = site.present().await;
    fs::write(site.file(&challenge), "changed").unwrap();
    site.authenticator.cleanup(&challenge).await.unwrap();
    assert_eq!(fs::read_to_string(site.file(&challenge)).unwrap(), "changed");
}

#[tokio::test]
async fn a_link_in_place_of_a_directory_is_refused() {
    for planted in [".well-known", ".well-known/acme-challenge"] {
        let site = Site::new();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::create_dir_all(elsewhere.path().join("acme-challenge")).unwrap();
        let link = site.root().join(planted);
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        symlink(elsewhere.path(), &link).unwrap();

        let challenge = conformance::challenge();
        refused(site.authenticator.present(&challenge).await, &link, "symbolic link");
        assert_eq!(names(elsewhere.path()), ["acme-challenge"]);
        assert_eq!(names(&elsewhere.path().join("acme-challenge")), Vec::<String>::new());

        for directory in [elsewhere.path().to_path_buf(), elsewhere.path().join("acme-challenge")] {
            fs::write(directory.join(challenge.token.as_str()), challenge.key_authorization.as_str()).unwrap();
        }
        assert_eq!(site.lookup(&challenge).await, None, "{planted}: lookup followed the link");
        assert_eq!(names(site.state.path()), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_link_or_pipe_in_place_of_a_token_is_refused() {
    let site = Site::new();
    fs::create_dir_all(site.challenges()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();

    for (target, content) in [("missing", false), ("existing", true)] {
        let challenge = conformance::challenge();
        let target = elsewhere.path().join(target);
        if content {
            fs::write(&target, challenge.key_authorization.as_str()).unwrap();
        }
        symlink(&target, site.file(&challenge)).unwrap();
        refused(site.authenticator.present(&challenge).await, &site.file(&challenge), "symbolic link");
        assert_eq!(site.lookup(&challenge).await, None);
        assert_eq!(target.exists(), content, "written through the link");
    }

    let challenge = conformance::challenge();
    rustix::fs::mknodat(
        rustix::fs::CWD,
        site.file(&challenge),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o666),
        0,
    )
    .unwrap();
    let looked = timeout(Duration::from_secs(5), site.lookup(&challenge)).await;
    if looked.is_err() {
        // Lets go of the thread that waits for a writer; the runtime would wait for it, and the test with it.
        let _writer = fs::File::options().read(true).write(true).open(site.file(&challenge)).unwrap();
    }
    assert_eq!(looked.expect("a pipe without a writer must not hold a lookup up"), None);
    refused(site.authenticator.present(&challenge).await, &site.file(&challenge), "not a regular file");
}

#[tokio::test]
async fn a_directory_replaced_by_a_link_is_not_cleaned_through_it() {
    let site = Site::new();
    let challenge = site.present().await;
    let moved = tempfile::tempdir().unwrap();
    let moved = moved.path().join("moved");
    fs::rename(site.challenges(), &moved).unwrap();
    symlink(&moved, site.challenges()).unwrap();
    site.authenticator.cleanup(&challenge).await.unwrap();
    assert_eq!(names(&moved), [challenge.token.as_str()]);
}

/// Whoever may write to the webroot swaps the challenge directory for a link to somebody else's, and back, all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_comes_and_goes_is_never_followed() {
    let site = Site::new();
    let victim = tempfile::tempdir().unwrap();
    fs::create_dir_all(site.challenges()).unwrap();
    let trap = site.root().join("trap");
    symlink(victim.path(), &trap).unwrap();

    let done = Arc::new(AtomicBool::new(false));
    let attacker = std::thread::spawn({
        let (challenges, done) = (site.challenges(), Arc::clone(&done));
        move || {
            while !done.load(Ordering::Relaxed) {
                let exchange = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(rustix::fs::CWD, &trap, rustix::fs::CWD, &challenges, exchange).unwrap();
                // Nobody else wins a race in which one side never pauses.
                std::thread::sleep(Duration::from_micros(50));
            }
        }
    });
    let (mut presented, mut refused) = (0, 0);
    let deadline = Instant::now() + Duration::from_secs(20);
    while presented < 50 || refused < 50 {
        assert!(Instant::now() < deadline, "{presented} presented and {refused} refused: not a race");
        let challenge = conformance::challenge();
        // A file of the same name and content in the victim's directory is not ours to remove.
        fs::write(victim.path().join(challenge.token.as_str()), challenge.key_authorization.as_str()).unwrap();
        match site.authenticator.present(&challenge).await {
            Ok(()) => presented += 1,
            Err(_) => refused += 1,
        }
        let _ = site.authenticator.cleanup(&challenge).await;
        assert_eq!(names(victim.path()), [challenge.token.as_str()], "reached through the link");
        fs::remove_file(victim.path().join(challenge.token.as_str())).unwrap();
    }
    done.store(true, Ordering::Relaxed);
    attacker.join().unwrap();
}

#[tokio::test]
async fn a_missing_webroot_is_an_error_and_not_created() {
    let parent = tempfile::tempdir().unwrap();
    let missing = parent.path().join("missing");
    let site = Site::at(missing.clone());
    match site.authenticator.present(&conformance::challenge()).await {
        Err(Error::File { path, source, .. }) => {
            assert_eq!(path, missing);
            assert_eq!(source.kind(), io::ErrorKind::NotFound);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(names(parent.path()), Vec::<String>::new());
    assert_eq!(site.lookup(&conformance::challenge()).await, None);
}

#[tokio::test]
async fn a_name_without_a_webroot_is_named() {
    let site = tempfile::tempdir().unwrap();
    let other = DomainName::parse("other.test").unwrap();
    let paths = Paths::PerDomain([(other, site.path().to_path_buf())].into());
    let authenticator = Webroot::new(paths, site.path());
    let challenge = conformance::challenge();
    let refused = authenticator.present(&challenge).await;
    assert!(matches!(&refused, Err(Error::UnknownDomain { domain }) if *domain == challenge.domain), "{refused:?}");
    authenticator.cleanup(&challenge).await.unwrap();
    assert_eq!(authenticator.lookup(Some(&challenge.domain), &challenge.token).wait().await, None);
}

#[tokio::test]
async fn a_state_directory_that_cannot_be_made_is_named_and_nothing_is_created() {
    let root = tempfile::tempdir().unwrap();
    let blocker = tempfile::NamedTempFile::new().unwrap();
    let state = blocker.path().join("state");
    let authenticator = Webroot::new(Paths::Every(root.path().into()), &state);
    authenticator.start().await.unwrap();
    match authenticator.present(&conformance::challenge()).await {
        Err(Error::File { path, .. }) => assert_eq!(path, state),
        other => panic!("{other:?}"),
    }
    assert_eq!(names(root.path()), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_authenticators_can_share_a_webroot_and_a_state_directory() {
    let site = Arc::new(Site::new());
    let work = |authenticator: Webroot| async move {
        authenticator.start().await.unwrap();
        for _ in 0..100 {
            let challenge = conformance::challenge();
            authenticator.present(&challenge).await.unwrap();
            let answer = authenticator.lookup(None, &challenge.token).wait().await;
            assert_eq!(answer.as_ref(), Some(&challenge.key_authorization));
            authenticator.cleanup(&challenge).await.unwrap();
        }
    };
    let tasks = [(); 3].map(|()| tokio::spawn(work(site.another())));
    for task in tasks {
        task.await.unwrap();
    }
    let left = names(&site.challenges()).len();
    assert_eq!(left, 0, "tokens are left");
    assert_eq!(names(site.state.path()), Vec::<String>::new());
}

#[test]
fn values_that_cannot_be_used_are_named_by_their_key() {
    let build = |path: &str, state: &str| {
        let config: Config = toml::from_str(&format!("path = {path}\nstate = '{state}'")).unwrap();
        Webroot::build(config).err().map(|error| error.key)
    };
    assert_eq!(build("'/srv'", "/state"), None);
    assert_eq!(build("'srv'", "/state"), Some("path"));
    assert_eq!(build("''", "/state"), Some("path"));
    assert_eq!(build("{ 'a.test' = 'srv' }", "/state"), Some("path"));
    assert_eq!(build("{}", "/state"), Some("path"));
    assert_eq!(build("'/srv'", "state"), Some("state"));
}

/// A webroot of its own, and an authenticator for it.
struct Site {
    root: PathBuf,
    state: TempDir,
    authenticator: Webroot,
    _root: Option<TempDir>,
}

impl Site {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().to_path_buf();
        Self { _root: Some(root), ..Self::at(path) }
    }

    fn at(root: PathBuf) -> Self {
        let state = tempfile::tempdir().unwrap();
        let authenticator = Webroot::new(Paths::Every(root.clone()), state.path());
        Self { root, state, authenticator, _root: None }
    }

    fn another(&self) -> Webroot {
        Webroot::new(Paths::Every(self.root.clone()), self.state.path())
    }

    fn root(&self) -> &Path {
        &self.root
    }

    fn challenges(&self) -> PathBuf {
        self.root.join(".well-known/acme-challenge")
    }

    fn file(&self, challenge: &Challenge) -> PathBuf {
        self.challenges().join(challenge.token.as_str())
    }

    async fn present(&self) -> Challenge {
        let challenge = conformance::challenge();
        self.authenticator.present(&challenge).await.unwrap();
        challenge
    }

    async fn lookup(&self, challenge: &Challenge) -> Option<String> {
        let answer = self.authenticator.lookup(Some(&challenge.domain), &challenge.token).wait().await;
        answer.map(|answer| answer.as_str().to_owned())
    }
}

fn refused(result: Result<(), Error>, at: &Path, reason: &str) {
    match result {
        Err(Error::File { path, source, .. }) => {
            assert_eq!(path, at);
            assert!(source.to_string().contains(reason), "{source}");
        }
        other => panic!("{} was accepted: {other:?}", at.display()),
    }
}

fn names(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}
