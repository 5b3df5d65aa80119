//! Gathers the console's built files for embedding, or a page that says how to build them.

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
    let target = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it")).join("console");
    let console = manifest.join("../../console");
    let dist = console.join("dist");

    println!("cargo::rerun-if-changed=build.rs");
    if target.exists() {
        fs::remove_dir_all(&target)?;
    }
    if dist.join("index.html").is_file() {
        println!("cargo::rerun-if-changed={}", dist.display());
        copy_tree(&dist, &target)
    } else {
        // Cargo runs this again for every build as long as a named path is missing, so name one
        // that changes when `dist` appears.
        if console.is_dir() {
            println!("cargo::rerun-if-changed={}", console.display());
        }
        fs::create_dir_all(&target)?;
        fs::write(target.join("index.html"), NOT_BUILT)
    }
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
