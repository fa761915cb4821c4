#!/usr/bin/env bash
# boto3 presigns S3 URLs in signature version 2 in some regions, for engines of any make.
#
# Tried: boto3 and botocore 1.44.8 (PyPI).
# One would believe: boto3 signs in version 4, as it does all requests, and as its documentation says
#   of S3 since version 2 is deprecated (AWS refuses it for buckets made after June 2020); at the
#   least the endpoint decides, not the region, which for an engine of another make is any word.
# What happens: a presigned URL is in version 2 where the region is one of the oldest of AWS, the usual
#   us-east-1 among them, whatever the endpoint; requests of the same client are in version 4. R2 and
#   Garage take no version 2, so a service that redirects to its bucket works in a test region and
#   fails in another. `signature_version="s3v4"` makes them all version 4.
# Seen:
#     signed in version 2 at https://s3.example.org: ap-northeast-1 ap-southeast-1 ap-southeast-2
#       eu-west-1 sa-east-1 us-east-1 us-gov-east-1 us-gov-west-1 us-west-1 us-west-2
#     with signature_version s3v4: none
#     10 of 46 regions, us-east-1 among them: True
# What blobd does: sets it, and fetches one of its own redirects when it starts.
#
# Needs: python3 with venv, and pip. Nothing is sent anywhere: URLs are signed locally.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check boto3==1.44.8 botocore==1.44.8
cat > ask.py << 'PYTHON'
import boto3
from botocore.config import Config

session = boto3.session.Session()
regions = sorted(
    region
    for partition in session.get_available_partitions()
    for region in session.get_available_regions("s3", partition_name=partition)
)


def old_signatures(endpoint_url, signature_version):
    for region in regions:
        client = session.client(
            "s3",
            endpoint_url=endpoint_url,
            region_name=region,
            aws_access_key_id="any",
            aws_secret_access_key="any",
            config=Config(signature_version=signature_version),
        )
        url = client.generate_presigned_url("get_object", Params={"Bucket": "b", "Key": "k"})
        if "AWSAccessKeyId=" in url:
            yield region


other = list(old_signatures("https://s3.example.org", None))
print("signed in version 2 at https://s3.example.org:", *other)
print("with signature_version s3v4:", *(old_signatures("https://s3.example.org", "s3v4")), "none")
print(f"{len(other)} of {len(regions)} regions, us-east-1 among them: {'us-east-1' in other}")
PYTHON
venv/bin/python ask.py | tee seen
grep -q 'us-east-1' <(head -1 seen)
grep -qx 'with signature_version s3v4: none' seen
