"""Real servers that blobd stands on, as tests start, kill and restart them.

Each runs on loopback ports and in a temporary folder of its own, so that several run on one machine
at a time, and ends with the process that started it, however that ends.
"""
