//! Refuses what would blur the map: an arrow that points up, a loop between modules, a banned
//! name, an overlong file without a reason, a link to nowhere.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The floor of every crate; arrows point to lower floors only.
const FLOORS: [(&str, u8); 17] = [
    ("core", 1),
    ("dlms", 2),
    ("iec104", 2),
    ("modem", 2),
    ("grid", 2),
    ("store", 3),
    ("headend", 4),
    ("edge", 4),
    ("detect", 4),
    ("scada", 4),
    ("field", 4),
    ("mdm", 4),
    ("billing", 4),
    ("nodes", 5),
    ("host", 6),
    ("sim", 6),
    ("web", 6),
];

/// The one arrow between neighbours: only `mdm` makes a validated interval, only `billing` bills it.
const SIBLING_ARROWS: [(&str, &str); 1] = [("billing", "mdm")];

/// Crates that stay out of everything below floor 6, each with its reason.
const HIGH_ONLY: [(&str, &str); 4] = [
    ("serde", "formats are written by hand below the host"),
    ("tokio", "machines below the host own no task"),
    ("axum", "HTTP lives in web"),
    ("anyhow", "libraries have typed errors"),
];

const BANNED_NAMES: [&str; 6] = ["utils", "util", "common", "helpers", "helper", "misc"];

/// A longer file says at its top why it is one idea.
const LINES_MAX: usize = 1_000;

/// Checks the whole tree and reports everything that is wrong with it.
pub(crate) fn run(root: &Path) -> Result<()> {
    let mut faults = Vec::new();
    check_arrows(root, &mut faults)?;
    let files = tracked_files(root)?;
    for file in &files {
        check_name(file, &mut faults);
        let extension = file
            .extension()
            .and_then(|e| e.to_str())
            .unwrap_or_default();
        if matches!(extension, "rs" | "ts" | "svelte") {
            check_length(root, file, &mut faults)?;
        }
        if extension == "md" {
            check_links(root, file, &mut faults)?;
        }
    }
    check_module_loops(root, &files, &mut faults)?;
    if !faults.is_empty() {
        bail!("{} faults:\n  {}", faults.len(), faults.join("\n  "));
    }
    eprintln!("tidy: {} files, all in place", files.len());
    Ok(())
}

fn floor_of(name: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(crate_name, _)| *crate_name == name)
        .map(|(_, floor)| *floor)
}

fn check_arrows(root: &Path, faults: &mut Vec<String>) -> Result<()> {
    for entry in std::fs::read_dir(root.join("crates")).context("failed to list crates")? {
        let folder = entry?.path();
        let name = folder
            .file_name()
            .and_then(|n| n.to_str())
            .unwrap_or_default()
            .to_owned();
        if name == "gridloom" {
            continue; // The top floor may use everything.
        }
        let path = folder.join("Cargo.toml");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("failed to read {}", path.display()))?;
        let manifest: toml::Table = text
            .parse()
            .with_context(|| format!("{} is not TOML", path.display()))?;
        for (section, dependency) in dependencies(&manifest) {
            faults.extend(arrow_fault(&name, section, &dependency));
        }
    }
    Ok(())
}

fn dependencies(manifest: &toml::Table) -> Vec<(&'static str, String)> {
    ["dependencies", "dev-dependencies", "build-dependencies"]
        .into_iter()
        .flat_map(|section| {
            let table = manifest.get(section).and_then(toml::Value::as_table);
            table
                .into_iter()
                .flat_map(toml::Table::keys)
                .map(move |key| (section, key.clone()))
        })
        .collect()
}

/// What is wrong with `from` depending on the package `to`, if anything.
fn arrow_fault(from: &str, section: &str, to: &str) -> Option<String> {
    let Some(floor) = floor_of(from) else {
        return Some(format!(
            "crate {from} has no floor: add it to the map in xtask tidy"
        ));
    };
    if let Some((_, reason)) = HIGH_ONLY.iter().find(|(name, _)| *name == to)
        && floor < 6
        && section == "dependencies"
    {
        return Some(format!("{from} (floor {floor}) uses {to}: {reason}"));
    }
    let target = to.strip_prefix("gridloom-")?;
    let Some(target_floor) = floor_of(target) else {
        return Some(format!("{from} uses {to}, which has no floor"));
    };
    let allowed = target_floor < floor || SIBLING_ARROWS.contains(&(from, target));
    (!allowed).then(|| {
        format!("{from} (floor {floor}) uses {target} (floor {target_floor}): arrows point down")
    })
}

fn tracked_files(root: &Path) -> Result<Vec<PathBuf>> {
    let output = std::process::Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("failed to start git ls-files")?;
    let text = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(text
        .lines()
        .map(PathBuf::from)
        .filter(|file| root.join(file).is_file())
        .collect())
}

fn check_name(file: &Path, faults: &mut Vec<String>) {
    let banned = file.components().any(|component| {
        let stem = component.as_os_str().to_str().unwrap_or_default();
        let stem = stem.split('.').next().unwrap_or_default();
        BANNED_NAMES.contains(&stem)
    });
    if banned {
        faults.push(format!("{}: a name that says nothing", file.display()));
    }
}

