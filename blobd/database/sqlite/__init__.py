"""The catalog in an SQLite file, for any number of processes of one machine."""
