"""The profiles: what their numbers promise together."""

import attrs
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core import wire
from twisted_p2p.core.config import LAN, TEST, WAN, Config
from twisted_p2p.net import dialer

PROFILES = {"LAN": LAN, "WAN": WAN, "TEST": TEST}
JITTER = 1.2
ROUND_TRIP = 0.2


def silence_noticed(config: Config) -> float:
    """Seconds after which a neighbour that fell silent is suspected, at the latest."""
    return config.ping_interval * JITTER + config.ping_timeout


def attempt(config: Config) -> float:
    """Seconds that one attempt to reach a peer takes, at the latest."""
    return max(config.dial_timeout, ROUND_TRIP + config.handshake_timeout)


def suspicion_ends(config: Config) -> float:
    """Seconds from a suspicion to the claim, where nobody can reach the peer, at the latest.

    A decision falls each `suspicion_timeout`. The first one at which our own attempt and a witness's have failed
    claims the failure; the witness's own attempt may have begun just before ours was asked for.
    """
    known = attempt(config) + 2 * ROUND_TRIP
    rounds = -(-known // config.suspicion_timeout)
    return rounds * config.suspicion_timeout


class ProfileTests(SynchronousTestCase):
    """The settings fit together."""

    def each(self, holds, why: str) -> None:  # type: ignore[no-untyped-def]
        """It holds in every profile."""
        for name, config in PROFILES.items():
            self.assertTrue(holds(config), f"{name}: {why}")

    def test_detection(self) -> None:
        """On a LAN a dead peer is declared failed within 30 s, even if the witnesses asked first died with it."""
        once = silence_noticed(LAN) + suspicion_ends(LAN)
        self.assertLess(once, 30)
        dead_witnesses_noticed = silence_noticed(LAN)
        self.assertLess(once + dead_witnesses_noticed, 30)

    def test_one_round(self) -> None:
        """The first round of a suspicion is long enough for its witnesses to have failed, too."""
        for config in (LAN, WAN):
            self.assertEqual(suspicion_ends(config), config.suspicion_timeout)

    def test_detection_elsewhere(self) -> None:
        """The other profiles' promises follow from the same sum: a WAN takes longer than a LAN, a test seconds."""
        sums = {name: silence_noticed(config) + suspicion_ends(config) for name, config in PROFILES.items()}
        self.assertLess(sums["LAN"], sums["WAN"])
        self.assertLess(sums["WAN"], 60)
        self.assertLess(sums["TEST"], 6)

    def test_probes(self) -> None:
        """A lonely peer is probed often enough: in 30 s less a suspicion it stays unprobed once in 10,000 times."""
        rest = 30 - suspicion_ends(LAN) - attempt(LAN)
        probes = rest / (LAN.probe_interval * JITTER)
        self.assertLess(2.718**-probes, 0.005)

    def test_overlay(self) -> None:
        """A view has room above what a peer looks for, and there is something to look for."""
        self.each(lambda c: 2 <= c.active_target < c.active_max, "views")
        self.each(lambda c: c.active_max < c.max_links, "links")
        self.each(lambda c: c.active_max + 1 <= 100, "a contact's view fits #CONNECTABLE_NODES")

    def test_time_outs(self) -> None:
        """What waits for something waits longer than that takes."""
        self.each(lambda c: c.ping_timeout > 2 * c.ping_interval, "one lost round is no death")
        self.each(lambda c: c.handshake_timeout > c.dial_timeout, "a handshake")
        self.each(lambda c: c.probe_timeout < c.dial_timeout, "others are asked while a probe is still under way")
        self.each(lambda c: c.linger > c.graft_timeout * 3, "a probe can compare twice before its link ends")
        self.each(lambda c: c.sync_interval > c.graft_timeout, "a comparison")
        self.each(lambda c: c.paused_timeout > c.ping_timeout, "a slow neighbour")
        self.each(lambda c: c.departed_probe_interval >= c.probe_interval, "the departed are probed more rarely")
        self.each(lambda c: c.retry_first <= c.retry_max, "back-off")
        self.each(lambda c: c.stall <= c.handshake_timeout, "a stop is noticed before it judges")
        self.each(lambda c: c.refused_pause >= c.refill_interval, "who refused is not asked again at once")

    def test_sizes(self) -> None:
        """The longest message fits a bundle's line, and a bundle a burst, with what is around them."""
        around = len(wire.bundle_line("a" * 64, 2**53 - 1, 2**53 - 1, "b" * 128, b"[]"))
        self.each(lambda c: c.message_max + around <= c.line_max, "the longest message")
        self.each(lambda c: c.bundle_bytes + c.message_max + around <= c.line_max, "the fullest bundle")
        self.each(lambda c: c.bundle_bytes <= c.burst, "a bundle")
        self.each(lambda c: c.bundle_bytes // len(b"1,") <= wire.MESSAGES_MAX, "the shortest messages")
        self.assertRaises(ValueError, attrs.evolve, LAN, bundle_bytes=LAN.bundle_bytes + 1)
        self.each(lambda c: c.line_max <= c.early_bytes <= c.retention_bytes, "what is held back")
        self.each(lambda c: c.early_max <= c.retention_count, "what is held back")

    def test_pages(self) -> None:
        """A page is a frame that its reader takes, and fits a line."""
        record = wire.Record("a" * 64, 2**53 - 1, "alive", "h" * 39, 65535, "b" * 128)
        claim = wire.Claim("a" * 64, 2**53 - 1, "b" * 64, 2**53 - 1, "c" * 128)
        for name, config in PROFILES.items():
            position = ("a" * 64, 2**53 - 1, 2**52)
            page = wire.NodesInNetwork(
                [record] * config.page,
                [claim] * config.page,
                [position] * (config.page + config.max_epochs),
                "d" * 64,
                True,
            )
            line = wire.encode(page)
            self.assertLess(len(line), config.line_max, name)
            self.assertEqual(wire.decode(line), page)

    def test_memory(self) -> None:
        """A departed peer is remembered for longer than the log keeps its bundles, and longer than any retry."""
        self.each(lambda c: c.departed_keep > c.retention_age, "bundles of the departed")
        self.each(lambda c: c.departed_keep > 100 * c.departed_probe_interval, "a long partition heals")
        self.each(lambda c: c.max_streams >= c.max_peers, "every peer may speak")

    def test_leaving(self) -> None:
        """Leaving takes a few seconds at most."""
        self.each(lambda c: 0 < c.leave_linger < c.leave_timeout <= 5, "leaving")

    def test_profiles_differ_in_time_only(self) -> None:
        """Peers of all profiles can be in one network: sizes and numbers are the same everywhere."""
        sizes = [field.name for field in attrs.fields(Config) if field.type in ("int", int)]
        self.assertIn("line_max", sizes)
        for name in sizes:
            self.assertEqual(len({getattr(config, name) for config in PROFILES.values()}), 1, name)

    def test_dials_at_once(self) -> None:
        """A peer that fills its view never waits for its own dials."""
        self.each(lambda c: c.active_target < dialer.AT_ONCE, "dials")
