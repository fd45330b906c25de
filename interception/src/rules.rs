//! The rule set, as data.

use std::borrow::Cow;

use nftables::{
    expr::{BinaryOperation, Expression, Meta, MetaKey, NamedExpression, Payload, PayloadField},
    schema::{Chain, NfCmd, NfListObject, NfObject, Nftables, Rule},
    stmt::{Counter, Match, NAT, Operator, Statement, TProxy},
    types::{NfChainPolicy, NfChainType, NfFamily, NfHook},
};

/// What is to be led where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The live port that visitors connect to.
    pub port: u16,
    /// The port of our listener, on every address of both families.
    pub listener_port: u16,
    /// How; `None` takes TPROXY, and NAT where the kernel has no TPROXY.
    pub method: Option<Method>,
}

/// How packets are led to the listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// The destination stays what it was; the listener must be transparent (`IP_TRANSPARENT`).
    Tproxy,
    /// The destination is rewritten; the listener asks for the original one (`SO_ORIGINAL_DST`).
    Redirect,
}

impl std::fmt::Display for Method {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Tproxy => "tproxy",
            Self::Redirect => "redirect",
        })
    }
}

/// The name of our table, in the family `inet`.
pub(crate) const TABLE: &str = "lockgate";
/// The mark of our own probes, whose packets would otherwise not pass the gate: "lock" in ASCII.
pub(crate) const PROBE_MARK: u32 = 0x6c6f_636b;

/// Creates the table; fails when there is one. A native line: nft 1.0.6 ignores the flag in JSON.
pub(crate) fn create_table() -> String {
    format!("create table inet {TABLE} {{ flags owner; }}")
}

/// Takes every rule out of the table, which stays.
pub(crate) fn flush(method: Method) -> Vec<String> {
    chains(method).into_iter().map(|chain| format!("flush chain inet {TABLE} {}", chain.name)).collect()
}

/// Takes the chains away again, after the kernel refused the rules.
pub(crate) fn delete_chains(method: Method) -> Vec<String> {
    chains(method).into_iter().map(|chain| format!("delete chain inet {TABLE} {}", chain.name)).collect()
}

pub(crate) fn delete_table() -> String {
    format!("delete table inet {TABLE}")
}

/// Adds chains and rules, in one transaction.
pub(crate) fn document(plan: &Plan, method: Method) -> Nftables<'static> {
    let chains = chains(method).into_iter().map(NfListObject::Chain);
    let rules = rules(plan, method).into_iter().map(NfListObject::Rule);
    let add = |object| NfObject::CmdObject(NfCmd::Add(object));
    Nftables { objects: chains.chain(rules).map(add).collect::<Vec<_>>().into() }
}

fn chains(method: Method) -> Vec<Chain<'static>> {
    let chain = |name: &'static str, kind, hook, prio| Chain {
        family: NfFamily::INet,
        table: TABLE.into(),
        name: name.into(),
        _type: Some(kind),
        hook: Some(hook),
        prio: Some(prio),
        policy: Some(NfChainPolicy::Accept),
        ..Chain::default()
    };
    match method {
        Method::Tproxy => vec![chain("prerouting", NfChainType::Filter, NfHook::Prerouting, MANGLE)],
        Method::Redirect => vec![
            chain("prerouting", NfChainType::NAT, NfHook::Prerouting, BEFORE_DSTNAT),
            chain("output", NfChainType::NAT, NfHook::Output, BEFORE_DSTNAT),
        ],
    }
}

/// How many rules a method has.
pub(crate) fn number_of_rules(method: Method) -> usize {
    let plan = Plan { port: 1, listener_port: 2, method: None };
    rules(&plan, method).len()
}

