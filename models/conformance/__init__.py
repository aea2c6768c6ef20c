"""Does a device really compute what the engine asks of it? See suite.py."""
