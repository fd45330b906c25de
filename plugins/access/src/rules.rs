//! The list of rules: the first that is about a client decides.

use std::net::IpAddr;

use crate::{
    Unresolved,
    clients::{Clients, Name},
};

/// Whom a rule lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Allow,
    Deny,
}

/// Rules in order.
#[derive(Debug)]
pub(crate) struct Rules {
    pub(crate) list: Vec<(Action, Clients)>,
    pub(crate) unresolved: Unresolved,
}

/// What rules say about a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judgement<'r> {
    Final(Action),
    /// It depends on whether the client has the name in the rule of this index.
    Ask {
        index: usize,
        action: Action,
        name: &'r Name,
    },
}

/// Whether a client has a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Yes,
    No,
    /// The name service did not say.
    Unknown,
}

impl Rules {
    /// What the rules from this index on say, as far as addresses tell. In none of them is nobody let in.
    pub(crate) fn judge(&self, from: usize, client: IpAddr) -> Judgement<'_> {
        for (index, (action, clients)) in self.list.iter().enumerate().skip(from) {
            match clients {
                Clients::Network(network) if network.contains(client) => return Judgement::Final(*action),
                Clients::Network(_) => {}
                Clients::Name(name) => return Judgement::Ask { index, action: *action, name },
            }
        }
        Judgement::Final(Action::Deny)
    }

    /// Whether a rule with a name decides, after this answer. Doubt lets nobody in.
    pub(crate) fn decides(&self, action: Action, answer: Answer) -> bool {
        match (answer, action) {
            (Answer::Yes, _) => true,
            (Answer::No, _) | (Answer::Unknown, Action::Allow) => false,
            (Answer::Unknown, Action::Deny) => self.unresolved == Unresolved::Refuse,
        }
    }
}
