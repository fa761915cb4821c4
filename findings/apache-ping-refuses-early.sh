#!/usr/bin/env bash
# Apache turns a refusal of a large body into 502, and its `ping` option makes the refusal readable.
#
# Tried: apache2-bin 2.4.71 (Debian 12), mod_proxy_http, in front of an HTTP server that refuses by 413
#   as soon as it has read a request's head, and then closes the connection.
# One would believe: the proxy passes the 413 on, as nginx and HAProxy do; and ProxyPass's `ping=` is
#   what its name and the manual's first sentence say, a test of the connection to the backend.
# What happens: mod_proxy_http sends the whole body before it looks for an answer, meets a closed
#   connection and says 502. With `ping=` it sends `Expect: 100-continue` with every body, waits for an
#   answer to that, takes the 413 for it, passes it on and sends no byte of the body.
# Seen:
#     ProxyPass /: 502
#     ProxyPass / ping=10: 413, asked first: 100-continue
# What blobd does: the shipped file for Apache sets `ping`; without it, blobd reads refused bodies on
#   for a while and throws them away.
#
# Needs: curl, python3 and Debian's apt-get, which fetches the packages into the temporary folder.
set -euo pipefail
work=$(mktemp -d)
processes=()
trap 'kill "${processes[@]}" 2> /dev/null || true; wait; rm -rf "$work"' EXIT
chmod 755 "$work"
cd "$work"
apt-get -q download apache2-bin libapr1 libaprutil1 > apt.log
for package in ./*.deb; do dpkg -x "$package" package; done
dpkg-deb -f apache2-bin_*.deb Package Version
libraries=$(dirname "$(find package -name 'libapr-1.so.0' | head -1)")
free_port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
backend=$(free_port)
cat > backend.py << 'PYTHON'
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = server.accept()
    head = b""
    while b"\r\n\r\n" not in head and (data := connection.recv(1)):
        head += data
    if b"expect: 100-continue" in head.lower():
        open("asked", "w").write("100-continue")
    connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connection.close()
PYTHON
python3 backend.py "$backend" &
processes+=($!)
head -c 50000000 /dev/zero > body

status_with() { # status_with OPTIONS: print what a client is told by an Apache with these options
  local port folder
  port=$(free_port)
  folder=$work/apache$port
  mkdir "$folder"
  {
    echo "ServerRoot $folder"
    echo "ServerName localhost"
    echo "Listen 127.0.0.1:$port"
    echo "PidFile $folder/pid"
    echo "DefaultRuntimeDir $folder"
    echo "ErrorLog $folder/error.log"
    for module in mpm_event authz_core proxy proxy_http; do
      echo "LoadModule ${module}_module $work/package/usr/lib/apache2/modules/mod_$module.so"
    done
    [ "$(id -u)" != 0 ] || printf 'User www-data\nGroup www-data\n'
    echo "ProxyPass / http://127.0.0.1:$backend/ $1"
  } > "$folder/apache.conf"
  LD_LIBRARY_PATH=$work/$libraries "$work/package/usr/sbin/apache2" -D FOREGROUND \
    -f "$folder/apache.conf" > "$folder/log" 2>&1 &
  echo $! >> "$work/started"
  for _ in $(seq 50); do
    (exec 3<> "/dev/tcp/127.0.0.1/$port") 2> /dev/null && break || sleep 0.2
  done
  # No Expect of the client's own: Apache would pass that on.
  curl -s -o answer -w '%{http_code}' -H 'Expect:' -T body "http://127.0.0.1:$port/blob" || true
}

plain=$(status_with "")
mapfile -t -O "${#processes[@]}" processes < started
echo "ProxyPass /: $plain"
[ ! -e asked ]
pinged=$(status_with "ping=10")
mapfile -t -O 1 processes < started
echo "ProxyPass / ping=10: $pinged, asked first: $(cat asked)"
[ "$plain $pinged $(cat asked)" = "502 413 100-continue" ]
