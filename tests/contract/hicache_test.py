#!/usr/bin/env python3
"""SGLang's HiCache storage calls against a real daemon. Usage: hicache_test.py TERRACED

The engine (hicache_engine.py) checks every byte that comes, that ranks agree, and that pages that
were given back stay as they are.
"""

import hashlib
import random
import sys
import threading
import time
import unittest
from typing import Any

import numpy

import terrace
from contract_common import (WAIT_S, Daemon, Pages, evict_all, hints_taken, until,
                             whole_block)
from hicache_backend import Backend, PoolTransfer
from hicache_engine import BATCH_PAGES, Controller, ExtraInfo, Group, Prefetch, StorageConfig
from terrace import StopPolicy

LAYERS, PART_BYTES, PAGE_TOKENS = 2, 4096, 64
SHORT_S = 0.5


def page_keys(name: str, count: int) -> list[bytes]:
    """Hex texts, as HiCache has them."""
    return [hashlib.sha256(f"{name} {i}".encode()).hexdigest().encode() for i in range(count)]


class HiCacheCase(unittest.TestCase):
    def start(self, reactors: int = 1) -> None:
        self.daemon = Daemon(reactors=reactors)
        self.addCleanup(self.daemon.stop)

    def setUp(self) -> None:
        self.start()

    def backend(self, rank: int = 0, ranks: int = 1, *, mla: bool = False,
                **extra: Any) -> Backend:
        backend = Backend(StorageConfig(rank, ranks, "hicache", PAGE_TOKENS,
                                        {"address": self.daemon.address, **extra}, mla))
        self.addCleanup(backend.close)
        return backend

    def ranks(self, count: int = 2, pages: int = 300, *, scattered: bool = False,
              **extra: Any) -> tuple[Group, list[Controller]]:
        group = Group(count)
        made = [Controller(rank, group, self.backend(rank, count, **extra),
                           Pages(pages, LAYERS, PART_BYTES, scattered=scattered, rank=rank))
                for rank in range(count)]
        for one in made:
            self.addCleanup(one.check)
        return group, made

    @staticmethod
    def prefetched(group: Group, ranks: list[Controller], keys: list[bytes]) -> list[int]:
        """What each rank inserted."""
        return group.run(lambda rank: ranks[rank].prefetch(Prefetch(list(keys))))

    def fill(self, group: Group, ranks: list[Controller], keys: list[bytes]) -> None:
        """All ranks compute the pages and write them back."""
        def one(rank: int) -> None:
            ranks[rank].compute(keys)
            self.assertEqual(ranks[rank].write_back(keys), [True] * len(keys))
        group.run(one)

    @staticmethod
    def storage(controller: Controller) -> Backend:
        assert isinstance(controller.storage, Backend)
        return controller.storage


