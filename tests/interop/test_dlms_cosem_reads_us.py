"""The dlms-cosem client, which verifies tags, reads our meter over the wrapper.

Not over HDLC: it takes the first flag byte that it sees for the end of a frame, also inside one, so
whether it can read depends on the checksums of the moment."""

import datetime

import pytest
from dlms_cosem import utils
from dlms_cosem.cosem import CosemAttribute, Obis
from dlms_cosem.cosem.capture_object import CaptureObject
from dlms_cosem.cosem.selective_access import RangeDescriptor
from dlms_cosem.exceptions import DlmsClientException
from dlms_cosem.time import datetime_from_bytes

import agreed
from cosem_client import CLASSES, attribute, cosem_client, method

PROFILE = "1.0.99.1.0.255"
SWITCH = "0.0.96.3.10.255"


@pytest.fixture(params=[agreed.READER, agreed.MANAGEMENT], ids=["lls", "gmac"])
def client(request, our_wrapper_meter, counters):
    return cosem_client(our_wrapper_meter, request.param, counter=next(counters))


def value(session, kind, obis, number, selection=None):
    return utils.parse_as_dlms_data(session.get(attribute(kind, obis, number), selection))


def test_public_reads_the_clock(our_wrapper_meter):
    with cosem_client(our_wrapper_meter, agreed.PUBLIC).session() as session:
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


def test_disconnect_and_reconnect(our_wrapper_meter, counters):
    client = cosem_client(our_wrapper_meter, agreed.MANAGEMENT, counter=next(counters))
    with client.session() as session:
        for number, state in [(1, False), (2, True)]:
            session.action(method(CLASSES.DISCONNECT_CONTROL, SWITCH, number), b"\x0f\x00")
            assert value(session, CLASSES.DISCONNECT_CONTROL, SWITCH, 2) is state


def test_a_wrong_password_is_refused(our_wrapper_meter):
    client = cosem_client(our_wrapper_meter, agreed.READER, password=b"wrong-password")
    with pytest.raises(DlmsClientException, match="AUTHENTICATION_FAILED"):
        with client.session():
            pass
