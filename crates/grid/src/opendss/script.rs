//! The language's commands: files are read in, objects collect their properties in order.

use std::collections::BTreeMap;

use super::classes::{Class, Use, class};
use super::error::{CircuitError, Origin};
use super::text::{LINE_MAX, Parameter, number, numbers, parameters, without_comment};

/// Deepest chain of files that read each other.
pub const DEPTH_MAX: usize = 32;

/// Most bytes of all files together.
pub const BYTES_MAX: usize = 256 << 20;

/// Most objects, of all classes together.
pub const OBJECTS_MAX: usize = 500_000;

/// Gives the files a circuit consists of.
pub trait Files {
    /// The bytes of a file. Paths are joined with `/` and may contain `..`.
    ///
    /// # Errors
    ///
    /// Why it cannot be had, as a half sentence.
    fn read(&mut self, path: &str) -> Result<Vec<u8>, String>;
}

/// One property as it was assigned.
#[derive(Debug, Clone)]
pub(crate) struct Assignment {
    pub(crate) property: &'static str,
    pub(crate) value: String,
    pub(crate) origin: Origin,
}

#[derive(Debug, Clone)]
pub(crate) struct Object {
    pub(crate) class: &'static Class,
    /// Class and name, in lower case.
    pub(crate) label: String,
    pub(crate) assignments: Vec<Assignment>,
    pub(crate) origin: Origin,
    /// Default base frequency when it was made.
    pub(crate) frequency_hz: f64,
    /// Terminals opened by a command, from one; 0 is all.
    pub(crate) opened: Vec<usize>,
}

/// A circuit before its elements are made.
#[derive(Debug, Clone)]
pub(crate) struct Script {
    pub(crate) objects: Vec<Object>,
    pub(crate) by_label: BTreeMap<String, usize>,
    pub(crate) frequency_hz: f64,
    pub(crate) voltage_bases_kv: Vec<f64>,
    pub(crate) bases_wanted: bool,
    pub(crate) loads_follow_bases: bool,
    pub(crate) simple_carson: bool,
    pub(crate) load_factor: f64,
    pub(crate) controls_off: bool,
    bytes: usize,
    active: Option<usize>,
}

/// Commands that show, store or time a solution.
const WITHOUT_EFFECT: &[&str] = &[
    "plot",
    "show",
    "export",
    "summary",
    "help",
    "buscoords",
    "interpolate",
    "wait",
    "visualize",
    "closedi",
    "solve",
    "get",
    "?",
    "formedit",
    "fileedit",
    "sample",
    "reset",
    "comparecases",
    "solveall",
    "newactor",
    "latlongcoords",
    "addmarker",
    "clearbusmarkers",
    "cleanup",
    "dump",
    "var",
    "init",
];

const OPTIONS_WITHOUT_EFFECT: &[&str] = &[
    "maxiterations",
    "maxiter",
    "maxcontroliter",
    "maxcontroliterations",
    "tolerance",
    "mode",
    "algorithm",
    "casename",
    "year",
    "number",
    "stepsize",
    "hour",
    "time",
    "sec",
    "h",
    "demand",
    "diverbose",
    "demandinterval",
    "overloadreport",
    "voltexcept",
    "voltexceptionreport",
    "markcapacitors",
    "capmarkersize",
    "markregulators",
    "regmarkersize",
    "marktransformers",
    "transmarkersize",
    "markercode",
    "nodewidth",
    "showexport",
    "trapezoidal",
    "datapath",
    "normvminpu",
    "normvmaxpu",
    "emergvminpu",
    "emergvmaxpu",
    "marker",
    "parallel",
    "cpu",
    "activeactor",
    "daisysize",
    "defaultdaily",
    "defaultyearly",
    "circuit",
    "bus",
    "object",
    "element",
    "class",
    "editor",
    "recorder",
    "totaltime",
];

impl Script {
    pub(crate) fn new() -> Self {
        Self {
            objects: Vec::new(),
            by_label: BTreeMap::new(),
            frequency_hz: 60.0,
            voltage_bases_kv: Vec::new(),
            bases_wanted: false,
            loads_follow_bases: false,
            simple_carson: false,
            load_factor: 1.0,
            controls_off: false,
            bytes: 0,
            active: None,
        }
    }

    pub(crate) fn find(&self, label: &str) -> Option<&Object> {
        self.by_label.get(label).map(|at| &self.objects[*at])
    }

