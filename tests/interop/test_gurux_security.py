"""The gurux-dlms client proves itself to our meter by HLS 6 and 7, and speaks suites 1 and 2.

What the peer cannot do, and is therefore not tried here: its Python client has no
general-signing and no general-ciphering under wrapped or agreed keys; these are tested between
our two sides, and against vectors that OpenSSL made. It checks no tags, so what it accepts
proves framing; what our meter accepts of it proves its ciphering and its signatures.
"""

import json

import pytest
from gurux_dlms.ecdsa import GXPrivateKey, GXPublicKey
from gurux_dlms.enums import Authentication
from gurux_dlms.objects.enums import SecuritySuite

import agreed
import processes
from gurux_client import GuruxClient

ENERGY = "1.0.1.8.0.255"


def start(*options, ek=agreed.ENCRYPTION_KEY, ak=agreed.AUTHENTICATION_KEY):
    """A meter with these options; its process, its address, and the public keys it prints."""
    command = ["emulate", "meter", "--listen", "127.0.0.1:0", "--json", "--days", "1"]
    command += ["--title", agreed.METER_TITLE.hex(), "--ek", ek.hex(), "--ak", ak.hex()]
    command += ["--client-title", agreed.CLIENT_TITLE.hex(), *options]
    process = processes.Process([processes.GRIDLOOM, *command])
    served = json.loads(process.line())
    host, port = served["address"].rsplit(":", 1)
    return process, (host, int(port)), served["public_keys"]


@pytest.fixture
def meter():
    """Starts meters; they end with the test."""
    started = []

    def begin(*options, **keys):
        process, address, public = start(*options, **keys)
        started.append(process)
        return address, public

    yield begin
    for process in started:
        process.stop()


def reads(address, **more):
    with GuruxClient(address, agreed.MANAGEMENT, counter=1_000, **more) as client:
        client.browse()
        energy = client.find(ENERGY)
        client.read(energy, 3)
        return client.read(energy, 2)


def sha256(secret=agreed.SECRET):
    return {"authentication": Authentication.HIGH_SHA256, "password": secret}


def test_hls_6(meter):
    address, _ = meter("--mechanism", "sha256", "--secret", agreed.SECRET.decode())
    assert reads(address, **sha256()) > 0


def test_hls_6_with_another_secret(meter):
    address, _ = meter("--mechanism", "sha256", "--secret", agreed.SECRET.decode())
    with pytest.raises(Exception):
        reads(address, **sha256(b"another secret"))


def test_gmac_is_not_admitted_where_another_proof_is_set(meter):
    address, _ = meter("--mechanism", "sha256", "--secret", agreed.SECRET.decode())
    with pytest.raises(Exception):
        reads(address)


@pytest.mark.parametrize(
    "suite, ek, ak",
    [
        (1, agreed.ENCRYPTION_KEY, agreed.AUTHENTICATION_KEY),
        (2, agreed.LONG_ENCRYPTION_KEY, agreed.LONG_AUTHENTICATION_KEY),
    ],
)
def test_other_suites(meter, suite, ek, ak):
    address, _ = meter("--suite", str(suite), ek=ek, ak=ak)
    named = SecuritySuite.SUITE_1 if suite == 1 else SecuritySuite.SUITE_2
    assert reads(address, suite=named, ek=ek, ak=ak) > 0


def ecdsa(meter_key, own=agreed.CLIENT_SIGNING_KEY):
    # A SEC1 point, uncompressed.
    public = GXPublicKey.fromRawBytes(bytes.fromhex("04" + meter_key))
    return {
        "authentication": Authentication.HIGH_ECDSA,
        "suite": SecuritySuite.SUITE_1,
        "signing": (public, GXPrivateKey.fromRawBytes(own)),
    }


def admits_ecdsa(meter):
    """A meter that admits the client of [`agreed`] by its signature."""
    key = GXPrivateKey.fromRawBytes(agreed.CLIENT_SIGNING_KEY).getPublicKey()
    return meter(
        "--mechanism",
        "ecdsa",
        "--signing-key",
        agreed.METER_SIGNING_KEY.hex(),
        "--client-public-key",
        bytes(key.rawValue)[1:].hex(),
    )


def test_hls_7(meter):
    address, public = admits_ecdsa(meter)
    assert reads(address, **ecdsa(public["signature"])) > 0


def test_hls_7_by_another_key(meter):
    address, public = admits_ecdsa(meter)
    with pytest.raises(Exception):
        reads(address, **ecdsa(public["signature"], own=bytes([0x44] * 32)))
