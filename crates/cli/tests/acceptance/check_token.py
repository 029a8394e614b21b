"""Reads a token from standard input with a library that knows nothing of Keyrack, and checks it with the published keys."""

import json
import sys

import cbor2
import cwt

token, key_set = json.load(sys.stdin)
token, key_set = bytes.fromhex(token), cbor2.loads(bytes.fromhex(key_set))
keys = [cwt.COSEKey.new(key) for key in key_set]
claims = cwt.decode(token, keys)
tag = cbor2.loads(token)
protected = cbor2.loads(tag.value[0])
print(json.dumps({"tag": tag.tag, "alg": protected[1], "kid": protected[4].hex(), "claims": {
    str(name): value.hex() if isinstance(value, bytes) else value for name, value in claims.items()
}}))
