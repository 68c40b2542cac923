#!/usr/bin/env python3
"""Calls that give others up, keep blocks and forget them, and what is told of requests, from
Python against a real daemon.

Usage: python_hints_test.py TERRACED, run as python_test.py is.
"""

import asyncio
import sys
import unittest

import numpy

import python_test
import terrace
from python_test import BLOCK_BYTES, WAIT_S, keys


class HintsTest(python_test.DaemonTest):
    def test_a_task_that_is_cancelled_gives_its_call_up(self) -> None:
        chain, _ = self.stored("task")
        self.daemon.freeze()
        self.addCleanup(self.daemon.thaw)

        async def story() -> None:
            async with terrace.AsyncClient(self.client) as client:
                region = await client.allocate(4 * BLOCK_BYTES)
                waiting = asyncio.create_task(
                    client.get(self.space, chain, region.blocks(4, BLOCK_BYTES), timeout=600))
                await asyncio.sleep(0.01)
                waiting.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await waiting
                self.daemon.thaw()
                await client.run("drain")  # which would wait for 600 s
                region.close()
        asyncio.run(story())

    def test_cancel_and_fence_answer_when_the_memory_is_the_callers_again(self) -> None:
        chain, expected = self.stored("given up")
        client = self.client
        self.addCleanup(self.daemon.thaw)
        with client.allocate(4 * BLOCK_BYTES) as region:
            piece = terrace.Piece(BLOCK_BYTES, 1, region.id)
            self.daemon.freeze()
            ticket = client.submit_get(self.space, chain, region.blocks(4, BLOCK_BYTES))
            with self.assertRaises(terrace.DeadlineError):
                client.drain(timeout=0.05)
            with self.assertRaises(terrace.DeadlineError):
                client.cancel(ticket, timeout=0.05)
            with self.assertRaises(terrace.DeadlineError):
                client.fence([piece], timeout=0.05)
            self.daemon.thaw()
            for _ in range(2):
                client.cancel(ticket)
                client.fence([piece])
            client.drain(timeout=0)
            done = client.poll()
            self.assertEqual([completion.ticket for completion in done], [ticket])
            # IN_DOUBT, PEER_DEAD: this machine stood still for longer than a second.
            if done[0].status not in (terrace.Status.IN_DOUBT, terrace.Status.PEER_DEAD):
                for block in done[0].blocks:
                    self.assertNotEqual(block.status, terrace.Status.MISS)
            got = client.get(self.space, chain, region.blocks(4, BLOCK_BYTES))
            self.assertTrue(got.ok, got)
            self.assertEqual(bytes(region.buffer), expected.tobytes())

    def test_regions_are_made_while_the_caller_goes_on(self) -> None:
        chain, expected = self.stored("made aside")
        array = numpy.zeros(4 * BLOCK_BYTES, numpy.uint8)
        tickets = [self.client.submit_register(array), self.client.submit_allocate(BLOCK_BYTES)]
        self.client.drain()
        done = {completion.ticket: completion for completion in self.client.poll()}
        with done[tickets[0]].region as mine, done[tickets[1]].region as theirs:
            got = self.client.get(self.space, chain, mine.blocks(4, BLOCK_BYTES))
            self.assertTrue(got.ok, got)
            self.assertGreaterEqual(theirs.nbytes, BLOCK_BYTES)
        self.assertTrue((array == expected).all())
        self.refuses("length", self.client.submit_allocate, 0)

    def test_hints_say_of_each_block_what_became_of_it(self) -> None:
        chain, _ = self.stored("hints", 3)
        longer = terrace.Chain([*keys("hints", 3), b"never stored"])
        client, space = self.client, self.space
        expected = [terrace.Status.OK] * 3 + [terrace.Status.MISS]
        for answer in (client.prefetch(space, longer, 0, 4), client.touch(space, longer, 0, 4),
                       client.retain(space, longer, 0, 4, label="session 7", seconds=5)):
            self.assertEqual([block.status for block in answer], expected)
        ticket = client.submit_prefetch(space, longer, 2, 2, priority=3)
        client.wait_for_completion()
        done = client.poll()
        self.assertEqual([completion.ticket for completion in done], [ticket])
        self.assertEqual([block.status for block in done[0].blocks], expected[2:])
        self.assertEqual(client.release_retained("session 7"), 3)
        self.assertEqual(client.release_retained("session 7"), 0)
        self.assertEqual(client.match(space, chain).matched, 3)

    def test_a_prefix_and_a_tenant_are_forgotten_and_no_one_elses_blocks(self) -> None:
        chain, _ = self.stored("prefix")
        other, _ = self.stored("bystander")
        self.assertEqual(self.client.remove_prefix(self.space, chain, 1), 3)
        self.assertEqual(self.client.match(self.space, chain).matched, 1)
        self.assertEqual(self.client.match(self.space, other).matched, 4)
        with terrace.Client(self.daemon.address, tenant="another", connect_timeout=WAIT_S,
                            timeout=WAIT_S) as stranger:
            self.open(stranger)
            self.assertEqual(stranger.clear_tenant(), 0)
        self.assertEqual(self.client.match(self.space, other).matched, 4)
        self.assertGreaterEqual(self.client.clear_tenant(), 5)
        self.assertEqual(self.client.match(self.space, other).matched, 0)

    def test_wrong_arguments_of_hints_and_fences_are_named(self) -> None:
        chain, _ = self.stored("refused", 2)
        client, space = self.client, self.space
        self.refuses("ticket 12345", client.cancel, 12345)
        self.refuses("memory[0].region", client.fence, [terrace.Piece(0, 1, 9999)])
        self.refuses("pieces of memory is 0", client.fence, [])
        self.refuses("options.target", client.prefetch, space, chain, 0, 1,
                     target=terrace.Tier.NVME)
        self.refuses("first 1 and count 2", client.prefetch, space, chain, 1, 2)
        self.refuses("count", client.touch, space, chain, 0, 0)
        self.refuses("kind.group", client.touch, space, chain, 0, 1, group=5)
        self.refuses("options.label", client.retain, space, chain, 0, 1, label="")
        self.refuses("label has a zero", client.retain, space, chain, 0, 1, label="a\0b")
        self.refuses("options.time", client.retain, space, chain, 0, 1, label="a", seconds=0)
        self.refuses("label", client.release_retained, "x" * 200)
        self.refuses("first", client.remove_prefix, space, chain, 2)
        client.close()
        for call in (lambda: client.cancel(1), lambda: client.fence([]), client.drain,
                     lambda: client.touch(space, chain, 0, 1),
                     lambda: client.remove_prefix(space, chain, 0), client.clear_tenant):
            self.refuses("closed", call)


