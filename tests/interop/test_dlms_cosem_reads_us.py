"""The dlms-cosem client, which verifies tags, reads our meter."""

import datetime

import pytest
from dlms_cosem import utils
from dlms_cosem.cosem import CosemAttribute, Obis
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import RangeDescriptor
from dlms_cosem.exceptions import ApplicationAssociationError
from dlms_cosem.time import datetime_from_bytes

import agreed
from cosem_client import CLASSES, attribute, cosem_client, method

PROFILE = "1.0.99.1.0.255"
SWITCH = "0.0.96.3.10.255"


@pytest.fixture(params=[agreed.READER, agreed.MANAGEMENT], ids=["lls", "gmac"])
def client(request, our_meter, counters):
    transport, address = our_meter
    return cosem_client(address, request.param, transport=transport, counter=next(counters))


def value(session, kind, obis, number, selection=None):
    return utils.parse_as_dlms_data(session.get(attribute(kind, obis, number), selection))


def test_public_reads_the_clock(our_meter):
    transport, address = our_meter
    with cosem_client(address, agreed.PUBLIC, transport=transport).session() as session:
        time, _ = datetime_from_bytes(value(session, CLASSES.CLOCK, "0.0.1.0.0.255", 2))
        if time.tzinfo is None:
            time = time.replace(tzinfo=datetime.timezone.utc)
        age = datetime.datetime.now(datetime.timezone.utc) - time
        assert abs(age) < datetime.timedelta(minutes=5)


def test_registers(client):
    with client.session() as session:
        assert value(session, CLASSES.REGISTER, "1.0.1.8.0.255", 2) > 0
        scaler, unit = value(session, CLASSES.REGISTER, "1.0.1.8.0.255", 3)
        assert (scaler, unit) == (0, 30)


def test_the_association_view(client):
    with client.session() as session:
        objects = value(session, CLASSES.ASSOCIATION_LN, "0.0.40.0.0.255", 2)
        names = {bytes(item[2]) for item in objects}
        assert {bytes([1, 0, 99, 1, 0, 255]), bytes([0, 0, 96, 3, 10, 255])} <= names


def test_a_profile_whole_and_by_range(client):
    with client.session() as session:
        rows = value(session, CLASSES.PROFILE_GENERIC, PROFILE, 2)
        assert len(rows) >= 96
        times = [datetime_from_bytes(bytes(row[0]))[0] for row in rows]
        clock = CaptureObject(
            cosem_attribute=attribute(CLASSES.CLOCK, "0.0.1.0.0.255", 2), data_index=0
        )
        aware = [time.replace(tzinfo=time.tzinfo or datetime.timezone.utc) for time in times]
        selection = RangeDescriptor(
            restricting_object=clock,
            from_value=aware[-20],
            to_value=aware[-11],
        )
        selected = value(session, CLASSES.PROFILE_GENERIC, PROFILE, 2, selection)
        assert selected == rows[-20:-10]


def test_disconnect_and_reconnect(our_meter, counters):
    transport, address = our_meter
    client = cosem_client(address, agreed.MANAGEMENT, transport=transport, counter=next(counters))
    with client.session() as session:
        for number, state in [(1, False), (2, True)]:
            session.action(method(CLASSES.DISCONNECT_CONTROL, SWITCH, number), b"\x0f\x00")
            assert value(session, CLASSES.DISCONNECT_CONTROL, SWITCH, 2) is state


def test_a_wrong_password_is_refused(our_meter):
    transport, address = our_meter
    client = cosem_client(
        address, agreed.READER, transport=transport, password=b"wrong-password"
    )
    with pytest.raises(ApplicationAssociationError):
        with client.session():
            pass
