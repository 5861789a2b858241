"""Verifies a request's AWS Signature Version 4 with botocore's own signer."""

import base64, json, sys

from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

q = json.load(sys.stdin)
algorithm, rest = q["headers"]["Authorization"].split(" ", 1)
fields = dict(f.strip().split("=", 1) for f in rest.split(","))
key, date, region, service, _ = fields["Credential"].split("/")
signed = fields["SignedHeaders"].split(";")
headers = {k: v for k, v in q["headers"].items() if k.lower() in signed}
missing = set(signed) - {k.lower() for k in headers}
assert algorithm == "AWS4-HMAC-SHA256" and key == q["key"] and not missing, (fields, missing)

body = base64.b64decode(q["body"])
request = AWSRequest(method=q["method"], url=q["url"], headers=headers, data=body)
request.context["timestamp"] = q["headers"]["X-Amz-Date"]
# What it signs of the body: the hash that the header says, if that is one.
said = q["headers"].get("X-Amz-Content-Sha256", "")
auth = (S3SigV4Auth if service == "s3" else SigV4Auth)(Credentials(key, q["secret"], q.get("token")), service, region)
if said and len(said) != 64:
    auth.payload = lambda _: said
canonical = auth.canonical_request(request)
signature = auth.signature(auth.string_to_sign(request, canonical), request)
if len(said) == 64:
    import hashlib
    assert hashlib.sha256(body).hexdigest() == said, "the body is another"
print("good" if signature == fields["Signature"] else "bad\n" + canonical)
