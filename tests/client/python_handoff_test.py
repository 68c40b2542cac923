#!/usr/bin/env python3
"""Hand-off in Python, against a real daemon: a producer's layers, a receiver that waits for them.

Usage: python_handoff_test.py TERRACED; as python_test.py, whose daemon and blocks it uses.
"""

import asyncio
import sys
import unittest

import numpy

import python_test
import terrace
from python_test import BLOCK_BYTES

LAYERS = 4
LAYER_BYTES = BLOCK_BYTES // LAYERS
BLOCKS = 3


class PythonHandoffTest(python_test.DaemonTest):
    @staticmethod
    def layer(region: terrace.Region, layer: int) -> tuple[list[terrace.BlockPieces],
                                                           list[terrace.Piece]]:
        """One layer of every block: where it lies in the block, and in memory."""
        blocks = [terrace.BlockPieces(i, piece_count=1, range_offset=layer * LAYER_BYTES,
                                      range_bytes=LAYER_BYTES) for i in range(BLOCKS)]
        pieces = [terrace.Piece(i * BLOCK_BYTES + layer * LAYER_BYTES, LAYER_BYTES, region.id)
                  for i in range(BLOCKS)]
        return blocks, pieces

    def test_a_layer_is_received_while_the_next_is_computed(self) -> None:
        chain = terrace.Chain(python_test.keys("handed", BLOCKS))
        source = numpy.random.default_rng(5).integers(0, 256, BLOCKS * BLOCK_BYTES, numpy.uint8)
        sink = numpy.zeros(BLOCKS * BLOCK_BYTES, numpy.uint8)
        with self.client.register(source) as produced, self.client.register(sink) as received:
            token = self.client.new_handoff()
            self.assertEqual(len(token), 32)
            tickets = [self.client.submit_receive(token, self.space, chain,
                                                  *self.layer(received, layer), timeout=20)
                       for layer in range(LAYERS)]
            opened = self.client.open_handoff(token, self.space, chain, 0, BLOCKS, patience=20)
            self.assertEqual([block.status for block in opened], [terrace.Status.OK] * BLOCKS)
            for layer in range(LAYERS):
                self.assertEqual(self.client.match(self.space, chain).matched, 0)
                self.assertTrue(self.client.send(token, self.space, chain,
                                                 *self.layer(produced, layer)).ok)
                self.client.wait_for_completion(20)
                done = self.client.poll()
                self.assertEqual([one.ticket for one in done], [tickets[layer]])
                self.assertTrue(done[0].blocks.ok)
                have = sink.reshape(BLOCKS, LAYERS, LAYER_BYTES)[:, :layer + 1]
                want = source.reshape(BLOCKS, LAYERS, LAYER_BYTES)[:, :layer + 1]
                self.assertTrue((have == want).all())
            self.assertEqual(self.client.match(self.space, chain).matched, BLOCKS)
            self.client.ack_handoff(token)

    def test_an_abort_is_told_and_wrong_arguments_are_named(self) -> None:
        chain = terrace.Chain(python_test.keys("aborted", BLOCKS))
        memory = numpy.zeros(BLOCKS * BLOCK_BYTES, numpy.uint8)
        with self.client.register(memory) as region:
            token = self.client.new_handoff()
            self.client.open_handoff(token, self.space, chain, 0, BLOCKS)
            with terrace.Client(self.daemon.address, timeout=20) as other:
                space = self.open(other)
                with other.register(memory) as theirs:
                    ticket = other.submit_receive(token, space, chain, *self.layer(theirs, 0),
                                                  timeout=20)
                    self.client.abort_handoff(token)
                    other.wait_for_completion(20)
                    done, = other.poll()
                    self.assertEqual(done.ticket, ticket)
                    self.assertEqual([block.status for block in done.blocks],
                                     [terrace.Status.CANCELLED] * BLOCKS)
            layer = self.layer(region, 1)
            self.refuses("token has 3 bytes", self.client.send, b"abc", self.space, chain, *layer)
            self.refuses("token", self.client.receive, bytes(32), self.space, chain, *layer)
            self.refuses("options.receivers", self.client.open_handoff,
                         self.client.new_handoff(), self.space, chain, 0, BLOCKS, receivers=0)

    def test_blocks_arrive_for_who_waits_in_a_loop(self) -> None:
        chain = terrace.Chain(python_test.keys("arriving", BLOCKS))
        memory = numpy.arange(2 * BLOCKS * BLOCK_BYTES, dtype=numpy.uint32).view(numpy.uint8)
        memory = memory[:2 * BLOCKS * BLOCK_BYTES].copy()
        whole = [terrace.BlockPieces(i, piece_count=1) for i in range(BLOCKS)]

        async def story() -> None:
            client = terrace.AsyncClient(self.client)
            with self.client.register(memory) as region:
                sink = [terrace.Piece((BLOCKS + i) * BLOCK_BYTES, BLOCK_BYTES, region.id)
                        for i in range(BLOCKS)]
                waits = asyncio.ensure_future(
                    client.get_arriving(self.space, chain, whole, sink, timeout=20))
                await asyncio.sleep(0.05)
                self.assertFalse(waits.done())
                await client.put(self.space, chain,
                                 [terrace.Block(i, region.id, i * BLOCK_BYTES)
                                  for i in range(BLOCKS)])
                self.assertTrue((await waits).ok)
        asyncio.run(story())
        self.assertTrue((memory[:BLOCKS * BLOCK_BYTES] == memory[BLOCKS * BLOCK_BYTES:]).all())


if __name__ == "__main__":
    python_test.TERRACED = sys.argv.pop(1)
    unittest.main(verbosity=2)
