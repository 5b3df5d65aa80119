"""A client built on foreign code (gurux-dlms) over a plain socket."""

import os
import socket

from gurux_dlms import GXByteBuffer, GXReplyData
from gurux_dlms.enums import Authentication, DataType, InterfaceType, ObjectType, Security
from gurux_dlms.objects.enums import SecuritySuite
from gurux_dlms.secure import GXDLMSSecureClient

import agreed

AUTHENTICATION = {
    agreed.PUBLIC: Authentication.NONE,
    agreed.READER: Authentication.LOW,
    agreed.MANAGEMENT: Authentication.HIGH_GMAC,
}


class GuruxClient:
    """One association with a meter; use it in a `with`."""

    def __init__(self, address, client, *, transport="wrapper", dedicated=None, counter=1, **keys):
        interface = InterfaceType.HDLC if transport == "hdlc" else InterfaceType.WRAPPER
        authentication = keys.get("authentication", AUTHENTICATION[client])
        self.dlms = GXDLMSSecureClient(
            True, client, 1, authentication, keys.get("password", agreed.PASSWORD), interface
        )
        if client == agreed.MANAGEMENT:
            ciphering = self.dlms.ciphering
            ciphering.security = Security.AUTHENTICATION_ENCRYPTION
            ciphering.systemTitle = keys.get("title", agreed.CLIENT_TITLE)
            ciphering.blockCipherKey = keys.get("ek", agreed.ENCRYPTION_KEY)
            ciphering.authenticationKey = keys.get("ak", agreed.AUTHENTICATION_KEY)
            ciphering.invocationCounter = counter
            ciphering.securitySuite = keys.get("suite", SecuritySuite.SUITE_0)
            if "signing" in keys:
                # The meter's public key and the client's private one.
                ciphering.signingKeyPair = keys["signing"]
                # HLS 7 wants 32 bytes at least; the peer's own choice is 16.
                self.dlms.ctoSChallenge = os.urandom(32)
            if dedicated is not None:
                ciphering.dedicatedKey = dedicated
        self.transport = transport
        self.socket = socket.create_connection(address, timeout=10)
        self.dlms.maxReceivePDUSize = keys.get("max_pdu", 0xFFFF)

    def __enter__(self):
        self.open()
        return self

    def __exit__(self, *_):
        self.close()

    def exchange(self, data) -> GXReplyData:
        """Sends one request, or a list of them, and collects the whole answer."""
        reply = GXReplyData()
        if data is None:
            return reply
        for part in data if isinstance(data, list) else [data]:
            reply = GXReplyData()
            self.read_packet(part, reply)
            while reply.isMoreData():
                more = None if reply.isStreaming() else self.dlms.receiverReady(reply)
                self.read_packet(more, reply)
        return reply

    def read_packet(self, data, reply: GXReplyData) -> None:
        if data is not None:
            self.socket.sendall(bytes(data))
        received = bytearray()
        while True:
            chunk = self.socket.recv(4096)
            if not chunk:
                raise ConnectionError("the meter hung up")
            received += chunk
            if self.transport == "hdlc" and received[-1] != 0x7E:
                continue
            if self.dlms.getData(GXByteBuffer(received), reply):
                return
            if reply.isMoreData() and not reply.isStreaming() and self.transport == "hdlc":
                return

    def open(self) -> None:
        if request := self.dlms.snrmRequest():
            self.dlms.parseUAResponse(self.exchange(request).data)
        self.dlms.parseAareResponse(self.exchange(self.dlms.aarqRequest()).data)
        if self.dlms.isAuthenticationRequired:
            reply = self.exchange(self.dlms.getApplicationAssociationRequest())
            self.dlms.parseApplicationAssociationResponse(reply.data)

    def close(self) -> None:
        try:
            self.exchange(self.dlms.releaseRequest())
            if self.transport == "hdlc":
                self.exchange(self.dlms.disconnectRequest())
        finally:
            self.socket.close()

    def browse(self):
        self.dlms.parseObjects(self.exchange(self.dlms.getObjectsRequest()).data, True, False)
        return self.dlms.objects

    def find(self, obis: str):
        return self.dlms.objects.findByLN(ObjectType.NONE, obis)

    def invoke(self, item, method: int, value=0, kind=DataType.INT8) -> int:
        """Returns the action-result: 0 is success."""
        return self.exchange(self.dlms.method(item, method, value, kind)).error

    def read(self, item, attribute: int):
        reply = self.exchange(self.dlms.read(item, attribute))
        return self.dlms.updateValue(item, attribute, reply.value)

    def rows(self, profile, request):
        reply = self.exchange(request)
        return self.dlms.updateValue(profile, 2, reply.value)
