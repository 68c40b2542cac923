#!/usr/bin/env python3
"""What to load and what to compute, from Python against a real daemon.

Usage: python_plan_test.py TERRACED, run as python_test.py is.
"""

import asyncio
import math
import sys
import unittest

import python_test
import terrace

TOKENS = 4 * 16  # of the four blocks that `stored` puts


class PlanTest(python_test.DaemonTest):
    def test_a_match_says_what_each_block_takes_and_a_plan_adds_it_up(self) -> None:
        chain, _ = self.stored("planned")
        match = self.client.match(self.space, chain)
        self.assertEqual(match.matched, 4)
        self.assertEqual(len(match.load_us), 4)
        self.assertGreater(min(match.load_us), 0)
        self.assertEqual(match.load_from[0].tier, terrace.Tier.DRAM)
        self.assertEqual(list(match.sources), [0, 0, 0, 0])
        plan = self.client.plan(match, tokens=TOKENS, rate=10.0)
        self.assertEqual((plan.front, plan.back, plan.stop), (4, 4, 4), "computing takes seconds")
        self.assertEqual(plan.then, range(TOKENS, TOKENS))
        self.assertEqual(plan.blocks(), (range(0, 4), range(4, 4)))
        self.assertAlmostEqual(plan.compute_all_seconds, TOKENS / 10)
        self.assertEqual(plan.seconds, plan.load_all_seconds)
        fast = terrace.plan(match, tokens=TOKENS, rate=1e9)
        self.assertEqual(fast.stop, 0, "nothing is faster than that")
        self.assertEqual(fast.then, range(0, TOKENS))

    def test_groups_and_an_event_loop_plan_as_well(self) -> None:
        chain, _ = self.stored("planned groups")
        found = self.client.match_groups(self.space, chain, [terrace.GroupPolicy(0)])
        self.assertEqual(len(found.found[0].load_us), 4)
        self.assertEqual(list(found.found[0].sources), [0, 0, 0, 0])
        plan = self.client.plan(found, tokens=TOKENS + 5, rate=[(0, 10.0), (4096, 5.0)],
                                overlap=False)
        self.assertEqual(plan.stop, 4)
        self.assertEqual(plan.then, range(TOKENS, TOKENS + 5))

        async def story() -> None:
            async with terrace.AsyncClient(self.client) as client:
                match = await client.match(self.space, chain)
                self.assertEqual(terrace.plan(match, tokens=TOKENS, rate=10).stop, 4)
        asyncio.run(story())

    def test_absurd_rates_curves_and_prompts_are_named(self) -> None:
        chain, _ = self.stored("refused")
        match = self.client.match(self.space, chain)

        def refused(text: str, rate: terrace._plan.Rate, tokens: int = TOKENS) -> None:
            with self.assertRaises(terrace.InvalidError) as caught:
                terrace.plan(match, tokens=tokens, rate=rate)
            self.assertIn(text, str(caught.exception))
        for rate in (0, -1, math.inf, math.nan, 1e13):
            refused("rate[0].tokens_per_s is", rate)
        refused("rate has no point", [])
        refused("rate[1].context is 3, the one before is 3", [(3, 1.0), (3, 2.0)])
        refused("rate[0].context is", [(2**41, 1.0)])
        refused("rate[0].context is -1", [(-1, 1.0)])
        refused("tokens is 0", 100, 0)
        refused("tokens is -3", 100, -3)
        refused("tokens is 48, the match reaches over 4 blocks of 16", 100, 48)
        refused("tokens is", 100, 2**41)
        with self.assertRaises(terrace.InvalidError):
            terrace.plan(terrace.Match(0, b""), tokens=1, rate=1)

    def test_an_argument_of_another_type_is_named(self) -> None:
        match = self.client.match(self.space, self.stored("types")[0])
        for text, changed in (
                ("match is 4,", {"match": 4}), ("match is None,", {"match": None}),
                ("tokens is '64',", {"tokens": "64"}), ("tokens is None,", {"tokens": None}),
                ("tokens is 64.5,", {"tokens": 64.5}),
                ("rate is None,", {"rate": None}), ("rate is 'fast',", {"rate": "fast"}),
                ("rate is [1.0],", {"rate": [1.0]}), ("rate is [(1,)],", {"rate": [(1,)]}),
                ("rate is [(None, 1.0)],", {"rate": [(None, 1.0)]})):
            arguments = {"match": match, "tokens": TOKENS, "rate": 1.0} | changed
            with self.assertRaises(terrace.InvalidError) as caught:
                terrace.plan(**arguments)  # type: ignore[arg-type]
            self.assertIn(text, str(caught.exception))


if __name__ == "__main__":
    python_test.TERRACED = sys.argv.pop(1)
    unittest.main(verbosity=2)
