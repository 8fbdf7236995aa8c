//! Answers are Markdown; pages show them as HTML in which no HTML of the text survives.

use std::fmt;

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd, html};

/// HTML that this module made; templates print it as it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Html(String);

impl Html {
    /// Takes what a template of this program rendered, which has escaped every value.
    pub(super) fn rendered(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Display for Html {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl askama::filters::HtmlSafe for Html {}

impl askama::FastWritable for Html {
    fn write_into(&self, dest: &mut dyn fmt::Write, _: &dyn askama::Values) -> askama::Result<()> {
        Ok(dest.write_str(&self.0)?)
    }
}

/// Renders Markdown. HTML in it is shown as text, links and images become their text.
pub(super) fn render(text: &str) -> Html {
    let events = Parser::new_ext(text, Options::ENABLE_TABLES).filter_map(|event| match event {
        Event::Html(raw) | Event::InlineHtml(raw) => Some(Event::Text(raw)),
        Event::Start(Tag::Link { .. } | Tag::Image { .. } | Tag::HtmlBlock)
        | Event::End(TagEnd::Link | TagEnd::Image | TagEnd::HtmlBlock) => None,
        Event::SoftBreak => Some(Event::HardBreak),
        Event::Text(text) => Some(Event::Text(CowStr::from(text.into_string()))),
        other => Some(other),
    });
    let mut out = String::new();
    html::push_html(&mut out, events);
    // The pages allow no inline style. A `<` of the text is escaped, so these are the renderer's own.
    for cell in ["td", "th"] {
        for (side, class) in [("right", "end"), ("center", "mid"), ("left", "start")] {
            let styled = format!("<{cell} style=\"text-align: {side}\">");
            out = out.replace(&styled, &format!("<{cell} class=\"{class}\">"));
        }
    }
    Html(out)
}

#[cfg(test)]
mod tests {
    use super::render;

    #[test]
    fn columns_of_numbers_end_at_the_right_without_inline_style() {
        let shown = render("|Month|Paid|\n|:--|--:|\n|1|1,199.10|\n").to_string();
        assert!(shown.contains("<td class=\"end\">1,199.10</td>"), "{shown}");
        assert!(!shown.contains("style="), "{shown}");
    }

    #[test]
    fn markup_of_the_text_is_shown_and_not_run() {
        let shown = render(
            "**1,199.10** <script>alert(1)</script> [x](javascript:alert(1)) ![y](http://e/x.png)",
        )
        .to_string();
        assert!(shown.contains("<strong>1,199.10</strong>"));
        assert!(
            !shown.contains("<script") && !shown.contains("href") && !shown.contains("<img"),
            "{shown}"
        );
    }
}
