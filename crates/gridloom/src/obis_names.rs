//! What OBIS codes, classes and units are called (IEC 62056-6-1 and 62056-6-2).

use gridloom_core::ObisCode;

/// Any number in a value group.
const ANY: u16 = 256;

/// Value groups A to E and a name. The first row that fits counts; group F is not looked at.
const NAMES: &[([u16; 5], &str)] = &[
    ([0, ANY, 1, 0, 0], "Clock"),
    ([0, ANY, 10, 0, 0], "Global meter reset script"),
    ([0, ANY, 10, 0, 1], "Demand reset script"),
    ([0, ANY, 10, 0, 100], "Tariffication script"),
    ([0, ANY, 10, 0, 106], "Disconnect control script"),
    ([0, ANY, 10, 0, 107], "Image activation script"),
    ([0, ANY, 10, 0, 108], "Push script"),
    ([0, ANY, 11, 0, 0], "Special days"),
    ([0, ANY, 12, 0, 0], "Schedule"),
    ([0, ANY, 13, 0, 0], "Activity calendar"),
    ([0, ANY, 14, 0, ANY], "Register activation"),
    ([0, ANY, 15, 0, 0], "End of billing period schedule"),
    ([0, ANY, 15, 0, 1], "Disconnect control schedule"),
    ([0, ANY, 15, 0, 2], "Image activation schedule"),
    ([0, ANY, 15, 0, 4], "Push schedule"),
    ([0, ANY, 15, 0, ANY], "Single action schedule"),
    ([0, ANY, 16, 0, ANY], "Register monitor"),
    ([0, ANY, 16, 1, ANY], "Parameter monitor"),
    ([0, ANY, 17, 0, ANY], "Limiter"),
    ([0, ANY, 19, ANY, ANY], "Account and credit"),
    ([0, ANY, 20, ANY, ANY], "Optical port setup"),
    ([0, ANY, 21, 0, ANY], "Standard readout"),
    ([0, ANY, 22, 0, ANY], "HDLC setup"),
    ([0, ANY, 25, 0, 0], "TCP-UDP setup"),
    ([0, ANY, 25, 1, 0], "IPv4 setup"),
    ([0, ANY, 25, 4, 0], "GPRS modem setup"),
    ([0, ANY, 25, 6, 0], "GSM diagnostics"),
    ([0, ANY, 25, 7, 0], "IPv6 setup"),
    ([0, ANY, 25, 9, ANY], "Push setup"),
    ([0, ANY, 40, 0, ANY], "Association"),
    ([0, ANY, 41, 0, 0], "SAP assignment"),
    ([0, ANY, 42, 0, 0], "Logical device name"),
    ([0, ANY, 43, 0, ANY], "Security setup"),
    ([0, ANY, 43, 1, ANY], "Invocation counter"),
    ([0, ANY, 44, 0, ANY], "Image transfer"),
    ([0, ANY, 94, 91, 0], "Cumulative tamper count"),
    ([0, ANY, 94, 91, 8], "Cumulative power failure duration"),
    ([0, ANY, 94, 91, 9], "Meter type"),
    ([0, ANY, 94, 91, 11], "Meter category"),
    ([0, ANY, 94, 91, 12], "Current rating"),
    ([0, ANY, 94, 91, 18], "Event status word"),
    ([0, ANY, 94, 91, 26], "Event status word filter"),
    ([0, ANY, 96, 1, 0], "Serial number"),
    ([0, ANY, 96, 1, 1], "Manufacturer"),
    ([0, ANY, 96, 1, 4], "Year of manufacture"),
    ([0, ANY, 96, 1, ANY], "Device identification"),
    ([0, ANY, 96, 2, 0], "Cumulative programming count"),
    ([0, ANY, 96, 3, 10], "Disconnect control"),
    ([0, ANY, 96, 5, ANY], "Internal operating status"),
    ([0, ANY, 96, 6, ANY], "Battery"),
    ([0, ANY, 96, 7, 21], "Power failures, any phase"),
    ([0, ANY, 96, 7, ANY], "Power failures"),
    ([0, ANY, 96, 8, ANY], "Operating time"),
    ([0, ANY, 96, 10, ANY], "Profile status"),
    ([0, ANY, 96, 11, 0], "Event code, voltage"),
    ([0, ANY, 96, 11, 1], "Event code, current"),
    ([0, ANY, 96, 11, 2], "Event code, power"),
    ([0, ANY, 96, 11, 3], "Event code, transaction"),
    ([0, ANY, 96, 11, 4], "Event code, other"),
    ([0, ANY, 96, 11, 5], "Event code, non-rollover"),
    ([0, ANY, 96, 11, 6], "Event code, control"),
    ([0, ANY, 96, 13, ANY], "Consumer message"),
    ([0, ANY, 96, 14, ANY], "Active tariff"),
    ([0, ANY, 97, 97, ANY], "Error"),
    ([0, ANY, 97, 98, 0], "Alarm register"),
    ([0, ANY, 97, 98, 10], "Alarm filter"),
    ([0, ANY, 97, 98, 20], "Alarm descriptor"),
    ([0, ANY, 99, 98, 0], "Event log, voltage"),
    ([0, ANY, 99, 98, 1], "Event log, current"),
    ([0, ANY, 99, 98, 2], "Event log, power"),
    ([0, ANY, 99, 98, 3], "Event log, transaction"),
    ([0, ANY, 99, 98, 4], "Event log, other"),
    ([0, ANY, 99, 98, 5], "Event log, non-rollover"),
    ([0, ANY, 99, 98, 6], "Event log, control"),
    ([0, ANY, 99, 98, ANY], "Event log"),
    ([1, ANY, 0, 0, ANY], "Identification"),
    ([1, ANY, 0, 1, 0], "Billing periods ended"),
    ([1, ANY, 0, 1, 2], "Billing date"),
    ([1, ANY, 0, 2, 0], "Firmware version"),
    ([1, ANY, 0, 2, 8], "Firmware signature"),
    ([1, ANY, 0, 3, ANY], "Pulse constant"),
    ([1, ANY, 0, 4, 2], "Current transformer ratio"),
    ([1, ANY, 0, 4, 3], "Voltage transformer ratio"),
    ([1, ANY, 0, 8, 0], "Demand integration period"),
    ([1, ANY, 0, 8, 4], "Profile capture period"),
    ([1, ANY, 94, 91, 0], "Instantaneous profile"),
    ([1, ANY, 94, 91, 3], "Scalers of the instantaneous profile"),
    ([1, ANY, 94, 91, 4], "Scalers of the block load profile"),
    ([1, ANY, 94, 91, 5], "Scalers of the daily load profile"),
    ([1, ANY, 94, 91, 6], "Scalers of the billing profile"),
    ([1, ANY, 94, 91, 7], "Scalers of the event profiles"),
    ([1, ANY, 98, 1, ANY], "Billing profile"),
    ([1, ANY, 99, 1, 0], "Block load profile"),
    ([1, ANY, 99, 2, 0], "Daily load profile"),
    ([1, ANY, 99, ANY, ANY], "Load profile"),
];

