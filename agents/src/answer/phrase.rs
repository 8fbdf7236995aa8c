//! The platform's own sentences in English, Traditional and Simplified Chinese.

/// A sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phrase {
    /// Lead of values that nobody stated.
    Assumed,
    /// Lead of what a call lacks.
    Missing,
    /// Lead of a broken rule.
    Invalid,
    /// Lead of absent data.
    NoData,
    /// Lead of a forbidden call.
    NotPermitted,
    /// Lead of another failure.
    Failed,
    /// A person said no.
    Rejected,
    /// No tool serves the request.
    NoTool,
    /// No document answers.
    NoDocument,
    /// A person takes over.
    Person,
    /// Lead of what was understood where that is not sure enough to act on.
    Unsure,
    /// An answer's template is broken.
    Template,
    /// Lead of a document that nobody has reviewed in time.
    Overdue,
    /// Lead of the day as of which an answer holds.
    AsOf,
}

impl Phrase {
    /// Returns the sentence in a language; English where the language is unknown.
    pub fn say(self, lang: &str) -> &'static str {
        let [en, hant, hans] = self.texts();
        match lang {
            "zh-Hant" => hant,
            "zh-Hans" => hans,
            _ => en,
        }
    }

    fn texts(self) -> [&'static str; 3] {
        match self {
            Self::Assumed => ["Not stated, so assumed:", "未說明，故假設：", "未说明，故假设："],
            Self::Missing => [
                "I need a little more to do this. Please tell me:",
                "還缺少一些資料才能進行，請告訴我：",
                "还缺少一些信息才能进行，请告诉我：",
            ],
            Self::Invalid => {
                ["These values cannot be used", "這些數值無法使用", "这些数值无法使用"]
            }
            Self::NoData => ["There is no such data", "找不到這份資料", "找不到这份数据"],
            Self::NotPermitted => ["This is not permitted", "此操作不被允許", "此操作不被允许"],
            Self::Failed => ["The tool did not answer", "工具沒有回應", "工具没有响应"],
            Self::Rejected => {
                ["A person turned this down", "此操作已被人員拒絕", "此操作已被人员拒绝"]
            }
            Self::NoTool => [
                "Nothing here can do that, and I will not make an answer up. This is what I can do:",
                "這裡沒有能處理此要求的工具，我也不會編造答案。我能處理的是：",
                "这里没有能处理此请求的工具，我也不会编造答案。我能处理的是：",
            ],
            Self::NoDocument => [
                "No document here answers this. Add one to the pack, or ask with other words.",
                "這裡沒有文件能回答此問題。請新增文件，或換個說法。",
                "这里没有文档能回答此问题。请新增文档，或换个说法。",
            ],
            Self::Person => [
                "This is for a person to decide. I am an automated assistant and have done nothing; \
                 the request is kept in this run for your team to take up.",
                "這件事須由專人決定。我是自動化助理，尚未執行任何動作；您的要求已保存在此紀錄中，交由團隊處理。",
                "这件事须由专人决定。我是自动化助手，尚未执行任何操作；您的请求已保存在此记录中，交由团队处理。",
            ],
            Self::Unsure => [
                "I am not sure enough what was meant to change anything, so this is for a person. \
                 This is what I understood; nothing was done",
                "我不夠確定您的意思，不能據此變更任何內容，因此轉交專人。以下是我的理解，尚未執行任何動作",
                "我不够确定您的意思，不能据此更改任何内容，因此转交专人。以下是我的理解，尚未执行任何操作",
            ],
            Self::Overdue => [
                "This document is past its review date and may be out of date",
                "此文件已過複審日期，內容可能已不適用",
                "此文档已过复审日期，内容可能已不适用",
            ],
            Self::AsOf => ["As of", "截至", "截至"],
            Self::Template => ["The answer's template is broken", "回答範本有誤", "回答模板有误"],
        }
    }
}
