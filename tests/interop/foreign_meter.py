"""A meter built on foreign code (the building blocks of dlms-cosem), for our head-end to read.

    python foreign_meter.py

Listens on a free loopback port and prints one line, `listening PORT`. It admits the clients that
our own emulated meters admit: 16 public, 17 reader with a password, 1 management with HLS 5 and
general-glo ciphering. Every parse, tag, key derivation and encoding is the foreign package's; this
file holds the objects and the order of the conversation.
"""

import datetime
import os
import socket
import sys

from dlms_cosem import security
from dlms_cosem.dlms_data import (
    BooleanData,
    DataArray,
    DataStructure,
    DoubleLongUnsignedData,
    EnumData,
    IntegerData,
    NullData,
    OctetStringData,
    UnsignedLongData,
    UnsignedIntegerData,
)
from dlms_cosem.enumerations import (
    AcseServiceUserDiagnostics,
    ActionResultStatus,
    AssociationResult,
    AuthenticationMechanism,
    DataAccessResult,
    ReleaseResponseReason,
)
from dlms_cosem.protocol import acse, xdlms
from dlms_cosem.protocol.acse.user_information import UserInformation
from dlms_cosem.time import datetime_to_bytes

import agreed

ROWS = 96
PERIOD_SECONDS = 900
BLOCK_BYTES = 512
START = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)

MECHANISMS = {
    agreed.PUBLIC: None,
    agreed.READER: AuthenticationMechanism.LLS,
    agreed.MANAGEMENT: AuthenticationMechanism.HLS_GMAC,
}

CLOCK = "0.0.1.0.0.255"
NAME = "0.0.42.0.0.255"
COUNTER = "0.0.43.1.0.255"
ENERGY = "1.0.1.8.0.255"
VOLTAGE = "1.0.32.7.0.255"
SWITCH = "0.0.96.3.10.255"
PROFILE = "1.0.99.1.0.255"
ASSOCIATION = "0.0.40.0.0.255"

# Every object with its class and how many attributes and methods it has.
OBJECTS = {
    ASSOCIATION: (15, 8, 4),
    NAME: (1, 2, 0),
    COUNTER: (1, 2, 0),
    CLOCK: (8, 9, 6),
    ENERGY: (3, 3, 1),
    VOLTAGE: (3, 3, 1),
    SWITCH: (70, 4, 2),
    PROFILE: (7, 8, 4),
}

# General-glo-ciphering, and the ciphered services with the tags of their answers.
GENERAL_GLO = 0xDB
SERVICE_GLO = {0xC8: 0xCC, 0xC9: 0xCD, 0xCB: 0xCF}

PROTECTED = security.SecurityControlField(0, authenticated=True, encrypted=True)
AUTHENTICATED = security.SecurityControlField(0, authenticated=True)


def ber_length(length: int) -> bytes:
    if length < 0x80:
        return bytes([length])
    return bytes([0x82]) + length.to_bytes(2, "big")


def obis_bytes(obis: str) -> bytes:
    return bytes(int(part) for part in obis.split("."))


def moment(time: datetime.datetime) -> OctetStringData:
    return OctetStringData(datetime_to_bytes(time))


def register_at(rows: int) -> int:
    """Import after so many quarters of an hour, in Wh: each used 100 plus its number."""
    return sum(100 + row for row in range(rows))


def capture_object(class_id: int, obis: str) -> DataStructure:
    return DataStructure(
        [
            UnsignedLongData(class_id),
            OctetStringData(obis_bytes(obis)),
            IntegerData(2),
            UnsignedLongData(0),
        ]
    )


def scaler_unit(scaler: int, unit: int) -> DataStructure:
    return DataStructure([IntegerData(scaler), EnumData(unit)])


def object_list() -> DataArray:
    return DataArray(
        [
            DataStructure(
                [
                    UnsignedLongData(class_id),
                    UnsignedIntegerData(0),
                    OctetStringData(obis_bytes(obis)),
                    DataStructure(
                        [
                            DataArray(
                                [
                                    DataStructure(
                                        [IntegerData(index), EnumData(1), Null(None)]
                                    )
                                    for index in range(1, attributes + 1)
                                ]
                            ),
                            DataArray(
                                [
                                    DataStructure([IntegerData(index), EnumData(1)])
                                    for index in range(1, methods + 1)
                                ]
                            ),
                        ]
                    ),
                ]
            )
            for obis, (class_id, attributes, methods) in OBJECTS.items()
        ]
    )


