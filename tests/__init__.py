"""Tests. `test_*.py` run under trial and pytest alike; `live/live_*.py` under pytest only."""

import os

from hypothesis import settings

# A slow machine must not fail a property, and one commit must give one answer in CI.
settings.register_profile("twisted_p2p", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("twisted_p2p")
