//! The day as of which a question wants to know, where it names one: `as of 2025-03-01`,
//! `in force in March 2025`, `2025年3月時`.

use jiff::civil::Date;

use crate::mention::{self, Kind};

/// Words before a date that make it the day of the question.
const BEFORE: [&str; 15] = [
    "as of",
    "as at",
    "as per",
    "in force on",
    "in force in",
    "in force at",
    "in effect on",
    "in effect in",
    "effective on",
    "valid on",
    "valid in",
    "back in",
    "截至",
    "截止",
    "以",
];

/// Words after a date that do; those of `BEFORE` need none.
const AFTER: [&str; 18] = [
    "的時候",
    "的时候",
    "那時候",
    "那时候",
    "那時",
    "那时",
    "當時",
    "当时",
    "時點",
    "时点",
    "為準",
    "为准",
    "為止",
    "为止",
    "當天",
    "当天",
    "時",
    "时",
];

/// Before a date, `以` needs `為準` after it.
const NEEDS_AFTER: &str = "以";

/// A question without the words that name its day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    /// The rest of the question.
    pub(super) text: String,
    /// The day that it names; the last one of a month or year, though not past today.
    pub(super) day: Option<Date>,
}

/// Reads the day as of which a question is asked.
pub(super) fn read(question: &str, today: Date) -> Asked {
    for mention in mention::find(question, today) {
        let Some(day) = day(&mention.kind, today) else { continue };
        let before = question[..mention.start].trim_end();
        let after = question[mention.end..].trim_start();
        let cue = BEFORE.iter().find(|cue| ends_with(before, cue));
        let tail = AFTER.iter().find(|tail| after.starts_with(**tail));
        let asked = match cue {
            Some(cue) => *cue != NEEDS_AFTER || tail.is_some(),
            // A bare number is a year only where words before it say so.
            None => tail.is_some() && !matches!(mention.kind, Kind::Number { .. }),
        };
        // `2025年3月時段` is no point in time.
        if !asked || (cue.is_none() && after.starts_with(['時', '时']) && is_compound(after)) {
            continue;
        }
        let head = &before[..before.len() - cue.map_or(0, |cue| cue.len())];
        let rest = tail.map_or(after, |tail| &after[tail.len()..]);
        let text = format!("{} {}", head.trim_end(), rest.trim_start());
        return Asked { text: text.trim().to_owned(), day: Some(day) };
    }
    Asked { text: question.to_owned(), day: None }
}

/// Tells whether the word that begins with `時` goes on as another word (`時段`, `時間`).
fn is_compound(after: &str) -> bool {
    after.chars().nth(1).is_some_and(|c| {
        matches!(c, '段' | '間' | '间' | '刻' | '數' | '数' | '序' | '薪' | '價' | '价')
    })
}

/// Compares without case; a Latin cue must be a word of its own.
fn ends_with(text: &str, cue: &str) -> bool {
    let Some(at) = text.len().checked_sub(cue.len()) else { return false };
    text.is_char_boundary(at)
        && text[at..].eq_ignore_ascii_case(cue)
        && (!cue.is_ascii() || mention::boundary(text[..at].chars().next_back()))
}

fn day(kind: &Kind, today: Date) -> Option<Date> {
    match kind {
        Kind::Date { value } => value.parse().ok(),
        Kind::DateTime { value } => value.get(..10)?.parse().ok(),
        Kind::Period { start, end } => {
            last(start.parse().ok()?, end.parse::<Date>().ok()?.yesterday().ok()?, today)
        }
        Kind::Number { value, unit } if unit.is_empty() && value.len() == 4 => {
            let year: i16 = value.parse().ok().filter(|year| (1900..2200).contains(year))?;
            last(Date::new(year, 1, 1).ok()?, Date::new(year, 12, 31).ok()?, today)
        }
        _ => None,
    }
}

/// Returns the last day of a period, or today where the period still runs.
fn last(start: Date, end: Date, today: Date) -> Option<Date> {
    Some(if start <= today && today <= end { today } else { end })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(question: &str) -> (Option<String>, String) {
        let today = "2026-11-24".parse().unwrap();
        let asked = read(question, today);
        (asked.day.map(|day| day.to_string()), asked.text)
    }

    #[test]
    fn the_day_of_a_question_is_read_in_both_languages_and_taken_out_of_it() {
        for (question, day, rest) in [
            ("What was the odds rule as of 2025-03-01?", "2025-03-01", "What was the odds rule ?"),
            ("As of March 2025, who files?", "2025-03-31", ", who files?"),
            ("rules in force in 2019 on loot boxes", "2019-12-31", "rules on loot boxes"),
            ("which limit was valid on 1 May 2020", "2020-05-01", "which limit was"),
            ("2025年3月時的申報期限", "2025-03-31", "的申報期限"),
            ("截至2024年6月30日，规则是什么", "2024-06-30", "，规则是什么"),
            ("以2025年3月1日為準，費率多少", "2025-03-01", "，費率多少"),
            ("as of 2026 what holds", "2026-11-24", "what holds"),
        ] {
            assert_eq!(asked(question), (Some(day.to_owned()), rest.to_owned()), "{question}");
        }
    }

    #[test]
    fn a_date_alone_is_not_the_day_of_the_question() {
        for question in [
            "Load on 2025-03-01 was 40 kW, what is the demand charge?",
            "2025年3月時段電價怎麼算",
            "以2025年3月的用電計算",
            "200,000 over 360 months",
        ] {
            assert_eq!(asked(question), (None, question.to_owned()));
        }
    }
}
