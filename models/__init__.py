"""The portable inference core.

OpenMP's helpers wait for their next piece of work by spinning, and PyTorch's libgomp spins for tens of milliseconds:
on a core that others need too, decoding then takes several times as long. It reads how long when torch is loaded, which
is after this.
"""

import os

if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
