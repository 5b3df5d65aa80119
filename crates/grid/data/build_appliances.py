#!/usr/bin/env python3
"""Builds appliances.csv from the LoadProfileGenerator 6.0 device database.

Usage: build_appliances.py profilegenerator600.db3 > appliances.csv

Wattage     tblRealDeviceLoadType, load type 1 (electricity), unless the chosen programme is
            measured in watts: then the highest stage of that programme.
Power factor  cos(atan(Q/P)) with Q = load type 25, where the database holds a figure of its own.
            Q/P = tan(acos 0.95) is the database's filler for "not known"; there, and where the
            device is not in the database, the typical value written below is used and marked.
            The database's apparent power (load type 26) contains distortion and is not used.
Programme   the named time profile, cut into at most six constant stages by merging neighbours
            with the least squared error; or the typical stages written below, marked.
Standby     typical values, marked as such by this sentence.
"""
import math
import re
import sqlite3
import sys

FILLER = math.tan(math.acos(0.95))
STAGES_MAX = 6

# key, label, device id or None, profile name part or stages, watts or None, cos phi, sense,
# standby mW, flexibility
WANTED = [
    ("fridge_freezer", "Fridge-freezer", 428, "100x900", None, None, "lagging", 0, "thermostatic"),
    ("freezer", "Freezer", 453, "100x1080", None, None, "lagging", 0, "thermostatic"),
    ("router", "Router", 477, "100x86400", None, None, "lagging", 0, "fixed"),
    ("cordless_phone", "Cordless phone", 476, "100x86400", None, None, "leading", 0, "fixed"),
    ("home_server", "Home server", 530, "100x86400", None, 0.95, "leading", 0, "fixed"),
    ("dehumidifier", "Dehumidifier", 147, "100x1800", None, 0.85, "lagging", 500, "thermostatic"),
    ("heating_pump", "Heating circulation pump", 150, "100x2400", None, 0.90, "lagging", 0, "thermostatic"),
    ("kettle", "Electric kettle", 468, "Electric Kettle Petra", None, 1.0, "none", 0, "fixed"),
    ("coffee_machine", "Coffee machine", 75, "100x300", None, 1.0, "none", 500, "fixed"),
    ("toaster", "Toaster", 459, "Toaster_Tefal_Vario", None, 1.0, "none", 0, "fixed"),
    ("microwave", "Microwave", 457, "100x300", None, None, "lagging", 2000, "fixed"),
    ("hob", "Electric hob plate", 478, "Stove Plate 30 min", None, 1.0, "none", 0, "fixed"),
    ("oven", "Oven", 70, "Backing profile II 30", None, 1.0, "none", 1500, "fixed"),
    ("cooker_hood", "Extractor hood", 65, "Cooking profile II 40", None, 0.85, "lagging", 0, "fixed"),
    ("dishwasher", "Dishwasher", 451, "NEFF SD6P1F", None, 0.99, "lagging", 500, "shiftable:19-30"),
    ("washing_machine", "Washing machine", 462, "1400 40C", None, None, "lagging", 500, "shiftable:7-22"),
    ("dryer", "Heat-pump tumble dryer", 25, "Dryer Profile 2h", None, 0.90, "lagging", 500, "shiftable:8-23"),
    ("iron", "Steam iron", 40, "40x2700", None, 1.0, "none", 0, "fixed"),
    ("vacuum", "Vacuum cleaner", 481, "Vacuum Cleaner FiF 30", None, None, "lagging", 0, "fixed"),
    ("hair_dryer", "Hair dryer", 438, "Hair Dryer Babyliss Pro", None, 0.99, "lagging", 0, "fixed"),
    ("electric_shower", "Electric shower", None, "100x420", 8500, 1.0, "none", 0, "fixed"),
    ("television", "Television", 443, "100x7200", None, None, "lagging", 500, "fixed"),
    ("set_top_box", "Satellite receiver", 109, "100x7200", None, 0.90, "leading", 9000, "fixed"),
    ("hifi", "Hi-fi system", 447, "100x5400", None, None, "lagging", 2600, "fixed"),
    ("games_console", "Games console", 123, "100x3600", None, 0.97, "leading", 1000, "fixed"),
    ("desktop_pc", "Desktop computer", 135, "100x5400", None, 0.95, "leading", 3000, "fixed"),
    ("monitor", "Monitor", 419, "100x5400", None, 0.92, "leading", 300, "fixed"),
    ("laptop", "Laptop", 439, "100x5400", None, None, "leading", 500, "fixed"),
    ("phone_charger", "Phone charger", 450, "100x5400", None, None, "leading", 100, "fixed"),
    ("light_living", "Living room light", 404, "100x9000", None, 1.0, "none", 0, "fixed"),
    ("light_kitchen", "Kitchen light", 410, "100x3600", None, 0.95, "leading", 0, "fixed"),
    ("light_bedroom", "Bedroom light", 416, "100x2400", None, 1.0, "none", 0, "fixed"),
    ("light_bathroom", "Bathroom light", 407, "100x900", None, 1.0, "none", 0, "fixed"),
    ("lawn_mower", "Electric lawn mower", 57, "100x2700", None, 0.90, "lagging", 0, "fixed"),
    ("fan_heater", "Electric heater", 145, "01 h 0 min 100%", None, 1.0, "none", 0, "fixed"),
    ("air_conditioner", "Air conditioner", 144, "100x1200", None, 0.90, "lagging", 1000, "thermostatic"),
    ("heat_pump", "Heat pump", None, "100x1500", 2000, 0.93, "lagging", 8000, "thermostatic"),
    ("storage_heater", "Night storage heating", None, "100x25200", 4500, 1.0, "none", 0, "fixed"),
    ("water_heater", "Storage water heater", None, "100x6000", 3000, 1.0, "none", 0, "shiftable:22-30"),
    ("ev_charger", "Electric car charger", None, "100x9000", 7200, 0.99, "lagging", 2000, "shiftable:18-31"),
]


