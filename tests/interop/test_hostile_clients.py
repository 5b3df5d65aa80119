"""What our meter answers to clients that cheat, over a real socket. Ciphering is the foreign
package's, so that our meter is not judged by our own."""

import os

import pytest
from dlms_cosem import security
from dlms_cosem.enumerations import AuthenticationMechanism
from dlms_cosem.protocol import acse, xdlms

import agreed
from cosem_client import CLASSES, attribute, cosem_client

ENERGY = attribute(CLASSES.REGISTER, "1.0.1.8.0.255", 2)
GET_ENERGY = bytes.fromhex("C001C100030100010800FF0200")

BAD_TAG = bytes.fromhex("D80205")
PLAINTEXT = bytes.fromhex("D80105")
NOT_ASSOCIATED = bytes.fromhex("D80102")
OLD_COUNTER = bytes.fromhex("D80206")


def seal(plain: bytes, counter: int, *, control=(True, True), ak=agreed.AUTHENTICATION_KEY):
    authenticated, encrypted = control
    field = security.SecurityControlField(0, authenticated=authenticated, encrypted=encrypted)
    ciphered = security.encrypt(
        security_control=field,
        system_title=agreed.CLIENT_TITLE,
        invocation_counter=counter,
        key=agreed.ENCRYPTION_KEY,
        auth_key=ak,
        plain_text=plain,
    )
    return xdlms.GeneralGlobalCipher(
        system_title=agreed.CLIENT_TITLE,
        security_control=field,
        invocation_counter=counter,
        ciphered_text=ciphered,
    ).to_bytes()


@pytest.fixture
def session(our_fresh_meter):
    """An open association of the management client."""
    client = cosem_client(our_fresh_meter, agreed.MANAGEMENT, counter=1_000)
    with client.session() as session:
        yield session


def ask(session, apdu: bytes) -> bytes:
    return session.transport.send_request(apdu)


def counter_of(session) -> int:
    return session.dlms_connection.client_invocation_counter


def still_works(session) -> bool:
    return session.get(ENERGY)[0] == 0x06


def test_a_replayed_get_names_the_counter_that_would_do(session):
    counter = counter_of(session) + 5
    first = ask(session, seal(GET_ENERGY, counter))
    assert first[0] == 0xDB
    assert ask(session, seal(GET_ENERGY, counter)) == OLD_COUNTER + (counter + 1).to_bytes(4, "big")


def test_a_bad_tag_is_refused_and_forged_counters_block_nobody(session):
    for counter in [counter_of(session) + 1, 0xFFFF_FFFE, 0xFFFF_FFFF]:
        forged = bytearray(seal(GET_ENERGY, counter))
        forged[-1] ^= 1
        assert ask(session, bytes(forged)) == BAD_TAG
        other_key = seal(GET_ENERGY, counter, ak=agreed.ENCRYPTION_KEY)
        assert ask(session, other_key) == BAD_TAG
    assert still_works(session)


@pytest.mark.parametrize("control", [(True, False), (False, True)], ids=["SC 10", "SC 20"])
def test_less_protection_than_the_policy_is_refused(session, control):
    weaker = seal(GET_ENERGY, counter_of(session) + 1, control=control)
    assert ask(session, weaker) == BAD_TAG
    assert still_works(session)


def test_plaintext_in_a_ciphered_association_is_refused(session):
    assert ask(session, GET_ENERGY) == PLAINTEXT
    assert still_works(session)


def aarq(counter: int, challenge: bytes, ak=agreed.AUTHENTICATION_KEY) -> bytes:
    proposal = xdlms.InitiateRequest(
        proposed_conformance=xdlms.Conformance(
            get=True, set=True, action=True, block_transfer_with_get_or_read=True
        ),
        client_max_receive_pdu_size=1024,
    )
    field = security.SecurityControlField(0, authenticated=True, encrypted=True)
    ciphered = security.encrypt(
        security_control=field,
        system_title=agreed.CLIENT_TITLE,
        invocation_counter=counter,
        key=agreed.ENCRYPTION_KEY,
        auth_key=ak,
        plain_text=proposal.to_bytes(),
    )
    return acse.ApplicationAssociationRequest(
        ciphered=True,
        system_title=agreed.CLIENT_TITLE,
        authentication=AuthenticationMechanism.HLS_GMAC,
        authentication_value=challenge,
        user_information=acse.UserInformation(
            xdlms.GlobalCipherInitiateRequest(field, counter, ciphered)
        ),
    ).to_bytes()


@pytest.fixture
def line(our_fresh_meter):
    """A connection of the management client without an association."""
    client = cosem_client(our_fresh_meter, agreed.MANAGEMENT)
    client.connect()
    yield client.transport.send_request
    client.disconnect()


def test_nothing_is_served_before_the_proof(line):
    assert line(seal(GET_ENERGY, 10)) == NOT_ASSOCIATED
    answer = line(aarq(11, os.urandom(16)))
    assert answer[0] == 0x61
    assert line(seal(GET_ENERGY, 12)) == NOT_ASSOCIATED


def reply_to_hls(proof: bytes) -> bytes:
    return bytes.fromhex("C301C1000F0000280000FF0101") + bytes([9, len(proof)]) + proof


def test_a_challenge_has_one_answer_and_a_reflected_one_is_none(line):
    challenge = os.urandom(16)
    answer = acse.ApplicationAssociationResponse.from_bytes(line(aarq(20, challenge)))
    theirs = answer.authentication_value
    assert theirs != challenge
    guess = bytes.fromhex("1000000015") + bytes(12)
    refused = line(seal(reply_to_hls(guess), 21))
    assert refused[0] == 0xDB
    field = security.SecurityControlField(0, authenticated=True)
    right = security.gmac(
        security_control=field,
        system_title=agreed.CLIENT_TITLE,
        invocation_counter=22,
        key=agreed.ENCRYPTION_KEY,
        auth_key=agreed.AUTHENTICATION_KEY,
        challenge=theirs,
    )
    late = line(seal(reply_to_hls(bytes.fromhex("1000000016") + right), 23))
    assert late == NOT_ASSOCIATED
    assert line(seal(GET_ENERGY, 24)) == NOT_ASSOCIATED


def test_an_aarq_under_a_wrong_key_or_an_old_counter_is_refused(line):
    assert line(aarq(30, os.urandom(16), ak=agreed.ENCRYPTION_KEY)) == BAD_TAG
    assert line(aarq(30, os.urandom(16)))[0] == 0x61
    assert line(aarq(30, os.urandom(16))) == OLD_COUNTER + (31).to_bytes(4, "big")
    assert line(aarq(0xFFFF_FFFE, os.urandom(16), ak=agreed.ENCRYPTION_KEY)) == BAD_TAG
    assert line(aarq(31, os.urandom(16)))[0] == 0x61
