"""Keys, titles and passwords that both sides of these tests know. None of them guards anything."""

ENCRYPTION_KEY = bytes.fromhex("000102030405060708090A0B0C0D0E0F")
AUTHENTICATION_KEY = bytes.fromhex("D0D1D2D3D4D5D6D7D8D9DADBDCDDDEDF")
DEDICATED_KEY = bytes.fromhex("A0A1A2A3A4A5A6A7A8A9AAABACADAEAF")
PASSWORD = b"Gridloom-LLS"

SECRET = b"Gridloom-HLS-6"

# Private keys on P-256; any number below its order is one.
METER_SIGNING_KEY = bytes([0x11] * 32)
CLIENT_SIGNING_KEY = bytes([0x33] * 32)
LONG_ENCRYPTION_KEY = bytes(range(32))
LONG_AUTHENTICATION_KEY = bytes(range(0xD0, 0xF0))

METER_TITLE = bytes.fromhex("47524C0000000001")
CLIENT_TITLE = bytes.fromhex("47524C4346000001")
FOREIGN_METER_TITLE = bytes.fromhex("4655520000000001")

PUBLIC, READER, MANAGEMENT = 16, 17, 1