class CallsTest(HiCacheCase):
    def test_exists_counts_from_the_first_page_to_the_first_hole(self) -> None:
        group, ranks = self.ranks(1)
        keys = page_keys("holes", 20)
        self.fill(group, ranks, keys)
        backend = self.storage(ranks[0])
        self.assertEqual(backend.batch_exists(keys), 20)
        backend.client.remove(backend.space, terrace.Chain(keys), 7, 1)
        self.assertEqual([backend.batch_exists(keys), backend.exists(keys[7])], [7, False])
        # Behind the hole pages are still there for who asks for them by themselves.
        self.assertEqual(backend.batch_exists(keys[8:], ExtraInfo(keys[:8])), 0)
        pages = list(range(20))
        self.assertEqual(backend.batch_get_v1(keys, pages), [i != 7 for i in range(20)])
        ranks[0].release([ranks[0].free.pop(0) for _ in pages])

    def test_batches_of_one_chain_find_their_pages_on_every_reactor(self) -> None:
        self.daemon.stop()
        self.start(reactors=3)
        for layout in (True, False):
            group, ranks = self.ranks(2, scattered=layout, run_blocks=4)
            for one in ranks:
                one.backup_pages = 50  # cut elsewhere than by the prefetch, and within runs
            keys = page_keys(f"long {layout}", 2 * BATCH_PAGES + 30)
            self.fill(group, ranks, keys)
            found = self.prefetched(group, ranks, keys)
            self.assertEqual(found, [len(keys)] * 2)
            self.storage(ranks[0]).clear()

    def test_keys_without_their_prefix_are_found_when_runs_are_of_one_page(self) -> None:
        self.daemon.stop()
        self.start(reactors=3)
        group, ranks = self.ranks(1, run_blocks=1)
        keys = page_keys("flat", 40)
        self.fill(group, ranks, keys)
        backend = self.storage(ranks[0])
        for first in (0, 1, 17, 39):  # an engine that gives no prefix_keys
            self.assertEqual(backend.batch_exists(keys[first:]), 40 - first)
        chosen = random.Random(5).sample(range(40), 11)
        self.assertEqual(backend.batch_get_v1([keys[i] for i in chosen], list(range(11))),
                         [True] * 11)
        for page, i in enumerate(chosen):
            ranks[0].must_hold(page, keys[i])
        ranks[0].release([ranks[0].free.pop(0) for _ in chosen])

    def test_the_slow_path_copies_and_says_none_for_a_miss(self) -> None:
        backend = self.backend()
        backend.register_mem_pool_host(Pages(1, LAYERS, PART_BYTES, scattered=False))
        key, other = page_keys("slow", 2)
        value = whole_block(key, LAYERS, PART_BYTES, 0)
        self.assertTrue(backend.set(key, value))
        target = numpy.zeros_like(value)
        self.assertIs(backend.get(key, target), target)
        self.assertTrue((target == value).all())
        self.assertIsNone(backend.get(other, target))

    def test_ranks_of_an_mla_model_store_a_page_once_and_all_of_them_read_it(self) -> None:
        backends = [self.backend(rank, 3, mla=True) for rank in range(3)]
        keys = page_keys("mla", 4)
        for backend in backends:
            pool = Pages(4, LAYERS, PART_BYTES, scattered=False)
            backend.register_mem_pool_host(pool)
            for page, key in enumerate(keys):
                pool.fill(page, key)
        for backend in reversed(backends):
            self.assertEqual(backend.batch_set_v1(keys, range(4)), [True] * 4)
        self.assertEqual(backends[0].client.list_namespaces()[0].blocks, 4)
        for backend in backends:
            for page in range(4):
                backend.pools[0].poison(page)
            self.assertEqual(backend.batch_get_v1(keys, range(4)), [True] * 4)
            self.assertTrue(all(backend.pools[0].holds(i, key) for i, key in enumerate(keys)))

    def test_stop_points_of_several_pools_are_those_that_all_of_them_can_restore(self) -> None:
        backend = self.backend()
        pools = [Pages(12, LAYERS, PART_BYTES, scattered=False),
                 Pages(12, 1, PART_BYTES, scattered=True)]
        backend.register_mem_host_pool_v2(pools)
        keys = page_keys("hybrid", 12)
        for pool in pools:
            for page, key in enumerate(keys):
                pool.fill(page, key)
        every = [PoolTransfer(0, list(range(12))), PoolTransfer(1, list(range(12)))]
        stored = backend.batch_set_v2(keys, every)
        self.assertEqual(stored, {0: [True] * 12, 1: [True] * 12})
        # The window pool lost page 5: what ends within two pages behind it cannot be restored.
        backend.client.remove(backend.space, terrace.Chain(keys), 5, 1, group=1)
        policies = [terrace.GroupPolicy(0), terrace.GroupPolicy(1, StopPolicy.TRAILING, 2)]
        stops = backend.batch_exists_v2(keys, policies)
        self.assertEqual(stops, [1, 2, 3, 4, 5, 8, 9, 10, 11, 12])
        backend.client.remove(backend.space, terrace.Chain(keys), 9, 1)
        stops = backend.batch_exists_v2(keys, policies)
        self.assertEqual(stops[-1], 9)
        for pool in pools:
            for page in range(12):
                pool.poison(page)
        got = backend.batch_get_v2(keys[:9], [PoolTransfer(0, list(range(9))),
                                              PoolTransfer(1, [3, 4])])
        self.assertEqual(got, {0: [True] * 9, 1: [True] * 2})
        self.assertTrue(all(pools[0].holds(i, keys[i]) for i in range(9)))
        self.assertTrue(pools[1].holds(3, keys[7]) and pools[1].holds(4, keys[8]))
        self.assertTrue(pools[0].guards_hold() and pools[1].guards_hold())


    def test_what_extra_info_tells_of_a_conversation_goes_with_every_call(self) -> None:
        group, ranks = self.ranks(1)
        keys = page_keys("told", 4)
        self.fill(group, ranks, keys)
        backend = self.storage(ranks[0])
        pages = [ranks[0].free.pop(0) for _ in range(2)]
        told = ExtraInfo(keys[:2], {"terrace_hints": {"session": "s1", "done": True}})
        before = hints_taken(self.daemon.address)
        self.assertEqual(backend.batch_exists(keys[2:], told), 2)
        self.assertEqual(backend.batch_get_v1(keys[2:], pages, told), [True, True])
        after = hints_taken(self.daemon.address)
        self.assertGreaterEqual(after["session"] - before["session"], 2)
        self.assertGreaterEqual(after["done"] - before["done"], 2)
        nonsense = ExtraInfo(keys[:2], {"terrace_hints": {"turn": -1}})
        self.assertEqual(backend.batch_exists(keys[2:], nonsense), 2)
        self.assertEqual(hints_taken(self.daemon.address), after)
        ranks[0].release(pages)


