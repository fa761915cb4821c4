"""The receive room, ranges, connections: what stands between a socket and the flow of bytes."""

import pytest

pytest.register_assert_rewrite("tests.http.talk")
