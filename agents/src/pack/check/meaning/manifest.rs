//! What `pack.toml` says of itself.

use std::collections::BTreeSet;

use semver::{Version, VersionReq};

use super::super::names::{listed, meant};
use super::super::{Bag, File, Opened, said};
use crate::pack::{Auth, Format, Manifest, Setting, System, setting_of};
use crate::synth::LANGS;

pub(super) fn check(opened: &Opened<'_>, bag: &mut Bag) {
    let Some((file, manifest)) = &opened.manifest else { return };
    if let Err(error) = Version::parse(&manifest.version) {
        let fault = said("version", format!("`{}` is no version: {error}", manifest.version));
        bag.error(file, file.place("/version"), fault.hint("write it as `1.0.0`"));
    }
    platform(file, manifest, bag);
    for (at, lang) in manifest.languages.iter().enumerate() {
        if !LANGS.contains(&lang.as_str()) {
            let fault = said("language", format!("`{lang}` is not one of {}", listed(&LANGS)));
            bag.error(file, file.place(&format!("/languages/{at}")), fault);
        }
    }
    settings(file, manifest, bag);
    let mut seen = BTreeSet::new();
    for (at, system) in manifest.systems.iter().enumerate() {
        if !seen.insert(system.id()) {
            let fault = said("twice", "another system has this name");
            bag.error(file, file.place(&format!("/system/{at}/id")), fault);
        }
        reached(file, manifest, at, system, bag);
    }
}

fn platform(file: &File<'_>, manifest: &Manifest, bag: &mut Bag) {
    let Some(range) = &manifest.platform else { return };
    let span = file.place("/platform");
    match VersionReq::parse(range) {
        Err(error) => {
            let fault = said("version", format!("`{range}` is no range of versions: {error}"));
            bag.error(file, span, fault.hint("write it as `>=0.1, <1`"));
        }
        Ok(range) => {
            let own = env!("CARGO_PKG_VERSION");
            if !Version::parse(own).is_ok_and(|own| range.matches(&own)) {
                let message = format!("the pack does not work with this program, which is {own}");
                bag.error(file, span, said("platform", message));
            }
        }
    }
}

fn settings(file: &File<'_>, manifest: &Manifest, bag: &mut Bag) {
    let mut seen = BTreeSet::new();
    for (at, setting) in manifest.settings.iter().enumerate() {
        let place = |key: &str| file.place(&format!("/setting/{at}/{key}"));
        if !seen.insert(&setting.id) {
            bag.error(file, place("id"), said("twice", "another setting has this name"));
        }
        let any = Setting { choices: Vec::new(), ..setting.clone() };
        for choice in &setting.choices {
            if let Err(message) = any.accepts(choice) {
                bag.error(
                    file,
                    place("choices"),
                    said("setting", format!("`{choice}`: {message}")),
                );
            }
        }
        let Some(default) = &setting.default else { continue };
        if setting.secret {
            let hint = "leave it out; a joint venture is asked for it";
            bag.error(file, place("default"), said("secret", "a secret has no default").hint(hint));
        } else if let Err(message) = setting.accepts(default) {
            bag.error(file, place("default"), said("setting", message));
        }
    }
}

fn reached(file: &File<'_>, manifest: &Manifest, at: usize, system: &System, bag: &mut Bag) {
    let at = format!("/system/{at}");
    let known = manifest.settings.iter().map(|setting| setting.id.as_str());
    let System::Http { url, auth, .. } = system;
    let place = |key: &str| file.place(&format!("{at}/{key}"));
    let find = |name: &str| manifest.settings.iter().find(|one| one.id == name);
    let unknown = |name: &str| {
        let fault = said("unknown_setting", format!("the pack has no setting `{name}`"));
        fault.hint(meant(name, known.clone()))
    };
    match setting_of(url).map(|name| (name, find(name))) {
        Some((name, None)) => bag.error(file, place("url"), unknown(name)),
        Some((name, Some(setting))) if setting.format != Format::Url => {
            let fault = said("setting", format!("the setting `{name}` is no address"));
            bag.error(file, place("url"), fault.hint("give it `format = \"url\"`"));
        }
        None if !url.starts_with("https://") => {
            let hint = "write `https://host/path`, or `{setting}` for one of format `url`";
            let fault = said("url", format!("`{url}` is no address with https"));
            bag.error(file, place("url"), fault.hint(hint));
        }
        _ => {}
    }
    for name in auth.iter().flat_map(Auth::settings) {
        let is_user = matches!(auth, Some(Auth::Basic { user, .. }) if user == name);
        match find(name) {
            None => bag.error(file, place("auth"), unknown(name)),
            Some(setting) if !setting.secret && !is_user => {
                let fault = said("secret", format!("the setting `{name}` is not kept secret"));
                bag.error(file, place("auth"), fault.hint("give it `secret = true`"));
            }
            Some(_) => {}
        }
    }
}
