#!/usr/bin/env bash
# docker-registry takes a chunk that leaves a gap, and puts it where there is none.
#
# Tried: docker-registry 2.8.2 (Debian 12), filesystem storage.
# One would believe: a chunk whose Content-Range does not begin at the upload's offset is refused with
#   416, as the distribution-spec demands for chunks that come out of order, so that a client which
#   lost count learns of it at once.
# What happens: 202. The bytes are appended at the offset and the answer's Range counts on; a span that
#   names more bytes than came is 202 too. Content-Range is not looked at, and only the digest at the
#   end finds the damage, after everything has been sent.
# Seen:
#     chunk 0-4 at offset 0: 202, Range 0-4
#     chunk 7-11 at offset 5: 202, Range 0-9
#     chunk 0-99 with 5 bytes: 202, Range 0-4
# What blobd does: 416 with Location and Range where a chunk does not fit, 400 where the span and the
#   body disagree; the session stays as it was.
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

first=$(send PATCH "$(start)" 01234 "Content-Range: 0-4")
echo "chunk 0-4 at offset 0: $first, Range $(header Range)"
gap=$(send PATCH "$(header Location)" 56789 "Content-Range: 7-11")
gap_range=$(header Range)
echo "chunk 7-11 at offset 5: $gap, Range $gap_range"
short=$(send PATCH "$(start)" 01234 "Content-Range: 0-99")
echo "chunk 0-99 with 5 bytes: $short, Range $(header Range)"
[ "$first $gap $gap_range $short" = "202 202 0-9 202" ]
