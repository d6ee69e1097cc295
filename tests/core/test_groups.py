"""Address groups."""

from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.groups import WIDE, group_of, is_address, is_nobodys, is_public, is_this_machine


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

    def test_address(self) -> None:
        """What is a name, and what no name."""
        for host in ("192.0.2.1", "::1", "fe80::1%eth0"):
            self.assertTrue(is_address(host), host)
        for host in ("a.example", "", "010.0.0.1", "1.2.3"):
            self.assertFalse(is_address(host), host)

    def test_public(self) -> None:
        """Addresses in the Internet; of a name it is not known."""
        for host in ("8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8"):
            self.assertTrue(is_public(host), host)
        for host in ("10.0.0.1", "192.168.1.1", "127.0.0.1", "169.254.1.1", "fe80::1", "fd00::1", "100.64.0.1", "a.b"):
            self.assertFalse(is_public(host), host)

    def test_nobodys(self) -> None:
        """Addresses that no single host can have."""
        for host in ("0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:224.0.0.1"):
            self.assertTrue(is_nobodys(host), host)
        for host in ("127.0.0.1", "::1", "10.0.0.1", "8.8.8.8", "a.example"):
            self.assertFalse(is_nobodys(host), host)
