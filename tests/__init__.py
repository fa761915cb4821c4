"""blobd's tests. A test's name is a promise; its docstring cites where the promise is made."""
