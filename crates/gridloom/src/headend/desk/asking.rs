//! From an order of the API to orders of the node.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use gridloom_core::{MeterId, Now, ObisCode};
use gridloom_dlms::apdu::AttributeDescriptor;
use gridloom_headend::command::Order as Command;
use gridloom_headend::session::Step;
use gridloom_headend::{Channel, Templates};
use gridloom_nodes::HeadEndNode;
use gridloom_nodes::headend::Order;
use gridloom_store::KeyKind;
use gridloom_web::{DeskError, Fault, NewOrder, OrderKind};

use super::Split;
use crate::obis_names;
use crate::show;

/// Meters whose keys one order changes; each is a piece of work of its own.
const REKEYS_MAX: usize = 100;

/// A clock that is off by no more is left alone.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);

/// An operator who orders it means clocks that are far off, too.
const CLOCK_STEP_MAX: Duration = Duration::from_hours(24 * 366);

/// Gives the node what the order comes to. Nothing has happened if it fails.
pub(super) fn submit(
    node: &mut HeadEndNode,
    (templates, speed): (&Templates, u32),
    order: &NewOrder,
    by: &str,
    now: Now,
) -> Result<Split, DeskError> {
    let targets = targets(node, (&order.meters, &order.groups))?;
    let until = now.utc + Duration::from_secs(order.within_s.into()) * speed;
    let mut split = Split::default();
    let mut orders: Vec<(Vec<MeterId>, Order)> = Vec::new();
    let command = match order.kind {
        OrderKind::Read => {
            for (attribute, meters) in readings(node, templates, order, &targets)? {
                for chunk in meters.chunks(HeadEndNode::TARGETS_MAX) {
                    let read = Order::Read {
                        targets: chunk.to_vec(),
                        steps: vec![read_step(attribute)],
                        deadline: until,
                    };
                    orders.push((chunk.to_vec(), read));
                }
            }
            None
        }
        OrderKind::Rekey => {
            if targets.len() > REKEYS_MAX {
                let problem = format!("{} meters; change the keys of 100 at a time", targets.len());
                return Err(invalid("meters", problem));
            }
            for meter in targets.iter().copied() {
                let kinds = kinds_of_keys(order)?;
                orders.push((vec![meter], Order::ChangeKeys { meter, kinds }));
            }
            None
        }
        OrderKind::Connect => Some(Command::Connect),
        OrderKind::Disconnect => Some(Command::Disconnect),
        OrderKind::SyncClock => Some(Command::SyncClock {
            tolerance: CLOCK_TOLERANCE,
            max_step: CLOCK_STEP_MAX,
        }),
        OrderKind::Set => {
            let text = order.value.as_deref().unwrap_or_default();
            let value = show::parse_value("value", text)
                .map_err(|error| invalid("value", format!("{error:#}")))?;
            let attribute = named_attribute(order)?;
            let attribute = attribute
                .ok_or_else(|| invalid("obis", "set writes one object; name it".to_owned()))?;
            Some(Command::Set { attribute, value })
        }
    };
    if let Some(command) = command {
        let targets: Vec<MeterId> = targets.into_iter().collect();
        for chunk in targets.chunks(HeadEndNode::TARGETS_MAX) {
            let bulk = Order::Command {
                targets: chunk.to_vec(),
                order: command.clone(),
                reason: order.kind.word().to_owned(),
                expires: until,
            };
            orders.push((chunk.to_vec(), bulk));
        }
    }
    for (meters, wanted) in orders {
        match node.submit(wanted, by, now) {
            Ok(id) => {
                split.members.push(id);
                let waits = matches!(order.kind, OrderKind::SyncClock | OrderKind::Set);
                if waits && let Err(error) = node.confirm(id, by, now) {
                    return Err(DeskError::Refused(error.to_string()));
                }
            }
            Err(error) => {
                let words = error.to_string();
                let named = meters.into_iter().map(|meter| (meter, words.clone()));
                split.refused.extend(named);
            }
        }
    }
    Ok(split)
}

