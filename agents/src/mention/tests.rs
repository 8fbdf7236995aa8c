use jiff::civil::date;

use super::*;

fn read(text: &str) -> Vec<String> {
    find(text, date(2026, 11, 24))
        .into_iter()
        .map(|m| match m.kind {
            Kind::Number { value, unit } => format!("num {value} {unit}").trim_end().to_owned(),
            Kind::Percent { value } => format!("pct {value}"),
            Kind::Money { value, currency } => format!("money {value} {currency}"),
            Kind::Duration { value, unit } => format!("dur {value} {unit}"),
            Kind::Date { value } => format!("date {value}"),
            Kind::Period { start, end } => format!("period {start} {end}"),
            Kind::DateTime { value } => format!("time {value}"),
            Kind::Currency { value } => format!("currency {value}"),
            Kind::List { values, unit } => {
                format!("list {} {unit}", values.join(" ")).trim_end().to_owned()
            }
            Kind::Id { value } => format!("id {value}"),
            Kind::Hex { value } => format!("hex {value}"),
            Kind::Name { value } => format!("name {value}"),
            Kind::Block { .. } => "block".to_owned(),
        })
        .collect()
}

#[test]
fn amounts_rates_and_terms_have_canonical_values() {
    assert_eq!(
        read("What is the monthly payment on a 200,000 loan at 6% over 360 months?"),
        ["num 200000", "pct 6", "dur 360 month"]
    );
    assert_eq!(read("35 grand at 6.49 pct, 5 yrs"), ["num 35000", "pct 6.49", "dur 5 year"]);
    assert_eq!(
        read("$1.2m or €35k or USD 300"),
        ["money 1200000 USD", "money 35000 EUR", "money 300 USD"]
    );
    assert_eq!(
        read("貸款三百五十萬元，年利率百分之三點一，30年"),
        ["money 3500000 ", "pct 3.1", "dur 30 year"]
    );
    assert_eq!(read("我們工廠用電1,250,000度，排放係數0.494"), ["num 1250000 度", "num 0.494"]);
    assert_eq!(read("充電上限四千瓦"), ["num 4 kw"]);
    assert_eq!(read("thirty five thousand over five years"), ["num 35000", "dur 5 year"]);
    assert_eq!(read("贷款20万，5年期"), ["num 200000", "dur 5 year"]);
}

#[test]
fn codes_are_kept_as_written() {
    assert_eq!(read("Is 1M8GDM9AXKP042788 a valid VIN?"), ["id 1M8GDM9AXKP042788"]);
    assert_eq!(read("P0420 and U0100 on car CUST-88"), ["id P0420", "id U0100", "id CUST-88"]);
    assert_eq!(read("DE89 3704 0044 0532 0130 00 ok?"), ["id DE89 3704 0044 0532 0130 00"]);
    assert_eq!(read("這個IBAN對嗎:DE89370400440532013000"), ["id DE89370400440532013000"]);
    assert_eq!(read("use finance_returns_250"), ["id finance_returns_250"]);
    assert_eq!(read("scan says 41 0C 1A F8"), ["hex 41 0C 1A F8"]);
}

#[test]
fn days_and_windows_are_resolved_against_today() {
    assert_eq!(read("on 2026-03-05 and 5 March 2026"), ["date 2026-03-05", "date 2026-03-05"]);
    assert_eq!(read("next Tuesday"), ["date 2026-12-01"]);
    assert_eq!(read("2026年3月5日到3月8日"), ["date 2026-03-05", "date 2026-03-08"]);
    assert_eq!(read("2025-09-04进店"), ["date 2025-09-04"]);
    assert_eq!(
        read("840 MWh in 2023 and 0.2"),
        ["num 840 mwh", "period 2023-01-01 2024-01-01", "num 0.2"]
    );
    assert_eq!(read("in 2000 pulls"), ["num 2000 pull"]);
    assert_eq!(read("in March 2026"), ["period 2026-03-01 2026-04-01"]);
    assert_eq!(read("at 2026-03-01T00:00:00Z"), ["time 2026-03-01T00:00:00Z"]);
}

#[test]
fn rows_of_numbers_are_one_list() {
    assert_eq!(read("loads 3, 4.5, 6 and 7 kW"), ["list 3 4.5 6 7 kw"]);
    assert_eq!(read("prices 0.3, 0.4, 0.5; 80 kWh"), ["list 0.3 0.4 0.5", "num 80 kwh"]);
    assert_eq!(read("between 10 and 20"), ["num 10", "num 20"]);
}

