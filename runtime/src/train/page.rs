//! The page of a training report: one file of HTML with its pictures inside.

use std::collections::BTreeMap;

use super::report::{GroupScore, Load, Report};

/// Colours in light and dark surroundings come from `currentColor`; only the data has its own.
const STYLE: &str = "\
:root{color-scheme:light dark;--data:#1f6f5c;--second:#b3541e}\
@media(prefers-color-scheme:dark){:root{--data:#6fc7b0;--second:#e39a6b}}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(9rem,1fr));gap:1rem}\
dt{opacity:.7}dd{margin:0;font-size:1.5rem;font-variant-numeric:tabular-nums}\
table{border-collapse:collapse;width:100%}td,th{padding:.2rem .6rem;text-align:left;border-bottom:1px solid #8884}\
td.n{text-align:right;font-variant-numeric:tabular-nums}svg{width:100%;height:auto;display:block}\
text{font:12px system-ui,sans-serif;fill:currentColor}progress{accent-color:var(--data);width:100%}";

/// Returns the page.
pub(super) fn html(report: &Report) -> String {
    let total = report.total();
    let mut page = format!(
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>\
         <title>Training report</title><style>{STYLE}</style><h1>Training report</h1><dl>\
         {}{}{}{}{}{}{}</dl>",
        fact("Requests recognised", &percent(report.intents)),
        fact("Held out, exact", &percent(total)),
        fact("Held-out examples", &total.examples.to_string()),
        fact("Steps", &report.steps.to_string()),
        fact("Minutes", &format!("{:.1}", report.minutes)),
        fact("Tokens a second", &format!("{:.0}", report.tokens_per_s)),
        fact(
            "Weights, active",
            &format!(
                "{:.1} M, {:.1} M",
                million(report.parameters),
                million(report.active_parameters)
            ),
        ),
    );
    page += "<h2>Loss and exact share by step</h2>";
    page += &curve(&report.curve);
    page += "<h2>Accuracy by industry</h2>";
    page += &scores(&report.by_industry());
    page += "<h2>Accuracy by language</h2>";
    page += &scores(&report.by_language());
    page += "<h2>Expert load by layer and industry</h2><p>Bars show each expert's share of a \
             layer's tokens; the line is an even share.</p>";
    page += &load(&report.load);
    page += "<h2>Accuracy by group</h2><table><tr><th>Group<th>Language<th>Right<th>Of<th>Share";
    for ((group, lang), score) in &report.groups {
        page += &format!("<tr><td>{}<td>{}{}", escaped(group), escaped(lang), cells(*score));
    }
    page + "</table></html>\n"
}

fn fact(name: &str, value: &str) -> String {
    format!("<div><dt>{name}</dt><dd>{value}</dd></div>")
}

fn million(count: usize) -> f64 {
    count as f64 / 1e6
}

fn percent(score: GroupScore) -> String {
    if score.examples == 0 {
        return "not measured".to_owned();
    }
    format!("{:.1} %", 100.0 * score.right as f64 / score.examples as f64)
}

fn cells(score: GroupScore) -> String {
    let GroupScore { examples, right } = score;
    format!(
        "<td class=n>{right}<td class=n>{examples}<td><progress max={examples} value={right}>{}</progress>",
        percent(score)
    )
}

fn scores(scores: &BTreeMap<&str, GroupScore>) -> String {
    let mut table = "<table><tr><th>Name<th>Right<th>Of<th>Share".to_owned();
    for (name, score) in scores {
        table += &format!("<tr><td>{}{}", escaped(name), cells(*score));
    }
    table + "</table>"
}

