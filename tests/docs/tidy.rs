//! The rules of the source tree, read from the source tree.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::{checkout, programs};

/// Every file below the checkout, but what is built and what is git's.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(checkout().join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            let is_dir = entry.file_type().unwrap().is_dir();
            match path.to_str().unwrap() {
                "target" | ".git" | "tests/fuzz/target" => {}
                _ if is_dir => folders.push(path),
                _ => files.push(path),
            }
        }
    }
    files.sort();
    assert!(files.len() > 60, "{files:?}");
    files
}

fn read(file: &Path) -> String {
    fs::read_to_string(checkout().join(file)).unwrap()
}

/// Rust files that begin so, with their text.
fn rust(folder: &str) -> Vec<(PathBuf, String)> {
    let is_meant = |file: &PathBuf| {
        file.starts_with(folder) && file.extension().is_some_and(|ending| ending == "rs")
    };
    let meant = files().into_iter().filter(is_meant);
    meant.map(|file| (file.clone(), read(&file))).collect()
}

/// Without its unit tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap()
}

#[test]
fn the_top_level_is_as_the_design_says() {
    let mut top: Vec<_> = files()
        .iter()
        .map(|file| {
            file.components()
                .next()
                .unwrap()
                .as_os_str()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    top.sort();
    top.dedup();
    let expected = [
        ".cargo",
        ".ci",
        ".gitignore",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "Makefile",
        "README.md",
        "bins",
        "man",
        "migrations",
        "shared",
        "tests",
    ];
    assert_eq!(top, expected);
}

#[test]
fn a_main_is_one_call_and_its_program_has_a_man_page() {
    let mut count = 0;
    for (file, text) in rust("bins")
        .iter()
        .filter(|(file, _)| file.ends_with("main.rs"))
    {
        let main = text.split("fn main()").nth(1).unwrap();
        let body: Vec<_> = main
            .lines()
            .skip(1)
            .take_while(|line| *line != "}")
            .collect();
        assert_eq!(body.len(), 1, "{file:?}: {body:?}");
        assert!(main.starts_with(" -> std::process::ExitCode {"), "{file:?}");
        let program = file.iter().nth(1).unwrap().to_str().unwrap();
        assert!(
            checkout().join(format!("man/{program}.1")).exists(),
            "{program}"
        );
        count += 1;
    }
    assert_eq!(
        count,
        fs::read_dir(checkout().join("bins")).unwrap().count()
    );
}

#[test]
fn every_module_opens_with_what_it_is_for() {
    for (file, text) in rust("") {
        assert!(text.starts_with("//! "), "{file:?}");
    }
}

#[test]
fn no_file_of_tests_is_forgotten() {
    let main = read(Path::new("tests/main.rs"));
    for (file, _) in rust("tests") {
        let folder = file.iter().nth(1).unwrap().to_str().unwrap();
        if matches!(folder, "main.rs" | "support" | "fuzz") {
            continue;
        }
        let name = file.file_stem().unwrap().to_str().unwrap();
        let named = main.split(&format!("\nmod {folder} {{")).nth(1).unwrap();
        let named = named.split("\n}").next().unwrap();
        let is_named = named
            .lines()
            .any(|line| line.trim() == format!("mod {name};"));
        assert!(is_named, "{file:?} is not in tests/main.rs");
    }
}

#[test]
fn files_are_no_longer_than_500_lines() {
    for (file, text) in rust("") {
        assert!(
            text.lines().count() <= 500,
            "{file:?}: {}",
            text.lines().count()
        );
    }
}

#[test]
fn nothing_ends_the_process_or_panics_or_is_left_undone() {
    for (file, text) in rust("bins").into_iter().chain(rust("shared")) {
        if file.iter().any(|part| part == "tests") {
            continue;
        }
        let text = product(&text);
        for word in [
            "process::exit",
            "todo!",
            "unimplemented!",
            ".unwrap()",
            ".expect(",
            "panic!",
            "unsafe ",
            "FIXME",
            "XXX",
            "println!",
        ] {
            assert!(!text.contains(word), "{word} in {file:?}");
        }
    }
}

/// The modules of the store that know DuckDB.
const QUERIES: [&str; 17] = [
    "backups",
    "columns",
    "copies",
    "engine",
    "history",
    "ledger",
    "reader",
    "record_list",
    "rows",
    "search",
    "session",
    "storage_table",
    "stream",
    "trust",
    "version",
    "working_copy",
    "writer",
];

#[test]
fn sql_stands_in_sessions_and_in_migrations_alone() {
    for (file, text) in rust("bins").into_iter().chain(rust("shared")) {
        let sql = ["SELECT ", "INSERT ", "UPDATE backup", "DELETE FROM"];
        let has_sql = sql.iter().any(|word| product(&text).contains(word));
        let knows_duckdb = product(&text).contains("duckdb::");
        let module = file.file_stem().unwrap().to_str().unwrap();
        let is_query = file.starts_with("shared/store/src") && QUERIES.contains(&module);
        assert!(is_query || !has_sql && !knows_duckdb, "{file:?}");
    }
    let migrations = read(Path::new("shared/schema/src/migrations.rs"));
    for file in files().iter().filter(|file| file.starts_with("migrations")) {
        let text = read(file).to_uppercase();
        let text = text.replace("NO CREATE INDEX", "");
        assert!(!text.contains("CREATE INDEX"), "{file:?}");
        let name = file.file_name().unwrap().to_str().unwrap();
        let (number, rest) = name.split_once('_').unwrap();
        assert!(number.len() == 4 && number.parse::<u32>().is_ok() && rest.ends_with(".sql"));
        assert!(migrations.contains(name), "{name}");
    }
}

/// What a crate's manifest names as its dependencies, but those of its tests.
fn dependencies(folder: &str) -> Vec<String> {
    let text = read(Path::new(&format!("{folder}/Cargo.toml")));
    let begin = text.find("[dependencies]").unwrap();
    let lines = text[begin..].lines().skip(1);
    let lines = lines.take_while(|line| !line.starts_with('['));
    let names = lines.filter_map(|line| line.split(['.', ' ']).next());
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_crates_depend_one_way() {
    let ours = |folder: &str| {
        let all = dependencies(folder).into_iter();
        all.filter(|name| name.starts_with("bk-"))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        dependencies("shared/schema"),
        ["anyhow", "jiff", "serde", "serde_json"]
    );
    assert_eq!(ours("shared/store"), ["bk-schema"]);
    assert_eq!(ours("shared/cli"), ["bk-schema", "bk-store"]);
    assert_eq!(ours("shared/archive"), ["bk-schema"]);
    assert_eq!(ours("shared/jobs"), ["bk-schema"]);
    assert_eq!(ours("shared/remote"), Vec::<String>::new());
    assert_eq!(
        ours("shared/offsite"),
        ["bk-cli", "bk-remote", "bk-schema", "bk-store"]
    );
    assert_eq!(
        ours("tests"),
        Vec::<String>::new(),
        "tests link no product code"
    );
    for bin in fs::read_dir(checkout().join("bins")).unwrap() {
        let name = bin.unwrap().file_name().into_string().unwrap();
        let folder = format!("bins/{name}");
        let told = dependencies(&folder);
        for heavy in ["duckdb", "tar", "lexopt"] {
            assert!(
                !told.contains(&heavy.to_owned()),
                "{name}: {heavy} is of the shared crates"
            );
        }
        for ours in [
            "bk-archive",
            "bk-cli",
            "bk-jobs",
            "bk-offsite",
            "bk-remote",
            "bk-schema",
            "bk-store",
        ] {
            let path = format!("{}::", ours.replace('-', "_"));
            let uses_it = rust(&folder).iter().any(|(_, text)| text.contains(&path));
            assert_eq!(told.contains(&ours.to_owned()), uses_it, "{name}: {ours}");
        }
    }
    let root = read(Path::new("Cargo.toml"));
    let profiles = root.matches("[profile.").count();
    let of_release = root.matches("[profile.release").count();
    assert_eq!(profiles, of_release, "one profile for tests and for use");
}

/// The others have sockets at most for systemd and for their children: what a host is called, they cannot look up.
#[test]
fn only_what_copies_to_other_places_can_reach_a_network() {
    for bin in fs::read_dir(checkout().join("bins")).unwrap() {
        let name = bin.unwrap().file_name().into_string().unwrap();
        let may_connect = ["bk-push", "bk-pull"].contains(&&*name);
        let told = dependencies(&format!("bins/{name}"));
        assert_eq!(
            told.contains(&"bk-remote".to_owned()),
            may_connect,
            "{name}"
        );
        let program = fs::read(programs().join(&name)).unwrap();
        let lookup = b"\0getaddrinfo\0";
        let can_look_up = program.windows(lookup.len()).any(|it| it == lookup);
        assert_eq!(can_look_up, may_connect, "{name}");
    }
}

/// The modules of a crate, as paths (`read::check`), each with its text.
fn modules(folder: &str) -> Vec<(String, String)> {
    let source = format!("{folder}/src");
    let all = rust(&source).into_iter().map(|(file, text)| {
        let path = file.strip_prefix(&source).unwrap().with_extension("");
        (
            path.to_str().unwrap().replace('/', "::"),
            product(&text).to_owned(),
        )
    });
    all.collect()
}

fn crates() -> Vec<String> {
    let names = |folder: &str| {
        let entries = fs::read_dir(checkout().join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names
            .map(|name| format!("{folder}/{name}"))
            .collect::<Vec<_>>()
    };
    let mut all = names("bins");
    all.extend(names("shared"));
    all
}

/// The module that each path in the text begins with, as `use crate::a::{b, c::D};` and
/// `super::e::f()` have them.
fn used_modules(module: &str, text: &str, all: &[String]) -> Vec<String> {
    let path =
        regex::Regex::new(r"\b(crate|super|self)((?:::[a-z_0-9]+)*)(::\{[^;]*?\})?").unwrap();
    let item = regex::Regex::new(r"[{,]\s*([a-z_0-9]+(?:::[a-z_0-9]+)*)").unwrap();
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    let code = code.collect::<Vec<_>>().join("\n");
    let mut used = Vec::new();
    for found in path.captures_iter(&code) {
        if found[2].is_empty() && found.get(3).is_none() {
            continue;
        }
        let own: Vec<_> = module.split("::").collect();
        let mut base: Vec<_> = match &found[1] {
            "crate" => Vec::new(),
            "super" => own[..own.len() - 1].to_vec(),
            _ => own,
        };
        base.extend(found[2].split("::").filter(|part| !part.is_empty()));
        let items: Vec<_> = match found.get(3) {
            Some(group) => item
                .captures_iter(group.as_str())
                .map(|it| it.extract::<1>().1[0])
                .collect(),
            None => vec![""],
        };
        for item in items {
            let mut full = base.clone();
            full.extend(item.split("::").filter(|part| !part.is_empty()));
            let named = (1..=full.len()).rev().map(|count| full[..count].join("::"));
            used.extend(
                named
                    .into_iter()
                    .find(|name| all.contains(name) && name != module),
            );
        }
    }
    // A module of its own folder, as the file above it names it.
    let below = all.iter().filter(|name| {
        let rest = name
            .strip_prefix(module)
            .and_then(|rest| rest.strip_prefix("::"));
        let is_used = |rest: &str| {
            code.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':')
                .any(|word| word.starts_with(&format!("{rest}::")))
        };
        rest.is_some_and(is_used)
    });
    used.extend(below.cloned());
    used
}

#[test]
fn no_files_import_in_a_circle() {
    for folder in crates() {
        let modules = modules(&folder);
        let names: Vec<_> = modules.iter().map(|(name, _)| name.clone()).collect();
        assert!(names.len() > 1, "{folder}");
        let mut left: Vec<(String, Vec<String>)> = modules
            .iter()
            .filter(|(name, _)| name != "lib" && name != "main")
            .map(|(name, text)| (name.clone(), used_modules(name, text, &names)))
            .collect();
        // Whoever imports none that is left is in no circle.
        loop {
            let names: Vec<_> = left.iter().map(|(name, _)| name.clone()).collect();
            let before = left.len();
            left.retain(|(_, used)| used.iter().any(|one| names.contains(one)));
            if left.len() == before {
                break;
            }
        }
        assert!(left.is_empty(), "{folder}: {left:#?}");
    }
}

#[test]
fn each_lib_has_the_map_of_its_files() {
    for folder in crates()
        .iter()
        .filter(|folder| folder.starts_with("shared"))
    {
        let map = read(Path::new(&format!("{folder}/src/lib.rs")));
        let map: String = map
            .lines()
            .take_while(|line| line.starts_with("//!"))
            .collect();
        for (module, _) in modules(folder) {
            let name = module.split("::").last().unwrap();
            let is_named = name == "lib" || map.contains(&format!("`{name}`"));
            assert!(
                is_named,
                "{module} is not in the map of {folder}/src/lib.rs"
            );
        }
    }
}

/// Another version compresses to other bytes: a manifest that named the old one would make a parent of
/// what the new one does not repeat.
#[test]
fn the_compressor_is_named_by_its_version() {
    let lock = read(Path::new("Cargo.lock"));
    let (_, rest) = lock
        .split_once("name = \"libdeflate-sys\"\nversion = \"")
        .unwrap();
    let (version, _) = rest.split_once('"').unwrap();
    let member = read(Path::new("shared/archive/src/format/member.rs"));
    let named = format!("const COMPRESSOR: &str = \"libdeflate {version}\";");
    assert!(member.contains(&named), "{named}");
}
