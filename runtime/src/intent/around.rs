//! A reference in a request (`[$3 num kwh]`) as counts of hashed features: its own tag, its place among
//! its like, its neighbours, and the words on both sides, near ones told from far ones.

use super::features::{LONGEST, counted, hash_of, with};

/// Characters looked at on the left; what a value is stands before it in most languages.
const LEFT: usize = 18;

/// Characters looked at on the right.
const RIGHT: usize = 12;

/// Characters that count as near.
const NEAR: usize = 5;

/// Longest text between two references that counts as a whole.
const BETWEEN: usize = 8;

/// Longest run of characters that touches a reference and counts as a whole.
const TOUCHING: [usize; 5] = [1, 2, 4, 6, 9];

/// A reference of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mark {
    /// Its number.
    pub(super) id: usize,
    /// Its tag, `num kwh`.
    tag: String,
    /// Where it begins in the levelled text, characters.
    at: usize,
}

/// What is told from what: each feature is hashed after one of these.
#[repr(u32)]
#[derive(Clone, Copy)]
enum About {
    Tag = 1,
    Code,
    Place,
    Before,
    After,
    Left,
    NearLeft,
    Right,
    NearRight,
    TouchLeft,
    TouchRight,
    TagLeft,
    TagRight,
    Between,
    Words,
}

/// Returns the references of a request with the features of each.
pub(super) fn references(request: &str) -> Vec<(usize, Vec<(u32, u32)>)> {
    let (text, marks) = levelled(request);
    (0..marks.len()).map(|index| (marks[index].id, features(&text, &marks, index))).collect()
}

/// Takes the references out of a text, in small letters and with single blanks; the place of each is
/// kept by one character that stands in no request.
fn levelled(request: &str) -> (Vec<char>, Vec<Mark>) {
    let (mut text, mut marks) = (vec![' '], Vec::new());
    let mut rest = request;
    loop {
        let open = rest.find("[$");
        let plain = &rest[..open.unwrap_or(rest.len())];
        for c in plain.chars().flat_map(char::to_lowercase) {
            let blank = c.is_whitespace();
            if !blank {
                text.push(c);
            } else if text.last() != Some(&' ') {
                text.push(' ');
            }
        }
        let Some(open) = open else { break };
        let inner = &rest[open + 2..];
        let mark = inner.split_once(']').and_then(|(mark, after)| {
            let (id, tag) = mark.split_once(' ').unwrap_or((mark, ""));
            Some((id.parse::<usize>().ok()?, tag, after))
        });
        if let Some((id, tag, after)) = mark {
            marks.push(Mark { id, tag: tag.to_owned(), at: text.len() });
            text.push(PLACE);
            rest = after;
        } else {
            text.extend(['[', '$']);
            rest = inner;
        }
    }
    if text.last() != Some(&' ') {
        text.push(' ');
    }
    (text, marks)
}

/// Stands for a reference in the levelled text.
const PLACE: char = '\u{0}';

