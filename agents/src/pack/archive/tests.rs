use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::pack::new::{Wanted, scaffold};

fn files() -> PackFiles {
    let wanted = Wanted {
        id: "parcel-desk".to_owned(),
        title: "Parcels".to_owned(),
        description: "Answers where parcels are.".to_owned(),
        languages: vec!["en".to_owned()],
    };
    scaffold(&wanted).unwrap()
}

fn key(byte: u8) -> Key {
    Key::from_bytes([byte; 32])
}

/// Writes an archive by hand: a list as given, and entries as given.
fn by_hand(list: &str, entries: &[(&str, &[u8])]) -> Vec<u8> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, bytes) in [(LIST, list.as_bytes())].iter().chain(entries) {
        zip.start_file(*path, options).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

fn list_of(entries: &[(&str, usize, &[u8])]) -> String {
    let files: Vec<Entry> = entries
        .iter()
        .map(|(path, size, bytes)| Entry {
            path: (*path).to_owned(),
            size: *size,
            sha256: hex::encode(Sha256::digest(bytes)),
        })
        .collect();
    let list = List { format: 1, id: "x".to_owned(), version: "1.0.0".to_owned(), files };
    serde_json::to_string(&list).unwrap()
}

/// Says why an archive is refused; that takes neither long nor much.
fn refused(archive: &[u8]) -> String {
    let begun = Instant::now();
    let error = open(archive).map(|archive| archive.list).unwrap_err().to_string();
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    error
}

#[test]
fn the_same_files_give_the_same_bytes_and_come_back_as_they_were() {
    let one = build(&files()).unwrap();
    assert_eq!(one, build(&files()).unwrap());
    let read = open(&one).unwrap();
    assert_eq!((read.list.id.as_str(), read.signer), ("parcel-desk", None));
    let paths = |files: &PackFiles| {
        files.below("").map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).collect::<Vec<_>>()
    };
    assert_eq!(paths(&read.files), paths(&files()));
}

#[test]
fn a_signature_holds_for_its_contents_and_key_alone() {
    let archive = build(&files()).unwrap();
    let signed = sign(&archive, &key(1)).unwrap();
    let read = open(&signed).unwrap();
    assert_eq!(read.signer, Some(key(1).public()));
    assert_eq!(read.digest, open(&archive).unwrap().digest);
    assert_eq!(open(&sign(&signed, &key(2)).unwrap()).unwrap().signer, Some(key(2).public()));

    // The signature of another pack does not fit this one.
    let mut other = files();
    other.insert("knowledge/more.md", b"more".to_vec()).unwrap();
    let other = sign(&build(&other).unwrap(), &key(1)).unwrap();
    let mut zip = ZipArchive::new(Cursor::new(other.as_slice())).unwrap();
    let at = zip.index_for_name(SIGNATURE).unwrap();
    let stolen = own(&mut zip, at).unwrap();
    let (list, contents) = contents(&archive).unwrap();
    let forged = written(&list, Some(&stolen), &contents).unwrap();
    assert!(matches!(open(&forged), Err(ArchiveError::Forged(_))), "{:?}", open(&forged));
    // Nor does one that names the key of somebody who is trusted.
    let mut named: Signed = serde_json::from_slice(&stolen).unwrap();
    named.key = key(9).public();
    let named = serde_json::to_vec(&named).unwrap();
    let forged = written(&list, Some(&named), &contents).unwrap();
    assert!(refused(&forged).contains("signature"), "{}", refused(&forged));
}

#[test]
fn a_changed_file_is_found() {
    let (list, mut changed) = contents(&build(&files()).unwrap()).unwrap();
    let policy = changed.get("policy.toml").unwrap().to_vec();
    let policy = String::from_utf8(policy).unwrap().replace("operator", "guest");
    changed = changed.with([("policy.toml".to_owned(), policy)]);
    let archive = written(&list, None, &changed).unwrap();
    assert!(
        refused(&archive).contains("`policy.toml` is not what the list"),
        "{}",
        refused(&archive)
    );
}

