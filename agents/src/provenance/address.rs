//! Addresses in outgoing text: where a reader could be led.

use std::sync::LazyLock;

use regex::Regex;
use unicode_normalization::UnicodeNormalization as _;

/// Finds the web and mail addresses of a text, also disguised ones: full-width letters, zero-width
/// characters, `[.]`, `(dot)`, `hxxp`. Each as it stands after the disguise is taken off, so one that
/// was disguised equals no address that a person wrote plainly.
pub fn addresses(text: &str) -> Vec<String> {
    static ADDRESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
        let tail = r#"[^\s'"<>()\[\]{}|，。；、）】》」]*"#;
        let host = r"(?:[\p{L}\p{N}_](?:[\p{L}\p{N}_-]*[\p{L}\p{N}_])?\.)+";
        let plain = format!("{host}\\p{{L}}{{2,24}}(?:[:/?#]{tail})?");
        let mail = format!("[\\p{{L}}\\p{{N}}._+-]+@{host}\\p{{L}}{{2,24}}");
        let numeric = r"\b(?:\d{1,3}\.){3}\d{1,3}\b(?:[:/]\S*)?";
        Regex::new(&format!(
            r"(?i)(?:[a-z][a-z0-9+.-]{{1,20}}://{tail}|www\.{tail}|{mail}|{plain}|{numeric})"
        ))
        .ok()
    });
    let folded = undisguised(text);
    let Some(address) = ADDRESS.as_ref() else { return vec![folded] };
    let found = address.find_iter(&folded).map(|found| found.as_str());
    let found =
        found.map(|found| found.trim_end_matches(['.', ',', ';', ':', '!', '?']).to_owned());
    found.filter(|found| !is_file(found)).collect()
}

/// Takes off what hides an address from a rule and not from a reader.
fn undisguised(text: &str) -> String {
    static DOT: LazyLock<Option<Regex>> = LazyLock::new(|| {
        Regex::new(r"(?i)\s*[\[({]\s*(?:dot|\.|點|点)\s*[\])}]\s*|\s+dot\s+").ok()
    });
    static SCHEME: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?i)\bh(?:xx|tt)ps?\s*(?:\[:\]|:)\s*/\s*/").ok());
    let shown: String = text
        .nfkc()
        .filter(|c| !matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}'))
        .map(|c| if matches!(c, '。' | '｡' | '․' | '﹒') { '.' } else { c })
        .collect();
    let shown = match DOT.as_ref() {
        Some(dot) => dot.replace_all(&shown, ".").into_owned(),
        None => shown,
    };
    match SCHEME.as_ref() {
        Some(scheme) => scheme.replace_all(&shown, "https://").into_owned(),
        None => shown,
    }
}

/// A bare name of a file leads nowhere.
fn is_file(found: &str) -> bool {
    const ENDINGS: [&str; 12] =
        ["docx", "xlsx", "pptx", "doc", "xls", "pdf", "txt", "csv", "json", "xml", "png", "jpg"];
    let bare = !found.contains(['/', '@', ':']) && !found.to_ascii_lowercase().starts_with("www.");
    bare && found
        .rsplit_once('.')
        .is_some_and(|(_, end)| ENDINGS.iter().any(|ending| ending.eq_ignore_ascii_case(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_any_dress() {
        for text in [
            "see www.evil.com",
            "see https://evil.com/a?b=c.",
            "see evil.com today",
            "see evil[.]com",
            "see evil (dot) com",
            "see evil dot com",
            "see hxxps://evil.com",
            "see ev\u{200b}il.com",
            "see ｅｖｉｌ．ｃｏｍ",
            "請看 evil。com",
            "see 203.0.113.7/x",
            "write to a@evil.com",
        ] {
            assert!(!addresses(text).is_empty(), "{text}");
        }
        for text in [
            "Version 2.5 costs 1,200.50.",
            "the file notes-2026.docx",
            "See you at 10.30. Bye",
            "e.g. so",
        ] {
            assert_eq!(addresses(text), Vec::<String>::new(), "{text}");
        }
    }
}
