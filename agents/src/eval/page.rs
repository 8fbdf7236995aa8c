//! A page about an evaluation: its figures, the risk-coverage curve, and how true the confidence is.

use super::{Score, Summary};
use crate::plan::Selective;

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}table{border-collapse:collapse;width:100%}th,td{padding:.3rem .6rem;border-bottom:1px solid #ddd;text-align:right}th:first-child,td:first-child{text-align:left}svg{width:100%;max-width:34rem;height:auto}svg text{font-size:12px;fill:#555}.axis{stroke:#999}.line{fill:none;stroke:#0b62a4;stroke-width:2}.even{stroke:#bbb;stroke-dasharray:4}.bar{fill:#0b62a4}pre{white-space:pre-wrap;background:#f5f5f5;padding:.6rem}";

/// Sides of a drawing and its margin, in its own units.
const WIDE: f64 = 480.0;
const HIGH: f64 = 280.0;
const EDGE: f64 = 44.0;

/// Writes the page as one file that loads nothing.
pub fn html(title: &str, model: &str, summary: &Summary) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>{title}</title><style>{STYLE}</style><h1>{title}</h1><p>Planner {model}; {} cases, forbidden calls {}, median plan {:.1} ms.</p>",
        summary.all.cases,
        summary.forbidden_violations,
        summary.plan_ms_p50,
        title = escaped(title),
        model = escaped(model),
    );
    page.push_str("<table><tr><th>Group<th>Cases<th>Decision<th>Exact<th>Facts</tr>");
    row(&mut page, "all", &summary.all);
    for (language, score) in &summary.by_language {
        row(&mut page, language, score);
    }
    for (kind, score) in &summary.by_kind {
        row(&mut page, &format!("{kind:?}").to_lowercase(), score);
    }
    page.push_str("</table>");
    if let Some(found) = &summary.selective {
        selective(&mut page, found);
    }
    page.push_str("<h2>What went wrong</h2>");
    for fault in &summary.failures {
        let (id, said) = (escaped(&fault.id), escaped(&fault.said));
        page.push_str(&format!(
            "<p>{id}: expected {}, decided {}, confidence {:.2}</p><pre>{said}</pre>",
            fault.expected, fault.decided, fault.confidence
        ));
    }
    page.push_str("</html>\n");
    page
}

fn row(page: &mut String, name: &str, score: &Score) {
    let pct = |share: Option<f64>| {
        share.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0))
    };
    page.push_str(&format!(
        "<tr><td>{}<td>{}<td>{}<td>{}<td>{}</tr>",
        escaped(name),
        score.cases,
        pct(score.tool_accuracy),
        pct(score.exact_call),
        pct(score.facts)
    ));
}

fn selective(page: &mut String, found: &Selective) {
    page.push_str(&format!("<h2>Risk and coverage</h2><p>Acting only on the surest plans: the share of wrong ones among them. Area under the curve {:.4}; the best ranking of these plans has {:.4}.</p>",
        found.aurc, found.aurc_best
    ));
    let top = found.curve.iter().fold(0.05_f64, |top, point| top.max(point.risk));
    drawing(page, "share of plans acted on", "share of wrong ones", top, |svg| {
        let points: Vec<String> = found
            .curve
            .iter()
            .map(|point| format!("{:.1},{:.1}", x(point.coverage), y(point.risk / top)))
            .collect();
        svg.push_str(&format!("<polyline class=\"line\" points=\"{}\"/>", points.join(" ")));
    });
    page.push_str(&format!("<h2>Confidence and truth</h2><p>Plans by their confidence, and the share of right ones. Expected calibration error {:.3}.</p>",
        found.ece
    ));
    drawing(page, "confidence", "share of right plans", 1.0, |svg| {
        svg.push_str(&format!(
            "<line class=\"even\" x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\"/>",
            x(0.0),
            y(0.0),
            x(1.0),
            y(1.0)
        ));
        for bin in &found.bins {
            svg.push_str(&format!("<circle class=\"bar\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\"><title>{} plans: confidence {:.2}, right {:.2}</title></circle>",
                x(bin.confidence),
                y(bin.right),
                3.0 + (bin.plans as f64).sqrt() / 2.0,
                bin.plans,
                bin.confidence,
                bin.right
            ));
        }
    });
}

fn x(share: f64) -> f64 {
    EDGE + share * (WIDE - 2.0 * EDGE)
}

fn y(share: f64) -> f64 {
    HIGH - EDGE - share * (HIGH - 2.0 * EDGE)
}

/// Draws the axes, from 0 to 1 and from 0 to `top`, and what `inside` adds.
fn drawing(page: &mut String, across: &str, up: &str, top: f64, inside: impl Fn(&mut String)) {
    let (left, right, base, head) = (x(0.0), x(1.0), y(0.0), y(1.0));
    page.push_str(&format!("<svg viewBox=\"0 0 {WIDE} {HIGH}\" role=\"img\" aria-label=\"{up} by {across}\"><path class=\"axis\" fill=\"none\" d=\"M{left} {head}V{base}H{right}\"/><text x=\"{left}\" y=\"{}\">0</text><text x=\"{right}\" y=\"{}\" text-anchor=\"end\">100 %</text><text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{across}</text><text x=\"4\" y=\"{}\">{:.0} %</text><text x=\"{left}\" y=\"{}\">{up}</text>",
        base + 16.0,
        base + 16.0,
        f64::midpoint(left, right),
        base + 32.0,
        head + 4.0,
        top * 100.0,
        head - 12.0
    ));
    inside(page);
    page.push_str("</svg>");
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Graded;

    #[test]
    fn the_page_draws_the_curve_and_escapes_what_it_quotes() {
        let mut summary = Summary::of(&[]);
        assert!(!html("energy", "m", &summary).contains("<polyline"));
        let graded = [Graded { score: 0.9, right: true }, Graded { score: 0.4, right: false }];
        summary.selective = Selective::of(&graded);
        let page = html("<energy>", "m", &summary);
        assert!(page.contains("&lt;energy&gt;") && !page.contains("<energy>"));
        // The surest half errs never, all of them in one of two.
        assert!(page.contains("points=\"240.0,236.0 436.0,44.0\""), "{page}");
        assert_eq!(page.matches("<circle").count(), 2);
    }
}
