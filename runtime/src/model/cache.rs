//! Keys and values of the tokens seen so far.
//!
//! A cache is a chain of frozen segments, shared between sequences that begin alike, and a tail of
//! its own. Cloning shares the segments; cutting back keeps a segment but uses fewer of its rows.

use std::sync::Arc;

use half::f16;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};

/// Chains longer than this are copied into one segment, so that attention has few pieces to visit.
const MAX_CHAIN: usize = 6;

/// Numbers of one head's keys or values, `[len, head_dim]`.
#[derive(Debug, Clone)]
enum Lane {
    /// Four bytes each, for models whose weights have as many.
    Full(Vec<f32>),
    /// Bits of f16: half the memory that attention reads.
    Half(Vec<u16>),
}

/// A view of a part of a lane.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Numbers<'a> {
    /// Single precision.
    Full(&'a [f32]),
    /// Bits of f16.
    Half(&'a [u16]),
}

impl Lane {
    fn empty(half: bool) -> Self {
        if half { Self::Half(Vec::new()) } else { Self::Full(Vec::new()) }
    }

    fn push(&mut self, row: &[f32]) {
        match self {
            Self::Full(numbers) => numbers.extend_from_slice(row),
            Self::Half(bits) => {
                let start = bits.len();
                bits.resize(start + row.len(), 0);
                bits[start..].reinterpret_cast_mut::<f16>().convert_from_f32_slice(row);
            }
        }
    }

    fn extend(&mut self, from: &Self, len: usize) {
        match (self, from) {
            (Self::Full(to), Self::Full(from)) => to.extend_from_slice(&from[..len]),
            (Self::Half(to), Self::Half(from)) => to.extend_from_slice(&from[..len]),
            // Lanes of one model are all alike.
            _ => {}
        }
    }

    fn truncate(&mut self, len: usize) {
        match self {
            Self::Full(numbers) => numbers.truncate(len),
            Self::Half(bits) => bits.truncate(len),
        }
    }

    fn reserve(&mut self, more: usize) {
        match self {
            Self::Full(numbers) => numbers.reserve(more),
            Self::Half(bits) => bits.reserve(more),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Full(numbers) => numbers.len(),
            Self::Half(bits) => bits.len(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Full(numbers) => numbers.capacity() * size_of::<f32>(),
            Self::Half(bits) => bits.capacity() * size_of::<u16>(),
        }
    }

    fn view(&self, len: usize) -> Numbers<'_> {
        match self {
            Self::Full(numbers) => Numbers::Full(&numbers[..len]),
            Self::Half(bits) => Numbers::Half(&bits[..len]),
        }
    }
}

/// Keys and values of consecutive tokens; entry `layer * kv_heads + head` is `[len, head_dim]`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    keys: Vec<Lane>,
    values: Vec<Lane>,
    len: usize,
}

impl Segment {
    fn empty(lanes: usize, half: bool) -> Self {
        Self {
            keys: vec![Lane::empty(half); lanes],
            values: vec![Lane::empty(half); lanes],
            len: 0,
        }
    }

    /// Memory of the numbers held.
    pub(crate) fn bytes(&self) -> usize {
        self.keys.iter().chain(&self.values).map(Lane::bytes).sum()
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
    half: bool,
}

impl KvCache {
    /// An empty cache, which keeps bits of f16 where `half` says so.
    pub(crate) fn new(layers: usize, kv_heads: usize, head_dim: usize, half: bool) -> Self {
        let lanes = layers * kv_heads;
        let tail = Segment::empty(lanes, half);
        Self { frozen: Vec::new(), tail, kv_heads, head_dim, lanes, half }
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
            let tail = std::mem::replace(&mut self.tail, Segment::empty(self.lanes, self.half));
            let len = tail.len;
            self.frozen.push((Arc::new(tail), len));
        }
        if self.frozen.len() > MAX_CHAIN {
            self.merge();
        }
    }

    /// Copies what is used of segments of which less than half is used, so that a short common beginning does
    /// not keep a long one in memory.
    pub(crate) fn compact(&mut self) {
        for (segment, used) in &mut self.frozen {
            if *used * 2 < segment.len {
                let mut own = Segment::empty(self.lanes, self.half);
                let len = *used * self.head_dim;
                for (to, from) in own.keys.iter_mut().zip(&segment.keys) {
                    to.extend(from, len);
                }
                for (to, from) in own.values.iter_mut().zip(&segment.values) {
                    to.extend(from, len);
                }
                own.len = *used;
                *segment = Arc::new(own);
            }
        }
    }

    fn merge(&mut self) {
        let mut whole = Segment::empty(self.lanes, self.half);
        for lane in 0..self.lanes {
            for (segment, used) in &self.frozen {
                let len = used * self.head_dim;
                whole.keys[lane].extend(&segment.keys[lane], len);
                whole.values[lane].extend(&segment.values[lane], len);
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
        self.tail.keys[lane].push(key);
        self.tail.values[lane].push(value);
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
    ) -> impl Iterator<Item = (Numbers<'_>, Numbers<'_>, usize)> {
        let lane = layer * self.kv_heads + head;
        let width = self.head_dim;
        let own = self.tail.keys[lane].len() / width;
        let tail = (&self.tail, own);
        let frozen = self.frozen.iter().map(|(segment, used)| (&**segment, *used));
        frozen.chain(std::iter::once(tail)).filter(|(_, len)| *len > 0).map(
            move |(segment, len)| {
                let (keys, values) = (&segment.keys[lane], &segment.values[lane]);
                (keys.view(len * width), values.view(len * width), len)
            },
        )
    }

    /// Whether keys and values are bits of f16.
    pub(crate) fn is_half(&self) -> bool {
        self.half
    }
}
