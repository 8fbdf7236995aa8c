//! Keys and values of the tokens seen so far.
//!
//! A cache is a chain of frozen segments, shared between sequences that begin alike, and a tail of
//! its own. Cloning shares the segments; cutting back keeps a segment but uses fewer of its rows.

use std::sync::Arc;

/// Chains longer than this are copied into one segment, so that attention has few pieces to visit.
const MAX_CHAIN: usize = 6;

/// Keys and values of consecutive tokens; entry `layer * kv_heads + head` is `[len, head_dim]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    keys: Vec<Vec<f32>>,
    values: Vec<Vec<f32>>,
    len: usize,
}

impl Segment {
    fn empty(lanes: usize) -> Self {
        Self { keys: vec![Vec::new(); lanes], values: vec![Vec::new(); lanes], len: 0 }
    }

    /// Memory of the numbers held.
    pub(crate) fn bytes(&self) -> usize {
        let count = |lanes: &[Vec<f32>]| lanes.iter().map(Vec::capacity).sum::<usize>();
        (count(&self.keys) + count(&self.values)) * size_of::<f32>()
    }
}

/// The key-value cache of one sequence.
#[derive(Debug, Clone)]
pub struct KvCache {
    /// Shared beginnings and how many of their rows belong to this sequence.
    frozen: Vec<(Arc<Segment>, usize)>,
    tail: Segment,
    kv_heads: usize,
    head_dim: usize,
    lanes: usize,
}

impl KvCache {
    pub(crate) fn new(layers: usize, kv_heads: usize, head_dim: usize) -> Self {
        let lanes = layers * kv_heads;
        Self { frozen: Vec::new(), tail: Segment::empty(lanes), kv_heads, head_dim, lanes }
    }

    /// Tokens held.
    pub fn len(&self) -> usize {
        self.frozen.iter().map(|(_, used)| used).sum::<usize>() + self.tail.len
    }

    /// Whether no token is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all tokens from position `len` on; does nothing if fewer are held.
    pub fn truncate(&mut self, len: usize) {
        let mut left = len;
        let mut keep = 0;
        for (_, used) in &mut self.frozen {
            if left == 0 {
                break;
            }
            *used = left.min(*used);
            left -= *used;
            keep += 1;
        }
        self.frozen.truncate(keep);
        if left < self.tail.len {
            for lane in self.tail.keys.iter_mut().chain(&mut self.tail.values) {
                lane.truncate(left * self.head_dim);
            }
            self.tail.len = left;
        }
    }

    /// Turns the tail into a shared segment, so that clones of this cache share it.
    pub fn freeze(&mut self) {
        if self.tail.len > 0 {
            let tail = std::mem::replace(&mut self.tail, Segment::empty(self.lanes));
            let len = tail.len;
            self.frozen.push((Arc::new(tail), len));
        }
        if self.frozen.len() > MAX_CHAIN {
            self.merge();
        }
    }

    fn merge(&mut self) {
        let mut whole = Segment::empty(self.lanes);
        for lane in 0..self.lanes {
            for (segment, used) in &self.frozen {
                whole.keys[lane].extend_from_slice(&segment.keys[lane][..used * self.head_dim]);
                whole.values[lane].extend_from_slice(&segment.values[lane][..used * self.head_dim]);
            }
        }
        whole.len = self.frozen.iter().map(|(_, used)| used).sum();
        let len = whole.len;
        self.frozen = vec![(Arc::new(whole), len)];
    }

    /// Returns the frozen segments, for counting their memory once.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &Arc<Segment>> {
        self.frozen.iter().map(|(segment, _)| segment)
    }

    /// Makes room for `n` more tokens in every lane at once.
    pub(crate) fn reserve(&mut self, n: usize) {
        let more = n * self.head_dim;
        for lane in self.tail.keys.iter_mut().chain(&mut self.tail.values) {
            lane.reserve(more);
        }
    }

    /// Appends one key and one value row of a head; [`KvCache::advance`] counts them in the end.
    pub(crate) fn push(&mut self, layer: usize, head: usize, key: &[f32], value: &[f32]) {
        let lane = layer * self.kv_heads + head;
        self.tail.keys[lane].extend_from_slice(key);
        self.tail.values[lane].extend_from_slice(value);
    }

    /// Counts `n` tokens whose rows all layers have pushed.
    pub(crate) fn advance(&mut self, n: usize) {
        self.tail.len += n;
    }

    /// Returns keys and values of a head in order: pieces of `([len, head_dim], [len, head_dim], len)`,
    /// rows pushed and not yet counted included.
    pub(crate) fn pieces(
        &self,
        layer: usize,
        head: usize,
    ) -> impl Iterator<Item = (&[f32], &[f32], usize)> {
        let lane = layer * self.kv_heads + head;
        let width = self.head_dim;
        let tail = (&self.tail.keys[lane][..], &self.tail.values[lane][..]);
        self.frozen
            .iter()
            .map(move |(s, used)| {
                (&s.keys[lane][..used * width], &s.values[lane][..used * width], *used)
            })
            .chain(std::iter::once((tail.0, tail.1, tail.0.len() / width)))
            .filter(|(_, _, len)| *len > 0)
    }
}
