#!/usr/bin/env python3
"""vLLM's call orders against a real daemon. Usage: vllm_test.py TERRACED

The engine (vllm_engine.py) checks every byte that it reads, stores and frees; the tests here say
what must have happened besides.
"""

import functools
import json
import random
import sys
import threading
import time
import unittest
from typing import Any
from unittest import mock

import terrace
import vllm_layerwise
from contract_common import (WAIT_S, Daemon, Pages, evict_all, hints_taken, until,
                             whole_block)
from terrace import Status
from vllm_connector import Config, SchedulerConnector, WorkerConnector
from vllm_engine import BLOCK_TOKENS, Engine, Request, State, Worker

LAYERS, PART_BYTES = 4, 1024
SHORT_S = 0.5  # a deadline that shall pass


def prompt(seed: int, blocks: int, more: int = 5) -> list[int]:
    """Tokens: so many full blocks, and a few. Two prompts of one seed begin alike."""
    chooser = random.Random(seed)
    return [chooser.randrange(1 << 17) for _ in range(blocks * BLOCK_TOKENS)] + [7] * more


class VllmCase(unittest.TestCase):
    dram = "64MiB"

    def setUp(self) -> None:
        self.daemon = Daemon(self.dram)
        self.addCleanup(self.daemon.stop)

    def engine(self, pages: int = 64, ranks: int = 1, **options: Any) -> Engine:
        config = Config(self.daemon.address, LAYERS, PART_BYTES, ranks, **options)
        scheduler = SchedulerConnector(config)
        self.addCleanup(scheduler.close)
        workers = []
        for rank in range(ranks):
            buffer = Pages(pages, LAYERS, PART_BYTES, scattered=True, rank=rank)
            connector = vllm_layerwise.worker(config, rank, buffer)
            self.addCleanup(connector.close)
            workers.append(Worker(connector, buffer))
        return Engine(scheduler, workers)

    @staticmethod
    def halves(engine: Engine) -> tuple[SchedulerConnector, WorkerConnector]:
        scheduler, worker = engine.connector, engine.workers[0].connector
        assert isinstance(scheduler, SchedulerConnector) and isinstance(worker, WorkerConnector)
        return scheduler, worker

    def store(self, tokens: list[int], **options: Any) -> None:
        """Another engine that computes the prompt."""
        engine = self.engine(**options)
        engine.add("store", tokens)
        engine.run()

    def stored(self, request: Request, rank: int = 0, ranks: int = 1) -> int:
        """Blocks of the request that are stored; each must hold what belongs there."""
        config = Config(self.daemon.address, LAYERS, PART_BYTES, ranks)
        size = LAYERS * PART_BYTES
        with terrace.Client(self.daemon.address, connect_timeout=WAIT_S, timeout=WAIT_S) as client:
            space = config.open(client)
            with client.allocate(size * max(len(request.keys), 1)) as region:
                got = client.get(space, terrace.Chain(request.keys),
                                 region.blocks(len(request.keys), size), shard=rank)
                found = 0
                for i, (key, block) in enumerate(zip(request.keys, got)):
                    self.assertIn(block.status, (Status.OK, Status.MISS, Status.PENDING))
                    if block.status is Status.OK:
                        found += 1
                        expected = whole_block(key, LAYERS, PART_BYTES, rank)
                        self.assertEqual(bytes(region.buffer[i * size:(i + 1) * size]),
                                         expected.tobytes(), f"block {i} under a valid key")
        return found


