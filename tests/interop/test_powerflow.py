"""Our power flow and that of OpenDSS, on every feeder of the archive, in the same run."""

import cmath
import json
import math
import os
import subprocess

import pytest

import feeders

# The project's mark for every node: percent and degrees.
PERCENT, DEGREES = 0.1, 0.1
CIRCUITS = os.path.join(os.path.dirname(__file__), "../../crates/grid/tests/circuits")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    packed = feeders.data_folder()
    if packed is None:
        pytest.skip("no test feeders: set GRIDLOOM_DATA to the folder that holds feeders/")
    return feeders.unpack(packed, tmp_path_factory.mktemp("feeders"))


def ours(*arguments):
    done = subprocess.run(
        [os.environ["GRIDLOOM"], "powerflow", *arguments, "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def compare(path, theirs):
    """The worst deviation in percent and degrees, over every node that OpenDSS has."""
    report = ours(str(path))
    nodes = {
        node["node"]: cmath.rect(node["volts"], math.radians(node["degrees"]))
        for node in report["nodes"]
    }
    theirs = {name: complex(*volts) for name, volts in theirs["volts"].items()}
    missing = sorted(set(theirs) - set(nodes))
    assert not missing, f"nodes that only OpenDSS has: {missing}"
    # Nodes of elements that are disabled are known to us, and dark.
    dark = {node["node"] for node in report["nodes"] if not node["energised"]}
    assert set(nodes) - set(theirs) <= dark
    worst = (0.0, 0.0, "")
    for name, volts in theirs.items():
        if abs(volts) < 1e-3:
            assert abs(nodes[name]) < 1e-3, name
            continue
        percent = abs(abs(nodes[name]) / abs(volts) - 1) * 100
        angle = abs(math.degrees(cmath.phase(nodes[name] / volts)))
        assert percent <= PERCENT and angle <= DEGREES, f"{name}: {percent} %, {angle} degrees"
        worst = max(worst, (percent, angle, name))
    print(f"{path}: {len(theirs)} nodes, worst {worst[0]:.5f} % at {worst[2]}")
    return report, worst


@pytest.mark.parametrize("name", feeders.FEEDERS)
def test_every_node_of_a_feeder(archive, name):
    theirs = feeders.opendss(archive / name, feeders.FEEDERS[name])
    assert theirs["converged"], name
    report, _ = compare(archive / name, theirs)
    taps = {tap["regulator"]: tap["position"] for tap in report["taps"]}
    assert taps == theirs["taps"]


@pytest.mark.parametrize("name", sorted(name for name in os.listdir(CIRCUITS) if name.endswith(".dss")))
def test_each_kind_of_element(name):
    path = os.path.join(CIRCUITS, name)
    theirs = feeders.opendss(path, ["set maxiterations=200"], tolerance=1e-9)
    _, worst = compare(path, theirs)
    # Small circuits, solved tightly on both sides: what is left is a difference of models.
    assert worst[0] < 1e-3 and worst[1] < 1e-3, worst


@pytest.mark.parametrize("name", feeders.SHAPED)
def test_a_feeder_in_time(archive, name):
    mode, steps = feeders.SHAPED[name], 24
    step = "1m" if "LVTestCase" in name else "1h"
    theirs = feeders.opendss(
        archive / name,
        feeders.FEEDERS[name],
        tolerance=1e-8,
        series=f"set mode={mode} number=1 stepsize={step} hour=0 sec=0",
        steps=steps,
    )
    report = ours(str(archive / name), "--time-series", mode, "--steps", str(steps))
    assert len(report) == steps
    for at, (step, (supplied, losses)) in enumerate(zip(report, theirs["series"], strict=True)):
        assert step["supplied_kw"] == pytest.approx(supplied, rel=1e-3), f"step {at}"
        assert step["losses_kw"] == pytest.approx(losses, rel=1e-3, abs=1e-3), f"step {at}"
