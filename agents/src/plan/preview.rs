//! Words by which people say that an act is only to be tried out, in the three languages.
//!
//! A classifier learns them too; but a preview that is carried out cannot be called back, so words that
//! leave no doubt are not left to chance. A wrong preview costs one more question.

use std::sync::OnceLock;

use regex::Regex;

/// Tells whether a request says that an act is only to be tried out.
pub(super) fn is_said(request: &str) -> bool {
    let [says, not] = patterns();
    says.find_iter(request).any(|found| !not.is_match(&request[..found.start()]))
}

fn patterns() -> &'static [Regex; 2] {
    static RE: OnceLock<[Regex; 2]> = OnceLock::new();
    #[expect(clippy::expect_used, reason = "the patterns are constants; a test compiles them")]
    RE.get_or_init(|| {
        [
            r"(?i:\bpreview(?:ing|ed)?\b|\bdry[ -]?run\b|\btrial run\b|\brehears(?:e|al)\b|\bsimulat(?:e|ion) only\b|\bwithout (?:actually )?(?:sending|filing|booking|opening|submitting|executing|committing|granting|paying|issuing|creating|placing|answering|confirming) (?:it|them|anything)\b|\b(?:do not|don't|don’t) (?:actually |really )?(?:send|submit|file|book|execute|commit) (?:it|anything)\b|\bno (?:filing|sending|submission)\b|\bbefore (?:it|anything) (?:goes out|is sent|is booked|is filed)\b)|預覽|预览|試算|试算|預演|预演|試跑|试跑|演練|演练|(?:不要|別|别|先不|勿)(?:真的|真正|真)|(?:不要|別|别|先不|暫不|暂不|不)(?:送出|提交|寄出|發出|发出|執行|执行|生效)",
            r"(?i:\b(?:no|not|skip|skipping|without|never|stop)(?: the| a| any)?[ -]*$|(?:不用|不必|無需|无需|免|不需|不要|跳過|跳过|別|别)(?:再|做|先)?$)",
        ]
        .map(|pattern| Regex::new(pattern).expect("constant pattern"))
    })
}

#[cfg(test)]
mod tests {
    use super::is_said;

    #[test]
    fn a_preview_is_told_by_its_words_and_not_where_nobody_wants_one() {
        for said in [
            "Show the booking as a dry run",
            "file nothing: preview the case",
            "accept it, but don't send it",
            "補給他 3 個，先预览",
            "先試算退款",
            "預約 B3，不要真的送出",
        ] {
            assert!(is_said(said), "{said}");
        }
        for plain in [
            "Book bay B3 for an hour",
            "skip the preview and book",
            "不用預覽，直接退",
            "退 20 美元",
        ] {
            assert!(!is_said(plain), "{plain}");
        }
    }
}
