#!/usr/bin/env bash
# The history that buildah writes does not say where the base image ends.
#
# Tried: buildah 1.28.2 (Debian 12), the same two Containerfiles built with --layers=false and =true.
# One would believe: the history's comment "FROM localhost/base:latest" stands on the first step of the
#   child, and the step that copied a file is the one with a layer, whichever way it was built; so a
#   registry can tell the labels of a base image from those of the image built on it.
# What happens: with --layers=false the comment stands on the last step, both COPY steps say
#   empty_layer, and the layer belongs to the LABEL step that made none. With --layers=true each step
#   has a comment of its own, most with the id of an image that is nowhere else, and only the first
#   names the base.
# Seen: (created_by shortened)
#     --layers=false: COPY empty; LABEL; COPY empty; COPY empty; LABEL "FROM localhost/base:latest"
#     --layers=true:  COPY; LABEL empty "FROM <id>"; COPY "FROM localhost/base:latest";
#                     COPY "FROM <id>"; LABEL empty "FROM <id>"
# What blobd does: it ignores the comments. It compares the steps with those of the base that the
#   manifest's annotations name, where that is in the registry, and tells the pusher whose the label is.
#   A label links a package only where the pusher is an admin of what it names, wherever it comes from.
#
# Needs: root; buildah, or Debian's apt-get to install it.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
command -v buildah > /dev/null || apt-get -q install --no-install-recommends -y buildah > apt.log
buildah --version
mkdir base child
echo 1 > base/one
echo 2 > child/two
echo 3 > child/three
printf 'FROM scratch\nCOPY one /one\nLABEL source=https://example.org/base\n' > base/Containerfile
printf 'FROM localhost/base\nCOPY two /two\nCOPY three /three\nLABEL own=yes\n' > child/Containerfile
tool=(buildah --root "$work/root" --runroot "$work/run" --storage-driver vfs)
cat > history.py << 'PYTHON'
import json, sys

seen = []
for step in json.load(sys.stdin)["OCIv1"]["history"]:
    command = step["created_by"].split("#(nop) ")[1].split()[0]
    named = step.get("comment", "") == "FROM localhost/base:latest"
    seen.append(f"{command}{' empty' if step.get('empty_layer') else ''}{' names-base' if named else ''}")
    print("   ", command, "empty_layer" if step.get("empty_layer") else "layer", step.get("comment", ""))
with open(sys.argv[1], "w") as file:
    file.write("; ".join(seen))
PYTHON
for layers in false true; do
  "${tool[@]}" build -q --isolation chroot --layers=$layers -t localhost/base base > log
  "${tool[@]}" build -q --isolation chroot --layers=$layers -t localhost/child child > log
  echo "--layers=$layers"
  "${tool[@]}" inspect --type image localhost/child | python3 history.py "$layers"
done
[ "$(cat false)" = "COPY empty; LABEL; COPY empty; COPY empty; LABEL names-base" ]
[ "$(cat true)" = "COPY; LABEL empty; COPY names-base; COPY; LABEL empty" ]
