//! Texts, and references in texts, as counts of hashed features.

/// Longest n-gram, characters.
pub(super) const LONGEST: usize = 4;

/// Where a hash begins.
pub(super) const BASIS: u32 = 0x811c_9dc5;

/// Returns the hashes of a text's n-grams with their counts, ascending.
///
/// Case, runs of white space and the numbers of references (`[$3 num kwh]`) say nothing of what is
/// asked for and are levelled.
pub(super) fn counts(text: &str) -> Vec<(u32, u32)> {
    let chars = level(text);
    let mut hashes = Vec::with_capacity(chars.len() * LONGEST);
    for start in 0..chars.len() {
        let mut hash = BASIS;
        for c in chars[start..].iter().take(LONGEST) {
            hash = with(hash, u32::from(*c));
            hashes.push(hash);
        }
    }
    counted(hashes)
}

/// FNV-1a, a character at a time; the shift spreads what is in the high bits.
pub(super) fn with(hash: u32, value: u32) -> u32 {
    let hash = (hash ^ value).wrapping_mul(0x0100_0193);
    hash ^ (hash >> 15)
}

/// Returns the hash of a word.
pub(super) fn hash_of(word: &str) -> u32 {
    word.chars().fold(BASIS, |hash, c| with(hash, u32::from(c)))
}

/// Returns how often each hash is there, ascending.
pub(super) fn counted(mut hashes: Vec<u32>) -> Vec<(u32, u32)> {
    hashes.sort_unstable();
    let mut counts: Vec<(u32, u32)> = Vec::with_capacity(hashes.len());
    for hash in hashes {
        match counts.last_mut() {
            Some((last, count)) if *last == hash => *count += 1,
            _ => counts.push((hash, 1)),
        }
    }
    counts
}

/// Weight of a feature before the text is scaled to length 1.
pub(super) fn weight(count: u32, idf: f32) -> f32 {
    (1.0 + (count as f32).ln()) * idf
}

/// Scales the values to a vector of length 1; one of zeros stays.
pub(super) fn scale_to_unit<T>(values: &mut [(T, f32)]) {
    let length = values.iter().map(|(_, value)| value * value).sum::<f32>().sqrt();
    if length > 0.0 {
        values.iter_mut().for_each(|(_, value)| *value /= length);
    }
}

fn level(text: &str) -> Vec<char> {
    let mut out = vec![' '];
    let mut chars = text.chars().flat_map(char::to_lowercase).peekable();
    while let Some(c) = chars.next() {
        if c.is_whitespace() {
            if out.last() != Some(&' ') {
                out.push(' ');
            }
        } else if c == '[' && chars.peek() == Some(&'$') {
            out.push(c);
            chars.next();
            while chars.next_if(char::is_ascii_digit).is_some() {}
            chars.next_if_eq(&' ');
        } else {
            out.push(c);
        }
    }
    if out.last() != Some(&' ') {
        out.push(' ');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_white_space_and_numbers_of_references_do_not_count() {
        assert_eq!(level("Pay  [$12 num kwh]\n now"), level("pay [$3 num kwh] NOW "));
        assert_eq!(level("a [$1 id]").iter().collect::<String>(), " a [id] ");
        assert_ne!(counts("ab"), counts("ba"));
        // " ", "a", " " and their joins: three spaces would be two n-grams more.
        assert_eq!(counts("a").iter().map(|(_, n)| n).sum::<u32>(), 6);
    }
}