fn check_length(root: &Path, file: &Path, faults: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(root.join(file))?;
    let lines = text.lines().count();
    let says_why = text
        .lines()
        .take(20)
        .any(|line| line.contains("one file because"));
    if lines > LINES_MAX && !says_why {
        faults.push(format!(
            "{}: {lines} lines; split it, or say at its top «one file because …»",
            file.display()
        ));
    }
    Ok(())
}

fn check_links(root: &Path, file: &Path, faults: &mut Vec<String>) -> Result<()> {
    let text = std::fs::read_to_string(root.join(file))?;
    let folder = root
        .join(file)
        .parent()
        .map(PathBuf::from)
        .unwrap_or_default();
    for target in link_targets(&text) {
        let path = target.split('#').next().unwrap_or_default();
        if path.is_empty() || path.contains("://") || path.starts_with("mailto:") {
            continue;
        }
        if !folder.join(path).exists() {
            faults.push(format!("{}: link to nowhere: {target}", file.display()));
        }
    }
    Ok(())
}

fn link_targets(markdown: &str) -> impl Iterator<Item = &str> {
    markdown
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
}

fn check_module_loops(root: &Path, files: &[PathBuf], faults: &mut Vec<String>) -> Result<()> {
    let mut crates: BTreeMap<PathBuf, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for file in files {
        let parts: Vec<_> = file.iter().filter_map(|p| p.to_str()).collect();
        let ["crates", name, "src", inside @ ..] = parts.as_slice() else {
            continue;
        };
        let Some(first) = inside
            .first()
            .filter(|f| file.extension().is_some_and(|e| e == "rs") && !f.is_empty())
        else {
            continue;
        };
        let module = first.trim_end_matches(".rs").to_owned();
        if matches!(module.as_str(), "lib" | "main") {
            continue;
        }
        let text = std::fs::read_to_string(root.join(file))?;
        let uses = used_modules(&text);
        crates
            .entry(Path::new("crates").join(name))
            .or_default()
            .entry(module.clone())
            .or_default()
            .extend(uses.into_iter().filter(|used| *used != module));
    }
    for (folder, modules) in crates {
        if let Some(path) = find_loop(&modules) {
            faults.push(format!(
                "{}: modules import in a circle: {}",
                folder.display(),
                path.join(" -> ")
            ));
        }
    }
    Ok(())
}

/// The top-level modules that a file names by `crate::`, leaving out its tests.
fn used_modules(text: &str) -> BTreeSet<String> {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .flat_map(|line| line.split("crate::").skip(1))
        .map(|rest| {
            rest.chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_' || c.is_ascii_digit())
                .collect::<String>()
        })
        .filter(|name| !name.is_empty())
        .collect()
}

fn find_loop(modules: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    fn visit(
        modules: &BTreeMap<String, BTreeSet<String>>,
        at: &str,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(start) = path.iter().position(|p| p == at) {
            let mut cycle = path[start..].to_vec();
            cycle.push(at.to_owned());
            return Some(cycle);
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        path.push(at.to_owned());
        for next in modules.get(at).into_iter().flatten() {
            if modules.contains_key(next)
                && let Some(cycle) = visit(modules, next, path, done)
            {
                return Some(cycle);
            }
        }
        path.pop();
        None
    }
    let mut done = BTreeSet::new();
    modules
        .keys()
        .find_map(|start| visit(modules, start, &mut Vec::new(), &mut done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrows() {
        let cases = [
            ("dlms", "gridloom-core", true),
            ("core", "gridloom-dlms", false),
            ("dlms", "gridloom-grid", false),
            ("billing", "gridloom-mdm", true),
            ("mdm", "gridloom-billing", false),
            ("edge", "gridloom-headend", false),
            ("store", "serde", false),
            ("web", "serde", true),
            ("nodes", "tokio", false),
            ("unheard_of", "gridloom-core", false),
        ];
        for (from, to, allowed) in cases {
            assert_eq!(
                arrow_fault(from, "dependencies", to).is_none(),
                allowed,
                "{from} -> {to}"
            );
        }
    }

    #[test]
    fn circles_are_found_and_trees_are_not() {
        let graph = |edges: &[(&str, &str)]| {
            let mut modules: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for (from, to) in edges {
                modules
                    .entry((*from).into())
                    .or_default()
                    .insert((*to).into());
                modules.entry((*to).into()).or_default();
            }
            modules
        };
        assert_eq!(
            find_loop(&graph(&[("a", "b"), ("a", "c"), ("b", "c")])),
            None
        );
        assert_eq!(
            find_loop(&graph(&[("a", "b"), ("b", "c"), ("c", "b")])),
            Some(vec!["b".into(), "c".into(), "b".into()])
        );
    }

    #[test]
    fn uses_are_read_from_code_not_from_tests_or_comments() {
        let text = "use crate::axdr::Data;\n// crate::no\nfn f() { crate::tag::x() }\n#[cfg(test)]\nuse crate::late;";
        assert_eq!(used_modules(text), ["axdr", "tag"].map(String::from).into());
    }

    #[test]
    fn links() {
        let found: Vec<_> = link_targets("see [a](b.md#c) and [d](https://e)").collect();
        assert_eq!(found, ["b.md#c", "https://e"]);
    }
}
