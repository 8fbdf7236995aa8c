//! The numbers of a numbered list (`1. … 2. …`, `(1) … (2) …`), which state nothing.

use std::ops::Range;
use std::sync::OnceLock;

use regex::Regex;

use super::number::regex;

/// Finds the spans of the markers of a numbered list. A lone marker is a value: only a `1` at the
/// start of a line or clause that a `2` of the same style follows begins a list.
pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    static STYLES: OnceLock<[Regex; 3]> = OnceLock::new();
    let styles = STYLES.get_or_init(|| {
        [
            // The end of a sentence may look like a marker (`score 1. Then`), so that the first of
            // these stands at the start of a line.
            regex(r"(?m)(?:^|[ \t])(?P<marker>(?P<n>\d{1,2})\.)[ \t]+[^\s\d]|^[ \t]*(?P<marker2>(?P<n2>\d{1,2})[.、])[ \t]*[^\s]"),
            regex(r"(?m)(?:^|[:：;；,，.。!?！？])[ \t]*(?P<marker>[(（](?P<n>\d{1,2})[)）])"),
            regex(r"(?m)(?:^|[:：;；,，.。!?！？])[ \t]*(?P<marker>(?P<n>\d{1,2})[)）])"),
        ]
    });
    styles.iter().map(|style| sequence(text, style)).find(|s| !s.is_empty()).unwrap_or_default()
}

/// Returns the markers 1, 2, 3 … of one style, or none where there are fewer than two.
fn sequence(text: &str, style: &Regex) -> Vec<Range<usize>> {
    let mut markers: Vec<Range<usize>> = Vec::new();
    let mut from = 0;
    while let Some(captures) = style.captures_at(text, from) {
        let named = |a: &str, b: &str| captures.name(a).or_else(|| captures.name(b));
        let (Some(marker), Some(n)) = (named("marker", "marker2"), named("n", "n2")) else { break };
        from = marker.end();
        let line = text[..marker.start()].rsplit('\n').next().unwrap_or_default();
        let bracketed = !marker.as_str().ends_with(['.', '、']);
        let opens = line.trim().is_empty() || bracketed || !markers.is_empty();
        if opens && n.as_str().parse() == Ok(markers.len() + 1) {
            markers.push(marker.range());
        }
    }
    if markers.len() < 2 { Vec::new() } else { markers }
}
