//! Whether a client has a name, and what the rules make of it.

use std::{net::IpAddr, sync::Arc};

use tokio::time::Instant;

use crate::{
    clients::Name,
    names::{Names, Unanswered},
    rules::{Action, Answer, Judgement, Rules},
};

/// What came of an inquiry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) action: Action,
    /// Whether the name service answered everything that it was asked.
    pub(crate) is_sure: bool,
}

/// Questions about one client. Each is asked once.
pub(crate) struct Inquiry {
    pub(crate) names: Names,
    pub(crate) client: IpAddr,
    pub(crate) deadline: Instant,
    /// The name of the client's address.
    claimed: Option<Result<Option<Arc<str>>, Unanswered>>,
    /// Whether the host of that name has this address.
    confirmed: Option<Result<bool, Unanswered>>,
}

impl Inquiry {
    pub(crate) fn new(names: Names, client: IpAddr, deadline: Instant) -> Self {
        Self { names, client, deadline, claimed: None, confirmed: None }
    }

    /// What the rules say, all of them.
    pub(crate) async fn settle(mut self, rules: &Rules) -> Finding {
        let (mut from, mut is_sure) = (0, true);
        loop {
            match rules.judge(from, self.client) {
                Judgement::Final(action) => return Finding { action, is_sure },
                Judgement::Ask { index, action, name } => {
                    let answer = self.is_called(name, action).await;
                    is_sure &= answer != Answer::Unknown;
                    if rules.decides(action, answer) {
                        return Finding { action, is_sure };
                    }
                    from = index + 1;
                }
            }
        }
    }

    /// Whether the client is the host of this name, or has a name that it covers.
    async fn is_called(&mut self, name: &Name, action: Action) -> Answer {
        let is_host = match name.host() {
            Some(host) => self.has_address(host).await,
            None => Ok(false),
        };
        if is_host == Ok(true) {
            return Answer::Yes;
        }
        match (is_host, self.claims(name, action).await) {
            (_, Ok(true)) => Answer::Yes,
            (Ok(_), Ok(false)) => Answer::No,
            _ => Answer::Unknown,
        }
    }

    /// Whether the name of the client's address is covered. Anybody can give his own address any name: to be let in by it, the
    /// host of that name must have the address too. To be kept out, the claim is enough.
    async fn claims(&mut self, name: &Name, action: Action) -> Result<bool, Unanswered> {
        let Some(host) = self.claimed().await? else { return Ok(false) };
        match action {
            _ if !name.covers(&host) => Ok(false),
            Action::Deny => Ok(true),
            Action::Allow => match self.confirmed {
                Some(known) => known,
                None => {
                    let confirmed = self.has_address(&host).await;
                    *self.confirmed.insert(confirmed)
                }
            },
        }
    }

    async fn claimed(&mut self) -> Result<Option<Arc<str>>, Unanswered> {
        if let Some(known) = &self.claimed {
            return known.clone();
        }
        let client = self.client;
        let found = self.names.ask(self.deadline, move |service| service.name(client)).await;
        self.claimed.insert(found.map(|name| name.map(Arc::from))).clone()
    }

    async fn has_address(&self, host: &str) -> Result<bool, Unanswered> {
        let host = host.to_owned();
        let found = self.names.ask(self.deadline, move |service| service.addresses(&host)).await;
        Ok(found?.contains(&self.client))
    }
}

#[cfg(test)]
mod tests;
