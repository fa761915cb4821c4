"""`python -m tests.engines.moto_serving PORT`: moto's server, with conditional writes in turn.

moto looks whether an object is there and writes it afterwards, on as many threads as there are
requests: of two conditional writes at once both may succeed, as on no engine that has them.
"""

from __future__ import annotations

import sys
import threading
from typing import TYPE_CHECKING, Any

from moto.moto_server.werkzeug_app import (
    DomainDispatcherApplication,
    MotoRequestHandler,
    create_backend_app,
)
from werkzeug.serving import run_simple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_CONDITIONS = ("HTTP_IF_NONE_MATCH", "HTTP_IF_MATCH")


def main() -> None:
    """Serve until killed."""
    application: Callable[..., Iterable[bytes]] = DomainDispatcherApplication(create_backend_app)
    turn = threading.Lock()

    def in_turn(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if any(name in environ for name in _CONDITIONS):
            with turn:
                return application(environ, start)
        return application(environ, start)

    port = int(sys.argv[1])
    run_simple("127.0.0.1", port, in_turn, threaded=True, request_handler=MotoRequestHandler)


if __name__ == "__main__":
    main()
