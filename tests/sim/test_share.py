"""A flood pushes out what its origin has said, and not what others have."""

from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.sim.__main__ import play, report

PEERS = 12


class FloodTests(SynchronousTestCase):
    """One peer says so much that every log is full several times over."""

    def test_who_was_away(self) -> None:
        """Who was away meanwhile gets all that the others have said, and has a gap only in the stream of that one."""
        for seed in range(5):
            outcome = play("flood-while-away", PEERS, seed)
            self.assertEqual(outcome.violations, [], report("flood-while-away", PEERS, seed, outcome))
            peers = outcome.world.peers
            flooder = max(peers, key=lambda peer: len(peer.said))
            [away] = [peer for peer in peers if peer.lives > 1]
            self.assertEqual({gap.origin for peer in peers for gap in peer.gaps}, {flooder.peer})
            said = [message for peer in peers if peer not in (flooder, away) for _, message in peer.said]
            heard = [bundle for bundle in away.received if bundle.origin != flooder.peer]
            self.assertEqual((len(heard), len(said)), (3 * (PEERS - 2), 3 * (PEERS - 2)))
            self.assertTrue(all(len(peer.log) <= peer.config.retention_count for peer in peers))