/// The kinds of keys to change.
fn kinds_of_keys(order: &NewOrder) -> Result<BTreeSet<KeyKind>, DeskError> {
    if order.keys.is_empty() {
        return Ok(BTreeSet::from([
            KeyKind::UnicastEncryption,
            KeyKind::Authentication,
        ]));
    }
    let kinds = order.keys.iter().map(|name| {
        let kind = KeyKind::parse(name).filter(|kind| match kind {
            KeyKind::UnicastEncryption
            | KeyKind::BroadcastEncryption
            | KeyKind::Authentication
            | KeyKind::KeyEncryption => true,
            KeyKind::LowLevelSecret | KeyKind::HighLevelSecret => false,
        });
        kind.ok_or_else(|| invalid("keys", format!("{name:?}; give guek, gak, gbek or kek")))
    });
    kinds.collect()
}

pub(super) fn invalid(column: &str, problem: String) -> DeskError {
    DeskError::Invalid(vec![Fault {
        line: None,
        column: column.to_owned(),
        problem,
    }])
}

/// The meters that are named and those of the groups, each once.
pub(super) fn targets(
    node: &HeadEndNode,
    (meters, groups): (&[u32], &[String]),
) -> Result<BTreeSet<MeterId>, DeskError> {
    let registry = node.registry();
    let mut faults = Vec::new();
    let mut fault = |column: &str, problem: String| {
        faults.push(Fault {
            line: None,
            column: column.to_owned(),
            problem,
        });
    };
    let mut targets = BTreeSet::new();
    for meter in meters.iter().copied().map(MeterId) {
        if registry.meter(meter).is_none() {
            let problem = format!("{meter} is unknown; name registered meters");
            fault("meters", problem);
        }
        targets.insert(meter);
    }
    for group in groups {
        let members = registry.members([group.as_str()]);
        if members.is_empty() {
            fault("groups", format!("group {group:?} has no meter in service"));
        }
        targets.extend(members);
    }
    if faults.is_empty() {
        Ok(targets)
    } else {
        Err(DeskError::Invalid(faults))
    }
}

/// The attribute that the order names, if it names one.
fn named_attribute(order: &NewOrder) -> Result<Option<AttributeDescriptor>, DeskError> {
    let Some(text) = &order.obis else {
        return Ok(None);
    };
    let instance = ObisCode::parse(text).ok_or_else(|| {
        let problem = format!("{text:?}; give six groups, such as 1-0:1.8.0.255");
        invalid("obis", problem)
    })?;
    let class_id = order.class.or_else(|| obis_names::usual_class(instance));
    let class_id = class_id.ok_or_else(|| {
        let problem = format!("the class of {instance} is not known here; give it");
        invalid("class", problem)
    })?;
    Ok(Some(AttributeDescriptor {
        class_id,
        instance,
        attribute: order.attribute.unwrap_or(2),
    }))
}

/// What to read of which meters: the named attribute, else the register that each template bills.
fn readings(
    node: &HeadEndNode,
    templates: &Templates,
    order: &NewOrder,
    targets: &BTreeSet<MeterId>,
) -> Result<Vec<(AttributeDescriptor, Vec<MeterId>)>, DeskError> {
    if let Some(attribute) = named_attribute(order)? {
        return Ok(vec![(attribute, targets.iter().copied().collect())]);
    }
    let mut by_register: BTreeMap<ObisCode, Vec<MeterId>> = BTreeMap::new();
    for meter in targets.iter().copied() {
        let row = node.registry().meter(meter);
        let template = row.and_then(|row| templates.get(&row.template));
        let source = template.and_then(|template| {
            let of = |channel| template.channels.get(&channel);
            of(Channel::ImportRegister).or_else(|| of(Channel::Import))
        });
        let obis = source.map_or(ObisCode([1, 0, 1, 8, 0, 255]), |source| source.obis);
        by_register.entry(obis).or_default().push(meter);
    }
    let registers = by_register.into_iter().map(|(instance, meters)| {
        let register = AttributeDescriptor {
            class_id: obis_names::REGISTER,
            instance,
            attribute: 2,
        };
        (register, meters)
    });
    Ok(registers.collect())
}

/// A register's value with its scaler and unit; anything else as it is.
fn read_step(attribute: AttributeDescriptor) -> Step {
    let is_register = obis_names::has_scaler(attribute.class_id) && attribute.attribute == 2;
    let mut list = vec![attribute];
    if is_register {
        list.push(AttributeDescriptor {
            attribute: 3,
            ..attribute
        });
    }
    Step::GetList(list)
}
