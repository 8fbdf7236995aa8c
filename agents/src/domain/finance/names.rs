//! Names of firms, people and vessels made comparable: folding, transliteration and the name score.

use std::collections::BTreeSet;

use strsim::jaro_winkler;
use unicode_normalization::UnicodeNormalization as _;
use unicode_normalization::char::is_combining_mark;

/// Words that say what kind of firm a name belongs to, not which one.
const LEGAL_FORMS: &str = " ab ad ag aps as asa bhd bv co company corp corporation cv doo eood fzco fze gmbh inc incorporated jsc kft kg kk lda limited llc llp lp ltd ltda nv oao ojsc ooo oy oyj pao pjsc plc pt pte pty pvt sa sae saoc sarl sas sdn se sl spa srl zao zrt ";

/// Legal forms of firms in Han and Hangul, longest first.
const HAN_FORMS: [&str; 8] = [
    "股份有限公司",
    "有限责任公司",
    "有限責任公司",
    "有限公司",
    "株式会社",
    "株式會社",
    "주식회사",
    "公司",
];

/// Abbreviations and what they stand for.
const ABBREVIATIONS: [(&str, &str); 12] = [
    ("assoc", "association"),
    ("bros", "brothers"),
    ("dept", "department"),
    ("eng", "engineering"),
    ("govt", "government"),
    ("ind", "industries"),
    ("intl", "international"),
    ("int", "international"),
    ("mfg", "manufacturing"),
    ("natl", "national"),
    ("svcs", "services"),
    ("univ", "university"),
];

/// Most tokens of a name that take part in a comparison.
const MAX_TOKENS: usize = 24;

/// How a script that is not Latin writes sounds, which decides how it is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Script {
    /// Latin.
    Latin,
    /// A syllable a character, read as Mandarin.
    Han,
    /// Korean syllables.
    Hangul,
    /// Consonants only (Arabic, Hebrew).
    Abjad,
    /// Letters with vowels (Cyrillic, Greek and others).
    Alphabet,
}

fn script_of(c: char) -> Script {
    match u32::from(c) {
        0x0590..=0x08ff | 0xfb1d..=0xfdff | 0xfe70..=0xfeff => Script::Abjad,
        0x3400..=0x9fff | 0xf900..=0xfaff | 0x20000..=0x3ffff => Script::Han,
        0x1100..=0x11ff | 0x3130..=0x318f | 0xac00..=0xd7af => Script::Hangul,
        0x0000..=0x036f | 0x1e00..=0x1eff | 0x2000..=0x2fff | 0xff00..=0xff5e => Script::Latin,
        _ if c.is_alphabetic() => Script::Alphabet,
        _ => Script::Latin,
    }
}

/// A name ready to be compared.
#[derive(Debug, Clone)]
pub(super) struct Name {
    tokens: Vec<String>,
    script: Script,
}

impl Name {
    /// Folds a name: compatibility forms and accents away, scripts other than Latin into Latin
    /// letters, punctuation away, `&` as `and`, abbreviations written out, legal forms dropped
    /// (unless nothing else is left).
    ///
    /// # Source
    /// Unicode NFKD (UAX #15); Mandarin readings and letters of other scripts from `deunicode`.
    pub(super) fn new(text: &str) -> Self {
        let mut text: String = text.nfkc().collect();
        for form in HAN_FORMS {
            if text.len() > form.len() {
                text = text.replace(form, " ");
            }
        }
        let (folded, script) = latin(&text);
        let all: Vec<String> = folded
            .split_whitespace()
            .take(MAX_TOKENS)
            .map(|word| {
                let long = ABBREVIATIONS.iter().find(|(short, _)| *short == word);
                long.map_or(word, |(_, long)| long).to_owned()
            })
            .collect();
        let kept: Vec<String> = all
            .iter()
            .filter(|word| !LEGAL_FORMS.contains(&format!(" {word} ")))
            .cloned()
            .collect();
        Self { tokens: if kept.is_empty() { all } else { kept }, script }
    }

