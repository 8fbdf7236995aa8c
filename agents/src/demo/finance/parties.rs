//! A sanctions list of invented names in four scripts, and parties of which some are on it.

use std::collections::BTreeSet;

use rand::RngExt as _;
use serde_json::{Value, json};

use super::{Chance, Csv, Generated, brand, choose, day};

const TRADES: [&str; 8] =
    ["Shipping", "Metals", "Petroleum", "Aviation", "Electronics", "Trading", "Grain", "Machinery"];
const FORMS: [&str; 6] = ["Ltd", "LLC", "S.A.", "GmbH", "FZE", "JSC"];
/// Given names in a script and in Latin.
const CYRILLIC: ([(&str, &str); 6], [(&str, &str); 6]) = (
    [
        ("Виктор", "Viktor"),
        ("Николай", "Nikolai"),
        ("Роман", "Roman"),
        ("Олег", "Oleg"),
        ("Максим", "Maksim"),
        ("Антон", "Anton"),
    ],
    [
        ("Дубравин", "Dubravin"),
        ("Зарубко", "Zarubko"),
        ("Кольцев", "Koltsev"),
        ("Мирошник", "Miroshnik"),
        ("Белуга", "Beluga"),
        ("Тарханов", "Tarkhanov"),
    ],
);
const ARABIC: ([(&str, &str); 5], [(&str, &str); 5]) = (
    [
        ("محمود", "Mahmoud"),
        ("خالد", "Khaled"),
        ("حسن", "Hassan"),
        ("سليم", "Salim"),
        ("كريم", "Karim"),
    ],
    [
        ("منصور", "Mansour"),
        ("درويش", "Darwish"),
        ("قاسم", "Qasim"),
        ("بركات", "Barakat"),
        ("حداد", "Haddad"),
    ],
);
const HAN: ([(&str, &str); 6], [(&str, &str); 6]) = (
    [("欧", "Ou"), ("钱", "Qian"), ("冯", "Feng"), ("蒋", "Jiang"), ("邓", "Deng"), ("彭", "Peng")],
    [
        ("文博", "Wenbo"),
        ("思远", "Siyuan"),
        ("国栋", "Guodong"),
        ("明哲", "Mingzhe"),
        ("浩然", "Haoran"),
        ("俊凯", "Junkai"),
    ],
);
const LISTED_FIRMS: usize = 80;
const CLEAN: usize = 260;

struct Listed {
    id: String,
    /// The name on the list.
    name: String,
    /// How the same party is written elsewhere.
    other: String,
    kind: &'static str,
}

/// Writes a firm's name as payers do: another legal form, an abbreviation, a slip, capitals.
fn firm_variant(brand: &str, trade: &str, chance: &mut Chance) -> String {
    let form = choose(&FORMS, chance).copied().unwrap_or_default();
    match chance.random_range(0..5u8) {
        0 => format!("{brand} {trade} {form}"),
        1 => format!("{} {}", brand.to_uppercase(), trade.to_uppercase()),
        2 => format!("{brand}, {trade} Company"),
        3 => format!("{trade} {brand} {form}"),
        _ => {
            // One letter dropped, as a clerk does.
            let mut letters: Vec<char> = brand.chars().collect();
            letters.remove(2);
            format!("{} {trade} {form}", letters.into_iter().collect::<String>())
        }
    }
}

fn firms(chance: &mut Chance, taken: &mut BTreeSet<String>, listed: &mut Vec<Listed>) {
    while listed.len() < LISTED_FIRMS {
        // Two words of its own beside the trade, as most firms have: one common word is no match.
        let brand = format!("{} {}", brand(chance), brand(chance));
        if !taken.insert(brand.clone()) {
            continue;
        }
        let trade = choose(&TRADES, chance).copied().unwrap_or_default();
        let form = choose(&FORMS, chance).copied().unwrap_or_default();
        let other = firm_variant(&brand, trade, chance);
        let name = format!("{} {} {form}", brand.to_uppercase(), trade.to_uppercase());
        let id = (7_001 + listed.len()).to_string();
        listed.push(Listed { id, name, other, kind: "-0-" });
    }
}

fn people(listed: &mut Vec<Listed>) {
    let mut add = |name: String, other: String| {
        let id = (7_001 + listed.len()).to_string();
        listed.push(Listed { id, name, other, kind: "individual" });
    };
    for i in 0..6 {
        let ((given, latin_given), (family, latin_family)) = (CYRILLIC.0[i], CYRILLIC.1[i]);
        add(format!("{latin_family}, {latin_given}"), format!("{given} {family}"));
        let ((family, latin_family), (given, latin_given)) = (HAN.0[i], HAN.1[i]);
        add(format!("{latin_family} {latin_given}"), format!("{family}{given}"));
    }
    for i in 0..5 {
        let ((given, latin_given), (family, latin_family)) = (ARABIC.0[i], ARABIC.1[i]);
        add(format!("{given} {family}"), format!("{latin_given} {latin_family}"));
    }
}

/// Generates the list, its registration, the parties, and who of them is listed.
pub(super) fn generate(chance: &mut Chance) -> (Vec<Generated>, Value) {
    let mut taken = BTreeSet::new();
    let mut listed = Vec::new();
    firms(chance, &mut taken, &mut listed);
    people(&mut listed);
    let mut list = Csv::new("demo_sanctions_list", "list_id,name,type,program");
    for entry in &listed {
        list.row(&[&entry.id, &entry.name, entry.kind, "DEMO"]);
    }
    let mut registry = Csv::new("sanctions_lists", "dataset,list,as_of");
    registry.row(&["demo_sanctions_list", "Invented demo list", &day(0).to_string()]);
    let mut parties = Csv::new("demo_parties", "party_id,name");
    let mut matches = Vec::new();
    let mut count = 0;
    let mut add = |name: &str, list_id: Option<&str>| {
        count += 1;
        let id = format!("PTY-{count:04}");
        parties.row(&[&id, name]);
        matches.push(json!({"party_id": id, "name": name, "list_id": list_id}));
    };
    for entry in listed.iter().filter(|_| chance.random_bool(0.8)) {
        add(&entry.other, Some(&entry.id));
    }
    for _ in 0..CLEAN {
        let mut name = format!("{} {}", brand(chance), brand(chance));
        while !taken.insert(name.clone()) {
            name = format!("{} {}", brand(chance), brand(chance));
        }
        let trade = choose(&TRADES, chance).copied().unwrap_or_default();
        let form = choose(&FORMS, chance).copied().unwrap_or_default();
        add(&format!("{name} {trade} {form}"), None);
    }
    let truth = json!({ "parties": matches });
    (vec![list.done(), registry.done(), parties.done()], truth)
}