class LookupTest(VllmCase):
    def test_a_lookup_without_an_answer_is_none_and_never_holds_the_scheduler_up(self) -> None:
        self.store(prompt(1, 8))
        engine = self.engine(lookup_s=WAIT_S, transfer_s=WAIT_S)
        scheduler, _ = self.halves(engine)
        self.daemon.freeze()
        request = engine.add("asked again", prompt(1, 8))
        began = time.monotonic()
        for _ in range(200):
            engine.step()
        # One that waited would have taken the lookup's 60 s.
        self.assertLess(time.monotonic() - began, WAIT_S / 2)
        self.assertEqual((request.waited, request.state), (200, State.WAITING))
        self.assertEqual(scheduler.asked, 1)  # asked again, not sent again
        self.daemon.thaw()
        engine.run()
        self.assertEqual(request.loaded, 8)

    def test_a_lookup_whose_deadline_passed_is_a_miss_and_not_none_for_ever(self) -> None:
        self.store(prompt(2, 4))
        engine = self.engine(lookup_s=SHORT_S)
        self.daemon.freeze()
        request = engine.add("not answered", prompt(2, 4))

        def runs() -> bool:
            engine.step()
            return request.state in (State.RUNNING, State.FINISHED)
        until(runs, "the request is computed without the store")
        self.assertGreater(request.waited, 0)
        self.daemon.thaw()
        engine.run()
        self.assertEqual(request.loaded, 0)

    def test_requests_aborted_while_they_are_looked_up_leave_no_lease(self) -> None:
        self.store(prompt(3, 8))
        engine = self.engine(lease_s=WAIT_S)
        self.daemon.freeze()
        for i in range(20):
            request = engine.add(f"aborted {i}", prompt(3, 8))
            engine.step()
            engine.abort(request)
        self.daemon.thaw()
        engine.run()
        scheduler, _ = self.halves(engine)

        def leases(name: str) -> float:
            scheduler._pump()
            return sum(sample.value for sample in scheduler.client.stat()
                       if sample.name == "terrace_match_" + name)
        until(lambda: leases("leases_granted_total") > 0, "the daemon answered the lookups")
        until(lambda: leases("leases") == 0, "no lease is left")


    def test_what_a_router_tells_of_a_conversation_goes_with_lookup_load_and_store(self) -> None:
        self.store(prompt(4, 4))
        self.assertEqual(sum(hints_taken(self.daemon.address).values()), 0)
        told = {"session": "s1", "turn": 2, "category": "chat", "will_continue": True}
        for layerwise in (False, True):
            engine = self.engine(layerwise=layerwise)
            before = hints_taken(self.daemon.address)
            request = engine.add("told", prompt(4, 4) + prompt(5 + layerwise, 2),
                                 {"terrace_hints": told})
            engine.run()
            self.assertEqual(request.loaded, 4)
            after = hints_taken(self.daemon.address)
            for kind in ("session", "turn", "category", "will_continue"):
                # The lookup, the load, and at least one store.
                self.assertGreaterEqual(after[kind] - before[kind], 3, kind)
            self.assertEqual(after["done"], 0)

    def test_a_router_that_tells_nonsense_is_served_as_one_that_tells_nothing(self) -> None:
        self.store(prompt(6, 4))
        engine = self.engine()
        for i, told in enumerate(({"session": "x" * 99}, {"turn": "two"}, {"mood": "good"}, 7,
                                  {"will_continue": True, "done": True})):
            request = engine.add(f"nonsense {i}", prompt(6, 4), {"terrace_hints": told})
            engine.run()
            self.assertEqual(request.loaded, 4)
        self.assertEqual(sum(hints_taken(self.daemon.address).values()), 0)


