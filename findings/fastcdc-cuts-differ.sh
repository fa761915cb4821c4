#!/usr/bin/env bash
# Two packages that implement FastCDC cut the same bytes, with the same sizes, at other places.
#
# Tried: fastcdc 1.7.0 and pith-cdc 0.1.1 (PyPI), 8 MiB of fixed random bytes, sizes 16, 64, 256 KiB.
# One would believe: FastCDC with given minimum, average and maximum sizes names a set of cuts, so a
#   store that was filled by one library finds its chunks again with another.
# What happens: not one cut beside offset 0 is shared, at any of pith-cdc's normalisation levels. The
#   paper (Xia et al., USENIX ATC 2016) leaves the gear table and the masks to the implementation, and
#   each package has its own. A format that wants chunks to be found again must name table and masks.
# Seen:
#     fastcdc            126 cuts, 126 of them in a second run
#     pith-cdc level 0   111 cuts, 0 of them shared
#     pith-cdc level 2   115 cuts, 0 of them shared
# What blobd does: it stores blobs whole; chunks would need a table of their own in the format.
#
# Needs: python3 with venv.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
python3 -m venv venv
venv/bin/pip install -q --disable-pip-version-check fastcdc==1.7.0 pith-cdc==0.1.1
cat > cut.py << 'PYTHON'
import random, sys
import fastcdc, pith_cdc

SIZES = (16 * 1024, 64 * 1024, 256 * 1024)
data = random.Random(1).randbytes(8 * 1024 * 1024)
with open("data", "wb") as file:
    file.write(data)
one = {chunk.offset for chunk in fastcdc.fastcdc("data", *SIZES)} - {0}
again = {chunk.offset for chunk in fastcdc.fastcdc("data", *SIZES)} - {0}
print(f"fastcdc            {len(one)} cuts, {len(one & again)} of them in a second run")
shared = 0
for level in (pith_cdc.LEVEL_0, pith_cdc.LEVEL_1, pith_cdc.LEVEL_2, pith_cdc.LEVEL_3):
    other = {chunk.offset for chunk in pith_cdc.chunk(data, *SIZES, level)} - {0}
    shared += len(one & other)
    print(f"pith-cdc level {level}   {len(other)} cuts, {len(one & other)} of them shared")
sys.exit(0 if one == again and len(one) > 50 and shared == 0 else 1)
PYTHON
venv/bin/python cut.py
