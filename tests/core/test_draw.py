"""A set to draw from."""

import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_p2p.core.draw import DrawSet

names = st.sampled_from("abcdefg")


class DrawSetTests(SynchronousTestCase):
    """It is a set, whatever is done to it, and draws without favour."""

    @given(st.lists(st.tuples(st.booleans(), names)), st.randoms(use_true_random=False))
    def test_as_a_set(self, steps: list[tuple[bool, str]], rng: random.Random) -> None:
        """What was added and not discarded is drawn, each once."""
        drawn, model = DrawSet(), set[str]()
        for is_added, name in steps:
            (drawn.add if is_added else drawn.discard)(name)
            (model.add if is_added else model.discard)(name)
            self.assertEqual(len(drawn), len(model))
            self.assertEqual([name in drawn for name in "abcdefg"], [name in model for name in "abcdefg"])
        self.assertEqual(sorted(drawn.draw(rng)), sorted(model))

    def test_every_order(self) -> None:
        """Each order of three comes about as often as any other."""
        drawn, rng = DrawSet(), random.Random(0)
        for name in "abc":
            drawn.add(name)
        orders = Counter("".join(drawn.draw(rng)) for _ in range(6000))
        self.assertEqual(len(orders), 6)
        self.assertTrue(all(850 < number < 1150 for number in orders.values()), orders)

    def test_only_what_is_asked_for(self) -> None:
        """The first one of many costs one draw."""
        drawn, rng = DrawSet(), random.Random(0)
        for number in range(1000):
            drawn.add(str(number))
        twin = random.Random(0)
        next(drawn.draw(rng))
        twin.randrange(1000)
        self.assertEqual(rng.random(), twin.random())