/// Text that cannot be markup.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Draws the loss on a logarithmic scale, because it falls by orders of magnitude, and the exact
/// share on a linear one.
fn curve(points: &[(usize, f64, f64)]) -> String {
    let (Some(last), Some(low), Some(high)) = (
        points.last().map(|(step, _, _)| (*step).max(1) as f64),
        points.iter().map(|(_, loss, _)| loss.max(1e-6)).reduce(f64::min),
        points.iter().map(|(_, loss, _)| loss.max(1e-6)).reduce(f64::max),
    ) else {
        return "<p>The run was too short for a curve.</p>".to_owned();
    };
    let (floor, top) = (low.log10().floor(), high.log10().ceil().max(low.log10().floor() + 1.0));
    let x = |step: usize| 50.0 + step as f64 / last * 700.0;
    let y = |loss: f64| 15.0 + (top - loss.max(1e-6).log10()) / (top - floor) * 200.0;
    let line = |colour: &str, at: &dyn Fn(&(usize, f64, f64)) -> f64| {
        let path: Vec<String> =
            points.iter().map(|p| format!("{:.1},{:.1}", x(p.0), at(p))).collect();
        format!(
            "<polyline fill=none stroke='var({colour})' stroke-width=1.5 points='{}'/>",
            path.join(" ")
        )
    };
    let mut svg =
        "<svg viewBox='0 0 800 250' role=img aria-label='Loss and exact share by step'>".to_owned();
    let mut power = floor;
    while power <= top {
        let at = y(10f64.powf(power));
        svg += &format!(
            "<line x1=50 x2=750 y1={at:.1} y2={at:.1} stroke=currentColor stroke-opacity=.15 />\
             <text x=44 y={:.1} text-anchor=end>{}</text>",
            at + 4.0,
            10f64.powf(power)
        );
        power += 1.0;
    }
    for share in [0.0, 0.5, 1.0] {
        svg += &format!("<text x=756 y={:.1}>{:.0} %</text>", 219.0 - share * 200.0, share * 100.0);
    }
    svg += &line("--second", &|(_, _, exact)| 215.0 - exact * 200.0);
    svg += &line("--data", &|(_, loss, _)| y(*loss));
    svg += &format!(
        "<text x=50 y=240>step 0</text><text x=750 y=240 text-anchor=end>step {last}</text>\
         <text x=300 y=240 style='fill:var(--data)'>loss, nats a token</text>\
         <text x=440 y=240 style='fill:var(--second)'>exact examples</text></svg>"
    );
    svg
}

/// Draws a row of layers for each industry.
fn load(loads: &BTreeMap<String, Load>) -> String {
    let mut svg = format!(
        "<svg viewBox='0 0 800 {}' role=img aria-label='Expert load'>",
        20 + loads.len() * 70
    );
    for (row, (industry, layers)) in loads.iter().enumerate() {
        let base = 70.0 + row as f64 * 70.0;
        svg += &format!("<text x=0 y={:.1}>{}</text>", base - 20.0, escaped(industry));
        let wide = 690.0 / layers.len().max(1) as f64;
        for (layer, experts) in layers.iter().enumerate() {
            let left = 110.0 + layer as f64 * wide;
            svg += &bars(experts, left, wide * 0.9, base);
            if row == 0 {
                svg += &format!("<text x={left:.1} y=12>layer {}</text>", layer + 1);
            }
        }
    }
    svg + "</svg>"
}

/// Bars of one layer; the tallest that fits is three even shares.
fn bars(experts: &[usize], left: f64, wide: f64, base: f64) -> String {
    let sum = experts.iter().sum::<usize>().max(1) as f64;
    let each = wide / experts.len().max(1) as f64;
    let even = 16.0;
    let mut svg = String::new();
    for (expert, count) in experts.iter().enumerate() {
        let share = *count as f64 / sum;
        let tall = (share * experts.len() as f64 * even).min(3.0 * even);
        svg += &format!(
            "<rect x={:.1} y={:.1} width={:.1} height={tall:.1} fill='var(--data)'><title>expert {}: {:.1} %</title></rect>",
            left + expert as f64 * each,
            base - tall,
            each * 0.85,
            expert + 1,
            share * 100.0
        );
    }
    svg += &format!(
        "<line x1={left:.1} x2={:.1} y1={:.1} y2={:.1} stroke=currentColor stroke-opacity=.5 stroke-dasharray='3 3' />",
        left + wide,
        base - even,
        base - even
    );
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_groups_cannot_be_markup() {
        let mut report = Report::default();
        let key = ("<script>alert(1)</script>/x".to_owned(), "en".to_owned());
        report.groups.insert(key, GroupScore { examples: 2, right: 1 });
        report.load.insert("<b>".to_owned(), vec![vec![1, 3]]);
        report.curve = vec![(1, 8.0, 0.0), (2, 0.02, 0.9)];
        let page = html(&report);
        assert!(!page.contains("<script>") && !page.contains("<b>"));
        assert!(page.contains("50.0 %") && page.contains("expert 2: 75.0 %"));
    }
}
