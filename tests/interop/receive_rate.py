"""Rates of foreign peers and of ours on the same frames, one core, in one run.

    cargo run --release -q -p gridloom-dlms --example receive_rate |
        python tests/interop/receive_rate.py

Each rate is APDUs decrypted and parsed in a second; the table says whose tag was checked.
"""

import contextlib
import io
import json
import sys
import time

from dlms_cosem.dlms_data import DlmsDataParser
from dlms_cosem.protocol.xdlms import DataNotification, GeneralGlobalCipher, GetResponseFactory
from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, InterfaceType, Security
from gurux_dlms.secure import GXDLMSSecureClient

ENCRYPTION_KEY = bytes([0x5A] * 16)
AUTHENTICATION_KEY = bytes([0xA5] * 16)
ROWS = 96
SECONDS = 1.0

# The fastest known peer, Gurux for Java 17, measured on a machine of this kind.
MARKS = {"push": 3 * 180_000, "profile": 1.5 * 21_000}


def rate(work) -> float:
    begun, done = time.perf_counter(), 0
    while (passed := time.perf_counter() - begun) < SECONDS:
        work()
        done += 1
    return done / passed


def dlms_cosem_reader(frame: bytes):
    def read():
        sealed = GeneralGlobalCipher.from_bytes(frame)
        plain = sealed.to_plain_apdu(ENCRYPTION_KEY, AUTHENTICATION_KEY)
        if plain[0] == DataNotification.TAG:
            body = DataNotification.from_bytes(plain).body
        else:
            body = GetResponseFactory.from_bytes(plain).data
        return DlmsDataParser().parse(bytearray(body))

    return read


def gurux_reader(frame: bytes):
    client = GXDLMSSecureClient(True, 1, 1, Authentication.NONE, None, InterfaceType.WRAPPER)
    client.ciphering.security = Security.AUTHENTICATION_ENCRYPTION
    client.ciphering.blockCipherKey = ENCRYPTION_KEY
    client.ciphering.authenticationKey = AUTHENTICATION_KEY
    wrapped = b"".join(word.to_bytes(2, "big") for word in (1, 1, 1, len(frame))) + frame

    def read():
        reply, notify = GXReplyData(), GXReplyData()
        client.getData(GXByteBuffer(wrapped), reply, notify)
        return notify.value if notify.value is not None else reply.value

    return read


def main() -> int:
    ours = json.load(sys.stdin)
    frames = {kind: bytes.fromhex(ours[kind]) for kind in MARKS}
    if len(dlms_cosem_reader(frames["profile"])()[0].value) != ROWS:
        print("the peer read another profile than was sealed")
        return 1
    rows = [(name, "yes", *rates) for name, rates in ours["rates"].items()]
    for name, checks, reader in [
        ("dlms-cosem, Python", "yes", dlms_cosem_reader),
        ("gurux-dlms, Python", "no", gurux_reader),
    ]:
        with contextlib.redirect_stdout(io.StringIO()):
            rates = [rate(reader(frame)) for frame in frames.values()]
        rows.append((name, checks, *rates))
    rows.append(("mark", "", *MARKS.values()))
    heads = [f"{kind}, {len(frame)} B, 1/s" for kind, frame in frames.items()]
    print(f"{'':24} {'tag':>4} {heads[0]:>20} {heads[1]:>22}")
    for name, checks, *rates in rows:
        push, profile = ("—" if rate is None else f"{rate:,.0f}" for rate in rates)
        print(f"{name:24} {checks:>4} {push:>20} {profile:>22}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
