"""What a model's precision costs, measured against float32. See gate.py."""