class ToldHintsTest(python_test.DaemonTest):
    def told(self) -> dict[str, int]:
        """The daemon's counters, by their label."""
        return {sample.labels: int(sample.value) for sample in self.client.stat()
                if sample.name in ("terrace_hints_total", "terrace_hints_ignored_total")}

    def test_what_is_known_of_a_request_goes_with_its_chain(self) -> None:
        hints = terrace.Hints(session="s1", turn=3, category="chat", will_continue=True)
        chain, _ = self.stored("told")
        before = self.told()
        chain.hints = hints
        self.assertEqual(chain.hints, hints)
        with self.client.allocate(4 * BLOCK_BYTES) as region:
            self.assertTrue(self.client.get(self.space, chain, region.blocks(4, BLOCK_BYTES)).ok)
        after = self.told()
        for kind in ("session", "turn", "category", "will_continue"):
            label = f'kind="{kind}"'
            self.assertEqual(after[label], before[label] + 1, label)
        self.assertEqual(after['kind="done"'], before['kind="done"'])
        chain.hints = terrace.Hints(done=True)
        self.client.touch(self.space, chain, 0, 4)
        self.assertEqual(self.told()['kind="done"'], after['kind="done"'] + 1)
        chain.hints = None
        self.client.touch(self.space, chain, 0, 4)
        self.assertEqual(self.told()['kind="done"'], after['kind="done"'] + 1)
        other = terrace.Chain(keys("told", 4), hints=hints)
        self.assertEqual(self.client.match(self.space, other).matched, 4)
        self.assertEqual(self.told()['kind="session"'], after['kind="session"'] + 1)
        other.clear()
        self.assertIsNone(other.hints)
        self.assertEqual(sum(count for label, count in self.told().items()
                             if label.startswith("reason")), 0)

    def test_hints_that_are_wrong_are_named_and_change_nothing(self) -> None:
        kept = terrace.Hints(session="s" * 64, turn=65535)
        chain = terrace.Chain(keys("kept", 1), hints=kept)
        for text, wrong in (
                ("hints.session is 65", terrace.Hints(session="s" * 65)),
                ("hints.category is 99", terrace.Hints(category="c" * 99)),
                ("hints.session has a zero", terrace.Hints(session="a\0b")),
                ("hints.session is 5, not a text", terrace.Hints(session=5)),  # type: ignore
                ("hints.session is b'a', not a text", terrace.Hints(session=b"a")),  # type: ignore
                ("hints.category is None, not a text",
                 terrace.Hints(category=None)),  # type: ignore
                ("hints.session is no UTF-8 at 1", terrace.Hints(session="a\ud800")),
                ("hints.turn is -1", terrace.Hints(turn=-1)),
                ("hints.turn is 65536", terrace.Hints(turn=65536)),
                ("hints.turn is 4294967296", terrace.Hints(turn=1 << 32)),
                ("hints.done and hints.will_continue",
                 terrace.Hints(will_continue=True, done=True))):
            self.refuses(text, setattr, chain, "hints", wrong)
            self.refuses(text, lambda hints=wrong: terrace.Chain([b"k"], hints=hints))
            self.assertEqual(chain.hints, kept)


if __name__ == "__main__":
    python_test.TERRACED = sys.argv.pop(1)
    unittest.main(verbosity=2)