fn rules(plan: &Plan, method: Method) -> Vec<Rule<'static>> {
    let rule = |chain: &'static str, comment: &'static str, from: Vec<Statement<'static>>, family: Option<Family>| {
        let mut expr = from;
        expr.extend(family.map(|family| meta(MetaKey::Nfproto, Operator::EQ, text(family.nfproto()))));
        expr.extend([tcp("dport", Expression::Number(plan.port.into())), opening(), Statement::Counter(Counter::Anonymous(None))]);
        expr.push(match family {
            Some(family) => Statement::TProxy(TProxy { family: Some(family.tproxy().into()), port: plan.listener_port, addr: None }),
            None => Statement::Redirect(Some(NAT {
                addr: None,
                family: None,
                port: Some(Expression::Number(plan.listener_port.into())),
                flags: None,
            })),
        });
        Rule {
            family: NfFamily::INet,
            table: TABLE.into(),
            chain: chain.into(),
            expr: expr.into(),
            comment: Some(comment.into()),
            ..Rule::default()
        }
    };
    let visitor = || vec![meta(MetaKey::Iifname, Operator::NEQ, text("lo"))];
    let marked = || meta(MetaKey::Mark, Operator::EQ, Expression::Number(PROBE_MARK));
    match method {
        Method::Tproxy => [Family::V4, Family::V6]
            .into_iter()
            .flat_map(|family| {
                let probe = vec![meta(MetaKey::Iifname, Operator::EQ, text("lo")), marked()];
                [
                    rule("prerouting", VISITOR, visitor(), Some(family)),
                    rule("prerouting", PROBE, probe, Some(family)),
                ]
            })
            .collect(),
        // A redirect works for both families at once.
        Method::Redirect => {
            vec![rule("prerouting", VISITOR, visitor(), None), rule("output", PROBE, vec![marked()], None)]
        }
    }
}

#[derive(Clone, Copy)]
enum Family {
    V4,
    V6,
}

impl Family {
    const fn nfproto(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    const fn tproxy(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

fn text(text: &'static str) -> Expression<'static> {
    Expression::String(text.into())
}

fn meta(key: MetaKey, op: Operator, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left: Expression::Named(NamedExpression::Meta(Meta { key })), op, right })
}

fn field(name: &'static str) -> Expression<'static> {
    let field = PayloadField { protocol: "tcp".into(), field: Cow::Borrowed(name) };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

fn tcp(name: &'static str, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left: field(name), op: Operator::EQ, right })
}

/// SYN without ACK, RST or FIN. Established connections are never matched, also not by a NAT chain that sees them for the
/// first time: where nothing used connection tracking before, the kernel takes them for new ones.
fn opening() -> Statement<'static> {
    let flags = Expression::List(["fin", "syn", "rst", "ack"].map(text).to_vec());
    let masked = BinaryOperation::AND(field("flags"), flags);
    Statement::Match(Match {
        left: Expression::BinaryOperation(Box::new(masked)),
        op: Operator::EQ,
        right: text("syn"),
    })
}

pub(crate) const VISITOR: &str = "visitor";
pub(crate) const PROBE: &str = "probe";
/// nft(8): the priority called `mangle`.
const MANGLE: i32 = -150;
/// Before `dstnat` (-100), so that ports which Docker publishes are led to us first.
const BEFORE_DSTNAT: i32 = -110;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_matches_opening_packets_of_the_port_only() {
        let plan = Plan { port: 80, listener_port: 9999, method: None };
        for (method, expected) in [(Method::Tproxy, 4), (Method::Redirect, 2)] {
            let text = serde_json::to_string(&document(&plan, method)).unwrap();
            assert_eq!(text.matches(r#""right":"syn""#).count(), expected, "{text}");
            assert_eq!(text.matches(r#""field":"dport"}},"right":80"#).count(), expected, "{text}");
            assert_eq!(text.matches("9999").count(), expected, "{text}");
            assert!(text.contains(r#"{"&":[{"payload":{"protocol":"tcp","field":"flags"}},["fin","syn","rst","ack"]]}"#), "{text}");
        }
    }

    #[test]
    fn local_traffic_passes_by_unless_it_is_a_probe() {
        let plan = Plan { port: 80, listener_port: 9999, method: None };
        for rule in [Method::Tproxy, Method::Redirect].into_iter().flat_map(|method| rules(&plan, method)) {
            let text = serde_json::to_string(&rule).unwrap();
            let spares_lo = text.contains(r#""op":"!=""#);
            assert_ne!(spares_lo, text.contains(r#""key":"mark""#), "{text}");
        }
    }
}
