//! The rule set of the gate, as data: what is asked of the kernel, and what a listing says is there.
//!
//! Nothing here talks to the kernel. [`RuleSet`] makes the commands, [`Shape`] is what both the commands and the
//! kernel's listing are reduced to before they are compared: newer versions of nft print the same match in other
//! words, so the comparison looks at the chains, and per rule at its name (the comment) and its action.

mod packet;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use nftables::expr::{CT, Expression, MetaKey, NamedExpression};
use nftables::schema::{Chain, FlushObject, NfCmd, NfListObject, NfObject, Nftables, Rule, Table};
use nftables::stmt::{AnonymousCounter, Counter, NAT, Operator, Statement, TProxy};
use nftables::types::{NfChainPolicy, NfChainType, NfFamily, NfHook};

use self::packet::{matches, meta, opening_packet, tcp, text, to_this_host};

/// The name of the gate's nftables table (family `inet`).
pub const TABLE: &str = "lockgate";

/// The firewall mark (`SO_MARK`) that makes a connection of this host to itself pass the gate.
///
/// The bits avoid those that common software tests for: kube-proxy `0xc000`, Cilium `0x0f00`, Tailscale `0x00ff0000`,
/// Calico `0xffff0000`.
pub const PROBE_MARK: u32 = 0x304c;

/// How connections are led to the listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// The `tproxy` statement: the packets are not changed, connection tracking is not involved.
    Tproxy,
    /// The `redirect` statement (NAT): the destination is rewritten; the listener asks for the original one.
    Redirect,
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tproxy => "TPROXY",
            Self::Redirect => "NAT redirect",
        })
    }
}

/// Whose connections a rule counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// Connections from outside this host.
    Visitor,
    /// Connections of this host to itself that carry [`PROBE_MARK`].
    Probe,
}

/// The internet protocol a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    /// IPv4
    V4,
    /// IPv6
    V6,
}

/// What one rule of the gate has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleCount {
    /// Whose connections.
    pub traffic: Traffic,
    /// Over which protocol.
    pub protocol: Protocol,
    /// Opening packets (SYN, retransmitted ones included) that the rule led to the listener.
    pub packets: u64,
}

/// Everything that determines the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RuleSet {
    pub(crate) method: Method,
    pub(crate) port: u16,
    pub(crate) listener_port: u16,
}

/// What a set of commands asks for, or what a listing shows: comparable.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Chain name to type, hook and priority.
    chains: BTreeMap<String, String>,
    /// Chain, comment and action of each rule.
    rules: BTreeSet<(String, String, String)>,
}

impl RuleSet {
    /// The line that makes the table ours: `create`, so that an existing table is an error, and in nft's native
    /// language, because nft 1.0.6 silently ignores the flag in JSON.
    pub(crate) fn create_table() -> String {
        format!("create table inet {TABLE} {{ flags owner; }}")
    }

    /// The line that deletes the table.
    pub(crate) fn delete_table() -> String {
        format!("delete table inet {TABLE}")
    }