class RanksTest(HiCacheCase):
    def test_a_page_that_one_rank_lost_is_lost_to_all_of_them_in_one_answer(self) -> None:
        group, ranks = self.ranks(3)
        keys = page_keys("one lost", 40)
        self.fill(group, ranks, keys)
        backend = self.storage(ranks[0])
        backend.client.remove(backend.space, terrace.Chain(keys), 11, 1, shard=2)
        self.assertEqual([self.storage(one).batch_exists(keys) for one in ranks], [11] * 3)
        found = self.prefetched(group, ranks, keys)
        self.assertEqual(found, [11] * 3)

    def test_ranks_that_got_different_pages_insert_those_that_all_have(self) -> None:
        group, ranks = self.ranks(3)
        keys = page_keys("disagree", 40)
        self.fill(group, ranks, keys)
        counts = group.run(lambda rank: ranks[rank].hits(keys))
        self.assertEqual(counts, [40] * 3)
        backend = self.storage(ranks[0])  # between exists and get
        for shard, position in ((0, 30), (1, 9), (2, 25)):
            backend.client.remove(backend.space, terrace.Chain(keys), position, 1, shard=shard)
        completed = [0] * 3

        def one(rank: int) -> int:
            prefetch = Prefetch(list(keys))
            completed[rank] = ranks[rank].fetch(prefetch)
            return ranks[rank].insert(prefetch, completed[rank])
        self.assertEqual(group.run(one), [9] * 3)
        self.assertEqual(completed, [30, 9, 25])

    def test_pages_that_exists_promised_are_kept_from_eviction_until_they_are_released(
            self) -> None:
        group, ranks = self.ranks(2, lease=WAIT_S)
        keys = page_keys("leased", 60)
        self.fill(group, ranks, keys)
        self.assertEqual(group.run(lambda rank: ranks[rank].hits(keys)), [60] * 2)
        evict_all(self.daemon.address, 80)

        def fetch(rank: int) -> int:
            prefetch = Prefetch(list(keys))
            return ranks[rank].insert(prefetch, ranks[rank].fetch(prefetch))
        self.assertEqual(group.run(fetch), [60] * 2)
        for one in ranks:
            self.storage(one).release(keys)
        evict_all(self.daemon.address, 80)
        self.assertLess(self.storage(ranks[0]).batch_exists(keys), 60)

    def test_a_daemon_killed_in_a_prefetch_stops_no_rank(self) -> None:
        group, ranks = self.ranks(2)
        keys = page_keys("killed", 200)
        self.fill(group, ranks, keys)
        prefetches = [Prefetch(list(keys)) for _ in ranks]

        def one(rank: int) -> int:
            self.assertEqual(ranks[rank].hits(keys), 200)
            if rank == 0:
                self.daemon.freeze()  # it answers nobody any more
            ranks[rank].group.least(rank, 0)
            completed = ranks[rank].fetch(prefetches[rank])
            return ranks[rank].insert(prefetches[rank], completed)

        def kill() -> None:
            for prefetch in prefetches:
                prefetch.in_batch.wait(WAIT_S)
            self.daemon.kill()
        killer = threading.Thread(target=kill)
        killer.start()
        self.assertEqual(group.run(one), [0, 0])
        killer.join()
        self.assertTrue(all(controller.recover() for controller in ranks))

        def without_a_daemon(rank: int) -> int:
            prefetch = Prefetch(list(keys))
            ranks[rank].insert(prefetch, ranks[rank].fetch(prefetch))
            ranks[rank].compute(keys)
            self.assertEqual(ranks[rank].write_back(keys), [False] * 200)
            return ranks[rank].hits(keys)
        self.assertEqual(group.run(without_a_daemon), [0, 0])

        self.daemon.start_again()
        until(lambda: all(self.storage(one).client.connected for one in ranks), "reconnected")
        self.assertEqual(self.prefetched(group, ranks, keys), [0, 0])
        self.fill(group, ranks, keys)
        found = self.prefetched(group, ranks, keys)
        self.assertEqual(found, [200] * 2)


