//! Writes the table of the console's built files, or of a page that says how to build them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Shown at `/` by a binary that was built without the console.
const NOT_BUILT: &str = "<!doctype html>
<html lang=\"en\">
<head><meta charset=\"utf-8\"><title>gridloom: the console is not built</title></head>
<body>
<h1>The console is not part of this binary</h1>
<p>Build it with <code>make console</code> (it needs Node.js 20 or newer), then build gridloom again.</p>
<p>The API is here: <a href=\"/api/v1/snapshot\">/api/v1/snapshot</a>, <a href=\"/metrics\">/metrics</a>.</p>
</body>
</html>
";

fn main() -> io::Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let console = manifest.join("../../console");
    let dist = console.join("dist");

    println!("cargo::rerun-if-changed=build.rs");
    let mut files = Vec::new();
    if dist.join("index.html").is_file() {
        println!("cargo::rerun-if-changed={}", dist.display());
        collect(&dist, "", &mut files)?;
    } else {
        // Cargo runs this again for every build as long as a named path is missing, so name one
        // that changes when `dist` appears.
        if console.is_dir() {
            println!("cargo::rerun-if-changed={}", console.display());
        }
        let page = out.join("not-built.html");
        fs::write(&page, NOT_BUILT)?;
        files.push(("index.html".to_owned(), page));
    }
    // Sorted, because the table is searched by halves.
    files.sort();
    let mut table = String::from("[\n");
    for (name, path) in &files {
        let tag = tag_of(&fs::read(path)?);
        let path = path.canonicalize()?;
        writeln!(
            table,
            "    ({name:?}, include_bytes!({path:?}), \"{tag}\"),"
        )
        .expect("a string takes everything");
    }
    table.push_str("]\n");
    fs::write(out.join("files.rs"), table)
}

fn collect(folder: &Path, prefix: &str, files: &mut Vec<(String, PathBuf)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), files)?;
        } else {
            files.push((name, entry.path()));
        }
    }
    Ok(())
}

/// Tells two contents of one file apart: FNV-1a and the length. Nobody forges our own files.
fn tag_of(content: &[u8]) -> String {
    let hash = content
        .iter()
        .fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3)
        });
    format!("{hash:016x}-{:x}", content.len())
}
