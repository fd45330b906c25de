//! Which packets a rule is about, in nftables' words.

use nftables::expr::{
    BinaryOperation, Expression, Fib, FibFlag, FibResult, Meta, MetaKey, NamedExpression, Payload, PayloadField,
};
use nftables::stmt::{Match, Operator, Statement};

/// SYN set; FIN, RST and ACK not: the packet that opens a connection, and no other.
///
/// With NAT this also keeps established connections safe: where nothing used connection tracking before, the first
/// NAT chain makes the kernel see them as new in mid-stream, and a rule without this match would redirect them.
pub(super) fn opening_packet() -> Statement<'static> {
    let bits = Expression::List(["fin", "syn", "rst", "ack"].map(text).to_vec());
    let masked = Expression::BinaryOperation(Box::new(BinaryOperation::AND(tcp("flags"), bits)));
    matches(masked, Operator::EQ, text("syn"))
}

/// The destination is an address of this host.
///
/// Prerouting also sees what this host forwards, as for its containers. A redirect would lead that here, and TPROXY
/// would have the kernel drop it, for a packet that has a socket is not forwarded.
pub(super) fn to_this_host() -> Statement<'static> {
    let kind = NamedExpression::Fib(Fib { result: FibResult::Type, flags: [FibFlag::Daddr].into() });
    matches(Expression::Named(kind), Operator::EQ, text("local"))
}

pub(super) fn matches(left: Expression<'static>, op: Operator, right: Expression<'static>) -> Statement<'static> {
    Statement::Match(Match { left, right, op })
}

pub(super) fn meta(key: MetaKey) -> Expression<'static> {
    Expression::Named(NamedExpression::Meta(Meta { key }))
}

pub(super) fn tcp(field: &'static str) -> Expression<'static> {
    let field = PayloadField { protocol: "tcp".into(), field: field.into() };
    Expression::Named(NamedExpression::Payload(Payload::PayloadField(field)))
}

pub(super) fn text(value: &'static str) -> Expression<'static> {
    Expression::String(value.into())
}
