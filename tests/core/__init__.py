"""The layers below HTTP, one module each."""
