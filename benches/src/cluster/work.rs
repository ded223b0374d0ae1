//! What is asked of a cluster: how many submissions wait for their acknowledgement at once.

use serde::Serialize;

/// Lines of a request of many, and the window of a connection that works like one.
pub(crate) const BULK_LINES: usize = 500;

/// One setting of the clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Work {
    /// So many clients, each with one submission under way.
    Waiting(usize),
    /// So many connections, each with 500 under way.
    Bulk(usize),
}

/// Connections, and how many submissions each may have under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) connections: usize,
    pub(crate) window: usize,
}

impl Work {
    /// Each submission on a connection of its own; bulk as it is.
    pub(crate) fn one_a_connection(self) -> Shape {
        match self {
            Self::Waiting(count) => Shape {
                connections: count,
                window: 1,
            },
            Self::Bulk(connections) => Shape {
                connections,
                window: BULK_LINES,
            },
        }
    }

    /// The same number under way, shared over so many connections at most.
    pub(crate) fn shared(self, connections_max: usize) -> Shape {
        let shape = self.one_a_connection();
        let all = shape.connections * shape.window;
        let connections = all.min(connections_max);
        Shape {
            connections,
            window: all.div_ceil(connections.max(1)),
        }
    }

    pub(crate) fn words(self) -> String {
        match self {
            Self::Waiting(1) => "1 waiting".to_owned(),
            Self::Waiting(count) => format!("{count} waiting"),
            Self::Bulk(connections) => {
                format!("bulk: {connections} connections, {BULK_LINES} submissions under way each")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sharing_keeps_what_is_under_way() {
        let shared = |work: Work| {
            let shape = work.shared(8);
            (shape.connections, shape.window)
        };
        assert_eq!((1, 1), shared(Work::Waiting(1)));
        assert_eq!((8, 8), shared(Work::Waiting(64)));
        assert_eq!((8, 125), shared(Work::Waiting(1000)));
        assert_eq!((8, 500), shared(Work::Bulk(8)));
        assert_eq!((8, 125), shared(Work::Bulk(2)));
    }
}
