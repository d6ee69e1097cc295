"""Address groups."""

from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.groups import WIDE, group_of, is_this_machine


class GroupTests(SynchronousTestCase):
    """Which hosts count as one."""

    def test_near(self) -> None:
        """A /24, or a /64, is one; an IPv4 address is the same one in IPv6's spelling."""
        self.assertEqual(group_of("192.0.2.1"), group_of("192.0.2.255"))
        self.assertNotEqual(group_of("192.0.2.1"), group_of("192.0.3.1"))
        self.assertEqual(group_of("2001:db8::1"), group_of("2001:db8::ffff:0:0:1"))
        self.assertNotEqual(group_of("2001:db8::1"), group_of("2001:db8:0:1::1"))
        self.assertEqual(group_of("::ffff:192.0.2.7"), group_of("192.0.2.1"))
        self.assertEqual(group_of("fe80::1%eth0"), group_of("fe80::2%eth1"))

    def test_wide(self) -> None:
        """A /16, or a /32."""
        self.assertEqual(group_of("192.0.2.1", WIDE), group_of("192.0.255.1", WIDE))
        self.assertNotEqual(group_of("192.0.2.1", WIDE), group_of("192.1.2.1", WIDE))
        self.assertEqual(group_of("2001:db8::1", WIDE), group_of("2001:db8:ffff::1", WIDE))

    def test_name(self) -> None:
        """A name is a group of its own."""
        self.assertEqual(group_of("a.example"), "a.example")

    def test_this_machine(self) -> None:
        """Loopback addresses, and what has none."""
        for host in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", ""):
            self.assertTrue(is_this_machine(host), host)
        for host in ("192.0.2.1", "2001:db8::1", "localhost.example"):
            self.assertFalse(is_this_machine(host), host)