/// Value group C of electricity: the quantity.
const QUANTITIES: &[(u8, &str)] = &[
    (1, "Active import"),
    (2, "Active export"),
    (3, "Reactive import"),
    (4, "Reactive export"),
    (5, "Reactive Q1"),
    (6, "Reactive Q2"),
    (7, "Reactive Q3"),
    (8, "Reactive Q4"),
    (9, "Apparent import"),
    (10, "Apparent export"),
    (11, "Current"),
    (12, "Voltage"),
    (13, "Power factor"),
    (14, "Frequency"),
    (15, "Active, absolute"),
    (16, "Active, net"),
    (21, "Active import L1"),
    (22, "Active export L1"),
    (23, "Reactive import L1"),
    (24, "Reactive export L1"),
    (29, "Apparent import L1"),
    (31, "Current L1"),
    (32, "Voltage L1"),
    (33, "Power factor L1"),
    (41, "Active import L2"),
    (42, "Active export L2"),
    (43, "Reactive import L2"),
    (44, "Reactive export L2"),
    (49, "Apparent import L2"),
    (51, "Current L2"),
    (52, "Voltage L2"),
    (53, "Power factor L2"),
    (61, "Active import L3"),
    (62, "Active export L3"),
    (63, "Reactive import L3"),
    (64, "Reactive export L3"),
    (69, "Apparent import L3"),
    (71, "Current L3"),
    (72, "Voltage L3"),
    (73, "Power factor L3"),
    (81, "Angle"),
    (91, "Neutral current"),
];