    /// Reads a file and all it refers to.
    pub(crate) fn run(
        &mut self,
        files: &mut dyn Files,
        path: &str,
        from: &Origin,
        depth: usize,
    ) -> Result<(), CircuitError> {
        let too_large = |what, max| CircuitError::TooLarge {
            origin: from.clone(),
            what,
            max,
        };
        if depth > DEPTH_MAX {
            return Err(too_large("files inside files", DEPTH_MAX));
        }
        let bytes = files.read(path).map_err(|reason| CircuitError::File {
            origin: from.clone(),
            path: path.to_owned(),
            reason,
        })?;
        self.bytes = self.bytes.saturating_add(bytes.len());
        if self.bytes > BYTES_MAX {
            return Err(too_large("bytes of all files", BYTES_MAX));
        }
        // Old files carry names in code pages; a replaced letter is still the same name.
        let text = String::from_utf8_lossy(&bytes);
        let mut in_comment = false;
        for (at, line) in text.lines().enumerate() {
            let origin = Origin {
                file: path.to_owned(),
                line: at + 1,
            };
            if line.len() > LINE_MAX {
                return Err(CircuitError::TooLarge {
                    origin,
                    what: "bytes of a line",
                    max: LINE_MAX,
                });
            }
            if line.trim_start().starts_with("/*") {
                in_comment = true;
            }
            if in_comment {
                in_comment = !line.contains("*/");
                continue;
            }
            let line = without_comment(line);
            // A tilde may stand against its first property.
            let line = match line.trim_start().strip_prefix('~') {
                Some(rest) => format!("~ {rest}"),
                None => line.to_owned(),
            };
            let mut line = parameters(&line);
            self.fetch(files, &mut line, &origin)?;
            self.command(files, &line, &origin, depth)?;
        }
        Ok(())
    }

    /// Numbers that stand in a file of their own take the place of its name.
    fn fetch(
        &mut self,
        files: &mut dyn Files,
        line: &mut [Parameter],
        origin: &Origin,
    ) -> Result<(), CircuitError> {
        for parameter in line {
            let name = parameter.name.as_deref().unwrap_or("");
            let value = parameter.value.trim();
            let path = match value.split_once('=') {
                Some((word, path)) if word.trim().eq_ignore_ascii_case("file") => path,
                _ if name == "csvfile" => value,
                Some(_) | None => continue,
            };
            let path = path.trim().trim_matches(['"', '\'']);
            let bytes =
                files
                    .read(&beside(&origin.file, path))
                    .map_err(|reason| CircuitError::File {
                        origin: origin.clone(),
                        path: path.to_owned(),
                        reason,
                    })?;
            self.bytes = self.bytes.saturating_add(bytes.len());
            if self.bytes > BYTES_MAX {
                return Err(CircuitError::TooLarge {
                    origin: origin.clone(),
                    what: "bytes of all files",
                    max: BYTES_MAX,
                });
            }
            parameter.value = String::from_utf8_lossy(&bytes).into_owned();
        }
        Ok(())
    }

    fn command(
        &mut self,
        files: &mut dyn Files,
        line: &[Parameter],
        origin: &Origin,
        depth: usize,
    ) -> Result<(), CircuitError> {
        let Some(first) = line.first() else {
            return Ok(());
        };
        if let Some(name) = &first.name {
            return self.assign_directly(name, line, origin);
        }
        let rest = &line[1..];
        let command = first.value.to_ascii_lowercase();
        match command.as_str() {
            "clear" | "clearall" => {
                let bytes = self.bytes;
                *self = Self::new();
                self.bytes = bytes;
            }
            "new" => self.new_object(rest, origin)?,
            "edit" => {
                let label = object_label(rest, origin)?;
                let at = self.locate(&label, origin)?;
                self.assign(at, &rest[1..], origin)?;
            }
            "~" | "more" | "m" => {
                let at = self.active.ok_or_else(|| CircuitError::Missing {
                    origin: origin.clone(),
                    object: first.value.clone(),
                    what: "object to continue".to_owned(),
                })?;
                self.assign(at, rest, origin)?;
            }
            "batchedit" => self.batch_edit(rest, origin)?,
            "redirect" | "compile" => {
                let name = rest.first().map_or("", |parameter| &parameter.value);
                let path = beside(&origin.file, name);
                self.run(files, &path, origin, depth + 1)?;
            }
            "set" => self.set(rest, origin)?,
            "calcvoltagebases" | "calcv" => self.bases_wanted = true,
            "setloadandgenkv" => self.loads_follow_bases = true,
            "open" | "close" => {
                let label = object_label(rest, origin)?;
                let at = self.locate(&label, origin)?;
                let terminal = match rest.get(1) {
                    Some(parameter) => terminal_number(&parameter.value, &label, origin)?,
                    None => 1,
                };
                let opened = &mut self.objects[at].opened;
                opened.retain(|open| *open != terminal);
                if command == "open" {
                    opened.push(terminal);
                }
            }
            "disable" | "enable" => {
                let label = object_label(rest, origin)?;
                let at = self.locate(&label, origin)?;
                self.objects[at].assignments.push(Assignment {
                    property: "enabled",
                    value: if command == "enable" { "yes" } else { "no" }.to_owned(),
                    origin: origin.clone(),
                });
            }
            other if WITHOUT_EFFECT.contains(&other) => {}
            _ => {
                return Err(CircuitError::Command {
                    origin: origin.clone(),
                    command: first.value.clone(),
                });
            }
        }
        Ok(())
    }

