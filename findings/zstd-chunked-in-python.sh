#!/usr/bin/env bash
# A zstd:chunked layer decompressed with Python's zstandard package: only its first frame comes back.
#
# Tried: zstandard 0.25.0 (PyPI) on a layer that Debian 12's skopeo 1.9.3 wrote with
#   --dest-compress-format zstd:chunked.
# One would believe: a layer whose media type says tar+zstd decompresses to the tar, whichever call
#   of the library is used. RFC 8878 section 3 allows any number of frames in a row, and the zstd
#   program joins them.
# What happens: skopeo writes each chunk of each file as a frame of its own. `decompress` and
#   `decompressobj` return the first frame, a tar header and nothing else, without an error;
#   `stream_reader` and `copy_stream` return the whole tar.
# Seen:
#     zstandard 0.25.0 - application/vnd.oci.image.layer.v1.tar+zstd 1204358 bytes
#       copy_stream      1211392 bytes
#       stream_reader    1211392 bytes
#       decompress           512 bytes
#       decompressobj        512 bytes
# What blobd does: it never decompresses a layer; its tests read zstd:chunked layers as streams.
#
# Needs: python3 with venv, and Debian's apt-get to unpack skopeo into the temporary folder if it is
# not installed.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check zstandard==0.25.0
skopeo=$(command -v skopeo || true)
if [ -z "$skopeo" ]; then
  apt-get -q install --no-install-recommends -y skopeo > apt.log
  skopeo=$(command -v skopeo)
fi
"$skopeo" --version

cat > image.py << 'PYTHON'
"""Write an OCI layout with one gzip layer of twelve files."""
import gzip, hashlib, io, json, pathlib, random, tarfile

root = pathlib.Path("image")
(root / "blobs/sha256").mkdir(parents=True)


def put(data, media_type):
    digest = hashlib.sha256(data).hexdigest()
    (root / "blobs/sha256" / digest).write_bytes(data)
    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": len(data)}


kind = "application/vnd.oci.image"
plain = io.BytesIO()
with tarfile.open(fileobj=plain, mode="w") as archive:
    for number in range(12):
        info = tarfile.TarInfo(f"file-{number}")
        info.size = 100_000
        archive.addfile(info, io.BytesIO(random.Random(number).randbytes(info.size)))
layer = put(gzip.compress(plain.getvalue(), mtime=0), f"{kind}.layer.v1.tar+gzip")
diff_id = "sha256:" + hashlib.sha256(plain.getvalue()).hexdigest()
config = {"architecture": "amd64", "os": "linux", "config": {},
          "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
manifest = {"schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json",
            "config": put(json.dumps(config).encode(), f"{kind}.config.v1+json"), "layers": [layer]}
entry = put(json.dumps(manifest).encode(), f"{kind}.manifest.v1+json")
entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
(root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
(root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
PYTHON
python3 image.py
"$skopeo" copy -q --insecure-policy --dest-compress-format zstd:chunked \
  oci:image:latest oci:chunked:latest

cat > read.py << 'PYTHON'
import io, json, pathlib, sys
import zstandard

blobs = pathlib.Path("chunked/blobs/sha256")


def blob(digest):
    return (blobs / digest.removeprefix("sha256:")).read_bytes()


index = json.loads(pathlib.Path("chunked/index.json").read_text())
layer = json.loads(blob(index["manifests"][0]["digest"]))["layers"][0]
data = blob(layer["digest"])
tool = zstandard.ZstdDecompressor()
whole = io.BytesIO()
tool.copy_stream(io.BytesIO(data), whole)
lengths = {
    "copy_stream": len(whole.getvalue()),
    "stream_reader": len(tool.stream_reader(io.BytesIO(data)).read()),
    "decompress": len(tool.decompress(data, max_output_size=10_000_000)),
    "decompressobj": len(tool.decompressobj().decompress(data)),
}
print("zstandard", zstandard.__version__, "-", layer["mediaType"], layer["size"], "bytes")
for call, length in lengths.items():
    print(f"  {call:14} {length:9} bytes")
short = max(lengths["decompress"], lengths["decompressobj"])
full = min(lengths["copy_stream"], lengths["stream_reader"])
sys.exit(0 if full > 1_200_000 and 0 < short < 10_000 else 1)
PYTHON
venv/bin/python read.py