fn features(text: &[char], marks: &[Mark], index: usize) -> Vec<(u32, u32)> {
    let mark = &marks[index];
    let tag = hash_of(&mark.tag);
    let shape = shape_of(&mark.tag);
    let mut out = Vec::with_capacity(256);
    let mut add = |about: About, parts: &[u32]| {
        out.push(parts.iter().fold(with(super::features::BASIS, about as u32), |h, p| with(h, *p)));
    };
    let kind = hash_of(mark.tag.split(' ').next().unwrap_or_default());
    // The tag decides most often; said more than once it weighs more.
    (0..3).for_each(|_| add(About::Tag, &[tag]));
    add(About::Tag, &[kind, 0]);
    add(About::Tag, &[hash_of(&shape), 1]);
    // A code's own letters: what it is called after tells what it is.
    let letters: Vec<char> = mark.tag.chars().collect();
    grams(&letters, |gram, _| {
        if gram.len() > 2 {
            add(About::Code, gram);
        }
    });
    let alike: Vec<usize> =
        (0..marks.len()).filter(|other| marks[*other].tag == mark.tag).collect();
    let place = alike.iter().position(|other| *other == index).unwrap_or_default() as u32;
    let last = alike.len() as u32 - place;
    add(About::Place, &[tag, place.min(4), 0]);
    add(About::Place, &[tag, last.min(4), 1]);
    add(About::Place, &[tag, place.min(4), (alike.len() as u32).min(5), 2]);
    add(About::Place, &[kind, (marks.len() as u32).min(6), 3]);
    let of = |at: Option<usize>| at.and_then(|at| marks.get(at)).map_or(0, |m| hash_of(&m.tag));
    let (before, after) = (of(index.checked_sub(1)), of(Some(index + 1)));
    add(About::Before, &[before]);
    add(About::After, &[after]);
    add(About::Before, &[before, tag]);
    add(About::After, &[after, tag]);
    let left = &text[mark.at.saturating_sub(LEFT)..mark.at];
    let right = &text[mark.at + 1..(mark.at + 1 + RIGHT).min(text.len())];
    grams(left, |gram, from_end| {
        add(About::Left, gram);
        if from_end < NEAR {
            add(About::NearLeft, gram);
        }
    });
    let backwards: Vec<char> = right.iter().rev().copied().collect();
    grams(&backwards, |gram, from_start| {
        add(About::Right, gram);
        if from_start < NEAR {
            add(About::NearRight, gram);
        }
    });
    for length in TOUCHING {
        let near: Vec<u32> = left.iter().rev().take(length).map(|c| u32::from(*c)).collect();
        add(About::TouchLeft, &near);
        let next: Vec<u32> = right.iter().take(length).map(|c| u32::from(*c)).collect();
        add(About::TouchRight, &next);
        if length <= 4 {
            add(About::TagLeft, &[&[tag], &near[..]].concat());
            add(About::TagRight, &[&[tag], &next[..]].concat());
        }
    }
    let gap = |from: usize, to: usize| -> Option<Vec<u32>> {
        let between = &text[from + 1..to];
        (between.len() <= BETWEEN).then(|| between.iter().map(|c| u32::from(*c)).collect())
    };
    if let Some(other) = index.checked_sub(1).map(|at| &marks[at])
        && let Some(between) = gap(other.at, mark.at)
    {
        add(About::Between, &[&[before, 0], &between[..]].concat());
    }
    if let Some(other) = marks.get(index + 1)
        && let Some(between) = gap(mark.at, other.at)
    {
        add(About::Between, &[&[after, 1], &between[..]].concat());
    }
    // What the whole request speaks of, a little.
    for pair in text.windows(2) {
        add(About::Words, &[u32::from(pair[0]), u32::from(pair[1])]);
    }
    counted(out)
}

/// Levels what is special to one code in a tag: `id cust-#` and `id site-#` are `id a-#`.
fn shape_of(tag: &str) -> String {
    let Some((kind, rest)) = tag.split_once(' ') else { return tag.to_owned() };
    let mut shape = format!("{kind} ");
    for c in rest.chars() {
        let c = if c.is_alphabetic() { 'a' } else { c };
        if !(c == 'a' && shape.ends_with('a')) {
            shape.push(c);
        }
    }
    shape
}

/// Gives each n-gram of a text with its distance from the text's end.
fn grams(text: &[char], mut give: impl FnMut(&[u32], usize)) {
    for start in 0..text.len() {
        let mut gram = Vec::with_capacity(LONGEST);
        for c in text[start..].iter().take(LONGEST) {
            gram.push(u32::from(*c));
            give(&gram, text.len() - start - gram.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_with_their_numbers_and_tags() {
        let (text, marks) = levelled("Pay  [$12 num kwh] or [$3 pct] [$x");
        let text: String = text.into_iter().collect();
        assert_eq!(text, " pay \u{0} or \u{0} [$x ");
        let seen: Vec<(usize, &str)> = marks.iter().map(|m| (m.id, m.tag.as_str())).collect();
        assert_eq!(seen, [(12, "num kwh"), (3, "pct")]);
    }

    #[test]
    fn what_stands_beside_a_reference_is_told_from_what_stands_beside_another() {
        let of = |request: &str| references(request);
        let both = of("from [$1 num] to [$2 num]");
        assert_ne!(both[0].1, both[1].1);
        let other = of("FROM [$7 num]  to [$9 num]");
        assert_eq!(both[0].1, other[0].1, "case, blanks and numbers say nothing");
        assert_eq!(of("nothing"), []);
    }
}