#[test]
fn names_are_found_in_running_text_and_in_quotes() {
    assert_eq!(read("Screen Banco Nacional de Cuba for us"), ["name Banco Nacional de Cuba"]);
    assert_eq!(read("查一下「王小明」"), ["name 王小明"]);
}

#[test]
fn the_planner_sees_references_in_place_of_values() {
    let text = "200,000 at 6% for CUST-88";
    let mentions = find(text, date(2026, 11, 24));
    assert_eq!(annotate(text, &mentions), "[$1 num] at [$2 pct] for [$3 id cust-#]");
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_without_panic_and_spans_are_in_order(text in "\\PC{0,120}") {
        let mentions = find(&text, date(2026, 11, 24));
        let mut at = 0;
        for mention in &mentions {
            assert!(mention.start >= at && mention.end > mention.start);
            assert_eq!(&text[mention.start..mention.end], mention.text);
            at = mention.end;
        }
    }

    #[test]
    fn a_grouped_number_is_read_back(n in 1000u64..999_999_999) {
        let digits = n.to_string();
        let grouped = digits
            .as_bytes()
            .rchunks(3)
            .rev()
            .map(|c| std::str::from_utf8(c).unwrap())
            .collect::<Vec<_>>()
            .join(",");
        let read = read(&format!("borrow {grouped} now"));
        let expected: rust_decimal::Decimal = n.into();
        assert_eq!(read, [format!("num {}", expected.normalize())]);
    }
}

#[test]
fn a_span_ends_inside_the_text() {
    assert_eq!(read("terms 23mo/181,905km"), ["dur 23 month", "num 181905 km"]);
    assert_eq!(
        read("Oct 24 2024, start Jan 3 2025,  odometer 140000 km"),
        ["date 2024-10-24", "date 2025-01-03", "num 140000 km"]
    );
}

#[test]
fn every_mention_is_read_back_from_the_journal_as_it_was_written() {
    let today = "2026-11-24".parse().unwrap();
    for text in [
        "in March 2028 at 6% on 1 May 2020 for 30 years, USD 200,000 and 12 kWh",
        "2025年3月的用電1,250,000度，明天 10:00",
        "10, 20, 30 for \"Acme Ltd\" VIN 1M8GDM9AXKP042788 7F 22 31",
    ] {
        let found = find(text, today);
        assert!(found.len() > 1, "{found:?}");
        let written = serde_json::to_string(&found).unwrap();
        let read: Vec<Mention> = serde_json::from_str(&written).unwrap();
        assert_eq!(read, found, "{written}");
    }
}

#[test]
fn a_virtual_currency_is_named_as_its_ledger_names_it() {
    assert_eq!(read("is gold inflating?"), ["name gold"]);
    assert_eq!(read("金币通胀了吗"), ["name gold"]);
    assert_eq!(read("鑽石產出"), ["name diamonds"]);
    assert_eq!(read("a golden age of goldfish"), Vec::<String>::new());
    assert_eq!(read("grant gold_500"), ["id gold_500"]);
}

#[test]
fn days_of_retention_are_codes_and_no_bytes() {
    assert_eq!(read("show D1 D7 D30"), ["id D1", "id D7", "id D30"]);
    assert_eq!(read("bytes D1 07 D3"), ["hex D1 07 D3"]);
    assert_eq!(read("D7 20% or D7 20.5%"), ["id D7", "pct 20", "id D7", "pct 20.5"]);
}

#[test]
fn a_capitalised_word_before_a_date_or_a_code_is_no_part_of_it() {
    assert_eq!(read("Sold November 23, 2024"), ["date 2024-11-23"]);
    assert_eq!(read("Bought Jan 16 2024"), ["date 2024-01-16"]);
    assert_eq!(read("Goodwill of Jun 25 2026"), ["name Goodwill", "date 2026-06-25"]);
    assert_eq!(
        read("check Northern Star Shipping Ltd Sep 27 2024"),
        ["name Northern Star Shipping Ltd", "date 2024-09-27"]
    );
    assert_eq!(
        read("Decdoe SPUPYVHGTVS321221"),
        ["name Decdoe", "id SPUPYVHGTVS321221"],
        "a slip of the keys does not hide the number"
    );
    assert_eq!(read("Theresa May owes us"), ["name Theresa May"]);
}

#[test]
fn a_capitalised_common_word_alone_is_no_name() {
    assert_eq!(read("Peak 40 kW. Many thanks"), ["num 40 kw"]);
    assert_eq!(read("Peak Capital Ltd"), ["name Peak Capital Ltd"]);
    assert_eq!(read("Approve Acme Ltd"), ["name Acme Ltd"]);
}

