//! Names that were likely meant.

/// Likeness from which another name is offered.
const ALIKE: f64 = 0.8;

/// Says which of the known names was likely meant, or which there are.
pub(super) fn meant<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let alike = |other: &&str| strsim::jaro_winkler(name, other);
    let best = known.iter().copied().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    match best {
        Some(best) if alike(&best) >= ALIKE => format!("did you mean `{best}`?"),
        None => "there is none".to_owned(),
        Some(_) if known.len() > 12 => {
            format!("there are {} and {} more", listed(&known[..12]), known.len() - 12)
        }
        Some(_) => format!("there is {}", listed(&known)),
    }
}

/// Lists names.
pub(super) fn listed(names: &[&str]) -> String {
    let quoted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