    /// Adds the chains and the rules: one document is one transaction, so the kernel takes all of it or nothing.
    pub(crate) fn fill(&self) -> Nftables<'static> {
        let mut objects: Vec<NfListObject<'static>> =
            self.chains().into_iter().map(|chain| NfListObject::Chain(chain.declaration(self.method))).collect();
        for chain in self.chains() {
            for &(traffic, protocol) in chain.rules {
                objects.push(NfListObject::Rule(self.rule(chain.name, traffic, protocol)));
            }
        }
        if self.method == Method::Redirect {
            objects.extend(keep_tracking());
        }
        commands(objects.into_iter().map(NfCmd::Add))
    }

    /// Removes the rules that lead connections to the listener. The chains stay, and with NAT one rule
    /// ([`keep_tracking`]), or the kernel would stop translating what came through.
    pub(crate) fn flush(&self) -> Nftables<'static> {
        let chains = self.chains();
        commands(chains.iter().map(|chain| NfCmd::Flush(FlushObject::Chain(chain.named()))))
    }

    /// What a listing shows after [`fill`](Self::fill).
    pub(crate) fn filled(&self) -> Shape {
        Shape::of(&self.fill())
    }

    /// What a listing shows after [`flush`](Self::flush).
    pub(crate) fn flushed(&self) -> Shape {
        let Shape { chains, rules } = self.filled();
        Shape { chains, rules: rules.into_iter().filter(|(chain, ..)| chain == TRACKING).collect() }
    }

    fn chains(&self) -> Vec<BaseChain> {
        let visitors: &[_] = &[(Traffic::Visitor, Protocol::V4), (Traffic::Visitor, Protocol::V6)];
        let probes: &[_] = &[(Traffic::Probe, Protocol::V4), (Traffic::Probe, Protocol::V6)];
        match self.method {
            Method::Tproxy => vec![BaseChain { name: "prerouting", hook: NfHook::Prerouting, rules: ALL_RULES }],
            // NAT decides a connection of this host on its way out: on `lo` it is too late.
            Method::Redirect => vec![
                BaseChain { name: "prerouting", hook: NfHook::Prerouting, rules: visitors },
                BaseChain { name: "output", hook: NfHook::Output, rules: probes },
            ],
        }
    }

    fn rule(&self, chain: &'static str, traffic: Traffic, protocol: Protocol) -> Rule<'static> {
        let mut expr = self.origin(traffic);
        expr.push(matches(meta(MetaKey::Nfproto), Operator::EQ, text(protocol.nfproto())));
        expr.push(matches(tcp("dport"), Operator::EQ, Expression::Number(u32::from(self.port))));
        expr.push(opening_packet());
        expr.push(to_this_host());
        expr.push(Statement::Counter(Counter::Anonymous(Some(AnonymousCounter { packets: None, bytes: None }))));
        expr.push(match self.method {
            Method::Tproxy => Statement::TProxy(TProxy {
                family: Some(protocol.family().into()),
                port: self.listener_port,
                addr: None,
            }),
            Method::Redirect => Statement::Redirect(Some(NAT {
                addr: None,
                family: None,
                port: Some(Expression::Number(u32::from(self.listener_port))),
                flags: None,
            })),
        });
        rule(chain, expr, comment(traffic, protocol))
    }

    /// The matches that tell visitors and the probe apart.
    fn origin(&self, traffic: Traffic) -> Vec<Statement<'static>> {
        let mark = || matches(meta(MetaKey::Mark), Operator::EQ, Expression::Number(PROBE_MARK));
        match (traffic, self.method) {
            (Traffic::Visitor, _) => vec![matches(meta(MetaKey::Iifname), Operator::NEQ, text("lo"))],
            (Traffic::Probe, Method::Tproxy) => vec![matches(meta(MetaKey::Iifname), Operator::EQ, text("lo")), mark()],
            (Traffic::Probe, Method::Redirect) => vec![mark()],
        }
    }
}

impl Shape {
    /// Reduces commands or a listing to what can be compared.
    pub(crate) fn of(document: &Nftables<'_>) -> Self {
        let mut shape = Self::default();
        for object in document.objects.iter() {
            match object {
                NfObject::ListObject(NfListObject::Chain(chain))
                | NfObject::CmdObject(NfCmd::Add(NfListObject::Chain(chain))) => {
                    let hook = format!("{:?} {:?} {:?}", chain._type, chain.hook, chain.prio);
                    shape.chains.insert(chain.name.to_string(), hook);
                }
                NfObject::ListObject(NfListObject::Rule(rule))
                | NfObject::CmdObject(NfCmd::Add(NfListObject::Rule(rule))) => {
                    let comment = rule.comment.as_deref().unwrap_or_default().to_owned();
                    shape.rules.insert((rule.chain.to_string(), comment, action(&rule.expr)));
                }
                _ => {}
            }
        }
        shape
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} chains, rules:", self.chains.len())?;
        if self.rules.is_empty() {
            f.write_str(" none")?;
        }
        for (chain, comment, action) in &self.rules {
            write!(f, " [{chain}: {comment} {action}]")?;
        }
        Ok(())
    }
}

impl Protocol {
    fn nfproto(self) -> &'static str {
        match self {
            Self::V4 => "ipv4",
            Self::V6 => "ipv6",
        }
    }

    fn family(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

impl fmt::Display for RuleCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", comment(self.traffic, self.protocol), self.packets)
    }
}

/// A chain that hooks into the packet path, and the rules it holds.
struct BaseChain {
    name: &'static str,
    hook: NfHook,
    rules: &'static [(Traffic, Protocol)],
}

