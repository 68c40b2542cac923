#!/usr/bin/env python3
"""Events from Python against a real daemon: what a cache-aware router does with them.

Usage: python_events_test.py TERRACED, run as python_test.py is.
"""

import asyncio
import os
import signal
import sys
import unittest

import python_test
import terrace
from python_test import BLOCK_BYTES, keys
from terrace import EventKind, Tier


class Table:
    """A router's table of blocks, kept as docs/events.md says."""

    def __init__(self) -> None:
        self.tiers: dict[tuple[int, str, bytes], frozenset[Tier]] = {}

    def apply(self, batch: terrace.EventBatch) -> None:
        if batch.begins:
            self.tiers.clear()
        for event in batch.events:
            name = (event.reactor, event.space, event.identity)
            if event.kind is EventKind.COMMITTED or name in self.tiers:
                self.tiers[name] = event.tiers
            if event.kind is EventKind.REMOVED:
                self.tiers.pop(name, None)
            if event.kind is EventKind.CLEARED:
                self.tiers = {name: tiers for name, tiers in self.tiers.items()
                              if name[:2] != (event.reactor, event.space)}

    def holds(self, space: str, key: bytes) -> bool:
        identity = terrace.identity_of(key)
        return any(name[1:] == (space, identity) for name in self.tiers)


class EventsTest(python_test.DaemonTest):
    def put(self, name: str, count: int, ids: object = None) -> terrace.Chain:
        chain = terrace.Chain(keys(name, count))
        with self.client.allocate(count * BLOCK_BYTES) as region:
            self.client.put(self.space, chain, region.blocks(count, BLOCK_BYTES), token_ids=ids)
        return chain

    def walked(self) -> bytes:
        """The cursor behind a snapshot of all there is."""
        cursor = b""
        while True:
            batch = self.client.read_snapshot(cursor, most=2)
            cursor = batch.cursor
            if batch.complete:
                return cursor

    def test_a_router_learns_all_of_a_put(self) -> None:
        cursor = self.walked()
        self.put("learn", 3, [[1, 2, 3], None, [0xffffffff]])
        events: list[terrace.Event] = []
        while len(events) < 3:
            batch = self.client.read_events(cursor)
            self.assertFalse(batch.restarted or batch.gaps)
            events += batch.events
            cursor = batch.cursor
        events.sort(key=lambda event: event.position)
        self.assertEqual([event.token_ids for event in events], [(1, 2, 3), (), (0xffffffff,)])
        self.assertEqual([event.key for event in events], keys("learn", 3))
        self.assertEqual([event.parent_key for event in events], [b""] + keys("learn", 2))
        self.assertEqual(events[1].parent, terrace.identity_of(b"learn 0"))
        self.assertEqual(events[1].parent, events[0].identity)
        for event in events:
            self.assertIs(event.kind, EventKind.COMMITTED)
            self.assertEqual(event.tiers, {Tier.DRAM})
            self.assertEqual(event.space, self.space.name)
            self.assertEqual(event.placement, b"learn 0")

    def test_a_put_of_pieces_tells_its_token_ids(self) -> None:
        cursor = self.walked()
        chain = terrace.Chain(keys("pieces", 2))
        half = BLOCK_BYTES // 2
        with self.client.allocate(2 * BLOCK_BYTES) as region:
            pieces = [terrace.Piece(i * half, half, region.id) for i in range(4)]
            blocks = [terrace.BlockPieces(i, piece_count=2) for i in range(2)]
            stored = self.client.put_pieces(self.space, chain, blocks, pieces,
                                            token_ids=[[7, 8], None])
            self.assertTrue(stored.ok, stored)
            with self.assertRaisesRegex(terrace.InvalidError, "token_ids has 1"):
                self.client.submit_put_pieces(self.space, chain, blocks, pieces, token_ids=[[1]])
        told = [event for event in self.client.read_events(cursor).events
                if event.kind is EventKind.COMMITTED]
        self.assertEqual([list(event.token_ids) for event in told], [[7, 8], []])

    def test_a_wrong_number_of_token_lists_is_refused(self) -> None:
        for wrong in ([[1]], [[1], [2], [3]], [[1], [1 << 32]]):
            with self.assertRaisesRegex(terrace.InvalidError, "token_ids"):
                self.put("wrong", 2, wrong)

    def test_a_cursor_that_is_none_is_refused(self) -> None:
        with self.assertRaisesRegex(terrace.InvalidError, "cursor"):
            self.client.read_events(b"no cursor at all, of no daemon")
        with self.assertRaisesRegex(terrace.InvalidError, "most"):
            self.client.read_events(most=0)

    def test_nothing_happens_is_an_empty_batch_and_no_error(self) -> None:
        cursor = self.walked()
        batch = self.client.read_events(cursor, timeout=30)
        self.assertEqual((batch.events, batch.gaps, batch.restarted), ([], [], False))
        self.assertEqual(batch.cursor, cursor)

    def test_watch_keeps_a_table_of_what_is_stored(self) -> None:
        self.put("before", 4)
        table = Table()
        watch = self.client.watch(most=3, timeout=30)
        while not table.holds(self.space.name, b"before 3"):
            table.apply(next(watch))
        self.client.remove(self.space, terrace.Chain(keys("before", 4)), 0, 4)
        while table.holds(self.space.name, b"before 0"):
            table.apply(next(watch))
        self.put("cleared", 4)
        while not table.holds(self.space.name, b"cleared 3"):
            table.apply(next(watch))
        self.client.clear_namespace(self.space.name)
        while table.holds(self.space.name, b"cleared 0"):
            table.apply(next(watch))
        self.assertFalse(table.tiers)

    def test_async_watch_hears_of_a_put(self) -> None:
        async def story() -> None:
            async with terrace.AsyncClient(self.client) as client:
                table = Table()
                chain = terrace.Chain(keys("async", 4))
                region = await client.allocate(4 * BLOCK_BYTES)
                async for batch in client.watch(timeout=30):
                    table.apply(batch)
                    if batch.complete:
                        putting = asyncio.create_task(client.put(
                            self.space, chain, region.blocks(4, BLOCK_BYTES),
                            token_ids=[[1], [2], [3], [4]]))
                    if table.holds(self.space.name, b"async 3"):
                        break
                await putting
                region.close()
        asyncio.run(story())


class DyingDaemonTest(python_test.DaemonTest):
    def test_a_read_ends_with_the_daemon(self) -> None:
        cursor = self.client.read_snapshot().cursor
        ticket = self.client.submit_read_events(cursor, timeout=30)
        os.kill(self.daemon.process.pid, signal.SIGKILL)
        self.client.wait_for_completion(30)
        done = self.client.poll()
        self.assertEqual([completion.ticket for completion in done], [ticket])
        with self.assertRaises(terrace.PeerDeadError):
            done[0].events


if __name__ == "__main__":
    python_test.TERRACED = sys.argv.pop(1)
    unittest.main(verbosity=2)