class Null(NullData):
    """null-data, which the package reads but does not write."""

    def to_bytes(self) -> bytes:
        return bytes([self.TAG])


class Meter:
    """The state that outlives a connection."""

    def __init__(self):
        self.counter = 0
        self.heard = -1
        self.connected = True

    def attribute(self, obis: str, attribute: int, selection):
        """The value, or `None` where there is no such object or attribute."""
        if attribute == 1:
            return OctetStringData(obis_bytes(obis))
        if obis == PROFILE and attribute == 2:
            return self.rows(selection)
        values = {
            (ASSOCIATION, 2): object_list,
            (NAME, 2): lambda: OctetStringData(b"FOREIGN-METER-01"),
            (COUNTER, 2): lambda: DoubleLongUnsignedData(self.heard + 1),
            (CLOCK, 2): lambda: moment(datetime.datetime.now(datetime.timezone.utc)),
            (ENERGY, 2): lambda: DoubleLongUnsignedData(register_at(ROWS)),
            (ENERGY, 3): lambda: scaler_unit(0, 30),
            (VOLTAGE, 2): lambda: UnsignedLongData(2314),
            (VOLTAGE, 3): lambda: scaler_unit(-1, 35),
            (SWITCH, 2): lambda: BooleanData(self.connected),
            (SWITCH, 3): lambda: EnumData(1 if self.connected else 0),
            (SWITCH, 4): lambda: EnumData(4),
            (PROFILE, 3): lambda: DataArray([capture_object(8, CLOCK), capture_object(3, ENERGY)]),
            (PROFILE, 4): lambda: DoubleLongUnsignedData(PERIOD_SECONDS),
            (PROFILE, 7): lambda: DoubleLongUnsignedData(ROWS),
            (PROFILE, 8): lambda: DoubleLongUnsignedData(ROWS),
        }
        value = values.get((obis, attribute))
        return None if value is None else value()

    def rows(self, selection) -> DataArray:
        rows = []
        for number in range(1, ROWS + 1):
            time = START + datetime.timedelta(seconds=PERIOD_SECONDS * number)
            if selection is not None and hasattr(selection, "from_value"):
                if not selection.from_value <= time <= selection.to_value:
                    continue
            elif selection is not None and hasattr(selection, "from_entry"):
                last = selection.to_entry or ROWS
                if not selection.from_entry <= number <= last:
                    continue
            rows.append(DataStructure([moment(time), DoubleLongUnsignedData(register_at(number))]))
        return DataArray(rows)


