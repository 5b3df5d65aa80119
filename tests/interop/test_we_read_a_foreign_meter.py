"""Our head-end's commands read a meter that is built on foreign code."""

import json

import pytest

import agreed
from processes import gridloom

CLIENTS = {
    "none": ["--client", "16", "--auth", "none"],
    "lls": ["--client", "17", "--auth", "lls", "--password", agreed.PASSWORD.decode()],
    "gmac": [
        "--client",
        "1",
        "--auth",
        "gmac",
        "--ek",
        agreed.ENCRYPTION_KEY.hex(),
        "--ak",
        agreed.AUTHENTICATION_KEY.hex(),
        "--general",
    ],
    "gmac-service": [
        "--client",
        "1",
        "--auth",
        "gmac",
        "--ek",
        agreed.ENCRYPTION_KEY.hex(),
        "--ak",
        agreed.AUTHENTICATION_KEY.hex(),
    ],
}


@pytest.fixture(params=CLIENTS)
def read(request, foreign_meter, tmp_path):
    def read(*options, check=True):
        command = ["read", foreign_meter, *CLIENTS[request.param]]
        counters = ["--counter-file", str(tmp_path / "counters")]
        return gridloom(*command, *counters, *options, check=check)

    return read


def test_a_register(read):
    answer = json.loads(read("--obis", "1.0.1.8.0.255", "--json").stdout)
    assert answer["value"] == 14160
    assert answer["unit"] == "Wh"


def test_a_scaled_register(read):
    answer = json.loads(read("--obis", "1.0.32.7.0.255", "--json").stdout)
    assert float(answer["value"]) == 231.4
    assert answer["unit"] == "V"


def test_a_whole_profile_in_blocks(read):
    answer = json.loads(read("--obis", "1.0.99.1.0.255", "--json").stdout)
    assert len(answer["rows"]) == 96
    assert answer["rows"][-1][1] == 14160


def test_a_profile_by_range(read):
    options = ["--from", "2026-03-01T06:00:00Z", "--to", "2026-03-01T12:00:00Z"]
    answer = json.loads(read("--obis", "1.0.99.1.0.255", *options, "--json").stdout)
    assert len(answer["rows"]) == 25


def test_browse(read):
    answer = json.loads(read("--browse", "--json").stdout)
    assert len(answer["objects"]) == 8


def test_an_object_that_is_not_there_is_named(read):
    answer = read("--obis", "1.0.2.8.0.255", "--class", "3", check=False)
    assert answer.returncode == 1
    assert "1.0.2.8.0.255" in answer.stderr
    assert "object" in answer.stderr


@pytest.mark.parametrize("key", ["--ek", "--ak"])
def test_a_wrong_key_is_never_no_data(foreign_meter, tmp_path, key):
    options = dict(zip(CLIENTS["gmac"][4:8:2], CLIENTS["gmac"][5:8:2]))
    options[key] = "00" * 16
    flat = [part for pair in options.items() for part in pair]
    answer = gridloom(
        "read",
        foreign_meter,
        *CLIENTS["gmac"][:4],
        *flat,
        "--general",
        "--counter-file",
        str(tmp_path / "counters"),
        "--obis",
        "1.0.1.8.0.255",
        check=False,
    )
    assert answer.returncode == 1
    assert "key" in answer.stderr
