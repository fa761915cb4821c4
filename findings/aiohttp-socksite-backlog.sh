#!/usr/bin/env bash
# aiohttp's SockSite shortens the backlog of a socket that is listening already.
#
# Tried: aiohttp 3.14.5 and uvloop 0.23.0 (PyPI), CPython's asyncio and uvloop, Linux.
# One would believe: a socket that listens with a backlog of 1,024, as a supervisor opens it for its
#   workers, keeps that backlog when SockSite serves it.
# What happens: SockSite has a `backlog` of its own, 128, and the event loop calls `listen` with it on
#   the socket as it is. The queue is the socket's, so the first worker shortens it for all. In a burst
#   of connections the kernel drops what does not fit, and those clients try again a second later.
# Seen:
#     asyncio  bound with 1024, served with 128
#     uvloop   bound with 1024, served with 128
#     asyncio  bound with 1024, served with 1024 where SockSite(backlog=1024)
#     uvloop   bound with 1024, served with 1024 where SockSite(backlog=1024)
# What blobd does: every worker gives its sites the backlog that the socket was opened with.
#
# Needs: python3 with venv, ss (iproute2), and net.core.somaxconn of 1024 or more.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check aiohttp==3.14.5 uvloop==0.23.0
cat > serve.py << 'PYTHON'
import asyncio, socket, subprocess, sys
import uvloop
from aiohttp import web


def backlog(port):
    """What the kernel holds a listening socket to: the Send-Q of `ss`."""
    command = ["ss", "-Hltn", f"sport = :{port}"]
    return int(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[2])


async def serve(**options):
    runner = web.AppRunner(web.Application())
    await runner.setup()
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1024)
        port = listening.getsockname()[1]
        before = backlog(port)
        await web.SockSite(runner, listening, **options).start()
        after = backlog(port)
        await runner.cleanup()
    return before, after


seen = []
for options in ({}, {"backlog": 1024}):
    for name, factory in (("asyncio", asyncio.new_event_loop), ("uvloop", uvloop.new_event_loop)):
        with asyncio.Runner(loop_factory=factory) as runner:
            before, after = runner.run(serve(**options))
        where = " where SockSite(backlog=1024)" if options else ""
        print(f"{name:8} bound with {before}, served with {after}{where}")
        seen.append((before, after))
sys.exit(0 if seen == [(1024, 128)] * 2 + [(1024, 1024)] * 2 else 1)
PYTHON
venv/bin/python serve.py