    /// Returns the folded name.
    pub(super) fn text(&self) -> String {
        self.tokens.join(" ")
    }

    /// Tells whether anything is left to compare.
    pub(super) fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// Tells whether the name was written in another script than Latin.
    pub(super) fn is_foreign(&self) -> bool {
        self.script != Script::Latin
    }

    /// Tells whether the name was written in Han characters.
    pub(super) fn is_han(&self) -> bool {
        self.script == Script::Han
    }
}

/// Writes a text in lower-case ASCII words and tells the script that it came from.
fn latin(text: &str) -> (String, Script) {
    let mut out = String::with_capacity(text.len());
    let mut script = Script::Latin;
    for c in text.chars() {
        match script_of(c) {
            Script::Latin => {
                for part in std::iter::once(c).nfkd().filter(|part| !is_combining_mark(*part)) {
                    push_ascii(&mut out, part);
                }
            }
            other => {
                script = if script == Script::Latin { other } else { script };
                let sound = deunicode::deunicode_char(c).unwrap_or_default().trim();
                // A syllable stands alone; letters of an alphabet run on.
                let apart = other == Script::Han;
                if apart {
                    out.push(' ');
                }
                sound.chars().for_each(|part| push_ascii(&mut out, part));
                if apart {
                    out.push(' ');
                }
            }
        }
    }
    (out, script)
}

fn push_ascii(out: &mut String, c: char) {
    match c {
        c if c.is_ascii_alphanumeric() => out.push(c.to_ascii_lowercase()),
        '&' => out.push_str(" and "),
        '.' | '\'' | '’' | '`' | '"' => {}
        c if c.is_ascii() || !c.is_alphanumeric() => out.push(' '),
        c => out.push_str(&deunicode::deunicode_char(c).unwrap_or_default().to_lowercase()),
    }
}

/// Returns the mean over the tokens of `a` of the best score with a token of `b`.
fn directed(a: &[String], b: &[String], score: &dyn Fn(&str, &str) -> f64) -> f64 {
    if a.is_empty() {
        return 0.0;
    }
    let sum: f64 = a.iter().map(|x| b.iter().map(|y| score(x, y)).fold(0.0, f64::max)).sum();
    #[expect(clippy::cast_precision_loss, reason = "a name has few tokens")]
    let count = a.len() as f64;
    sum / count
}

fn both_ways(a: &[String], b: &[String], score: &dyn Fn(&str, &str) -> f64) -> f64 {
    f64::midpoint(directed(a, b, score), directed(b, a, score))
}

/// Compares two names: 1 for the same, 0 for nothing in common.
///
/// Latin names: the mean of the two directed means of the best Jaro-Winkler score per token (prefix
/// weight 0.1, at most four letters). Han names count equal syllables only, because an edit
/// distance between readings means nothing; consonant scripts are compared without vowels.
pub(super) fn score(a: &Name, b: &Name) -> f64 {
    if a.is_empty() || b.is_empty() {
        return 0.0;
    }
    let plain = |a: &Name, b: &Name| both_ways(&a.tokens, &b.tokens, &jaro_winkler);
    let joined = |a: &[String], b: &[String]| jaro_winkler(&a.concat(), &b.concat());
    let foreign = if a.is_foreign() { a.script } else { b.script };
    match foreign {
        Script::Latin => plain(a, b),
        Script::Han => {
            let equal = |x: &str, y: &str| f64::from(u8::from(x == y));
            if same_syllables(&a.tokens, &b.tokens) {
                1.0
            } else {
                both_ways(&a.tokens, &b.tokens, &equal)
            }
        }
        Script::Hangul => {
            let (a, b) = (respelled(a, hangul_spelling), respelled(b, hangul_spelling));
            joined(&a, &b)
        }
        Script::Abjad => {
            let (x, y) = (respelled(a, skeleton), respelled(b, skeleton));
            // Two consonants are shared by too many names to be compared by distance.
            let near = |x: &str, y: &str| {
                if x.len() < 3 || y.len() < 3 {
                    f64::from(u8::from(x == y))
                } else {
                    jaro_winkler(x, y)
                }
            };
            let tokens = both_ways(&x, &y, &near);
            if x.concat() == y.concat() { 1.0 } else { tokens }
        }
        Script::Alphabet => plain(a, b).max(joined(&a.tokens, &b.tokens)),
    }
}