impl BaseChain {
    fn named(&self) -> Chain<'static> {
        Chain { family: NfFamily::INet, table: TABLE.into(), name: self.name.into(), ..Chain::default() }
    }

    fn declaration(&self, method: Method) -> Chain<'static> {
        let (kind, priority) = match method {
            Method::Tproxy => (NfChainType::Filter, PRIORITY_MANGLE),
            Method::Redirect => (NfChainType::NAT, PRIORITY_BEFORE_DSTNAT),
        };
        Chain {
            _type: Some(kind),
            hook: Some(self.hook),
            prio: Some(priority),
            policy: Some(NfChainPolicy::Accept),
            ..self.named()
        }
    }
}

/// A chain that no packet visits, with a rule that looks at connection tracking.
///
/// The kernel runs connection tracking in a namespace only while some rule there needs it, and a NAT chain alone does
/// not: when the last `redirect` rule goes, packets of the connections it led are no longer recognised, pass
/// untranslated and are answered with a reset, though the NAT chains still stand.
fn keep_tracking() -> [NfListObject<'static>; 2] {
    let chain = Chain { family: NfFamily::INet, table: TABLE.into(), name: TRACKING.into(), ..Chain::default() };
    let state = Expression::Named(NamedExpression::CT(CT { key: "state".into(), family: None, dir: None }));
    let expr = vec![matches(state, Operator::IN, text("new"))];
    [
        NfListObject::Chain(chain),
        NfListObject::Rule(rule(TRACKING, expr, "keeps connection tracking until the drain is over")),
    ]
}

