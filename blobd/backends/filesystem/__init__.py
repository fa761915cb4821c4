"""Blobs in a folder. `backend.py` is the backend; `writer.py` writes an upload."""