/// Tells whether two names have the same syllables when spaces are ignored, family name first or
/// last.
fn same_syllables(a: &[String], b: &[String]) -> bool {
    let whole = a.concat();
    let turns = |tokens: &[String]| -> BTreeSet<String> {
        (0..tokens.len().min(4)).map(|i| tokens[i..].concat() + &tokens[..i].concat()).collect()
    };
    turns(b).contains(&whole) || turns(a).contains(&b.concat())
}

fn respelled(name: &Name, spell: fn(&str) -> String) -> Vec<String> {
    name.tokens.iter().map(|token| spell(token)).filter(|token| !token.is_empty()).collect()
}

/// Drops what consonant scripts do not write, and doubled letters.
fn skeleton(word: &str) -> String {
    let mut out = String::new();
    for c in word.chars().filter(|c| !"aeiouyw".contains(*c)) {
        if !out.ends_with(c) {
            out.push(c);
        }
    }
    out
}

/// Levels the spellings of Korean in use (Revised Romanization, McCune-Reischauer, common ones).
fn hangul_spelling(word: &str) -> String {
    let word = word.replace("park", "pak").replace("lee", "i").replace("eo", "o");
    let word = word.replace("eu", "u").replace("oo", "u").replace("ee", "i");
    word.chars()
        .map(|c| match c {
            'g' => 'k',
            'd' => 't',
            'b' => 'p',
            'r' => 'l',
            other => other,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn between(a: &str, b: &str) -> f64 {
        score(&Name::new(a), &Name::new(b))
    }

    #[test]
    fn legal_forms_and_ampersands_do_not_part_names() {
        assert!(between("Elm & Co", "Elm and Company") > 0.999);
        assert!(between("TNK Trading Intl SA", "TNK TRADING INTERNATIONAL S.A.") > 0.999);
        assert_eq!(Name::new("Limited Co").text(), "limited co");
        assert_eq!(Name::new("Société Générale S.A.").text(), "societe generale");
    }

    #[test]
    fn names_of_other_scripts_meet_their_latin_spelling() {
        for (foreign, latin) in [
            ("Владимир Иванов", "Vladimir Ivanov"),
            ("Дмитрий Петров", "Dmitry Petrov"),
            ("محمد علي", "Mohamed Ali"),
            ("خالد محمود", "Khaled Mahmoud"),
            ("习近平", "Xi Jinping"),
            ("王偉", "Wang Wei"),
            ("김정은", "Kim Jong Un"),
            ("박지성", "Park Ji Sung"),
            ("Νικόλαος", "Nikolaos"),
            ("משה", "Moshe"),
        ] {
            let score = between(foreign, latin);
            assert!(score >= 0.85, "{foreign} {latin}: {score} {:?}", Name::new(foreign).text());
        }
    }

    #[test]
    fn different_names_stay_apart_in_every_script() {
        for (a, b) in [
            ("Hillside Bakery", "Aerocaribbean Airlines"),
            ("王伟", "Li Ming"),
            ("محمد علي", "Omar Hassan"),
            ("Иван Иванов", "Peter Schmidt"),
            ("박지성", "Choi Min Ho"),
        ] {
            assert!(between(a, b) < 0.75, "{a} {b}: {}", between(a, b));
        }
    }
}