class LoadTest(VllmCase):
    def test_an_asynchronous_load_is_told_of_its_blocks_twice_and_loads_them_once(self) -> None:
        tokens = prompt(10, 8)
        self.store(tokens)
        engine = self.engine()
        scheduler, worker = self.halves(engine)
        calls: list[tuple[str, int]] = []
        plain = scheduler.update_state_after_alloc

        def counted(request: Request, block_ids: list[int], external: int) -> None:
            calls.append((request.id, external))
            plain(request, block_ids, external)
        request = engine.add("loaded", tokens)
        with mock.patch.object(scheduler, "update_state_after_alloc", counted), \
                mock.patch.object(worker, "_submit_get", wraps=worker._submit_get) as gets:
            engine.run()
        self.assertEqual(calls, [("loaded", 8 * BLOCK_TOKENS), ("loaded", 0)])
        self.assertEqual((gets.call_count, request.loaded), (1, 8))

    def test_a_prompt_that_is_stored_to_its_last_token_still_computes_one(self) -> None:
        for asynchronous in (True, False):
            tokens = prompt(11, 8, more=0)
            self.store(tokens)
            engine = self.engine(asynchronous=asynchronous)
            request = engine.add("full hit", tokens)
            engine.run()
            self.assertEqual(request.external, len(tokens))
            # The block that was computed again was stored again, which is no failure.
            _, worker = self.halves(engine)
            self.assertEqual(worker.outcomes, [Status.EXISTS])

    def test_layers_are_waited_for_one_by_one_inside_the_forward_pass(self) -> None:
        tokens = prompt(12, 8)
        for layerwise in (False, True):
            self.store(tokens, layerwise=layerwise)
            engine = self.engine(asynchronous=False)
            request = engine.add("layer by layer", tokens)
            engine.run()
            self.assertEqual((request.external, request.preempted), (8 * BLOCK_TOKENS, 0))

    def test_a_load_whose_blocks_were_removed_is_received_with_its_errors_and_recomputed(
            self) -> None:
        for asynchronous in (True, False):
            tokens = prompt(13, 8)
            self.store(tokens)
            engine = self.engine(asynchronous=asynchronous)
            scheduler, _ = self.halves(engine)
            request = engine.add("half", tokens)
            until(lambda: self.looked_up(scheduler, request), "the lookup is answered")
            # A lease does not keep others from removing: blocks 5, 6 and 7 go.
            scheduler.client.remove(scheduler.space, terrace.Chain(request.keys), 5, 3)
            engine.run()
            self.assertEqual(request.external, 5 * BLOCK_TOKENS)
            self.assertEqual(self.stored(request), 8)  # computed again, and stored again

    @staticmethod
    def looked_up(scheduler: SchedulerConnector, request: Request) -> bool:
        return scheduler.get_num_new_matched_tokens(request, 0)[0] is not None

    def test_blocks_between_lookup_and_load_are_kept_from_eviction(self) -> None:
        tokens = prompt(14, 8)
        self.store(tokens)
        engine = self.engine(lease_s=WAIT_S)
        scheduler, _ = self.halves(engine)
        request = engine.add("kept", tokens)
        until(lambda: self.looked_up(scheduler, request), "the lookup is answered")
        evict_all(self.daemon.address, 80)
        engine.run()
        self.assertEqual(request.loaded, 8)

    def test_blocks_whose_lease_ended_are_recomputed_when_they_were_evicted(self) -> None:
        tokens = prompt(15, 8)
        self.store(tokens)
        engine = self.engine(lease_s=0.05)
        scheduler, _ = self.halves(engine)
        request = engine.add("late", tokens)
        until(lambda: self.looked_up(scheduler, request), "the lookup is answered")
        lease = scheduler.lookups["late"].lease
        assert lease is not None

        time.sleep(0.2)
        with self.assertRaises(terrace.ExpiredError):
            lease.renew(0.05)
        evict_all(self.daemon.address, 80)
        engine.run()
        self.assertLess(request.external, 8 * BLOCK_TOKENS)

    def test_an_aborted_load_gives_its_pages_back_only_when_nothing_writes_there(self) -> None:
        tokens = prompt(16, 16)
        self.store(tokens)
        engine = self.engine(pages=20)  # so that the pages are used again at once
        for i in range(30):
            request = engine.add(f"aborted {i}", tokens)
            until(lambda: bool(engine.step()) and request.state is not State.WAITING, "it loads")
            engine.abort(request)
            engine.add(f"next {i}", prompt(100 + i, 12))
        engine.run()
        self.assertEqual(len(engine.free), 20)


