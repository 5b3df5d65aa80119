//! The archive of test feeders, unpacked once into memory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gridloom_grid::opendss::Files;

/// The folder of data outside the repository, if it is there.
pub(crate) fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("GRIDLOOM_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    if folder.join("feeders").is_dir() {
        return Some(folder);
    }
    eprintln!("no test feeders: set GRIDLOOM_DATA to the folder that holds feeders/");
    None
}

/// Files of the archive, by path in lower case.
pub(crate) struct Archive {
    /// Contents by path in lower case.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

impl Archive {
    /// An archive of the data folder.
    pub(crate) fn unpack(name: &str) -> Option<Self> {
        let file = std::fs::File::open(folder()?.join("feeders").join(name))
            .expect("the data is well formed");
        let tar = zstd::stream::decode_all(file).expect("the data is well formed");
        let mut files = BTreeMap::new();
        let mut at = 0;
        let mut long_name = None;
        // POSIX tar: blocks of 512 bytes, name at 0, size in octal at 124, type at 156.
        while at + 512 <= tar.len() && tar[at] != 0 {
            let header = &tar[at..at + 512];
            let text = |part: &[u8]| {
                let end = part
                    .iter()
                    .position(|byte| *byte == 0)
                    .unwrap_or(part.len());
                String::from_utf8_lossy(&part[..end]).trim().to_owned()
            };
            let size = usize::from_str_radix(&text(&header[124..136]), 8)
                .expect("the data is well formed");
            let body = &tar[at + 512..at + 512 + size];
            match header[156] {
                b'L' => long_name = Some(text(body)),
                b'0' | 0 => {
                    let prefix = text(&header[345..500]);
                    let short = text(&header[..100]);
                    let name = long_name.take().unwrap_or_else(|| {
                        if prefix.is_empty() {
                            short
                        } else {
                            format!("{prefix}/{short}")
                        }
                    });
                    let name = name.trim_start_matches("./").to_ascii_lowercase();
                    files.insert(name, body.to_vec());
                }
                _ => {}
            }
            at += 512 + size.div_ceil(512) * 512;
        }
        Some(Self { files })
    }
}

impl Files for Archive {
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String> {
        let mut parts: Vec<&str> = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    parts.pop();
                }
                part => parts.push(part),
            }
        }
        let path = parts.join("/").to_ascii_lowercase();
        self.files
            .get(&path)
            .cloned()
            .ok_or_else(|| "it is not in the archive".to_owned())
    }
}
