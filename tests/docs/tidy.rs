//! The rules of the source tree, read from the source tree.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::checkout;

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
    let named: Vec<_> = main
        .lines()
        .filter_map(|line| line.trim().strip_prefix("mod ")?.strip_suffix(';'))
        .collect();
    for (file, _) in rust("tests") {
        let folder = file.iter().nth(1).unwrap().to_str().unwrap();
        if matches!(folder, "main.rs" | "support" | "fuzz") {
            continue;
        }
        let name = file.file_stem().unwrap().to_str().unwrap();
        assert!(named.contains(&name), "{file:?} is not in tests/main.rs");
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

#[test]
fn sql_stands_in_the_catalog_and_in_migrations_alone() {
    for (file, text) in rust("bins").into_iter().chain(rust("shared")) {
        let sql = ["SELECT ", "INSERT ", "UPDATE backup", "DELETE FROM"];
        let has_sql = sql.iter().any(|word| product(&text).contains(word));
        let is_catalog = file.ends_with("shared/schema/src/catalog.rs")
            || file.starts_with("shared/schema/src/catalog");
        assert!(is_catalog || !has_sql, "{file:?}");
        let is_rows = file.ends_with("shared/schema/src/rows.rs");
        assert!(
            is_catalog || is_rows || !product(&text).contains("duckdb::"),
            "{file:?}"
        );
    }
    for file in files().iter().filter(|file| file.starts_with("migrations")) {
        let text = read(file);
        assert!(
            !text
                .to_uppercase()
                .replace("NO CREATE INDEX", "")
                .contains("CREATE INDEX"),
            "{file:?}"
        );
        let name = file.file_name().unwrap().to_str().unwrap();
        let (number, rest) = name.split_once('_').unwrap();
        assert!(number.len() == 4 && number.parse::<u32>().is_ok() && rest.ends_with(".sql"));
        assert!(
            read(Path::new("shared/schema/src/migrations.rs")).contains(name),
            "{name}"
        );
    }
}

#[test]
fn the_crates_depend_as_the_design_says() {
    let manifest = |crate_name: &str| read(Path::new(&format!("{crate_name}/Cargo.toml")));
    let dependencies = |crate_name: &str| {
        let text = manifest(crate_name);
        let begin = text.find("[dependencies]").unwrap();
        let end = text[begin + 1..]
            .find("\n[")
            .map_or(text.len(), |end| begin + 1 + end);
        text[begin..end].to_owned()
    };
    assert!(!manifest("shared/archive").contains("bk-schema"));
    assert!(!manifest("shared/schema").contains("bk-archive"));
    for product in ["bk-schema", "bk-archive", "bk-create"] {
        assert!(
            !manifest("tests").contains(product),
            "tests link no product code"
        );
    }
    for bin in fs::read_dir(checkout().join("bins")).unwrap() {
        let name = bin.unwrap().file_name().into_string().unwrap();
        let told = dependencies(&format!("bins/{name}"));
        assert!(
            !told.contains("duckdb"),
            "{name}: the catalog is the schema crate's"
        );
        let opens_archives = rust(&format!("bins/{name}"))
            .iter()
            .any(|(_, text)| text.contains("bk_archive::"));
        assert_eq!(told.contains("bk-archive"), opens_archives, "{name}");
    }
    let root = read(Path::new("Cargo.toml"));
    assert_eq!(
        root.matches("[profile").count(),
        1,
        "one profile for tests and for use"
    );
}

#[test]
fn the_code_map_names_every_module() {
    let map = read(Path::new("README.md"));
    for (file, _) in rust("shared").into_iter().chain(rust("bins")) {
        if !file.iter().any(|part| part == "src") {
            continue;
        }
        let name = file.file_name().unwrap().to_str().unwrap();
        let is_plain = matches!(name, "lib.rs" | "main.rs" | "flags.rs");
        assert!(
            is_plain || map.contains(name),
            "{file:?} is not in the README's code map"
        );
    }
}