/// Value group D of electricity: how it is processed.
const PROCESSINGS: &[(u8, &str)] = &[
    (2, "cumulative maximum"),
    (4, "demand, running"),
    (5, "demand, last average"),
    (6, "maximum demand"),
    (7, "instantaneous"),
    (8, "total"),
    (9, "billing period"),
    (24, "average"),
    (27, "average"),
    (29, "interval"),
    (31, "threshold, low"),
    (35, "threshold, high"),
];

const CLASSES: &[(u16, &str)] = &[
    (1, "Data"),
    (3, "Register"),
    (4, "Extended register"),
    (5, "Demand register"),
    (6, "Register activation"),
    (7, "Profile generic"),
    (8, "Clock"),
    (9, "Script table"),
    (10, "Schedule"),
    (11, "Special days table"),
    (12, "Association SN"),
    (15, "Association LN"),
    (17, "SAP assignment"),
    (18, "Image transfer"),
    (19, "IEC local port setup"),
    (20, "Activity calendar"),
    (21, "Register monitor"),
    (22, "Single action schedule"),
    (23, "HDLC setup"),
    (27, "Modem configuration"),
    (28, "Auto answer"),
    (29, "Auto connect"),
    (40, "Push setup"),
    (41, "TCP-UDP setup"),
    (42, "IPv4 setup"),
    (43, "MAC address setup"),
    (44, "PPP setup"),
    (45, "GPRS modem setup"),
    (47, "GSM diagnostic"),
    (48, "IPv6 setup"),
    (61, "Register table"),
    (63, "Status mapping"),
    (64, "Security setup"),
    (65, "Parameter monitor"),
    (68, "Arbitrator"),
    (70, "Disconnect control"),
    (71, "Limiter"),
    (72, "M-Bus client"),
    (111, "Account"),
    (112, "Credit"),
    (113, "Charge"),
    (115, "Token gateway"),
    (122, "Function control"),
    (123, "Array manager"),
    (124, "Communication port protection"),
];

const UNITS: &[(u8, &str)] = &[
    (1, "a"),
    (2, "mo"),
    (3, "wk"),
    (4, "d"),
    (5, "h"),
    (6, "min"),
    (7, "s"),
    (8, "°"),
    (9, "°C"),
    (10, "currency"),
    (11, "m"),
    (12, "m/s"),
    (13, "m³"),
    (14, "m³"),
    (15, "m³/h"),
    (19, "l"),
    (20, "kg"),
    (23, "Pa"),
    (24, "bar"),
    (25, "J"),
    (26, "J/h"),
    (27, "W"),
    (28, "VA"),
    (29, "var"),
    (30, "Wh"),
    (31, "VAh"),
    (32, "varh"),
    (33, "A"),
    (34, "C"),
    (35, "V"),
    (36, "V/m"),
    (37, "F"),
    (38, "Ω"),
    (40, "Wb"),
    (41, "T"),
    (42, "A/m"),
    (43, "H"),
    (44, "Hz"),
    (45, "1/Wh"),
    (46, "1/varh"),
    (47, "1/VAh"),
    (48, "V²h"),
    (49, "A²h"),
    (56, "%"),
    (57, "Ah"),
    (70, "dBm"),
];

