//! Prompts seen before, by their tokens: a new prompt that begins like one of them starts from its
//! keys and values, so a pack's tools and policy are prefilled once and not once a request.
//!
//! Tokens are compared, not hashes: two prompts share a beginning only if it is the same.

use std::collections::HashMap;
use std::sync::Arc;

use crate::model::KvCache;

/// Prompts kept, however small they are: a look-up compares against each.
const MAX_ENTRIES: usize = 128;

struct Entry {
    tokens: Vec<u32>,
    cache: KvCache,
    used: u64,
}

/// Caches of past prompts within a memory limit, the longest unused dropped first.
pub(crate) struct PrefixCache {
    entries: Vec<Entry>,
    clock: u64,
    limit: usize,
}

impl std::fmt::Debug for PrefixCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PrefixCache").field("entries", &self.entries.len()).finish_non_exhaustive()
    }
}

impl PrefixCache {
    /// Returns an empty store that holds at most `limit` bytes of keys and values.
    pub(crate) fn new(limit: usize) -> Self {
        Self { entries: Vec::new(), clock: 0, limit }
    }

    /// Returns the cache of the longest stored beginning of `tokens`, leaving at least the last token
    /// to run, since its hidden state is what decoding starts from.
    pub(crate) fn find(&mut self, tokens: &[u32]) -> Option<KvCache> {
        let most = tokens.len().saturating_sub(1);
        let (len, best) = self
            .entries
            .iter_mut()
            .map(|entry| (common(&entry.tokens, &tokens[..most]), entry))
            .max_by_key(|(len, _)| *len)?;
        if len == 0 {
            return None;
        }
        self.clock += 1;
        best.used = self.clock;
        let mut cache = best.cache.clone();
        cache.truncate(len);
        cache.compact();
        Some(cache)
    }

    /// Keeps a frozen cache under the tokens it holds, and drops what no longer fits.
    pub(crate) fn store(&mut self, tokens: &[u32], cache: KvCache) {
        self.clock += 1;
        // A stored beginning of the new entry says nothing more than the new entry does.
        self.entries.retain(|entry| !tokens.starts_with(&entry.tokens));
        if !self.entries.iter().any(|entry| entry.tokens.starts_with(tokens)) {
            let tokens = tokens.to_vec();
            self.entries.push(Entry { tokens, cache, used: self.clock });
        }
        while self.entries.len() > MAX_ENTRIES || self.bytes() > self.limit {
            let oldest = self.entries.iter().enumerate().min_by_key(|(_, e)| e.used);
            let Some((at, _)) = oldest else { break };
            self.entries.swap_remove(at);
        }
    }

    /// Memory of all keys and values, each shared segment counted once.
    pub(crate) fn bytes(&self) -> usize {
        let segments = self.entries.iter().flat_map(|entry| entry.cache.segments());
        let unique: HashMap<_, _> = segments.map(|s| (Arc::as_ptr(s), s.bytes())).collect();
        unique.values().sum()
    }
}

fn common(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cache of one layer and head of width 2 with `n` tokens.
    fn cache(n: usize) -> KvCache {
        let mut cache = KvCache::new(1, 1, 2, false);
        for _ in 0..n {
            cache.push(0, 0, &[0.0; 2], &[0.0; 2]);
        }
        cache.advance(n);
        cache.freeze();
        cache
    }

    #[test]
    fn the_longest_common_beginning_is_found_and_the_last_token_left() {
        let mut store = PrefixCache::new(1 << 20);
        store.store(&[1, 2, 3, 4], cache(4));
        store.store(&[1, 2, 9], cache(3));
        assert_eq!(store.find(&[1, 2, 3, 4]).map(|c| c.len()), Some(3));
        assert_eq!(store.find(&[1, 2, 9, 9, 9]).map(|c| c.len()), Some(3));
        assert!(store.find(&[7, 1, 2]).is_none());
        assert!(store.find(&[]).is_none());
    }

    #[test]
    fn a_short_common_beginning_does_not_keep_a_long_prompt_in_memory() {
        let mut store = PrefixCache::new(1 << 20);
        store.store(&(0..100).collect::<Vec<_>>(), cache(100));
        let whole = store.bytes();
        let found = store.find(&[0, 1, 2, 500]).unwrap();
        assert_eq!(found.len(), 3);
        assert!(found.segments().map(|segment| segment.bytes()).sum::<usize>() < whole / 10);
    }

    #[test]
    fn memory_stays_within_its_limit_and_the_longest_unused_goes_first() {
        // Ten tokens take at least 160 bytes.
        let mut store = PrefixCache::new(700);
        for first in 0..20 {
            let tokens: Vec<u32> = std::iter::once(first).chain(100..109).collect();
            store.store(&tokens, cache(10));
            assert!(store.bytes() <= 700);
        }
        assert!(store.find(&[0, 100, 101]).is_none());
        assert!(store.find(&[19, 100, 101]).is_some());
    }
}
