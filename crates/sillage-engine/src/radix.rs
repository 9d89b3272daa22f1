//! A tree of token sequences that share their beginnings.
//!
//! Each edge carries a run of tokens, each node may carry a value. It answers
//! two questions of a prompt: which is its deepest ancestor with a value, and
//! where does it part from everything seen before.

use std::collections::HashMap;

type NodeId = usize;
const ROOT: NodeId = 0;

#[derive(Debug)]
struct Node<V> {
    parent: NodeId,
    /// Tokens from the parent to here; empty only at the root.
    edge: Vec<u32>,
    children: HashMap<u32, NodeId>,
    value: Option<V>,
    /// Tokens from the root to here.
    depth: usize,
}

/// Values at the ends of token sequences, with shared beginnings stored once.
#[derive(Debug)]
pub(crate) struct Radix<V> {
    nodes: Vec<Node<V>>,
    free: Vec<NodeId>,
}

impl<V> Default for Radix<V> {
    fn default() -> Self {
        let root = Node {
            parent: ROOT,
            edge: Vec::new(),
            children: HashMap::new(),
            value: None,
            depth: 0,
        };
        Self {
            nodes: vec![root],
            free: Vec::new(),
        }
    }
}

impl<V> Radix<V> {
    /// The tokens held by all edges.
    #[cfg(test)]
    fn tokens(&self) -> usize {
        self.nodes.iter().map(|n| n.edge.len()).sum()
    }

    /// How many first tokens of `tokens` the tree knows.
    pub(crate) fn shared(&self, tokens: &[u32]) -> usize {
        self.walk(tokens).1
    }

    /// The values on the way of `tokens`, deepest first, each with its depth.
    pub(crate) fn ancestors(&self, tokens: &[u32]) -> Vec<(usize, &V)> {
        let (mut node, shared) = self.walk(tokens);
        let mut found = Vec::new();
        loop {
            let here = &self.nodes[node];
            if here.depth <= shared
                && let Some(value) = &here.value
            {
                found.push((here.depth, value));
            }
            if node == ROOT {
                return found;
            }
            node = here.parent;
        }
    }

    /// Puts `value` at the end of `tokens` and returns what was there.
    pub(crate) fn insert(&mut self, tokens: &[u32], value: V) -> Option<V> {
        let node = self.node_at(tokens);
        self.nodes[node].value.replace(value)
    }

    /// Takes the value at the end of `tokens` out, with the branch that only it
    /// kept alive.
    pub(crate) fn remove(&mut self, tokens: &[u32]) -> Option<V> {
        let (mut node, shared) = self.walk(tokens);
        if shared < tokens.len() || self.nodes[node].depth != shared {
            return None;
        }
        let value = self.nodes[node].value.take();
        while node != ROOT
            && self.nodes[node].value.is_none()
            && self.nodes[node].children.is_empty()
        {
            let parent = self.nodes[node].parent;
            let first = self.nodes[node].edge[0];
            self.nodes[parent].children.remove(&first);
            self.nodes[node].edge = Vec::new();
            self.free.push(node);
            node = parent;
        }
        value
    }

    /// The last node reached (perhaps beyond `shared`, when the walk ends within
    /// its edge) and how many tokens matched.
    fn walk(&self, tokens: &[u32]) -> (NodeId, usize) {
        let (mut node, mut at) = (ROOT, 0);
        while let Some(&child) = tokens
            .get(at)
            .and_then(|t| self.nodes[node].children.get(t))
        {
            let edge = &self.nodes[child].edge;
            let same = edge
                .iter()
                .zip(&tokens[at..])
                .take_while(|(a, b)| a == b)
                .count();
            at += same;
            node = child;
            if same < edge.len() {
                break;
            }
        }
        (node, at)
    }

    /// The node at the end of `tokens`, made if need be.
    fn node_at(&mut self, tokens: &[u32]) -> NodeId {
        let (node, shared) = self.walk(tokens);
        let node = if self.nodes[node].depth > shared {
            self.split(node, shared)
        } else {
            node
        };
        if shared == tokens.len() {
            return node;
        }
        self.attach(Node {
            parent: node,
            edge: tokens[shared..].to_vec(),
            children: HashMap::new(),
            value: None,
            depth: tokens.len(),
        })
    }

    /// Cuts the edge into `node` at absolute depth `depth`; the new upper node.
    fn split(&mut self, node: NodeId, depth: usize) -> NodeId {
        let parent = self.nodes[node].parent;
        let keep = depth - self.nodes[parent].depth;
        let rest = self.nodes[node].edge.split_off(keep);
        let edge = std::mem::replace(&mut self.nodes[node].edge, rest);
        let upper = self.attach(Node {
            parent,
            edge,
            children: HashMap::new(),
            value: None,
            depth,
        });
        self.nodes[node].parent = upper;
        let first = self.nodes[node].edge[0];
        self.nodes[upper].children.insert(first, node);
        upper
    }

    /// Adds a node and its parent's link to it (replacing a link it splits).
    fn attach(&mut self, node: Node<V>) -> NodeId {
        let (parent, first) = (node.parent, node.edge[0]);
        let id = match self.free.pop() {
            Some(id) => {
                self.nodes[id] = node;
                id
            }
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        };
        self.nodes[parent].children.insert(first, id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn prompts_share_and_part() {
        let mut tree = Radix::default();
        tree.insert(&[1, 2, 3, 4], "a");
        assert_eq!(tree.shared(&[1, 2, 9]), 2);
        assert_eq!(tree.insert(&[1, 2], "b"), None);
        tree.insert(&[1, 2, 9, 9], "c");
        assert_eq!(tree.ancestors(&[1, 2, 9, 9, 5]), [(4, &"c"), (2, &"b")]);
        assert_eq!(tree.ancestors(&[1, 2, 9]), [(2, &"b")]);
        assert_eq!(tree.remove(&[1, 2, 3, 4]), Some("a"));
        assert_eq!(tree.tokens(), 4);
        assert_eq!(tree.remove(&[7]), None);
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_map(
            steps in prop::collection::vec(
                (any::<bool>(), prop::collection::vec(0u32..3, 0..6)), 1..60)
        ) {
            let mut tree = Radix::default();
            let mut map = BTreeMap::new();
            for (i, (insert, tokens)) in steps.into_iter().enumerate() {
                if insert {
                    prop_assert_eq!(tree.insert(&tokens, i), map.insert(tokens, i));
                } else {
                    prop_assert_eq!(tree.remove(&tokens), map.remove(&tokens));
                }
                for probe in map.keys() {
                    let found: Vec<_> =
                        tree.ancestors(probe).into_iter().map(|(d, v)| (d, *v)).collect();
                    let expected: Vec<_> = (0..=probe.len())
                        .rev()
                        .filter_map(|d| map.get(&probe[..d]).map(|v| (d, *v)))
                        .collect();
                    prop_assert_eq!(found, expected);
                }
            }
            for tokens in map.keys().cloned().collect::<Vec<_>>() {
                tree.remove(&tokens);
            }
            prop_assert_eq!(tree.tokens(), 0);
        }
    }
}
