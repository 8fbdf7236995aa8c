//! Language of a text and the search terms in it, for mixed Latin and Chinese writing.

mod script;

pub use script::fold;

/// Tells whether a character is a Chinese ideograph.
pub fn is_cjk(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}')
}

/// Returns `en`, `zh-Hant` or `zh-Hans`. Chinese without a telling character counts as traditional.
pub fn detect(text: &str) -> &'static str {
    let cjk = text.chars().filter(|c| is_cjk(*c)).count();
    let latin = text.split_whitespace().filter(|w| w.chars().all(char::is_alphabetic)).count();
    if cjk == 0 || cjk * 2 < latin {
        return "en";
    }
    let (mut traditional, mut simplified) = (0_usize, 0_usize);
    for c in text.chars().filter(|c| is_cjk(*c)) {
        traditional += usize::from(script::is_traditional(c));
        simplified += usize::from(script::is_simplified(c));
    }
    if simplified > traditional { "zh-Hans" } else { "zh-Hant" }
}

/// A search term and the byte span that it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Term {
    /// Folded text: lower case, plural `s` cut, Chinese in simplified script.
    pub text: String,
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

/// Splits a text into search terms: Latin words folded, Chinese as overlapping pairs of characters
/// (and a single character where it stands alone).
pub fn terms(text: &str) -> Vec<Term> {
    let mut terms = Vec::new();
    let chars: Vec<(usize, char)> = text.char_indices().collect();
    let end_of = |i: usize| chars.get(i).map_or(text.len(), |(at, _)| *at);
    let mut i = 0;
    while i < chars.len() {
        let (start, c) = chars[i];
        if is_cjk(c) {
            let lone = (i == 0 || !is_cjk(chars[i - 1].1))
                && chars.get(i + 1).is_none_or(|(_, next)| !is_cjk(*next));
            if lone {
                terms.push(Term { text: fold(c).to_string(), start, end: end_of(i + 1) });
            } else if let Some((_, next)) = chars.get(i + 1).filter(|(_, next)| is_cjk(*next)) {
                let pair = [fold(c), fold(*next)].iter().collect();
                terms.push(Term { text: pair, start, end: end_of(i + 2) });
            }
            i += 1;
        } else if c.is_alphanumeric() {
            let mut j = i;
            while j < chars.len() && chars[j].1.is_alphanumeric() && !is_cjk(chars[j].1) {
                j += 1;
            }
            let end = end_of(j);
            terms.push(Term { text: stem(&text[start..end].to_lowercase()), start, end });
            i = j;
        } else {
            i += 1;
        }
    }
    terms
}

/// Words that say nothing of what a question is about, as [`terms`] folds them.
const STOP: &str = " a an and are as at be by can could do does for from give get have how i if in is it its me my of on or our over per please shall should show tell than that the their then there these they this to under us was we were what when where which who why will with would you your much many make need want 请问 请帮 帮我 多少 什么 怎么 如何 我们 你们 一下 可以 是否 是什 么是 怎样 ";

/// Tells whether a term is too common to search for.
pub fn is_stop(term: &str) -> bool {
    term.len() < 2 || STOP.contains(&format!(" {term} "))
}

/// Cuts the commonest English endings, so that `loans` finds `loan` and `matched` finds `match`.
fn stem(word: &str) -> String {
    for (ending, keep) in
        [("ies", "y"), ("sses", "ss"), ("ing", ""), ("ed", ""), ("es", ""), ("s", "")]
    {
        if let Some(root) = word.strip_suffix(ending)
            && root.len() >= 4 - keep.len()
            && root.is_ascii()
            && !root.ends_with('s')
            && (ending != "es" || root.ends_with(['h', 'x', 'z', 'o']))
        {
            return format!("{root}{keep}");
        }
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_of_a_request_is_told_by_its_characters() {
        assert_eq!(detect("What is the rate?"), "en");
        assert_eq!(detect("我們工廠用電多少"), "zh-Hant");
        assert_eq!(detect("我们工厂用电多少"), "zh-Hans");
        assert_eq!(detect("請幫我算 loan schedule"), "zh-Hant");
    }

    #[test]
    fn common_words_are_not_searched_for() {
        assert!(is_stop("the") && is_stop("多少") && !is_stop("loan") && !is_stop("贷款"));
    }

    #[test]
    fn both_scripts_give_the_same_terms() {
        let texts = |t: &str| terms(t).into_iter().map(|t| t.text).collect::<Vec<_>>();
        assert_eq!(texts("貸款 loans"), texts("贷款 loan"));
        assert_eq!(texts("matching queries"), ["match", "query"]);
    }
}
