#!/usr/bin/env bash
# aiohttp's FileResponse answers a request for two valid ranges with 416.
#
# Tried: aiohttp 3.14.5 (PyPI).
# One would believe: a server that does not serve several ranges ignores the header and answers 200
#   with everything, which RFC 9110 section 14.2 allows, or answers 206; 416 is for ranges of which
#   none can be satisfied (section 15.5.17). One range is answered 206 as it should be.
# What happens: `Range: bytes=0-9,20-29` on a file of 1,000 bytes is 416 with an empty body. A client
#   that fetches the changed parts of a zstd:chunked layer in one request gets an error and not bytes.
# Seen:
#     aiohttp 3.14.5  bytes=0-9          206, 10 bytes
#     aiohttp 3.14.5  bytes=0-9,20-29    416, 0 bytes
#     aiohttp 3.14.5  bytes=5000-5009    416, 0 bytes
# What blobd does: it answers ranges itself, several of them with multipart/byteranges.
#
# Needs: python3 with venv.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check aiohttp==3.14.5
head -c 1000 /dev/zero > file
cat > serve.py << 'PYTHON'
import asyncio, sys
import aiohttp
from aiohttp import web


async def main():
    app = web.Application()

    async def file(request):
        return web.FileResponse("file")

    app.router.add_get("/", file)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    seen = []
    async with aiohttp.ClientSession() as session:
        for ranges in ("bytes=0-9", "bytes=0-9,20-29", "bytes=5000-5009"):
            async with session.get(f"http://{host}:{port}/", headers={"Range": ranges}) as answer:
                body = await answer.read()
                seen.append((answer.status, len(body)))
                print(f"aiohttp {aiohttp.__version__}  {ranges:18} {answer.status}, {len(body)} bytes")
    await runner.cleanup()
    return seen


sys.exit(0 if asyncio.run(main()) == [(206, 10), (416, 0), (416, 0)] else 1)
PYTHON
venv/bin/python serve.py
