#!/usr/bin/env bash
# skopeo cannot copy a layer that is named by sha512 into a dir: destination.
#
# Tried: skopeo 1.9.3 (Debian 12) with an OCI layout whose blobs are named by sha512.
# One would believe: the image-spec registers sha512 beside sha256 and says that implementations MAY
#   use it ("Registered Algorithms", descriptor.md), and skopeo reads the layout's sha512 index entry,
#   so a copy keeps the blobs' names or refuses the algorithm.
# What happens: the manifest is found by its sha512 digest and the layer is read, and then the copy
#   ends with "Internal error writing blob sha512:…, blob with digest sha512:… saved with digest
#   sha256:…". The same image named by sha256 is copied.
# Seen:
#     sha256: copied
#     Internal error writing blob sha512:93e7…, blob with digest sha512:93e7… saved with digest sha256:…
# What blobd does: it stores and serves sha512 and blake3 for clients that ask for them, and sha256 for
#   those that announce nothing.
#
# Needs: python3; skopeo, or Debian's apt-get to install it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v skopeo > /dev/null || apt-get -q install --no-install-recommends -y skopeo > apt.log
skopeo --version

cat > image.py << 'PYTHON'
"""Write the same small image twice, its blobs named by sha256 and by sha512."""
import gzip, hashlib, io, json, pathlib, tarfile

kind = "application/vnd.oci.image"
plain = io.BytesIO()
with tarfile.open(fileobj=plain, mode="w") as archive:
    info = tarfile.TarInfo("hello")
    info.size = 6
    archive.addfile(info, io.BytesIO(b"hello\n"))
for algorithm in ("sha256", "sha512"):
    root = pathlib.Path(algorithm)
    (root / "blobs" / algorithm).mkdir(parents=True)

    def put(data, media_type):
        digest = hashlib.new(algorithm, data).hexdigest()
        (root / "blobs" / algorithm / digest).write_bytes(data)
        return {"mediaType": media_type, "digest": f"{algorithm}:{digest}", "size": len(data)}

    layer = put(gzip.compress(plain.getvalue(), mtime=0), f"{kind}.layer.v1.tar+gzip")
    diff_id = "sha256:" + hashlib.sha256(plain.getvalue()).hexdigest()
    config = {"architecture": "amd64", "os": "linux", "config": {},
              "rootfs": {"type": "layers", "diff_ids": [diff_id]}}
    manifest = {"schemaVersion": 2, "mediaType": f"{kind}.manifest.v1+json",
                "config": put(json.dumps(config).encode(), f"{kind}.config.v1+json"),
                "layers": [layer]}
    entry = put(json.dumps(manifest).encode(), f"{kind}.manifest.v1+json")
    entry["annotations"] = {"org.opencontainers.image.ref.name": "latest"}
    (root / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (root / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
PYTHON
python3 image.py

skopeo copy -q --insecure-policy oci:sha256:latest dir:copy-256
echo "sha256: copied"
if skopeo copy -q --insecure-policy oci:sha512:latest dir:copy-512 2> refused; then
  echo "sha512: copied; this finding is out of date"
  exit 1
fi
grep -o 'Internal error writing blob sha512.*' refused | cut -c1-200
grep -q 'saved with digest sha256' refused
