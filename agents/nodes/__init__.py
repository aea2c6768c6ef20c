"""The nodes of the loop, one module each. A node reads the state, does one thing, stages what it did and returns."""