    fn new_object(&mut self, line: &[Parameter], origin: &Origin) -> Result<(), CircuitError> {
        let mut label = object_label(line, origin)?;
        if let Some(rest) = label.strip_prefix("circuit.") {
            // A circuit is its source.
            let _ = rest;
            label = "vsource.source".to_owned();
        }
        if self.by_label.contains_key(&label) {
            return Err(CircuitError::Duplicate {
                origin: origin.clone(),
                object: label,
            });
        }
        let (kind, _) = label.split_once('.').unwrap_or((&label, ""));
        let class = class(kind).ok_or_else(|| CircuitError::Class {
            origin: origin.clone(),
            class: kind.to_owned(),
        })?;
        if self.objects.len() >= OBJECTS_MAX {
            return Err(CircuitError::TooLarge {
                origin: origin.clone(),
                what: "objects",
                max: OBJECTS_MAX,
            });
        }
        let at = self.objects.len();
        self.objects.push(Object {
            class,
            label: label.clone(),
            assignments: Vec::new(),
            origin: origin.clone(),
            frequency_hz: self.frequency_hz,
            opened: Vec::new(),
        });
        self.by_label.insert(label, at);
        self.assign(at, &line[1..], origin)
    }

    /// Assigns a line's properties to an object, which is then the active one.
    fn assign(
        &mut self,
        at: usize,
        line: &[Parameter],
        origin: &Origin,
    ) -> Result<(), CircuitError> {
        self.active = Some(at);
        let class = self.objects[at].class;
        if class.is_observer() {
            return Ok(());
        }
        let mut next = 0;
        for parameter in line {
            let found = match &parameter.name {
                Some(name) => class.find(name),
                None => class.at(next),
            };
            let refused = |property: &str| CircuitError::Property {
                origin: origin.clone(),
                object: self.objects[at].label.clone(),
                property: property.to_owned(),
            };
            let Some((place, property, uses)) = found else {
                let named = parameter.name.as_deref().unwrap_or(&parameter.value);
                return Err(refused(named));
            };
            next = place + 1;
            match uses {
                Use::WithoutEffect => {}
                Use::Refused => return Err(refused(property)),
                Use::Read if property == "like" => {
                    let (kind, _) = self.objects[at].label.split_once('.').unwrap_or(("", ""));
                    let label = format!("{kind}.{}", parameter.value.to_ascii_lowercase());
                    let from = self.locate(&label, origin)?;
                    let copied = self.objects[from].assignments.clone();
                    self.objects[at].assignments.extend(copied);
                }
                Use::Read => self.objects[at].assignments.push(Assignment {
                    property,
                    value: parameter.value.clone(),
                    origin: origin.clone(),
                }),
            }
        }
        Ok(())
    }

    /// `class.name.property=value`, and what follows it.
    fn assign_directly(
        &mut self,
        name: &str,
        line: &[Parameter],
        origin: &Origin,
    ) -> Result<(), CircuitError> {
        let Some((label, property)) = name
            .rsplit_once('.')
            .filter(|(label, _)| label.contains('.'))
        else {
            // `object=class.name` and the like.
            return Err(CircuitError::Command {
                origin: origin.clone(),
                command: name.to_owned(),
            });
        };
        let at = self.locate(label, origin)?;
        let mut line = line.to_vec();
        line[0].name = Some(property.to_owned());
        self.assign(at, &line, origin)
    }