#[test]
fn the_numbers_of_a_numbered_list_state_nothing() {
    assert_eq!(read("1. bill 30 kWh\n2. the same for 40 kWh"), ["num 30 kwh", "num 40 kwh"]);
    assert_eq!(read("1. 30 kWh at 5%\n2. 40 kWh"), ["num 30 kwh", "pct 5", "num 40 kwh"]);
    assert_eq!(read("(1) bill it; (2) add 5%"), ["pct 5"]);
    assert_eq!(read("please: 1) bill it, 2) add 5%"), ["pct 5"]);
    assert_eq!(read("score 1. then 2. fine"), ["num 1", "num 2"], "no line begins with a marker");
    assert_eq!(read("Kiro (1), Zed (2)"), ["name Kiro", "num 1", "name Zed", "num 2"]);
    assert_eq!(read("1. 5 kW"), ["num 1", "num 5 kw"], "a lone marker is a value");
}

#[test]
fn days_glued_to_each_other_or_to_a_bay_are_read() {
    assert_eq!(
        read("2024-01-09/27 February 2024/3,000km/45 mths"),
        ["date 2024-01-09", "date 2024-02-27", "num 3000 km", "dur 45 month"]
    );
    assert_eq!(read("2000/1.5万"), ["num 2000", "num 15000"]);
    assert_eq!(read("2025-07-29-21 October 2025"), ["date 2025-07-29", "date 2025-10-21"]);
    assert_eq!(read("B6 14 February 2026"), ["id B6", "date 2026-02-14"]);
    assert_eq!(read("41 11 AB; 41 11 28"), ["hex 41 11 AB", "hex 41 11 28"]);
    assert_eq!(read("用 B8 79分鐘"), ["id B8", "dur 79 minute"]);
}

#[test]
fn a_number_with_another_unit_ends_a_row() {
    let apart = ["num 0.4", "num 0.37", "num 0.38", "num 300 度"];
    assert_eq!(read("電價 0.4，0.37，0.38，300度"), apart);
    assert_eq!(read("7.5、2.5、1.5，2,193 戶"), ["list 7.5 2.5 1.5", "num 2193 customer"]);
    assert_eq!(read("10、16、24 天"), ["dur 10 day", "dur 16 day", "dur 24 day"]);
    assert_eq!(read("2,954 km, 1,000 km, 9 km"), ["num 2954 km", "num 1000 km", "num 9 km"]);
    assert_eq!(read("prices 0.5, 0.16, 0.07 GBP."), ["num 0.5", "num 0.16", "money 0.07 GBP"]);
    assert_eq!(read("18,000、60,000元、37,406"), ["num 18000", "money 60000 ", "num 37406"]);
    assert_eq!(read("4.2萬、4857.62、七十四個月"), ["num 42000", "num 4857.62", "dur 74 month"]);
    let pairs = ["num 2700", "num 40000", "num 1700", "num 17073"];
    assert_eq!(read("2,700/40,000 與 1,700/17073"), pairs);
    assert_eq!(read("9×3.23 / 42 / 8×2"), ["num 9", "num 3.23", "num 42", "num 8", "num 2"]);
    assert_eq!(read("1 2 3, 4 5 6"), ["list 1 2 3", "list 4 5 6"]);
    let many: Vec<String> = (1..=13).map(|n| format!("{n} km")).collect();
    assert!(read(&many.join(", "))[0].ends_with("12 13 km"), "too many to name one by one");
}

#[test]
fn a_numeral_between_blanks_or_before_a_classifier_is_a_number() {
    assert_eq!(read("權重 九，"), ["num 9"]);
    assert_eq!(read("season 十，"), ["num 10"]);
    assert_eq!(read("五張卡以上"), ["num 5 unit"]);
    assert_eq!(read("前 六 列"), ["num 6 unit"]);
    assert_eq!(read("係數零"), ["num 0"]);
    assert_eq!(read("一張發票，一般，清零，十分好"), Vec::<String>::new());
    assert_eq!(read("certificates at zero, a hundred pulls"), ["num 0", "num 100 pull"]);
    assert_eq!(read("a hundred and twenty"), ["num 120"]);
}

