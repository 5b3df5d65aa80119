"""Fixtures: our meter on each transport, and the foreign one."""

import itertools

import pytest

import agreed
import processes

METER_OPTIONS = [
    "--title",
    agreed.METER_TITLE.hex(),
    "--ek",
    agreed.ENCRYPTION_KEY.hex(),
    "--ak",
    agreed.AUTHENTICATION_KEY.hex(),
    "--llspassword",
    agreed.PASSWORD.decode(),
    "--days",
    "3",
]


@pytest.fixture(scope="module", params=["wrapper", "hdlc"])
def our_meter(request):
    """Our emulated meter: its transport and its address."""
    process, address = processes.our_meter("--transport", request.param, *METER_OPTIONS)
    yield request.param, address
    process.stop()


@pytest.fixture(scope="module")
def our_wrapper_meter():
    """Our emulated meter over the wrapper: its address."""
    process, address = processes.our_meter("--transport", "wrapper", *METER_OPTIONS)
    yield address
    process.stop()


@pytest.fixture
def our_fresh_meter():
    """A meter of our own that no other test has talked to, over the wrapper."""
    process, address = processes.our_meter("--transport", "wrapper", *METER_OPTIONS)
    yield address
    process.stop()


@pytest.fixture
def foreign_meter():
    process, address = processes.foreign_meter()
    yield address
    process.stop()


@pytest.fixture(scope="session")
def counters():
    """Invocation counters for the one client title that all tests share, never the same twice."""
    return itertools.count(1_000, 1_000)
