//! The clusters, each with its settings and its protocol.
//!
//! Why clients of our own for all: they are one loop over a trait, so that the clients of two peers
//! differ in their protocol and in nothing else, and cost 1 to 3 us a submission where libraries
//! cost more than some of the servers.

mod amqp;
mod etcd;
mod formspool;
mod grpc;
mod http;
mod kafka;
mod kafka_api;
mod nats;
mod rabbitmq;
mod redis;

use super::peer::{Peer, Places};

/// All of them, ours first; `nodes` and `is_spread` are for ours alone.
pub(crate) fn all(places: &Places, nodes: usize, is_spread: bool) -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(formspool::Formspool::new(places, nodes, is_spread)),
        Box::new(nats::Nats::find(places)),
        Box::new(rabbitmq::RabbitMq::find()),
        Box::new(redis::Redis::find()),
        Box::new(etcd::Etcd::find()),
        Box::new(kafka::Kafka::find(places)),
    ]
}
