"""A client built on foreign code (dlms-cosem), which verifies every tag."""

import logging

import structlog
from dlms_cosem import cosem, enumerations, security
from dlms_cosem.client import DlmsClient
from dlms_cosem.cosem import CosemAttribute, CosemMethod, Obis
from dlms_cosem.io import BlockingTcpIO, TcpTransport

import agreed

structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

CLASSES = enumerations.CosemInterface


def attribute(kind, obis: str, number: int) -> CosemAttribute:
    return CosemAttribute(kind, Obis.from_string(obis), number)


def method(kind, obis: str, number: int) -> CosemMethod:
    return CosemMethod(kind, Obis.from_string(obis), number)


def cosem_client(address, client: int, *, counter=1, **keys) -> DlmsClient:
    """A client for one association; use its `session()`."""
    host, port = address
    link = TcpTransport(client, 1, BlockingTcpIO(host, port))
    if client == agreed.PUBLIC:
        return DlmsClient(
            transport=link, authentication=security.NoSecurityAuthentication(), block_transfer=True
        )
    if client == agreed.READER:
        secret = security.LowLevelSecurityAuthentication(keys.get("password", agreed.PASSWORD))
        return DlmsClient(transport=link, authentication=secret, block_transfer=True)
    return DlmsClient(
        transport=link,
        authentication=security.HighLevelSecurityGmacAuthentication(),
        encryption_key=keys.get("ek", agreed.ENCRYPTION_KEY),
        authentication_key=keys.get("ak", agreed.AUTHENTICATION_KEY),
        client_system_title=keys.get("title", agreed.CLIENT_TITLE),
        client_initial_invocation_counter=counter,
        block_transfer=True,
    )
