//! A new pack: a small one that works, for its author to change.

use include_dir::{Dir, include_dir};

use super::PackFiles;
use crate::synth::LANGS;

static SCAFFOLD: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/scaffold");

/// What an author says of a new pack.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Name of its folder, `[a-z0-9-]{1,64}`.
    pub id: String,
    /// Title for people.
    pub title: String,
    /// What it does, in one sentence.
    pub description: String,
    /// Languages it answers in.
    pub languages: Vec<String>,
}

/// Checks the name of a pack.
///
/// # Errors
/// What would be right.
pub fn is_id(id: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if id.is_empty() || id.len() > 64 || !id.chars().all(fits) {
        return Err(format!(
            "`{id}` is no name of a pack; write small letters, digits and hyphens, at most 64"
        ));
    }
    Ok(())
}

/// Returns the files of a new pack, which pass `pack check` and `pack test` as they are.
///
/// # Errors
/// What is wrong with what the author says.
pub fn scaffold(wanted: &Wanted) -> Result<PackFiles, String> {
    is_id(&wanted.id)?;
    let unknown = wanted.languages.iter().find(|lang| !LANGS.contains(&lang.as_str()));
    if let Some(lang) = unknown {
        return Err(format!("`{lang}` is not one of {}", LANGS.join(", ")));
    }
    if wanted.languages.is_empty() {
        return Err(format!("name a language, one of {}", LANGS.join(", ")));
    }
    let quoted = |text: &str| toml::Value::String(text.to_owned()).to_string();
    let languages: Vec<String> = wanted.languages.iter().map(|lang| quoted(lang)).collect();
    let said = |text: &str| {
        text.replace("@@id@@", &wanted.id)
            .replace("@@title@@", &quoted(&wanted.title))
            .replace("@@description@@", &quoted(&wanted.description))
            .replace("@@languages@@", &languages.join(", "))
    };
    let spoken = |path: &str| {
        let lang = path.trim_end_matches(".jinja").rsplit('.').next().unwrap_or_default();
        !path.starts_with("answers/") || wanted.languages.iter().any(|one| one == lang)
    };
    let mut files = Vec::new();
    let mut folders = vec![SCAFFOLD.clone()];
    while let Some(folder) = folders.pop() {
        folders.extend(folder.dirs().cloned());
        for file in folder.files() {
            let path = file.path().to_string_lossy().into_owned();
            if let Some(text) = file.contents_utf8().filter(|_| spoken(&path)) {
                files.push((path, said(text)));
            }
        }
    }
    Ok(files.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::{Options, judge};
    use crate::pack::Pack;
    use crate::pack::check::check;

    #[test]
    fn a_new_pack_has_no_mistakes_and_keeps_what_it_promises() {
        for languages in [vec!["en"], vec!["en", "zh-Hant", "zh-Hans"]] {
            let wanted = Wanted {
                id: "parcel-desk".to_owned(),
                title: "Parcels \"and\" more".to_owned(),
                description: "Answers where parcels are.".to_owned(),
                languages: languages.iter().map(|lang| (*lang).to_owned()).collect(),
            };
            let files = scaffold(&wanted).unwrap();
            let mistakes = check(&files);
            assert!(mistakes.is_empty(), "{mistakes:#?}");
            let pack = Pack::from_files("parcel-desk", files).unwrap();
            let report = judge(&pack, &Options::default(), &mut |_| {}).unwrap();
            assert!(report.holds(), "{report:#?}");
            assert_eq!(report.sections[0].passed, 1, "{report:#?}");
            assert_eq!(report.sections[1].passed, 2, "{report:#?}");
        }
    }

    #[test]
    fn a_name_or_language_that_is_none_is_refused() {
        let wanted = |id: &str, lang: &str| Wanted {
            id: id.to_owned(),
            title: String::new(),
            description: String::new(),
            languages: vec![lang.to_owned()],
        };
        assert!(scaffold(&wanted("../x", "en")).is_err());
        assert!(scaffold(&wanted("x", "fr")).unwrap_err().contains("zh-Hant"));
    }
}