#[test]
fn spans_and_odds_said_in_words_have_their_values() {
    assert_eq!(read("within half an hour"), ["dur 0.5 hour"]);
    assert_eq!(read("Quarter-hour prices within a day"), ["dur 0.25 hour", "dur 1 day"]);
    assert_eq!(read("半小時"), ["dur 0.5 hour"]);
    assert_eq!(read("twice a day"), Vec::<String>::new());
    assert_eq!(read("1 in 200 per pull"), ["pct 0.5"]);
    assert_eq!(read("1 in 2023"), ["num 1", "period 2023-01-01 2024-01-01"]);
}

#[test]
fn a_multiplier_or_a_unit_is_not_taken_from_the_next_word() {
    assert_eq!(read("score: 1\nK: 50"), ["num 1", "num 50"]);
    assert_eq!(read("elo 1,000 K 四十"), ["num 1000", "num 40"]);
    assert_eq!(read("35 K 36 months"), ["num 35000", "dur 36 month"]);
    assert_eq!(read("score 1 K=40"), ["num 1", "num 40"]);
    assert_eq!(read("订单 20045 支付失败"), ["num 20045"]);
    assert_eq!(read("apr 5 grand"), ["num 5000"]);
    assert_eq!(read("apr 5"), ["date 2026-04-05"]);
    assert_eq!(read("100 m/s"), ["num 100 m/s"]);
    assert_eq!(read("借11万分10个月还"), ["num 110000", "dur 10 month"]);
    assert_eq!(read("百分之五"), ["pct 5"]);
    assert_eq!(read("借 461 年息 23%"), ["num 461", "pct 23"]);
    assert_eq!(read("5年利率6%"), ["dur 5 year", "pct 6"]);
    assert_eq!(read("41053D"), ["id 41053D"]);
    assert_eq!(read("卡号3535 7831 4000 8075校验位"), ["id 3535 7831 4000 8075"]);
    assert_eq!(
        read("apr 11,559.17 200 x 74 months"),
        ["num 11559.17", "num 200 unit", "dur 74 month"]
    );
}

#[test]
fn a_product_is_its_two_figures() {
    assert_eq!(read("344x10.38"), ["num 344", "num 10.38"]);
    assert_eq!(read("94x56 minutes"), ["num 94", "dur 56 minute"]);
    assert_eq!(read("12x30-minute"), ["num 12", "dur 30 minute"]);
    assert_eq!(read("200xNT$4.36"), ["num 200", "money 4.36 TWD"]);
    assert_eq!(read("0x7E8"), ["id 0x7E8"]);
    assert_eq!(read("car37x100"), ["id car37x100"]);
}

#[test]
fn three_digits_after_three_digits_are_a_row_where_no_number_is_that_long() {
    assert_eq!(
        read("ten days 300,310,320,330,340,350,360,370,380,390 kW and 280 kW"),
        ["dur 10 day", "list 300 310 320 330 340 350 360 370 380 390 kw", "num 280 kw"]
    );
    assert_eq!(
        read("前五天 200,210,220,230,240 瓩，事件 200 瓩")[1..],
        ["list 200 210 220 230 240 kw", "num 200 kw"]
    );
    assert_eq!(read("1,234,567,890 units"), ["num 1234567890 unit"]);
}

#[test]
fn how_often_something_is_read_is_a_span_and_its_slots_are_counted() {
    assert_eq!(read("hourly prices of 3 and 4"), ["dur 1 hour", "num 3", "num 4"]);
    assert_eq!(read("quarter-hourly or half-hourly?"), ["dur 0.25 hour", "dur 0.5 hour"]);
    assert_eq!(
        read("six quarter hours, then 3 half hours"),
        ["num 6", "dur 0.25 hour", "num 3", "dur 0.5 hour"]
    );
    assert_eq!(read("逐時電價，每半小時"), ["dur 1 hour", "dur 0.5 hour"]);
    assert_eq!(read("三個小時段的小时价"), ["num 3 unit", "dur 1 hour", "dur 1 hour"]);
    assert_eq!(read("用了三個小時"), ["dur 3 hour"]);
    assert_eq!(read("5 every hour"), ["num 5"]);
}

#[test]
fn currencies_and_parts_of_them_are_read_in_words() {
    assert_eq!(read("all of it in euros"), ["currency EUR"]);
    assert_eq!(read("12 cents, 三毛"), ["money 0.12 ", "money 0.3 "]);
    assert_eq!(read("3 角色"), ["num 3"]);
}

#[test]
fn a_number_in_words_that_names_one_of_several_things_counts_nothing() {
    assert_eq!(read("feeder two lost 80 for an hour"), ["num 80", "dur 1 hour"]);
    assert_eq!(read("two feeders lost 80"), ["num 2", "num 80"]);
}
