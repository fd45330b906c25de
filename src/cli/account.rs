//! `lockgate account …`: accounts at certificate authorities.

use certificates::{Administration, Authority, Client, Store, StoredAccount};
use clap::{Args, Subcommand};

use super::{
    Exit,
    cert::{
        Common, ExternalArguments, Failure, LETS_ENCRYPT, PATIENCE, STAGING,
        attempt::{block_on, explained, open_store},
        session::lock,
    },
    report,
};
use crate::config::Level;

/// The subcommands of `lockgate account`.
#[derive(Subcommand)]
pub(super) enum Command {
    /// List the accounts that are stored, with their thumbprints; no authority is asked.
    List(Common),
    /// Show the account: its URL, its thumbprint, and what the authority knows about it.
    Show(Which),
    /// Make an account, if there is none.
    Register(Register),
    /// Replace the mail addresses of the account.
    Update(Update),
    /// End the account for good. Its certificates stay valid.
    Deactivate(Which),
}

/// Which account is meant.
#[derive(Args)]
pub(super) struct Which {
    /// The certificate authority's directory URL.
    #[arg(long, value_name = "URL", default_value = LETS_ENCRYPT)]
    pub(super) server: String,

    /// Let's Encrypt's authority for tests.
    #[arg(long, visible_alias = "test-cert", conflicts_with = "server")]
    pub(super) staging: bool,

    /// What the account is called, where there are several.
    #[arg(long, value_name = "ID")]
    pub(super) account: Option<String>,

    #[command(flatten)]
    pub(super) common: Common,
}

/// A new account.
#[derive(Args)]
pub(super) struct Register {
    #[command(flatten)]
    pub(super) which: Which,

    /// A mail address; may be given several times.
    #[arg(short = 'm', long, visible_alias = "contact", value_name = "MAIL")]
    pub(super) email: Vec<String>,

    /// Agree to the authority's terms of service.
    #[arg(long)]
    pub(super) agree_tos: bool,

    #[command(flatten)]
    pub(super) external: ExternalArguments,
}

/// Other contacts.
#[derive(Args)]
pub(super) struct Update {
    #[command(flatten)]
    pub(super) which: Which,

    /// A mail address; may be given several times. Without one the authority has none.
    #[arg(short = 'm', long, visible_alias = "contact", value_name = "MAIL")]
    pub(super) email: Vec<String>,
}

pub(super) fn run(command: &Command) -> Exit {
    report::start_log(Level::Warn);
    let done = block_on(async {
        match command {
            Command::List(common) => {
                list(common);
                Ok(())
            }
            Command::Show(which) => Session::open(which, false).await?.show().await,
            Command::Register(arguments) => Session::open(&arguments.which, true).await?.register(arguments).await,
            Command::Update(arguments) => Session::open(&arguments.which, true).await?.update(&arguments.email).await,
            Command::Deactivate(which) => Session::open(which, true).await?.deactivate().await,
        }
    });
    done.map_or_else(|failure| failure.told(), |()| Exit::Success)
}

fn list(common: &Common) {
    let accounts = Store::at(&common.storage).every_account();
    if common.json {
        let object = |(server, account): &(String, StoredAccount)| {
            let (id, url, thumbprint) = (&account.id, &account.url, account.thumbprint());
            serde_json::json!({ "id": id, "server": server, "url": url, "thumbprint": thumbprint })
        };
        report::line(serde_json::Value::Array(accounts.iter().map(object).collect()).to_string());
        return;
    }
    if accounts.is_empty() {
        report::line("there are no accounts");
    }
    for (server, account) in accounts {
        report::line(format!("{}  {}  {server}  {}", account.id, account.thumbprint(), account.url));
    }
}

/// What a command works with.
struct Session<'a> {
    which: &'a Which,
    client: Client,
    store: Store,
    _lock: Option<certificates::Lock>,
}

impl<'a> Session<'a> {
    async fn open(which: &'a Which, changes: bool) -> Result<Self, Failure> {
        let client = Client::new(which.common.ca_file.as_deref()).map_err(|error| Failure::new(&error))?;
        let store = match changes {
            true => open_store(which.common.storage.clone()).await?,
            false => Store::at(&which.common.storage),
        };
        let _lock = if changes { Some(lock(&store, &which.common).await?) } else { None };
        Ok(Self { which, client, store, _lock })
    }