class AbortTest(HiCacheCase):
    def test_pages_of_an_aborted_prefetch_are_anothers_at_once(self) -> None:
        seed = random.SystemRandom().randrange(1 << 30)
        print(f"seed {seed}", flush=True)
        chooser = random.Random(seed)
        group, ranks = self.ranks(2)
        keys = page_keys("aborted", 250)
        self.fill(group, ranks, keys)
        for _ in range(15):
            prefetches = [Prefetch(list(keys)) for _ in ranks]
            wait = chooser.random() * 0.004

            def terminate() -> None:
                for prefetch in prefetches:
                    prefetch.in_batch.wait(WAIT_S)
                time.sleep(wait)
                for rank, prefetch in enumerate(prefetches):
                    prefetch.terminated.set()
                    self.assertTrue(ranks[rank].storage.abort(prefetch.host_indices))
            thread = threading.Thread(target=terminate)
            thread.start()
            least = group.run(lambda rank: ranks[rank].prefetch(prefetches[rank]))
            thread.join()
            self.assertEqual(least[0], least[1])
            for one in ranks:
                one.check()
                one.release([one.tree.pop(key) for key in list(one.tree)])
                one.compute(page_keys("another's", 250))  # writes all over them
                one.check()
                one.release([one.tree.pop(key) for key in list(one.tree)])
                self.assertEqual((len(one.free), one.lost), (300, []))

    def test_pages_that_a_silent_daemon_may_still_write_are_nobodys(self) -> None:
        group, ranks = self.ranks(1, timeout=SHORT_S)
        keys = page_keys("silent", 100)
        self.fill(group, ranks, keys)
        one = ranks[0]
        self.daemon.freeze()
        prefetch = Prefetch(list(keys))
        began = time.monotonic()
        completed = one.fetch(prefetch)
        one.insert(prefetch, completed)
        self.assertLess(time.monotonic() - began, WAIT_S / 2)
        self.assertEqual((completed, len(one.lost)), (0, 100))
        self.assertFalse(one.recover())
        self.assertEqual(one.backup([]), [])  # the rest of the engine goes on
        self.daemon.thaw()
        until(one.recover, "the daemon has confirmed")
        self.assertEqual(len(one.free), 300)
        time.sleep(0.05)
        one.check()


class WriteBackTest(HiCacheCase):
    def test_a_page_that_was_written_back_may_be_overwritten_as_soon_as_it_is_true(self) -> None:
        group, ranks = self.ranks(2)
        for round_ in range(10):
            # write_back poisons the pages at once; every page must come back as it was.
            keys = page_keys(f"round {round_}", 100)
            self.fill(group, ranks, keys)
            found = self.prefetched(group, ranks, keys)
            self.assertEqual(found, [100] * 2)
            for one in ranks:
                one.check()
                one.release([one.tree.pop(key) for key in keys])

    def test_a_write_back_that_the_daemon_did_not_answer_is_false_and_stores_nothing_wrong(
            self) -> None:
        group, ranks = self.ranks(1, timeout=SHORT_S)
        one = ranks[0]
        for round_ in range(2):
            keys = page_keys(f"unanswered {round_}", 50)
            one.compute(keys)
            self.daemon.freeze()
            self.assertEqual(one.write_back(keys), [False] * 50)
            # The engine has no other place: it writes there although nobody could say it may.
            for page in one.lost:
                one.pool.poison(page)
            self.daemon.thaw()
            until(one.recover, "the daemon has confirmed")
            # Whatever was stored of it must be what the key says.
            backend = self.storage(one)
            until(lambda: backend.client.connected, "reconnected")
            one.prefetch(Prefetch(list(keys)))
            one.check()
            one.release([one.tree.pop(key) for key in list(one.tree)])

    def test_a_page_that_another_engine_stores_first_counts_as_stored(self) -> None:
        keys = page_keys("twice", 30)
        engines = [self.ranks(1), self.ranks(1)]
        both = Group(2)

        def one(which: int) -> list[bool]:
            _, ranks = engines[which]
            ranks[0].compute(keys)
            return ranks[0].write_back(keys)
        self.assertEqual(both.run(one), [[True] * 30] * 2)
        for group, ranks in engines:
            self.assertEqual(self.prefetched(group, ranks, keys), [30])


if __name__ == "__main__":
    Daemon.program = sys.argv.pop(1)
    unittest.main(verbosity=2)
