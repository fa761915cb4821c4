"""One contract, and every backend and wrapper that passes it."""
