"""The archive of test feeders, unpacked, and OpenDSS to solve them."""

import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile

import opendssdirect as dss
import zstandard

ROOT = "Version8/Distrib/"
IEEE = ROOT + "IEEETestCases/"
EPRI = ROOT + "EPRITestCircuits/"

# Each feeder with what else OpenDSS needs to settle its controls: its own scripts say so, too.
FEEDERS = {
    IEEE + "13Bus/IEEE13Nodeckt.dss": [],
    IEEE + "34Bus/ieee34Mod1.dss": [],
    IEEE + "34Bus/Run_IEEE34Mod1.dss": [],
    IEEE + "34Bus/ieee34Mod2.dss": [],
    IEEE + "34Bus/Run_IEEE34Mod2.dss": [],
    IEEE + "37Bus/ieee37.dss": [],
    IEEE + "4Bus-DY-Bal/4Bus-DY-Bal.DSS": [],
    IEEE + "4Bus-YY-Bal/4Bus-YY-Bal.DSS": [],
    IEEE + "123Bus/IEEE123Master.dss": ["set maxcontroliter=100"],
    IEEE + "123Bus/Run_IEEE123Bus.DSS": [],
    IEEE + "8500-Node/Master.dss": ["set maxcontroliter=100", "set maxiterations=50"],
    IEEE + "8500-Node/Master-unbal.dss": ["set maxcontroliter=100", "set maxiterations=50"],
    IEEE + "LVTestCase/Master.dss": [],
    IEEE + "LVTestCaseNorthAmerican/Master.dss": [],
    EPRI + "ckt5/Master_ckt5.dss": [],
    EPRI + "ckt7/Master_ckt7.dss": [],
}

# Feeders whose loads follow shapes, with the mode.
SHAPED = {
    IEEE + "LVTestCase/Master.dss": "yearly",
    EPRI + "ckt5/Master_ckt5.dss": "yearly",
    EPRI + "ckt7/Master_ckt7.dss": "yearly",
}


def data_folder():
    """The folder with the feeders, or nothing."""
    default = pathlib.Path(__file__).parents[2] / ".." / "shared" / "data"
    folder = pathlib.Path(os.environ.get("GRIDLOOM_DATA", default))
    archive = folder / "feeders" / "opendss_test_feeders.tar.zst"
    return archive if archive.is_file() else None


def unpack(archive, into):
    """Unpacks the feeders, and lets every file be found in the spelling others use for it."""
    with open(archive, "rb") as packed:
        plain = zstandard.ZstdDecompressor().stream_reader(packed).read()
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        tar.extractall(into, filter="data")
    for folder, _, names in os.walk(into):
        for name in names:
            if name.lower().endswith(".dss"):
                _spell(pathlib.Path(folder), (pathlib.Path(folder) / name).read_text(errors="replace"))
    return pathlib.Path(into)


def _spell(folder, text):
    pattern = r"(?:redirect|compile|buscoords|file\s*=)\s*[(\"'\[]?([^\s)\"'\]!]+)"
    for found in re.finditer(pattern, text, re.IGNORECASE):
        place = folder
        for part in found.group(1).replace("\\", "/").split("/"):
            if part in (".", "..", ""):
                place = place / part
                continue
            if not place.is_dir():
                break
            if not (place / part).exists():
                alike = [other for other in os.listdir(place) if other.lower() == part.lower()]
                if not alike:
                    break
                os.symlink(alike[0], place / part)
            place = place / part


def compile_circuit(path, commands=(), tolerance=None):
    """Compiles and solves a circuit in OpenDSS."""
    here = os.getcwd()
    try:
        dss.Basic.AllowForms(False)
        dss.Text.Command("set editor=true")
        dss.Text.Command(f'compile "{path}"')
        if tolerance is not None:
            dss.Text.Command(f"set tolerance={tolerance}")
        for command in commands:
            dss.Text.Command(command)
        dss.Solution.Solve()
    finally:
        os.chdir(here)


def voltages():
    """Every node's voltage in the present solution of OpenDSS."""
    values = dss.Circuit.AllBusVolts()
    names = [name.lower() for name in dss.Circuit.AllNodeNames()]
    return {name: complex(values[2 * at], values[2 * at + 1]) for at, name in enumerate(names)}


def taps():
    """Every regulator's tap position."""
    found = {}
    more = dss.RegControls.First()
    while more:
        found[f"regcontrol.{dss.RegControls.Name()}"] = int(dss.RegControls.TapNumber())
        more = dss.RegControls.Next()
    return found


def _answer(request):
    """What one process of OpenDSS says of one circuit."""
    compile_circuit(request["path"], request["commands"], request["tolerance"])
    answer = {
        "converged": bool(dss.Solution.Converged()),
        "volts": {name: [volts.real, volts.imag] for name, volts in voltages().items()},
        "taps": taps(),
        "series": [],
    }
    if request["series"]:
        dss.Text.Command(request["series"])
        for _ in range(request["steps"]):
            dss.Solution.Solve()
            supplied, losses = -dss.Circuit.TotalPower()[0], dss.Circuit.Losses()[0] / 1e3
            answer["series"].append([supplied, losses])
    return answer


def opendss(path, commands=(), tolerance=None, series=None, steps=0):
    """Asks a process of its own, so that a circuit leaves nothing behind for the next."""
    request = {
        "path": str(path),
        "commands": list(commands),
        "tolerance": tolerance,
        "series": series,
        "steps": steps,
    }
    with tempfile.NamedTemporaryFile("r", suffix=".json") as out:
        done = subprocess.run(
            [sys.executable, "-B", __file__, json.dumps(request), out.name],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, f"OpenDSS ended with {done.returncode}: {done.stderr[-500:]}"
        return json.load(out)


if __name__ == "__main__":
    with open(sys.argv[2], "w", encoding="utf-8") as answer_file:
        json.dump(_answer(json.loads(sys.argv[1])), answer_file)
