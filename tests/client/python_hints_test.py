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

    def test_what_to_keep_is_said_without_waiting(self) -> None:
        self.stored("aside", 3)
        longer = terrace.Chain([*keys("aside", 3), b"never stored"])
        client, space = self.client, self.space
        match = client.match_groups(space, terrace.Chain(keys("aside", 3)),
                                    [terrace.GroupPolicy(0)], lease=5.0)
        reservation = client.reserve(space, longer, 3)
        token = client.new_handoff()
        assert match.lease is not None
        tickets = [client.submit_touch(space, longer, 0, 4),
                   client.submit_retain(space, longer, 0, 4, label="session 8", seconds=5),
                   match.lease.submit_renew(6.0),
                   client.submit_abort(reservation.token),
                   client.submit_abort_handoff(token),
                   client.submit_release_retained("session 8")]
        client.drain()
        done = {completion.ticket: completion for completion in client.poll()}
        self.assertEqual(sorted(done), sorted(tickets))
        for ticket in tickets:
            self.assertEqual(done[ticket].status, terrace.Status.OK)
        for ticket in tickets[:2]:
            self.assertEqual([block.status.name for block in done[ticket].blocks],
                             ["OK", "OK", "OK", "MISS"])
        self.assertEqual(client.release_retained("session 8"), 0)
        with client.reserve(space, longer, 3) as again:  # PENDING while it was reserved
            self.assertEqual(again.status, terrace.Status.OK)
        match.lease.release()

    def test_stories_of_blocks_are_told(self) -> None:
        self.stored("story", 2)
        told = self.client.explain(self.space.name, [*keys("story", 2), b"never stored"])
        self.assertEqual([story.reason for story in told], ["none", "none", "never_seen"])
        self.assertTrue(told[1].published)
        self.assertEqual((told[1].position, told[1].block_bytes), (1, BLOCK_BYTES))
        self.assertIn(terrace.Tier.DRAM, told[0].tiers)
        self.assertFalse(told[2].published)
        self.refuses("keys", self.client.explain, self.space.name, [])
        self.refuses("keys[0]", self.client.explain, self.space.name, [b"x" * 65])

    def test_what_a_cancelled_task_was_given_goes_back(self) -> None:
        chain, _ = self.stored("goes back", 2)
        fresh = terrace.Chain([b"nobody has it"])

        async def story(told: bool) -> None:
            mine = terrace.Client(self.daemon.address, connect_timeout=WAIT_S, timeout=WAIT_S)
            space = self.open(mine)
            async with terrace.AsyncClient(mine) as client:
                tasks = [asyncio.create_task(client.reserve(space, fresh, 0, patience=60)),
                         asyncio.create_task(client.match_groups(
                             space, chain, [terrace.GroupPolicy(0)], lease=60.0))]
                await asyncio.sleep(0)  # both are sent
                mine.drain()            # and answered; the loop stands still meanwhile
                if told:
                    client._take()
                for task in tasks:
                    task.cancel()
                for task in tasks:
                    with self.assertRaises(asyncio.CancelledError):
                        await task
                for _ in range(1000):  # the abort is a call of its own
                    again = await client.reserve(space, fresh, 0)
                    if again.status is terrace.Status.OK:
                        break
                    await asyncio.sleep(0.01)
                self.assertEqual(again.status, terrace.Status.OK)
                await client.abort(again.token)
                leases = [sample.value for sample in mine.stat()
                          if sample.name == "terrace_match_leases"]
                self.assertEqual(leases, [0])

        for told in (False, True):
            with self.subTest(told=told):
                asyncio.run(story(told))

    def test_several_writers_and_leases_in_a_loop(self) -> None:
        chain = terrace.Chain([b"written in a loop"])

        async def story() -> None:
            async with terrace.AsyncClient(self.client) as client:
                region = await client.allocate(BLOCK_BYTES)
                reserved = await client.reserve(self.space, chain, 0)
                half = BLOCK_BYTES // 2
                for at in (0, half):
                    wrote = await client.write(reserved.token, [terrace.Fragment(at)],
                                               [terrace.Piece(at, half, region.id)])
                    self.assertTrue(wrote.ok, wrote)
                self.assertEqual((await client.commit(reserved.token)).status, terrace.Status.OK)
                with self.assertRaises(terrace.ExpiredError):
                    await client.commit(reserved.token)
                self.assertTrue((await client.touch(self.space, chain, 0, 1)).ok)
                self.assertTrue((await client.retain(self.space, chain, 0, 1, label="l")).ok)
                match = await client.match_groups(self.space, chain, [terrace.GroupPolicy(0)],
                                                  lease=5.0)
                assert match.lease is not None
                await client.renew(match.lease, 6.0)
                match.lease.release()
                with self.assertRaises(terrace.ExpiredError):
                    await client.renew(match.lease)
                token = self.client.new_handoff()
                opened = await client.open_handoff(token, self.space, terrace.Chain([b"h"]), 0, 1)
                self.assertEqual(opened[0].status, terrace.Status.OK)
                await client.abort_handoff(token)
                await client.ack_handoff(token)
        asyncio.run(story())

    def test_numbers_that_do_not_fit_are_refused_not_cut(self) -> None:
        chain, _ = self.stored("cut", 1)
        client = self.client
        mine = client.submit_match(self.space, chain)
        self.refuses("ticket is", client.cancel, (1 << 64) + mine)
        self.refuses("ticket is", client.cancel, -1)
        self.refuses("nbytes is", client.allocate, (1 << 64) + 4096)
        self.refuses("nbytes is", client.submit_allocate, -1)
        self.refuses("priority is", client.prefetch, self.space, chain, 0, 1, priority=1 << 32)
        self.refuses("most is -1", client.poll, -1)
        self.refuses("timeout is nan", client.ping, timeout=float("nan"))
        self.refuses("spin is", lambda: terrace.Client(self.daemon.address, spin=-1))
        with self.assertRaises(terrace.DeadlineError):
            client.ping(timeout=float("-inf"))
        client.ping(timeout=float("inf"))
        client.drain()
        self.assertEqual([done.ticket for done in client.poll(1 << 31)], [mine])

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
