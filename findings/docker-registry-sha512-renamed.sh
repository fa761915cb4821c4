#!/usr/bin/env bash
# docker-registry takes a blob under sha512 and answers with another name.
#
# Tried: docker-registry 2.8.2 (Debian 12), filesystem storage.
# One would believe: a PUT with digest=sha512:… either names the blob so in Location and
#   Docker-Content-Digest or is refused, and what holds for blobs holds for manifests.
# What happens: the blob's PUT is verified against sha512 and answered 201 with a sha256 name in both
#   headers; HEAD by the sha512 name is 200 and answers with the sha256 name again. A manifest that is
#   put under its own correct sha512 digest is refused: 400 DIGEST_INVALID, "provided digest did not
#   match uploaded content". A client that compares the names takes a good push for a broken one.
# Seen:
#     PUT blob by sha512: 201, Docker-Content-Digest sha256:84d8…
#     HEAD blob by sha512: 200, Docker-Content-Digest sha256:84d8…
#     PUT manifest by sha512: 400 DIGEST_INVALID
# What blobd does: a digest is answered with the algorithm that was asked for, for blobs and manifests.
#
# Needs: curl and Debian's apt-get, which fetches the package into the temporary folder.
set -euo pipefail
work=$(mktemp -d)
registry=
trap '[ -z "$registry" ] || kill "$registry"; rm -rf "$work"' EXIT
cd "$work"
apt-get -q download docker-registry > apt.log
dpkg -x docker-registry_*.deb package
dpkg-deb -f docker-registry_*.deb Package Version
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
cat > config.yml << YAML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/data}}
http: {addr: 127.0.0.1:$port}
YAML
package/usr/bin/docker-registry serve config.yml > registry.log 2>&1 &
registry=$!
api=http://127.0.0.1:$port/v2
for _ in $(seq 50); do curl -s -f -o answer "$api/" && break || sleep 0.2; done

start() { curl -s -i -X POST "$api/team/image/blobs/uploads/" | sed -n 's/^Location: \(.*\)\r$/\1/p'; }
send() { # send METHOD URL BODY HEADER...: print the status, keep the head of the answer
  local method=$1 url=$2 body=$3 headers=()
  shift 3
  for header in "$@"; do headers+=(-H "$header"); done
  curl -s -o body -D head -w '%{http_code}' -X "$method" "$url" --data-binary "$body" \
    -H 'Content-Type: application/octet-stream' "${headers[@]}"
}
header() { sed -n "s/^$1: \(.*\)\r$/\1/Ip" head; }

long=sha512:$(printf 0123456789 | sha512sum | cut -d" " -f1)
put=$(send PUT "$(start)&digest=$long" 0123456789)
put_name=$(header Docker-Content-Digest)
echo "PUT blob by sha512: $put, Docker-Content-Digest $put_name"
curl -s -I -o head "$api/team/image/blobs/$long"
head_name=$(header Docker-Content-Digest)
echo "HEAD blob by sha512: $(head -n 1 head | cut -d" " -f2), Docker-Content-Digest $head_name"
index="{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\",\"manifests\":[]}"
name=sha512:$(printf %s "$index" | sha512sum | cut -d" " -f1)
manifest=$(curl -s -o body -w "%{http_code}" -X PUT "$api/team/image/manifests/$name" \
  -H "Content-Type: application/vnd.oci.image.index.v1+json" --data-binary "$index")
echo "PUT manifest by sha512: $manifest $(grep -o DIGEST_INVALID body)"
[ "$put $manifest" = "201 400" ]
case $put_name$head_name in sha256:*sha256:*) ;; *) exit 1 ;; esac