def seconds(text):
    """Offset of a profile point; the database writes it as a time after 1900-01-01."""
    date, clock = text.split(" ")
    days = int(date.split("-")[2]) - 1
    hours, minutes, secs = (float(part) for part in clock.split(":"))
    return int(days * 86400 + hours * 3600 + minutes * 60 + secs)


def stages_of(db, device, name_part):
    rows = db.execute(
        """select distinct p.ID, p.Name from tblDeviceActions a
           join tblDeviceActionDevices d on d.DeviceActionID = a.ID
           join tblTimeBasedProfile p on p.ID = d.TimeProfileID
           where a.DeviceID = ? and d.LoadTypeID = 1 order by p.Name""",
        (device,),
    ).fetchall()
    profile, name = next((r for r in rows if name_part in r[1]), (None, None))
    if profile is None:
        raise SystemExit(f"device {device} has no profile like {name_part!r}: {rows}")
    points = sorted(
        (seconds(t), v)
        for t, v in db.execute(
            "select Time, Value from tblTimePoints where TimeBasedProfileID = ?", (profile,)
        )
    )
    stages = [
        [points[i + 1][0] - points[i][0], points[i][1]]
        for i in range(len(points) - 1)
        if points[i + 1][0] > points[i][0]
    ]
    # Merge the pair of neighbours whose union costs the least squared error.
    # Neighbours that differ by less than a tenth of the peak are one stage.
    near = max(value for _, value in stages) / 10
    while len(stages) > STAGES_MAX or any(abs(a[1] - b[1]) < near for a, b in zip(stages, stages[1:])):
        def cost(i):
            (t1, v1), (t2, v2) = stages[i], stages[i + 1]
            return t1 * t2 / (t1 + t2) * (v1 - v2) ** 2
        i = min(range(len(stages) - 1), key=cost)
        (t1, v1), (t2, v2) = stages[i], stages[i + 1]
        stages[i : i + 2] = [[t1 + t2, (t1 * v1 + t2 * v2) / (t1 + t2)]]
    return name, stages


def main():
    db = sqlite3.connect(sys.argv[1])
    out = sys.stdout
    out.write("key,label,active_w,cos_phi_milli,sense,standby_mw,stages,flexibility,device,source\n")
    for key, label, device, programme, watts, cos_phi, sense, standby, flexibility in WANTED:
        notes = []
        if device is None:
            notes.append("typical values; not in the database")
        else:
            name = db.execute("select Name from tblDevices where ID = ?", (device,)).fetchone()[0]
            loads = dict(
                db.execute(
                    "select LoadTypeID, Value from tblRealDeviceLoadType where RealDeviceID = ?",
                    (device,),
                )
            )
            watts = loads[1]
            notes.append(name.strip())
        if re.fullmatch(r"\d+x\d+", programme):
            stages = programme
            notes.append("typical duration")
        else:
            profile, parts = stages_of(db, device, programme)
            peak = max(value for _, value in parts)
            measured = peak > 150  # Watts rather than per cent of the device's power.
            if measured:
                watts = peak
            stages = ";".join(
                f"{round(100 * v / watts if measured else v)}x{t}" for t, v in parts
            )
            notes.append(("measured" if measured else "relative") + f" profile: {profile.strip()}")
        if cos_phi is None:
            ratio = loads[25] / loads[1]
            if abs(ratio - FILLER) < 1e-3:
                raise SystemExit(f"{key}: the database holds only its filler")
            cos_phi = math.cos(math.atan(ratio))
            notes.append("cos phi from load type 25")
        else:
            notes.append("typical cos phi")
        source = "; ".join(notes).replace(",", ".").replace('"', "")
        out.write(
            f"{key},{label},{round(watts)},{round(1000 * cos_phi)},{sense},{standby},"
            f"{stages},{flexibility},{device or ''},{source}\n"
        )


main()
