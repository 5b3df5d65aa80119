//! DLMS/COSEM (IEC 62056) formats and security, both sides, without IO.
