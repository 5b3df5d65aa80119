//! Transformers and what they take from a transformer code.

use super::error::CircuitError;
use super::field::{BusName, Field};
use super::script::{Object, Script};
use crate::network::{Connection, Displacement, Transformer, WINDINGS_MAX, Winding};

/// A winding with what only the language and its regulators know.
#[derive(Debug, Clone)]
struct Draft {
    winding: Winding,
    bus: Option<BusName>,
    range: TapRange,
}

/// Where a winding's tap may go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TapRange {
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) steps: u32,
}

/// A transformer as read.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) transformer: Transformer,
    pub(crate) buses: Vec<BusName>,
    pub(crate) ranges: Vec<TapRange>,
    pub(crate) enabled: bool,
}

struct Builder {
    phases: usize,
    drafts: Vec<Draft>,
    at: usize,
    reactance: Vec<f64>,
    no_load_percent: f64,
    magnetising_percent: f64,
    anti_float_ppm: f64,
    displacement: Displacement,
    enabled: bool,
}

fn draft() -> Draft {
    Draft {
        winding: Winding {
            connection: Connection::Wye,
            kv: 12.47,
            kva: 1_000.0,
            resistance_percent: 0.2,
            tap: 1.0,
        },
        bus: None,
        range: TapRange {
            min: 0.9,
            max: 1.1,
            steps: 32,
        },
    }
}

impl Builder {
    fn new() -> Self {
        Self {
            phases: 3,
            drafts: vec![draft(), draft()],
            at: 0,
            reactance: vec![7.0, 35.0, 30.0],
            no_load_percent: 0.0,
            magnetising_percent: 0.0,
            anti_float_ppm: 1.0,
            displacement: Displacement::LowLags,
            enabled: true,
        }
    }

    fn take(&mut self, script: &Script, field: &Field<'_>) -> Result<(), CircuitError> {
        let at = self.at;
        match field.property() {
            "phases" => self.phases = field.phases()?,
            "windings" => {
                let count = field.count(WINDINGS_MAX)?;
                if count < 2 {
                    return Err(field.wrong("two windings or more"));
                }
                self.drafts.resize_with(count, draft);
                self.reactance
                    .resize((count * (count - 1) / 2).max(3), 30.0);
            }
            "wdg" => self.at = field.count(self.drafts.len())? - 1,
            "bus" => self.drafts[at].bus = Some(field.bus()?),
            "conn" => self.drafts[at].winding.connection = field.connection()?,
            "kv" => self.drafts[at].winding.kv = field.positive()?,
            "kva" => {
                let kva = field.positive()?;
                if at == 0 {
                    for draft in &mut self.drafts {
                        draft.winding.kva = kva;
                    }
                }
                self.drafts[at].winding.kva = kva;
            }
            "tap" => self.drafts[at].winding.tap = field.positive()?,
            "%r" => self.drafts[at].winding.resistance_percent = field.number()?,
            "mintap" => self.drafts[at].range.min = field.positive()?,
            "maxtap" => self.drafts[at].range.max = field.positive()?,
            "numtaps" => {
                self.drafts[at].range.steps = u32::try_from(field.count(10_000)?).unwrap_or(32);
            }
            "buses" => {
                for (draft, bus) in self.drafts.iter_mut().zip(field.buses()?) {
                    draft.bus = Some(bus);
                }
            }
            "conns" => {
                for (draft, connection) in self.drafts.iter_mut().zip(field.connections()?) {
                    draft.winding.connection = connection;
                }
            }
            "kvs" => self.each(field.positives()?, |winding, kv| winding.kv = kv),
            "kvas" => self.each(field.positives()?, |winding, kva| winding.kva = kva),
            "taps" => self.each(field.positives()?, |winding, tap| winding.tap = tap),
            "%rs" => self.each(field.numbers()?, |winding, r| {
                winding.resistance_percent = r
            }),
            "%loadloss" => {
                let half = field.number()? / 2.0;
                for draft in self.drafts.iter_mut().take(2) {
                    draft.winding.resistance_percent = half;
                }
            }
            "xhl" => self.reactance[0] = field.positive()?,
            "xht" => self.reactance[1] = field.positive()?,
            "xlt" => {
                self.reactance[if self.drafts.len() <= 3 {
                    2
                } else {
                    self.drafts.len() - 1
                }] = field.positive()?
            }
            "xscarray" => {
                let values = field.positives()?;
                for (place, value) in self.reactance.iter_mut().zip(values) {
                    *place = value;
                }
            }
            "%noloadloss" => self.no_load_percent = field.number()?,
            "%imag" => self.magnetising_percent = field.number()?,
            "ppm_antifloat" => self.anti_float_ppm = field.number()?,
            "leadlag" => {
                self.displacement = match field.text().as_str() {
                    "lag" | "ansi" => Displacement::LowLags,
                    "lead" | "euro" => Displacement::LowLeads,
                    _ => return Err(field.wrong("lead or lag")),
                };
            }
            "enabled" => self.enabled = field.flag()?,
            "xfmrcode" => {
                let name = format!("xfmrcode.{}", field.text());
                let code = script
                    .find(&name)
                    .ok_or_else(|| field.missing(format!("transformer code {}", field.text())))?;
                for field in Field::all(code) {
                    self.take(script, &field)?;
                }
                self.at = 0;
            }
            _ => return Err(field.refused()),
        }
        Ok(())
    }

    fn each(&mut self, values: Vec<f64>, mut set: impl FnMut(&mut Winding, f64)) {
        for (draft, value) in self.drafts.iter_mut().zip(values) {
            set(&mut draft.winding, value);
        }
    }
}

pub(crate) fn transformer(script: &Script, object: &Object) -> Result<Read, CircuitError> {
    let mut builder = Builder::new();
    for field in Field::all(object) {
        builder.take(script, &field)?;
    }
    let mut buses = Vec::new();
    for (at, draft) in builder.drafts.iter().enumerate() {
        let bus = draft.bus.clone().ok_or_else(|| CircuitError::Missing {
            origin: object.origin.clone(),
            object: object.label.clone(),
            what: format!("bus of winding {}", at + 1),
        })?;
        buses.push(bus);
    }
    let count = builder.drafts.len();
    builder.reactance.truncate(count * (count - 1) / 2);
    Ok(Read {
        transformer: Transformer {
            phases: builder.phases,
            windings: builder.drafts.iter().map(|draft| draft.winding).collect(),
            reactance_percent: builder.reactance,
            no_load_percent: builder.no_load_percent,
            magnetising_percent: builder.magnetising_percent,
            anti_float_ppm: builder.anti_float_ppm,
            displacement: builder.displacement,
        },
        buses,
        ranges: builder.drafts.iter().map(|draft| draft.range).collect(),
        enabled: builder.enabled,
    })
}