fn rule(chain: &'static str, expr: Vec<Statement<'static>>, comment: &'static str) -> Rule<'static> {
    Rule {
        family: NfFamily::INet,
        table: TABLE.into(),
        chain: chain.into(),
        expr: Cow::Owned(expr),
        comment: Some(comment.into()),
        ..Rule::default()
    }
}

/// What the rules of a listing have counted.
pub(crate) fn counts(listing: &Nftables<'_>) -> Vec<RuleCount> {
    let rules = listing.objects.iter().filter_map(|object| match object {
        NfObject::ListObject(NfListObject::Rule(rule)) => Some(rule),
        _ => None,
    });
    rules
        .filter_map(|rule| {
            let &(traffic, protocol) = ALL_RULES
                .iter()
                .find(|(traffic, protocol)| rule.comment == Some(comment(*traffic, *protocol).into()))?;
            Some(RuleCount { traffic, protocol, packets: packets(&rule.expr) })
        })
        .collect()
}

/// Whether a listing of all tables holds ours.
pub(crate) fn holds_table(listing: &Nftables<'_>) -> bool {
    listing.objects.iter().any(|object| {
        matches!(object, NfObject::ListObject(NfListObject::Table(Table { family: NfFamily::INet, name, .. })) if name == TABLE)
    })
}

fn packets(expr: &[Statement<'_>]) -> u64 {
    let counted = expr.iter().find_map(|statement| match statement {
        Statement::Counter(Counter::Anonymous(Some(counter))) => counter.packets,
        _ => None,
    });
    counted.map_or(0, |packets| u64::try_from(packets).unwrap_or(u64::MAX))
}

fn action(expr: &[Statement<'_>]) -> String {
    let action = expr.iter().find_map(|statement| match statement {
        Statement::TProxy(tproxy) => {
            Some(format!("tproxy {} to :{}", tproxy.family.as_deref().unwrap_or_default(), tproxy.port))
        }
        Statement::Redirect(Some(NAT { port: Some(Expression::Number(port)), .. })) => {
            Some(format!("redirect to :{port}"))
        }
        _ => None,
    });
    action.unwrap_or_else(|| "without action".to_owned())
}

fn comment(traffic: Traffic, protocol: Protocol) -> &'static str {
    match (traffic, protocol) {
        (Traffic::Visitor, Protocol::V4) => "visitor ipv4",
        (Traffic::Visitor, Protocol::V6) => "visitor ipv6",
        (Traffic::Probe, Protocol::V4) => "probe ipv4",
        (Traffic::Probe, Protocol::V6) => "probe ipv6",
    }
}

fn commands(commands: impl Iterator<Item = NfCmd<'static>>) -> Nftables<'static> {
    Nftables { objects: commands.map(NfObject::CmdObject).collect() }
}

const ALL_RULES: &[(Traffic, Protocol)] = &[
    (Traffic::Visitor, Protocol::V4),
    (Traffic::Visitor, Protocol::V6),
    (Traffic::Probe, Protocol::V4),
    (Traffic::Probe, Protocol::V6),
];

const TRACKING: &str = "tracking";

/// nft's `mangle`: before destination NAT and before any host firewall's filter chains.
const PRIORITY_MANGLE: i32 = -150;

/// Just before nft's `dstnat` (-100), where container engines publish ports.
const PRIORITY_BEFORE_DSTNAT: i32 = -110;

#[cfg(test)]
mod tests {
    use super::*;

    fn set(method: Method) -> RuleSet {
        RuleSet { method, port: 80, listener_port: 9999 }
    }

    fn json(document: &Nftables<'_>) -> String {
        serde_json::to_string(document).unwrap()
    }

    #[test]
    fn tproxy_matches_opening_packets_of_both_protocols_and_the_marked_probe() {
        let text = json(&set(Method::Tproxy).fill());
        assert_eq!(text.matches(r#""right":"syn""#).count(), 4);
        assert_eq!(text.matches(r#"["fin","syn","rst","ack"]"#).count(), 4);
        assert_eq!(text.matches(r#"{"tproxy":{"family":"ip","port":9999}}"#).count(), 2);
        assert_eq!(text.matches(r#"{"tproxy":{"family":"ip6","port":9999}}"#).count(), 2);
        assert_eq!(text.matches(r#""right":12364"#).count(), 2, "the probe's mark");
        assert_eq!(text.matches(r#""op":"!=""#).count(), 2, "visitors do not come from lo");
        assert_eq!(text.matches(r#"{"fib":{"result":"type","flags":["daddr"]}},"right":"local""#).count(), 4);
        assert!(text.contains(r#""prio":-150"#) && !text.contains('\n'));
    }

    #[test]
    fn redirect_has_the_probe_in_an_output_chain_before_the_container_engines() {
        let shape = set(Method::Redirect).filled();
        assert_eq!(shape.chains["output"], "Some(NAT) Some(Output) Some(-110)");
        assert_eq!(shape.chains["prerouting"], "Some(NAT) Some(Prerouting) Some(-110)");
        assert!(shape.rules.contains(&("output".into(), "probe ipv6".into(), "redirect to :9999".into())));
        assert_eq!(shape.rules.len(), 5);
    }

    #[test]
    fn flushing_keeps_the_chains() {
        for method in [Method::Tproxy, Method::Redirect] {
            let set = set(method);
            assert_eq!(set.flushed().chains, set.filled().chains);
            let kept = usize::from(method == Method::Redirect);
            assert_eq!(set.flushed().rules.len(), kept, "what translation needs during the drain");
            assert!(json(&set.flush()).contains(r#"{"flush":{"chain":{"family":"inet","table":"lockgate""#));
        }
    }

    #[test]
    fn another_port_is_another_shape() {
        let other = RuleSet { listener_port: 9998, ..set(Method::Tproxy) };
        assert_ne!(other.filled(), set(Method::Tproxy).filled());
    }

    #[test]
    fn counters_are_read_by_the_name_of_the_rule() {
        let listing = r#"{"nftables":[{"metainfo":{"version":"1.0.6"}},
            {"table":{"family":"inet","name":"lockgate","handle":1,"flags":"lockgate"}},
            {"rule":{"family":"inet","table":"lockgate","chain":"prerouting","handle":2,"comment":"probe ipv6",
                "expr":[{"counter":{"packets":7,"bytes":420}},{"tproxy":{"family":"ip6","port":9999}}]}},
            {"rule":{"family":"inet","table":"lockgate","chain":"x","handle":3,"comment":"foreign","expr":[]}}]}"#;
        let listing: Nftables<'_> = serde_json::from_str(listing).unwrap();
        let expected = RuleCount { traffic: Traffic::Probe, protocol: Protocol::V6, packets: 7 };
        assert_eq!(counts(&listing), [expected]);
        assert_eq!(expected.to_string(), "probe ipv6 7");
        assert!(holds_table(&listing));
    }
}
