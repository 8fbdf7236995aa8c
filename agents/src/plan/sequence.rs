//! Tasks that a request puts one after the other.
//!
//! Over a whole request the words of one task drown those of the other. Where people say that one thing
//! follows another, each clause is heard alone too, and a tool that one clause is surely for is a task of
//! its own, if the likeliest tool has a clause of its own as well.

use std::sync::OnceLock;

use regex::Regex;

use super::asked::AGAIN;
use super::step::OTHER_STEPS;

/// Probability over the whole request above which a clause's tool may be meant.
const LATENT: f32 = 0.04;

/// Probability from which a clause is surely for a tool.
const OF_CLAUSE: f32 = 0.65;

/// Probability that such a tool is given over the whole: enough to be called.
const RAISED: f32 = 0.5;

/// Tells whether a request has words that put one task after another.
pub(super) fn is_said(request: &str) -> bool {
    static RE: OnceLock<Regex> = OnceLock::new();
    #[expect(clippy::expect_used, reason = "the pattern is a constant; a test compiles it")]
    let says = RE.get_or_init(|| {
        Regex::new(
            r"(?i:\b(?:then|first|second|afterwards|next|also)\b|\bafter that\b|\bwith (?:that|it|this)\b|\band (?:then|tell|give|show|bill|check|look|see|with|what|how)\b)|先|再|然後|然后|接著|接着|之後|之后|順便|顺便|另外|還有|还有",
        )
        .expect("constant pattern")
    });
    says.is_match(request)
}

/// Raises the tool of a clause that the whole request hides. `parts` are the scores of the clauses.
pub(super) fn raise(scores: &mut [(&str, f32)], parts: &[Vec<(&str, f32)>]) {
    let best = |scores: &[(&str, f32)]| -> Option<(String, f32)> {
        let told = scores.iter().filter(|(name, _)| *name != AGAIN);
        told.max_by(|a, b| a.1.total_cmp(&b.1)).map(|(name, p)| ((*name).to_owned(), *p))
    };
    let is_tool = |name: &str| !OTHER_STEPS.contains(&name) && name != AGAIN;
    let Some((first, _)) = best(scores).filter(|(name, _)| is_tool(name)) else { return };
    let sure = parts.iter().filter_map(|part| best(part)).filter(|(_, p)| *p >= OF_CLAUSE);
    let own: Vec<String> = sure.map(|(name, _)| name).collect();
    if !own.contains(&first) {
        return;
    }
    for (name, p) in scores.iter_mut().filter(|(name, p)| is_tool(name) && *p >= LATENT) {
        if own.iter().any(|tool| tool == name) {
            *p = p.max(RAISED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_that_has_a_clause_of_its_own_is_not_drowned_by_another() {
        let parts = [vec![("stats", 0.98), ("bill", 0.1)], vec![("stats", 0.0), ("bill", 0.9)]];
        let mut scores = [("bill", 0.99), ("none", 0.1), ("stats", 0.09)];
        raise(&mut scores, &parts);
        assert_eq!(scores, [("bill", 0.99), ("none", 0.1), ("stats", RAISED)]);

        let mut alone = [("bill", 0.99), ("stats", 0.02)];
        raise(&mut alone, &parts);
        assert_eq!(alone, [("bill", 0.99), ("stats", 0.02)], "the whole says that it is not meant");
        let mut one = [("bill", 0.99), ("stats", 0.09)];
        raise(&mut one, &parts[..1]);
        assert_eq!(one, [("bill", 0.99), ("stats", 0.09)], "no clause is for the bill");
    }

    #[test]
    fn tasks_in_a_row_are_told_by_their_words() {
        assert!(is_said("Sum it up, and then bill it") && is_said("先加總，再算電費"));
        assert!(!is_said("What is the bill for 90 kWh?") && !is_said("電費多少"));
    }
}