fn find<K: PartialEq + Copy>(table: &[(K, &'static str)], key: K) -> Option<&'static str> {
    table
        .iter()
        .find(|(known, _)| *known == key)
        .map(|(_, name)| *name)
}

/// What an object is called, as far as the standards say.
pub(crate) fn object(code: ObisCode) -> Option<String> {
    let [a, b, c, d, e, _] = code.0;
    let groups = [a, b, c, d, e].map(u16::from);
    let fits = |pattern: &[u16; 5]| {
        pattern
            .iter()
            .zip(groups)
            .all(|(wanted, group)| *wanted == ANY || *wanted == group)
    };
    if let Some((_, name)) = NAMES.iter().find(|(pattern, _)| fits(pattern)) {
        return Some((*name).to_owned());
    }
    if a != 1 {
        return None;
    }
    let (quantity, processing) = (find(QUANTITIES, c)?, find(PROCESSINGS, d)?);
    let tariff = match (d, e) {
        (_, 0) => String::new(),
        (7, phase) => format!(", {phase}"),
        (_, tariff) => format!(", tariff {tariff}"),
    };
    Some(format!("{quantity}, {processing}{tariff}"))
}

/// What an interface class is called.
pub(crate) fn class(class_id: u16) -> Option<&'static str> {
    find(CLASSES, class_id)
}

/// The interface class of a register (IEC 62056-6-2).
pub(crate) const REGISTER: u16 = 3;

/// Whether attribute 3 of a class is the scaler and unit of attribute 2.
pub(crate) const fn has_scaler(class_id: u16) -> bool {
    matches!(class_id, REGISTER | 4)
}

/// The class that the object of a code usually has; `None` where several are usual.
pub(crate) const fn usual_class(code: ObisCode) -> Option<u16> {
    Some(match code.0 {
        [0, _, 1, 0, _, _] => 8,
        [0, _, 96, 3, 10, _] => 70,
        [0, _, 42, 0, 0, _] | [0, _, 96, 1, _, _] | [0, _, 43, 1, _, _] => 1,
        [0 | 1, _, 98 | 99, _, _, _] => 7,
        [1, _, 1..=91, 6, _, _] => 4,
        [1, _, 1..=91, 7 | 8 | 9 | 24 | 27 | 29, _, _] => REGISTER,
        _ => return None,
    })
}

/// The symbol of a unit; empty for what has none.
pub(crate) fn unit(code: u8) -> String {
    match code {
        255 => String::new(),
        code => find(UNITS, code).map_or_else(|| format!("unit {code}"), str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_have_names() {
        let cases = [
            ("1-0:1.8.0.255", Some("Active import, total")),
            ("1-0:1.8.2.255", Some("Active import, total, tariff 2")),
            ("1-0:32.7.0.255", Some("Voltage L1, instantaneous")),
            ("1-0:99.1.0.255", Some("Block load profile")),
            ("1-1:99.1.0.255", Some("Block load profile")),
            ("0-0:99.98.9.255", Some("Event log")),
            ("0-0:1.0.0.255", Some("Clock")),
            ("1-0:200.8.0.255", None),
            ("7-0:3.0.0.255", None),
        ];
        for (code, name) in cases {
            let found = object(ObisCode::parse(code).unwrap());
            assert_eq!(found.as_deref(), name, "{code}");
        }
        for (code, class) in [
            ("1-0:1.8.0.255", Some(3)),
            ("1-0:1.6.0.255", Some(4)),
            ("1-0:99.1.0.255", Some(7)),
            ("0-0:1.0.0.255", Some(8)),
            ("0-0:96.3.10.255", Some(70)),
            ("0-0:96.2.0.255", None),
        ] {
            assert_eq!(usual_class(ObisCode::parse(code).unwrap()), class, "{code}");
        }
        assert_eq!(class(7), Some("Profile generic"));
        assert_eq!(class(9_999), None);
        assert_eq!(
            [unit(30), unit(255), unit(200)],
            ["Wh".to_owned(), String::new(), "unit 200".to_owned()]
        );
    }
}
