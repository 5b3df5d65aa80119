//! AT-command GSM modem (3GPP TS 27.005 and 27.007), both sides, without IO.
