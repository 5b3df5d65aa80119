"""Has a foreign DLMS implementation decrypt, verify and parse one of our pushes.

Reads a general-glo-ciphering APDU as hexadecimal from standard input; takes the encryption key
and the authentication key as hexadecimal arguments. Prints what the peer made of it and exits
with 0, or says why not and exits with 1. The peer verifies the tag, so a success shows that our
ciphering, and not only our framing, is as others read it.
"""

import sys

from dlms_cosem.exceptions import DecryptionError
from dlms_cosem.protocol.xdlms import DataNotification, GeneralGlobalCipher
from dlms_cosem.utils import parse_as_dlms_data

# Members of the push structure before the nested one, whose text the peer's lists repeat.
PUSH_SETUP = bytes([0, 0, 25, 9, 0, 255])
MEMBERS = 15


def main() -> int:
    if len(sys.argv) != 3:
        print(f"usage: {sys.argv[0]} ENCRYPTION_KEY AUTHENTICATION_KEY < frame.hex")
        return 2
    encryption_key, authentication_key = (bytes.fromhex(key) for key in sys.argv[1:])
    frame = bytes.fromhex(sys.stdin.read().strip())
    sealed = GeneralGlobalCipher.from_bytes(frame)
    try:
        plain = sealed.to_plain_apdu(encryption_key, authentication_key)
    except DecryptionError as error:
        print(f"the peer could not decrypt: {error}")
        return 1
    notification = DataNotification.from_bytes(plain)
    body = parse_as_dlms_data(notification.body)
    print(f"title {sealed.system_title.hex()} counter {sealed.invocation_counter}")
    print(f"body {body}")
    if len(body) != MEMBERS or bytes(body[0]) != PUSH_SETUP:
        print("the peer read another structure than was pushed")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
