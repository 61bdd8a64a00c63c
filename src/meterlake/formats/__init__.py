"""Sans-IO codecs, one wire format a module: bytes in, strips and rejects out."""
