"""Blobs in a bucket. `backend.py` is the backend; the other modules are its parts."""
