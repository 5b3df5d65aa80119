"""Foreign code decrypts and parses the push that our meters send."""

import os
import subprocess

import pytest
from dlms_cosem.exceptions import DecryptionError
from dlms_cosem.protocol.xdlms import DataNotification, GeneralGlobalCipher
from dlms_cosem.utils import parse_as_dlms_data
from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType, Security
from gurux_dlms.secure import GXDLMSSecureClient

# The keys of the example that seals the push.
ENCRYPTION_KEY = bytes([0x5A] * 16)
AUTHENTICATION_KEY = bytes([0xA5] * 16)

# Members of the push structure before the nested one, whose text the peer's lists repeat.
MEMBERS = 15
PUSH_SETUP = bytes([0, 0, 25, 9, 0, 255])


@pytest.fixture(scope="module")
def sealed() -> bytes:
    text = subprocess.run([os.environ["SEALED_PUSH"]], capture_output=True, text=True, check=True)
    return bytes.fromhex(text.stdout.strip())


def test_dlms_cosem_verifies_and_parses_it(sealed):
    apdu = GeneralGlobalCipher.from_bytes(sealed)
    plain = apdu.to_plain_apdu(ENCRYPTION_KEY, AUTHENTICATION_KEY)
    body = parse_as_dlms_data(DataNotification.from_bytes(plain).body)
    assert len(body) == MEMBERS
    assert bytes(body[0]) == PUSH_SETUP


def test_dlms_cosem_refuses_another_key(sealed):
    apdu = GeneralGlobalCipher.from_bytes(sealed)
    with pytest.raises(DecryptionError):
        apdu.to_plain_apdu(ENCRYPTION_KEY, ENCRYPTION_KEY)


def test_gurux_parses_it(sealed):
    client = GXDLMSSecureClient(True, 1, 1, Authentication.NONE, None, InterfaceType.WRAPPER)
    client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
    client.ciphering.blockCipherKey = ENCRYPTION_KEY
    client.ciphering.authenticationKey = AUTHENTICATION_KEY
    header = b"".join(word.to_bytes(2, "big") for word in (1, 1, 1, len(sealed)))
    reply, notify = GXReplyData(), GXReplyData()
    client.getData(GXByteBuffer(header + sealed), reply, notify)
    body = notify.value if notify.value is not None else reply.value
    assert len(body) == MEMBERS
    assert bytes(body[0]) == PUSH_SETUP
