"""The blob API, over real sockets against a real daemon, and the document that describes it."""

import pytest

pytest.register_assert_rewrite("tests.api.document", "tests.api.served")
