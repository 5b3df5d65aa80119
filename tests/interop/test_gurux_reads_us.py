"""The gurux-dlms client reads our meter."""

import datetime

import pytest
from gurux_dlms.enums import ObjectType

import agreed
from gurux_client import GuruxClient

PROFILE = "1.0.99.1.0.255"
CLOCK = "0.0.1.0.0.255"
SWITCH = "0.0.96.3.10.255"
ROWS = 96

CLIENTS = [
    pytest.param(agreed.READER, None, id="lls"),
    pytest.param(agreed.MANAGEMENT, None, id="gmac-global"),
    pytest.param(agreed.MANAGEMENT, agreed.DEDICATED_KEY, id="gmac-dedicated"),
]


def connect(our_meter, client, counters, dedicated=None, **more):
    transport, address = our_meter
    return GuruxClient(
        address,
        client,
        transport=transport,
        dedicated=dedicated,
        counter=next(counters),
        **more,
    )


def test_public_sees_the_clock_and_little_else(our_meter, counters):
    with connect(our_meter, agreed.PUBLIC, counters) as meter:
        meter.browse()
        time = meter.read(meter.find(CLOCK), 2)
        age = datetime.datetime.now(datetime.timezone.utc) - time.value.astimezone(
            datetime.timezone.utc
        )
        assert abs(age) < datetime.timedelta(minutes=5)
        assert meter.find("0.0.43.1.0.255") is not None
        assert meter.find(PROFILE) is None


@pytest.mark.parametrize("client, dedicated", CLIENTS)
def test_the_association_view_and_registers(our_meter, counters, client, dedicated):
    with connect(our_meter, client, counters, dedicated) as meter:
        objects = meter.browse()
        classes = {item.objectType for item in objects}
        assert {
            ObjectType.CLOCK,
            ObjectType.REGISTER,
            ObjectType.PROFILE_GENERIC,
            ObjectType.DISCONNECT_CONTROL,
        } <= classes
        energy = meter.find("1.0.1.8.0.255")
        scaler, unit = meter.read(energy, 3)
        assert int(unit) == 30
        assert meter.read(energy, 2) > 0
        voltage = meter.find("1.0.32.7.0.255") or meter.find("1.0.12.7.0.255")
        meter.read(voltage, 3)
        assert 200 < meter.read(voltage, 2) < 260


@pytest.mark.parametrize("client, dedicated", CLIENTS)
def test_a_profile_in_blocks_by_range_and_by_entry(our_meter, counters, client, dedicated):
    with connect(our_meter, client, counters, dedicated, max_pdu=512) as meter:
        meter.browse()
        profile = meter.find(PROFILE)
        columns = meter.read(profile, 3)
        assert columns
        assert meter.read(profile, 7) >= ROWS
        by_entry = meter.rows(profile, meter.dlms.readRowsByEntry(profile, 1, ROWS))
        assert len(by_entry) == ROWS
        times = [row[0].value for row in by_entry]
        assert times == sorted(times)
        assert times[1] - times[0] == datetime.timedelta(minutes=15)
        first, last = times[10], times[19]
        by_range = meter.rows(profile, meter.dlms.readRowsByRange(profile, first, last))
        assert [row[0].value for row in by_range] == times[10:20]
        assert [row[1:] for row in by_range] == [row[1:] for row in by_entry[10:20]]


@pytest.mark.parametrize("dedicated", [None, agreed.DEDICATED_KEY])
def test_disconnect_and_reconnect(our_meter, counters, dedicated):
    with connect(our_meter, agreed.MANAGEMENT, counters, dedicated) as meter:
        meter.browse()
        switch = meter.find(SWITCH)
        assert meter.read(switch, 2) is True
        meter.invoke(switch, 1)
        assert meter.read(switch, 2) is False
        meter.invoke(switch, 2)
        assert meter.read(switch, 2) is True


def test_a_reader_cannot_disconnect(our_meter, counters):
    with connect(our_meter, agreed.READER, counters) as meter:
        meter.browse()
        switch = meter.find(SWITCH)
        with pytest.raises(Exception):
            meter.invoke(switch, 1)
        assert meter.read(switch, 2) is True


def test_a_wrong_password_is_refused(our_meter, counters):
    with pytest.raises(Exception, match="(?i)authenticat"):
        with connect(our_meter, agreed.READER, counters, password=b"wrong-password"):
            pass