class Conversation:
    """One connection."""

    def __init__(self, meter: Meter):
        self.meter = meter
        self.client = None
        self.peer = None
        self.open = False
        self.challenges = None
        self.blocks = []

    def answer(self, client: int, apdu: bytes) -> bytes | None:
        tag = apdu[0]
        if tag == 0x60:
            return self.associate(client, acse.ApplicationAssociationRequest.from_bytes(apdu))
        if tag == 0x62:
            self.open = False
            return acse.ReleaseResponse(ReleaseResponseReason.NORMAL).to_bytes()
        if tag == GENERAL_GLO:
            sealed = xdlms.GeneralGlobalCipher.from_bytes(apdu)
            title, counter, ciphered = (
                sealed.system_title,
                sealed.invocation_counter,
                sealed.ciphered_text,
            )
        elif tag in SERVICE_GLO:
            # The length of a short APDU is one byte; security control and counter follow.
            title, counter, ciphered = self.peer, int.from_bytes(apdu[3:7], "big"), apdu[7:]
        else:
            return self.serve(apdu)
        if title != self.peer or counter <= self.meter.heard:
            return bytes.fromhex("D80206") + (self.meter.heard + 1).to_bytes(4, "big")
        plain = security.decrypt(
            security_control=PROTECTED,
            system_title=title,
            invocation_counter=counter,
            key=agreed.ENCRYPTION_KEY,
            auth_key=agreed.AUTHENTICATION_KEY,
            cipher_text=ciphered,
        )
        self.meter.heard = counter
        return self.seal(self.serve(plain), tag)

    def seal(self, plain: bytes, tag: int) -> bytes:
        """Ciphers an answer in the form in which its request came."""
        self.meter.counter += 1
        ciphered = security.encrypt(
            security_control=PROTECTED,
            system_title=agreed.FOREIGN_METER_TITLE,
            invocation_counter=self.meter.counter,
            key=agreed.ENCRYPTION_KEY,
            auth_key=agreed.AUTHENTICATION_KEY,
            plain_text=plain,
        )
        if tag == GENERAL_GLO:
            return xdlms.GeneralGlobalCipher(
                system_title=agreed.FOREIGN_METER_TITLE,
                security_control=PROTECTED,
                invocation_counter=self.meter.counter,
                ciphered_text=ciphered,
            ).to_bytes()
        body = PROTECTED.to_bytes() + self.meter.counter.to_bytes(4, "big") + ciphered
        return bytes([SERVICE_GLO[tag]]) + ber_length(len(body)) + body

    def associate(self, client: int, request) -> bytes:
        mechanism = MECHANISMS.get(client)
        refused = acse.ApplicationAssociationResponse(
            result=AssociationResult.REJECTED_PERMANENT,
            result_source_diagnostics=AcseServiceUserDiagnostics.AUTHENTICATION_FAILED,
            ciphered=request.ciphered,
        ).to_bytes()
        if client not in MECHANISMS or request.authentication != mechanism:
            return refused
        if mechanism == AuthenticationMechanism.LLS:
            if request.authentication_value != agreed.PASSWORD:
                return refused
        self.client, self.peer = client, request.system_title
        content = request.user_information.content
        if isinstance(content, xdlms.GlobalCipherInitiateRequest):
            plain = security.decrypt(
                security_control=content.security_control,
                system_title=self.peer,
                invocation_counter=content.invocation_counter,
                key=agreed.ENCRYPTION_KEY,
                auth_key=agreed.AUTHENTICATION_KEY,
                cipher_text=content.ciphered_text,
            )
            self.meter.heard = max(self.meter.heard, content.invocation_counter)
            content = xdlms.InitiateRequest.from_bytes(plain)
        accepted = xdlms.InitiateResponse(
            negotiated_conformance=content.proposed_conformance,
            server_max_receive_pdu_size=1024,
        )
        response = dict(
            result=AssociationResult.ACCEPTED,
            result_source_diagnostics=AcseServiceUserDiagnostics.NULL,
            user_information=UserInformation(accepted),
        )
        if mechanism == AuthenticationMechanism.HLS_GMAC:
            ours = os.urandom(16)
            self.challenges = (request.authentication_value, ours)
            self.meter.counter += 1
            ciphered = security.encrypt(
                security_control=PROTECTED,
                system_title=agreed.FOREIGN_METER_TITLE,
                invocation_counter=self.meter.counter,
                key=agreed.ENCRYPTION_KEY,
                auth_key=agreed.AUTHENTICATION_KEY,
                plain_text=accepted.to_bytes(),
            )
            response |= dict(
                ciphered=True,
                authentication=mechanism,
                system_title=agreed.FOREIGN_METER_TITLE,
                authentication_value=ours,
                result_source_diagnostics=AcseServiceUserDiagnostics.AUTHENTICATION_REQUIRED,
                user_information=UserInformation(
                    xdlms.GlobalCipherInitiateResponse(PROTECTED, self.meter.counter, ciphered)
                ),
            )
        self.open = mechanism != AuthenticationMechanism.HLS_GMAC
        return acse.ApplicationAssociationResponse(**response).to_bytes()

    def serve(self, apdu: bytes) -> bytes:
        if apdu[0] == 0xC3:
            return self.act(xdlms.ActionRequestFactory.from_bytes(apdu))
        if not self.open:
            return bytes.fromhex("D80102")
        if apdu[0] == 0xC1:
            request = xdlms.SetRequestFactory.from_bytes(apdu)
            return xdlms.SetResponseNormal(
                DataAccessResult.READ_WRITE_DENIED, request.invoke_id_and_priority
            ).to_bytes()
        if apdu[0] != 0xC0:
            return bytes.fromhex("D80202")
        request = xdlms.GetRequestFactory.from_bytes(apdu)
        if isinstance(request, xdlms.GetRequestNext):
            return self.block(request.invoke_id_and_priority, request.block_number + 1)
        if isinstance(request, xdlms.GetRequestWithList):
            return bytes.fromhex("D80202")
        attribute = request.cosem_attribute
        obis = ".".join(str(part) for part in attribute.instance.to_bytes())
        value = self.meter.attribute(obis, attribute.attribute, request.access_selection)
        if value is None:
            return xdlms.GetResponseNormalWithError(
                DataAccessResult.OBJECT_UNDEFINED, request.invoke_id_and_priority
            ).to_bytes()
        data = value.to_bytes()
        if len(data) <= BLOCK_BYTES:
            # The package reads this answer but fails to write it.
            return bytes([0xC4, 1]) + request.invoke_id_and_priority.to_bytes() + b"\0" + data
        self.blocks = [data[at : at + BLOCK_BYTES] for at in range(0, len(data), BLOCK_BYTES)]
        return self.block(request.invoke_id_and_priority, 1)

    def block(self, invoke_id, number: int) -> bytes:
        kind = xdlms.GetResponseWithBlock
        if number == len(self.blocks):
            kind = xdlms.GetResponseLastBlock
        return kind(self.blocks[number - 1], number, invoke_id).to_bytes()

    def act(self, request) -> bytes:
        method = request.cosem_method
        obis = ".".join(str(part) for part in method.instance.to_bytes())
        if obis == ASSOCIATION and method.method == 1:
            return self.prove(request)
        if not self.open or obis != SWITCH or self.client != agreed.MANAGEMENT:
            status = ActionResultStatus.READ_WRITE_DENIED
        else:
            self.meter.connected = method.method == 2
            status = ActionResultStatus.SUCCESS
        return xdlms.ActionResponseNormal(status, request.invoke_id_and_priority).to_bytes()

    def prove(self, request) -> bytes:
        theirs, ours = self.challenges
        proof = request.data[2:]
        expected = proof[:5] + security.gmac(
            security_control=AUTHENTICATED,
            system_title=self.peer,
            invocation_counter=int.from_bytes(proof[1:5], "big"),
            key=agreed.ENCRYPTION_KEY,
            auth_key=agreed.AUTHENTICATION_KEY,
            challenge=ours,
        )
        if proof != expected:
            return xdlms.ActionResponseNormal(
                ActionResultStatus.OTHER_REASON, request.invoke_id_and_priority
            ).to_bytes()
        self.open = True
        self.meter.counter += 1
        tag = security.gmac(
            security_control=AUTHENTICATED,
            system_title=agreed.FOREIGN_METER_TITLE,
            invocation_counter=self.meter.counter,
            key=agreed.ENCRYPTION_KEY,
            auth_key=agreed.AUTHENTICATION_KEY,
            challenge=theirs,
        )
        answer = AUTHENTICATED.to_bytes() + self.meter.counter.to_bytes(4, "big") + tag
        return xdlms.ActionResponseNormalWithData(
            ActionResultStatus.SUCCESS,
            OctetStringData(answer).to_bytes(),
            request.invoke_id_and_priority,
        ).to_bytes()


def read_exactly(connection: socket.socket, length: int) -> bytes | None:
    data = b""
    while len(data) < length:
        chunk = connection.recv(length - len(data))
        if not chunk:
            return None
        data += chunk
    return data


def serve(meter: Meter, connection: socket.socket) -> None:
    """Answers one connection until the peer hangs up."""
    conversation = Conversation(meter)
    while header := read_exactly(connection, 8):
        client = int.from_bytes(header[2:4], "big")
        server = int.from_bytes(header[4:6], "big")
        apdu = read_exactly(connection, int.from_bytes(header[6:8], "big"))
        if apdu is None or server != 1:
            return
        answer = conversation.answer(client, apdu)
        words = (1, server, client, len(answer))
        connection.sendall(b"".join(word.to_bytes(2, "big") for word in words) + answer)


def main() -> int:
    meter = Meter()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(f"listening {listener.getsockname()[1]}", flush=True)
        while True:
            connection, _ = listener.accept()
            with connection:
                serve(meter, connection)


if __name__ == "__main__":
    sys.exit(main())
