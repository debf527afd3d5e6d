"""The policy (frozen base, LoRA, critic) and the sampler made from it."""

import logging
import os

# Read by OpenMP when torch is loaded. Threads that spin at barriers waste the core that the other one's work needs: with one
# other busy process on two cores, matrix products become several times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

# PEFT loads bitsandbytes where it is installed, which then warns that an optional kernel of the hub is not there.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