    /// Edits every object of a class whose name matches: `..*` and `.*` mean all.
    fn batch_edit(&mut self, line: &[Parameter], origin: &Origin) -> Result<(), CircuitError> {
        let pattern = object_label(line, origin)?;
        let (kind, pattern) = pattern.split_once('.').unwrap_or((&pattern, ""));
        let prefix = match pattern.trim_end_matches('*').strip_suffix('.') {
            Some(prefix) => prefix,
            None => pattern.trim_end_matches('*'),
        };
        let matching: Vec<usize> = (0..self.objects.len())
            .filter(|at| {
                let (class, name) = self.objects[*at].label.split_once('.').unwrap_or(("", ""));
                class == kind
                    && if pattern.ends_with('*') {
                        name.starts_with(prefix)
                    } else {
                        name == prefix
                    }
            })
            .collect();
        for at in matching {
            self.assign(at, &line[1..], origin)?;
        }
        Ok(())
    }

    fn set(&mut self, line: &[Parameter], origin: &Origin) -> Result<(), CircuitError> {
        for parameter in line {
            let Some(name) = &parameter.name else {
                return Err(CircuitError::Option {
                    origin: origin.clone(),
                    option: parameter.value.clone(),
                });
            };
            let wrong = |expected| CircuitError::Value {
                origin: origin.clone(),
                object: "set".to_owned(),
                property: name.clone(),
                value: parameter.value.clone(),
                expected,
            };
            match name.as_str() {
                "defaultbasefrequency" | "defaultbasefreq" | "frequency" => {
                    self.frequency_hz = number(&parameter.value)
                        .filter(|hertz| *hertz > 0.0)
                        .ok_or_else(|| wrong("a frequency in Hz"))?;
                }
                "voltagebases" | "voltagebase" => {
                    self.voltage_bases_kv = numbers(&parameter.value)
                        .filter(|bases| bases.iter().all(|kv| *kv > 0.0))
                        .ok_or_else(|| wrong("voltages in kV, such as [12.47, 0.48]"))?;
                }
                "loadmult" => {
                    self.load_factor = number(&parameter.value).ok_or_else(|| wrong("a factor"))?;
                }
                "earthmodel" => {
                    self.simple_carson = match parameter.value.to_ascii_lowercase().as_str() {
                        "carson" => true,
                        "deri" => false,
                        _ => return Err(wrong("carson or deri")),
                    };
                }
                "controlmode" => {
                    self.controls_off = parameter.value.eq_ignore_ascii_case("off");
                }
                other if OPTIONS_WITHOUT_EFFECT.contains(&other) => {}
                _ => {
                    return Err(CircuitError::Option {
                        origin: origin.clone(),
                        option: name.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    fn locate(&self, label: &str, origin: &Origin) -> Result<usize, CircuitError> {
        self.by_label
            .get(label)
            .copied()
            .ok_or_else(|| CircuitError::Missing {
                origin: origin.clone(),
                object: label.to_owned(),
                what: "object of that name".to_owned(),
            })
    }
}

/// The class and name a command begins with.
fn object_label(line: &[Parameter], origin: &Origin) -> Result<String, CircuitError> {
    line.first()
        .filter(|first| first.name.as_deref().is_none_or(|name| name == "object"))
        .map(|first| first.value.to_ascii_lowercase())
        .filter(|label| label.contains('.'))
        .ok_or_else(|| CircuitError::Value {
            origin: origin.clone(),
            object: "command".to_owned(),
            property: "object".to_owned(),
            value: line
                .first()
                .map_or_else(String::new, |first| first.value.clone()),
            expected: "class.name",
        })
}

fn terminal_number(value: &str, object: &str, origin: &Origin) -> Result<usize, CircuitError> {
    value.trim().parse().map_err(|_| CircuitError::Value {
        origin: origin.clone(),
        object: object.to_owned(),
        property: "terminal".to_owned(),
        value: value.to_owned(),
        expected: "a terminal's number",
    })
}

/// A path as seen from the file that names it.
pub(crate) fn beside(file: &str, name: &str) -> String {
    let name = name.trim().replace('\\', "/");
    if name.starts_with('/') {
        return name;
    }
    match file.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{name}"),
        None => name,
    }
}