class FaultTest(VllmCase):
    def test_a_daemon_killed_under_a_load_costs_a_recomputation_and_no_request(self) -> None:
        for asynchronous in (True, False):
            tokens = prompt(20, 8)
            self.store(tokens)
            engine = self.engine(asynchronous=asynchronous)
            scheduler, worker = self.halves(engine)
            request = engine.add("interrupted", tokens)
            until(lambda: LoadTest.looked_up(scheduler, request), "the lookup is answered")
            start = worker.start_load_kv

            def start_and_die() -> None:
                self.daemon.freeze()  # so that it cannot answer before it dies
                start()
                self.daemon.kill()
            with mock.patch.object(worker, "start_load_kv", start_and_die):
                engine.step()
            engine.run()
            self.assertEqual(request.external, 0)

            self.daemon.start_again()
            until(lambda: scheduler.client.connected and worker.client.connected, "reconnected")
            for name in ("again", "and loaded"):  # computed and stored, then loaded
                request = engine.add(name, tokens)
                engine.run()
            self.assertEqual(request.external, 8 * BLOCK_TOKENS)

    def test_a_load_that_the_daemon_may_still_write_is_not_received_before_it_is_certain(
            self) -> None:
        tokens = prompt(21, 16)
        self.store(tokens)
        engine = self.engine(transfer_s=SHORT_S)
        scheduler, worker = self.halves(engine)
        request = engine.add("in doubt", tokens)
        until(lambda: LoadTest.looked_up(scheduler, request), "the lookup is answered")
        start = worker.start_load_kv

        def start_late() -> None:
            self.daemon.freeze()
            start()
        with mock.patch.object(worker, "start_load_kv", start_late):
            engine.step()
        other = engine.add("beside", prompt(22, 4))  # goes on meanwhile: its lookup just fails

        def others_end() -> bool:
            engine.step()
            return other.state is State.FINISHED
        until(others_end, "a request beside it is computed")
        until(lambda: bool(engine.step()) and not worker._loads["in doubt"].tickets,
              "the load's deadline passed")
        self.assertTrue(worker._loads["in doubt"].doubtful)
        for _ in range(20):
            engine.step()
        self.assertFalse(request.received)
        self.daemon.thaw()
        engine.run()
        self.assertEqual(request.state, State.FINISHED)

    def test_without_a_daemon_requests_are_computed_and_nothing_waits(self) -> None:
        engine = self.engine(lookup_s=WAIT_S, transfer_s=WAIT_S)
        self.daemon.kill()
        scheduler, worker = self.halves(engine)
        until(lambda: not scheduler.client.connected and not worker.client.connected, "it is gone")
        began = time.monotonic()
        for i in range(10):
            engine.add(f"alone {i}", prompt(30 + i, 4))
        engine.run()
        self.assertLess(time.monotonic() - began, WAIT_S / 2)


class StoreTest(VllmCase):
    def test_a_layerwise_block_is_seen_by_nobody_before_its_last_layer(self) -> None:
        engine = self.engine(layerwise=True)
        _, worker = self.halves(engine)
        request = engine.add("layers", prompt(40, 4))
        save = worker.save_kv_layer
        seen: list[int] = []

        def save_and_look(layer: int) -> None:
            save(layer)
            seen.append(self.stored(request))
        with mock.patch.object(worker, "save_kv_layer", save_and_look):
            engine.run()
        self.assertEqual((seen[:LAYERS], self.stored(request)), ([0] * LAYERS, 4))

    def test_pages_of_a_finished_request_are_kept_until_get_finished_names_it(self) -> None:
        for layerwise in (False, True):
            engine = self.engine(layerwise=layerwise, transfer_s=WAIT_S)
            _, worker = self.halves(engine)
            request = engine.add("delayed", prompt(41, 4))
            save = worker.wait_for_save

            def save_to_a_daemon_that_stands_still() -> None:
                self.daemon.freeze()
                save()
            with mock.patch.object(worker, "wait_for_save", save_to_a_daemon_that_stands_still):
                until(lambda: bool(engine.step()) and request.state is State.FINISHED, "computed")
            for _ in range(50):
                engine.step()
            self.assertIn("delayed", engine.delayed)
            self.assertEqual(len(engine.free), 64 - 5)
            self.daemon.thaw()
            engine.run()
            self.assertEqual((len(engine.free), self.stored(request)), (64, 4))
            self.daemon.kill()
            self.daemon.start_again()

    def test_a_preempted_request_is_never_stored_from_pages_that_became_anothers(self) -> None:
        for layerwise in (False, True):
            for thaw_s in (0.0, 0.3):
                self.preempt_in_the_middle_of_a_store(layerwise, thaw_s)

    def preempt_in_the_middle_of_a_store(self, layerwise: bool, thaw_s: float) -> None:
        """The engine gives the pages away in the step after the store began."""
        seed = 50 + 2 * layerwise + (thaw_s > 0)
        engine = self.engine(pages=20, layerwise=layerwise, lookup_s=SHORT_S, transfer_s=WAIT_S)
        scheduler, worker = self.halves(engine)
        old = engine.add("old", prompt(1000 * seed, 14))
        young = engine.add("young", prompt(1000 * seed + 1, 14))
        for request in (old, young):  # so that they run side by side
            until(functools.partial(LoadTest.looked_up, scheduler, request), "it is looked up")
        save = worker.wait_for_save
        timers: list[threading.Timer] = []

        def save_and_freeze() -> None:
            save()
            if thaw_s and not timers:
                self.daemon.freeze()
                timers.append(threading.Timer(thaw_s, self.daemon.thaw))
                timers[0].start()
        with mock.patch.object(worker, "wait_for_save", save_and_freeze):
            engine.run()
        for timer in timers:
            timer.join()
        self.assertGreater(young.preempted + old.preempted, 0)
        for request in (old, young):
            self.assertGreater(self.stored(request), 0)  # it compares every byte

    def test_what_was_computed_from_lost_blocks_is_not_stored(self) -> None:
        for layerwise in (False, True):
            tokens = prompt(60 + layerwise, 4)
            self.store(tokens)
            engine = self.engine(asynchronous=False, layerwise=layerwise)
            scheduler, worker = self.halves(engine)
            request = engine.add("longer", tokens[:-5] + prompt(62, 4))
            until(lambda: LoadTest.looked_up(scheduler, request), "the lookup is answered")
            scheduler.client.remove(scheduler.space, terrace.Chain(request.keys), 2, 1)
            engine.run()
            self.assertEqual(request.external, 2 * BLOCK_TOKENS)
            # A reservation that was given up may stand in the way of the next one for a moment.
            self.assertGreaterEqual(
                self.stored(request) + worker.outcomes.count(Status.PENDING), 8, worker.outcomes)