#[test]
fn a_path_that_leads_out_of_the_pack_is_refused() {
    for path in ["../../etc/passwd", "/etc/passwd", "a/../../b", "a\\..\\b", "c:/x", "a//b", "."] {
        let archive = by_hand(&list_of(&[(path, 1, b"x")]), &[(path, b"x")]);
        let said = refused(&archive);
        assert!(
            said.contains("no path inside a pack") || said.contains("not there"),
            "{path}: {said}"
        );
    }
}

#[test]
fn a_link_is_refused() {
    let options = SimpleFileOptions::default();
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let target = "/etc/shadow";
    zip.start_file(LIST, options).unwrap();
    let list = list_of(&[("knowledge/a.md", target.len(), target.as_bytes())]);
    zip.write_all(list.as_bytes()).unwrap();
    zip.add_symlink("knowledge/a.md", target, options).unwrap();
    let archive = zip.finish().unwrap().into_inner();
    assert!(refused(&archive).contains("no links"), "{}", refused(&archive));
}

#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    let zeros = vec![0_u8; 200 << 20];
    // It says how large it is: the size alone is refused.
    let honest =
        by_hand(&list_of(&[("knowledge/a.md", zeros.len(), b"")]), &[("knowledge/a.md", &zeros)]);
    assert!(honest.len() < 1 << 20, "{}", honest.len());
    assert!(refused(&honest).contains("bytes"), "{}", refused(&honest));
    // It says that it is small: one byte more than promised is unpacked.
    let lying = by_hand(&list_of(&[("knowledge/a.md", 10, b"")]), &[("knowledge/a.md", &zeros)]);
    assert!(refused(&lying).contains("not what the list"), "{}", refused(&lying));
    // Many files that are each small enough.
    let many: Vec<(String, usize)> =
        (0..9).map(|at| (format!("knowledge/{at}.md"), MAX_FILE_BYTES)).collect();
    let many: Vec<(&str, usize, &[u8])> =
        many.iter().map(|(path, size)| (path.as_str(), *size, b"".as_slice())).collect();
    assert!(refused(&by_hand(&list_of(&many), &[])).contains("more than"));
    let long = "[".repeat(MAX_LIST_BYTES as usize + 10);
    assert!(refused(&by_hand(&long, &[])).contains("its list has more"));
}

#[test]
fn what_is_not_listed_or_too_much_is_refused() {
    let archive = by_hand(&list_of(&[]), &[("extra.sh", b"x")]);
    assert!(refused(&archive).contains("does not name it"), "{}", refused(&archive));
    let absent = by_hand(&list_of(&[("a", 1, b"x")]), &[]);
    assert!(refused(&absent).contains("not there"), "{}", refused(&absent));
    let header = b"PK\x01\x02".repeat(MAX_FILES + 3);
    assert!(refused(&header).contains("more than"), "{}", refused(&header));
    assert!(refused(b"").contains("no archive"));
    assert!(refused(&vec![0; MAX_ARCHIVE_BYTES + 1]).contains("limit"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn a_mangled_archive_is_read_as_it_was_or_refused(
        at in any::<proptest::sample::Index>(),
        byte in any::<u8>(),
        cut in any::<proptest::sample::Index>(),
    ) {
        let archive = sign(&build(&files()).unwrap(), &key(1)).unwrap();
        let whole = open(&archive).unwrap();
        let mut changed = archive.clone();
        let place = at.index(changed.len());
        changed[place] = byte;
        // What is still accepted under the key is what was signed.
        if let Ok(read) = open(&changed)
            && read.signer == whole.signer
        {
            prop_assert_eq!(read.digest, whole.digest.clone());
        }
        changed.truncate(cut.index(archive.len()));
        prop_assert!(open(&changed).is_err());
    }
}