    fn server(&self) -> &str {
        if self.which.staging { STAGING } else { &self.which.server }
    }

    fn account(&self) -> Result<StoredAccount, Failure> {
        stored(&self.store, self.server(), self.which.account.as_deref())
    }

    fn administration(&self) -> Administration<'_> {
        Administration { client: &self.client, store: &self.store, patience: PATIENCE }
    }

    async fn show(&self) -> Result<(), Failure> {
        let account = self.account()?;
        let status = self.administration().status(self.server(), &account).await.map_err(explained)?;
        if self.which.common.json {
            let object = serde_json::json!({
                "id": account.id,
                "server": self.server(),
                "url": account.url,
                "thumbprint": account.thumbprint(),
                "status": status.status,
                "contact": status.contact,
            });
            report::line(object.to_string());
            return Ok(());
        }
        let contact = if status.contact.is_empty() { "none".to_owned() } else { status.contact.join(", ") };
        for (what, value) in [
            ("account", account.id.as_str()),
            ("authority", self.server()),
            ("URL", &account.url),
            ("thumbprint", &account.thumbprint()),
            ("status", &status.status),
            ("contact", &contact),
        ] {
            report::line(format!("{what:10}  {value}"));
        }
        Ok(())
    }

    async fn register(&self, arguments: &Register) -> Result<(), Failure> {
        let accounts = self.store.stored_accounts(self.server()).map_err(|error| Failure::new(&error))?;
        if let Some(account) = accounts.last() {
            let message = format!("there is an account for {} already: {}", self.server(), account.url);
            return Err(Failure::usage(message, Some("`lockgate account update` changes its contacts")));
        }
        let authority = Authority {
            directory: self.server().to_owned(),
            contact: mails(&arguments.email),
            agree_to_terms: arguments.agree_tos,
            external_account: arguments.external.account()?,
            ..Authority::default()
        };
        let account = self.administration().register(&authority).await.map_err(explained)?;
        self.say(&format!("there is an account: {}", account.url));
        Ok(())
    }

    async fn update(&self, email: &[String]) -> Result<(), Failure> {
        let account = self.account()?;
        let status = self.administration().update(self.server(), &account, &mails(email)).await.map_err(explained)?;
        self.say(&match status.contact.as_slice() {
            [] => "the account has no contact".to_owned(),
            contact => format!("the account's contact is {}", contact.join(", ")),
        });
        Ok(())
    }

    async fn deactivate(&self) -> Result<(), Failure> {
        let account = self.account()?;
        self.administration().deactivate(self.server(), &account).await.map_err(explained)?;
        self.say(&format!("the account {} is no more", account.url));
        Ok(())
    }

    fn say(&self, text: &str) {
        if !self.which.common.quiet {
            report::line(text);
        }
    }
}

/// The account for an authority that is called so, or the only one.
pub(super) fn stored(store: &Store, server: &str, id: Option<&str>) -> Result<StoredAccount, Failure> {
    let accounts = store.stored_accounts(server).map_err(|error| Failure::new(&error))?;
    let see = Some("see `lockgate account list`");
    match (id, accounts.as_slice()) {
        (_, []) => Err(Failure::usage(format!("there is no account for {server}"), see)),
        (Some(id), all) => {
            let found = all.iter().find(|account| account.id == id).cloned();
            found.ok_or_else(|| Failure::usage(format!("there is no account {id} for {server}"), see))
        }
        (None, [one]) => Ok(one.clone()),
        (None, _) => {
            Err(Failure::usage(format!("there are several accounts for {server}: name one with --account"), see))
        }
    }
}

/// Mail addresses as URLs; some are written so already, or several with commas between them.
pub(super) fn mails(addresses: &[String]) -> Vec<String> {
    let all = addresses.iter().flat_map(|addresses| addresses.split(',')).map(str::trim);
    let url = |address: &str| match address.starts_with("mailto:") {
        true => address.to_owned(),
        false => format!("mailto:{address}"),
    };
    all.filter(|address| !address.is_empty()).map(url).collect()
}
