#!/usr/bin/env python3
"""Pieces, parts of blocks and blocks from several writers in Python, against a real daemon.

Usage: python_pieces_test.py TERRACED; as python_test.py, whose daemon and blocks it uses.
"""

import sys
import unittest

import numpy

import python_test
import terrace
from python_test import BLOCK_BYTES


class PythonPiecesTest(unittest.TestCase):
    setUp, open = python_test.PythonTest.setUp, staticmethod(python_test.PythonTest.open)
    stored, refuses = python_test.PythonTest.stored, python_test.PythonTest.refuses
    daemon: python_test.Daemon

    @classmethod
    def setUpClass(cls) -> None:
        cls.daemon = python_test.Daemon()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.daemon.stop()

    def test_pieces_scatter_a_part_of_a_block_and_gather_a_whole_one(self) -> None:
        chain, expected = self.stored("scattered", 1)
        memory = numpy.zeros(3 * BLOCK_BYTES, numpy.uint8)
        with self.client.register(memory) as region:
            def at(offset: int, length: int) -> terrace.Piece:
                return terrace.Piece(offset, length, region.id)
            pieces = [at(BLOCK_BYTES, 5000), at(7, 3000)]
            part = terrace.BlockPieces(0, piece_count=2, range_offset=100, range_bytes=1000,
                                       range_stride=4096, range_count=8)
            got = self.client.get_pieces(self.space, chain, [part], pieces)
            self.assertEqual([block.status for block in got], [terrace.Status.OK])
            wanted = numpy.concatenate([expected[i:i + 1000] for i in range(100, 32868, 4096)])
            self.assertTrue((memory[BLOCK_BYTES:BLOCK_BYTES + 5000] == wanted[:5000]).all())
            self.assertTrue((memory[7:3007] == wanted[5000:]).all())
            self.assertFalse(memory[:7].any() or memory[3007:BLOCK_BYTES].any())
            for text, wrong in (("blocks[0].pieces[1] overlaps blocks[0].pieces[0]", 4999),
                                ("blocks[0].pieces[1]", memory.nbytes - 2999)):
                self.refuses(text, self.client.get_pieces, self.space, chain, [part],
                             [at(0, 5000), at(wrong, 3000)])

            # A block gathered from its halves in the other order, as arrays.
            half = BLOCK_BYTES // 2
            memory[:BLOCK_BYTES] = expected
            gathered = terrace.Chain(python_test.keys("gathered", 1))
            pieces = [(half, half, region.id, 0), (0, half, region.id, 0)]
            blocks = numpy.zeros(1, terrace.BLOCK_PIECES_DTYPE)
            blocks["piece_count"] = 2
            self.assertTrue(self.client.put_pieces(self.space, gathered, blocks,
                                                   numpy.array(pieces, terrace.PIECE_DTYPE)).ok)
            self.assertTrue(self.client.get(self.space, gathered,
                                            [terrace.Block(0, region.id, 2 * BLOCK_BYTES)]).ok)
            self.assertTrue((memory[2 * BLOCK_BYTES:] == numpy.roll(expected, half)).all())

    def test_two_writers_fill_one_block_and_nobody_sees_it_before(self) -> None:
        chain = terrace.Chain(python_test.keys("together", 2))
        memory = numpy.random.default_rng(5).integers(0, 256, BLOCK_BYTES, dtype=numpy.uint8)
        back = numpy.zeros(BLOCK_BYTES, numpy.uint8)
        cut = 12345
        with terrace.Client(self.daemon.address, timeout=python_test.WAIT_S) as other, \
                self.client.register(memory) as mine, other.register(memory) as its, \
                self.client.register(back) as region:
            reserved = self.client.reserve(self.space, chain, 0)
            self.assertEqual((reserved.status, len(reserved.token)), (terrace.Status.OK, 32))
            self.assertEqual(self.client.reserve(self.space, chain, 0).status,
                             terrace.Status.PENDING)
            wrote = other.write(reserved.token, [terrace.Fragment(cut)],
                                [terrace.Piece(cut, BLOCK_BYTES - cut, its.id)])
            self.assertTrue(wrote.ok)
            self.refuses("byte 0", reserved.commit)
            self.assertEqual(self.client.match(self.space, chain).matched, 0)
            first = ([terrace.Fragment(0)], [terrace.Piece(0, cut, mine.id)])
            self.assertTrue(reserved.write(*first).ok)
            self.assertEqual(reserved.write(*first)[0].status, terrace.Status.INVALID)  # twice
            self.assertEqual(reserved.commit().status, terrace.Status.OK)
            self.client.get(self.space, chain, [terrace.Block(0, region.id, 0)])
            self.assertTrue((back == memory).all())
            with self.client.reserve(self.space, chain, 1) as given_up:
                self.assertEqual(given_up.status, terrace.Status.OK)
            with self.assertRaises(terrace.Error) as caught:
                self.client.write(given_up.token, *first)
            self.assertEqual(caught.exception.status, terrace.Status.EXPIRED)
            self.assertEqual(self.client.reserve(self.space, chain, 1).status, terrace.Status.OK)
            self.refuses("version", self.client.commit, bytes(32))


if __name__ == "__main__":
    python_test.TERRACED = sys.argv.pop(1)
    unittest.main(verbosity=2)
