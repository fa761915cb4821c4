#!/usr/bin/env bash
# docker-registry answers the last bytes of an empty blob with a Content-Range that cannot be parsed.
#
# Tried: docker-registry 2.8.2 (Debian 12), built with Go's net/http.
# One would believe: `Range: bytes=-5` on a blob of no bytes is answered 200 with nothing, or 416
#   (RFC 9110 section 14.1.2: a suffix is satisfiable if its length is not zero), and whatever a 206
#   says is a range by the grammar of section 14.4.
# What happens: 206 with `Content-Range: bytes 0--1/0`. A last position of -1 is no position, so a
#   strict client fails on the empty layer, which is a common one. `bytes=0-` is 416.
# Seen:
#     bytes=-5: 206, Content-Range bytes 0--1/0
#     bytes=0-: 416
# What blobd does: 200 with the empty blob for both.
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

empty=sha256:$(printf "" | sha256sum | cut -d" " -f1)
[ "$(send PUT "$(start)&digest=$empty" "")" = 201 ]
suffix=$(curl -s -o body -D head -w "%{http_code}" -r -5 "$api/team/image/blobs/$empty")
range=$(header Content-Range)
echo "bytes=-5: $suffix, Content-Range $range"
open=$(curl -s -o body -w "%{http_code}" -r 0- "$api/team/image/blobs/$empty")
echo "bytes=0-: $open"
[ "$suffix $range $open" = "206 bytes 0--1/0 416" ]