class HandOffTest(VllmCase):
    def test_what_prefill_hands_over_fits_json_and_decode_loads_it(self) -> None:
        prefill, decode = self.engine(ranks=2), self.engine(ranks=2, layerwise=True)
        tokens = prompt(70, 8)
        produced = prefill.add("prefill", tokens)
        prefill.run()
        assert produced.answer is not None
        params = json.loads(json.dumps(produced.answer))
        consumed = decode.add("decode", tokens, params)
        self.assertEqual(params["terrace"]["keys"], [key.hex() for key in consumed.keys])
        decode.run()
        self.assertEqual(consumed.loaded, 8)

    def test_a_block_that_one_rank_lost_ends_the_prefix_of_all_ranks(self) -> None:
        tokens = prompt(71, 8)
        self.store(tokens, ranks=2)
        engine = self.engine(ranks=2)
        scheduler, _ = self.halves(engine)
        request = engine.add("of two ranks", tokens)
        scheduler.client.remove(scheduler.space, terrace.Chain(request.keys), 3, 1, shard=1)
        engine.run()
        self.assertEqual(request.loaded, 3)
        self.assertEqual([self.stored(request, rank, 2) for rank in range(2)], [8, 8])


class SoakTest(VllmCase):
    def test_everything_at_once_from_a_seed(self) -> None:
        for layerwise in (False, True):
            seed = random.SystemRandom().randrange(1 << 30)
            print(f"seed {seed}, layerwise {layerwise}", flush=True)
            self.soak(seed, layerwise)

    def soak(self, seed: int, layerwise: bool) -> None:
        chooser = random.Random(seed)
        engine = self.engine(pages=40, ranks=2, layerwise=layerwise, lookup_s=SHORT_S,
                             asynchronous=chooser.random() < 0.7)
        requests: list[Request] = []
        thawing: list[threading.Timer] = []
        for i in range(30):
            # Few prompts that begin alike, so that there is much to share.
            tokens = prompt(seed + chooser.randrange(4), 16, 0)[:chooser.randrange(20, 256)]
            requests.append(engine.add(f"request {i}", tokens))
            for _ in range(chooser.randrange(6)):
                engine.step()
            fate = chooser.random()
            if fate < 0.1:
                alive = [r for r in requests if r.state is not State.FINISHED]
                if alive:
                    engine.abort(chooser.choice(alive))
            elif fate < 0.15:
                for timer in thawing:
                    timer.join()
                self.daemon.kill()
                engine.step()
                self.daemon.start_again()
            elif fate < 0.25:
                self.daemon.freeze()
                thawing.append(threading.Timer(chooser.random() * 0.3, self.daemon.thaw))
                thawing[-1].start()
            elif fate < 0.3:
                evict_all(self.daemon.address, 16)
        engine.run()
        for timer in thawing:
            timer.join()
        for rank in range(2):
            for request in requests:
                self.stored(request, rank, 2)
        self.assertEqual(len(engine.free), 40)


if __name__ == "__main__":
    Daemon.program = sys.argv.pop(1)
    unittest.main(verbosity=2)
