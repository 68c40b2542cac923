#!/usr/bin/env python3
"""The Python package against a real daemon. Usage: python_test.py TERRACED

Run by python_test.sh in an environment that has the package installed; libterrace.so is what the
package finds. What needs torch is skipped where torch is not to be had.
"""

import asyncio
import ctypes
import gc
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from typing import Any

import numpy

import terrace

try:
    import torch
except ImportError:
    torch = None

TERRACED = ""
BLOCK_BYTES = 64 << 10
WAIT_S = 60.0  # longer than any call here takes, on any machine


class Daemon:
    """A terraced of 64 MiB of DRAM."""

    def __init__(self, more: str = "", **environment: str) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="terrace-python-test-")
        ports = os.path.join(self.folder.name, "ports")
        config = os.path.join(self.folder.name, "terraced.toml")
        with open(config, "w", encoding="utf-8") as file:
            file.write(f'[server]\nlisten = "127.0.0.1:0"\nport_file = "{ports}"\n'
                       f'[dram]\ncapacity = "64MiB"\n[metrics]\nenabled = false\n'
                       + more)
        self.log = open(os.path.join(self.folder.name, "log"), "wb")
        self.process = subprocess.Popen([TERRACED, "--config", config], stderr=self.log,
                                        env={**os.environ, **environment})
        end = time.monotonic() + WAIT_S
        while not (os.path.exists(ports) and os.path.getsize(ports)):
            assert self.process.poll() is None and time.monotonic() < end, "terraced did not start"
            time.sleep(0.02)
        with open(ports, encoding="utf-8") as file:
            self.address = f"127.0.0.1:{file.readline().strip()}"

    def freeze(self) -> None:
        """Returns when every thread stands still."""
        self.process.send_signal(signal.SIGSTOP)
        tasks = f"/proc/{self.process.pid}/task"
        end = time.monotonic() + WAIT_S
        while time.monotonic() < end:
            states = set()
            for task in os.listdir(tasks):
                with open(f"{tasks}/{task}/stat", encoding="utf-8") as file:
                    states.add(file.read().rpartition(")")[2].split()[0])
            if states == {"T"}:
                return
        raise AssertionError("the daemon does not stand still")

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        self.thaw()
        self.process.terminate()
        self.process.wait(WAIT_S)
        self.log.close()
        self.folder.cleanup()


def keys(name: str, count: int) -> list[bytes]:
    return [f"{name} {i}".encode() for i in range(count)]


class DaemonTest(unittest.TestCase):
    """A client and a namespace of a daemon that the tests of a class share."""

    daemon: Daemon

    @classmethod
    def setUpClass(cls) -> None:
        cls.daemon = Daemon()

    @classmethod
    def tearDownClass(cls) -> None:
        cls.daemon.stop()

    def setUp(self) -> None:
        self.client = terrace.Client(self.daemon.address, connect_timeout=WAIT_S, timeout=WAIT_S)
        self.addCleanup(self.client.close)
        self.space = self.open(self.client)

    @staticmethod
    def open(client: terrace.Client) -> terrace.Namespace:
        return client.open_namespace("python", block_tokens=16,
                                     groups=[terrace.Group(0, BLOCK_BYTES)])

    def stored(self, name: str, count: int = 4) -> tuple[terrace.Chain, numpy.ndarray]:
        """A chain whose blocks are in the daemon, and their bytes."""
        chain = terrace.Chain(keys(name, count))
        array = numpy.random.default_rng(count).integers(
            0, 256, count * BLOCK_BYTES, dtype=numpy.uint8)
        with self.client.register(array) as region:
            put = self.client.put(self.space, chain, region.blocks(count, BLOCK_BYTES))
            self.assertTrue(put.ok, put)
        return chain, array

    def refuses(self, text: str, call: Any, *arguments: Any, **options: Any) -> None:
        with self.assertRaises(terrace.InvalidError) as caught:
            call(*arguments, **options)
        self.assertIn(text, str(caught.exception))


class PythonTest(DaemonTest):
    # ---- no copies ----

    def test_a_get_lands_in_the_callers_own_array(self) -> None:
        chain, expected = self.stored("array")
        array = numpy.zeros(4 * BLOCK_BYTES, numpy.uint8)
        with self.client.register(array) as region:
            self.assertEqual(region.address, array.ctypes.data)
            got = self.client.get(self.space, chain, region.blocks(4, BLOCK_BYTES))
            self.assertEqual([block.status for block in got], [terrace.Status.OK] * 4)
            self.assertEqual(got[0].tier, terrace.Tier.DRAM)
        self.assertTrue((array == expected).all())

    def test_every_kind_of_buffer_is_taken_as_it_lies(self) -> None:
        chain, expected = self.stored("buffers")
        for buffer in (bytearray(4 * BLOCK_BYTES), memoryview(bytearray(4 * BLOCK_BYTES)),
                       numpy.zeros((4, BLOCK_BYTES // 4), numpy.float32)):
            with self.client.register(buffer) as region:
                self.assertTrue(
                    self.client.get(self.space, chain, region.blocks(4, BLOCK_BYTES)).ok)
                self.assertEqual(region.nbytes, 4 * BLOCK_BYTES)
            self.assertEqual(bytes(buffer), expected.tobytes())

    @unittest.skipIf(torch is None, "torch is not installed: its tensors were not tried")
    def test_tensors_of_torch_are_taken_as_they_lie(self) -> None:
        chain, expected = self.stored("torch")
        tensor = torch.zeros(4 * BLOCK_BYTES // 2, dtype=torch.bfloat16)  # numpy has no bfloat16
        with self.client.register(tensor) as region:
            self.assertEqual(region.address, tensor.data_ptr())
            self.assertTrue(self.client.get(self.space, chain, region.blocks(4, BLOCK_BYTES)).ok)
        self.assertEqual(tensor.view(torch.uint8).numpy().tobytes(), expected.tobytes())
        self.refuses("buffer is not contiguous", self.client.register,
                     torch.zeros((BLOCK_BYTES, 2))[:, 0])

    def test_what_only_looks_like_a_tensor_of_a_gpu_is_refused(self) -> None:
        class Tensor:
            device = type("Device", (), {"type": "cuda"})()

            def data_ptr(self) -> int:
                return 4096

            def is_contiguous(self) -> bool:
                return True
        self.refuses("buffer is on the device cuda", self.client.register, Tensor())
        self.refuses("tensor is in CPU memory", self.client.register_device,
                     numpy.zeros(64, numpy.uint8))

        class OnGpu:
            """One that says it is on a GPU: the library, which asks the driver, knows better."""
            __cuda_array_interface__ = {"data": (1 << 20, False), "shape": (64, 64),
                                        "typestr": "<f4", "version": 3}

        with self.assertRaises(terrace.Error):
            self.client.register_device(OnGpu())
        OnGpu.__cuda_array_interface__ = {"data": (1 << 20, False), "shape": (64, 64),
                                          "strides": (512, 4), "typestr": "<f4", "version": 3}
        self.refuses("tensor is not contiguous", self.client.register_device, OnGpu())

    def test_allocated_memory_is_shared_with_numpy_and_outlives_its_client(self) -> None:
        region = self.client.allocate(BLOCK_BYTES)
        array = numpy.frombuffer(region.buffer, numpy.uint8)
        self.assertEqual(array.ctypes.data, region.address)
        array[:] = 7
        view = region.buffer  # a second one
        region.close()
        self.client.close()
        del region, array
        gc.collect()
        self.assertEqual(bytes(view), b"\7" * BLOCK_BYTES)  # the mapping goes with the last view

    def test_a_closed_region_without_views_is_gone_for_the_library(self) -> None:
        region = self.client.allocate(BLOCK_BYTES)
        region.close()
        self.refuses("region", self.client.get, self.space, terrace.Chain([b"x"]),
                     [(0, region.id, 0, 0)])
        with self.assertRaises(terrace.InvalidError):
            region.buffer

    def test_thousands_of_blocks_pass_as_one_structured_array(self) -> None:
        count = 4096
        space = self.client.open_namespace("python-many", block_tokens=1,
                                           groups=[terrace.Group(0, 4096)])
        hashes = numpy.random.default_rng(7).bytes(32 * count)
        chain = terrace.Chain(hashes, key_bytes=32)
        self.assertEqual(len(chain), count)
        blocks = numpy.zeros(count, terrace.BLOCK_DTYPE)
        blocks["position"] = numpy.arange(count)
        blocks["offset"] = 4096 * numpy.arange(count, dtype=numpy.uint64)
        with self.client.allocate(4096 * count) as region:
            blocks["region"] = region.id
            memory = numpy.frombuffer(region.buffer, numpy.uint32)
            memory[:] = numpy.arange(len(memory))
            self.assertTrue(self.client.put(space, chain, blocks).ok)
            memory[:] = 0
            got = self.client.get(space, chain, blocks)
            self.assertTrue((got.numpy()["status"] == 0).all())
            self.assertTrue((memory == numpy.arange(len(memory))).all())
        self.assertEqual(self.client.match(space, chain).matched, count)

    # ---- bad arguments ----

    def test_a_read_only_buffer_can_be_put_from_but_not_got_into(self) -> None:
        chain = terrace.Chain(keys("constant", 1))
        with self.client.register(b"c" * BLOCK_BYTES) as region:
            blocks = region.blocks(1, BLOCK_BYTES)
            self.assertTrue(self.client.put(self.space, chain, blocks).ok)
            self.refuses(f"blocks[0].region is {region.id}, which was registered from a read-only",
                         self.client.get, self.space, chain, blocks)
            self.assertTrue(region.buffer.readonly)

    def test_arrays_that_do_not_lie_in_one_piece_are_refused(self) -> None:
        self.refuses("buffer is not contiguous", self.client.register,
                     numpy.zeros((BLOCK_BYTES, 2))[:, 0])
        self.refuses("buffer is a object", self.client.register, object())
        blocks = numpy.zeros(4, terrace.BLOCK_DTYPE)
        chain = terrace.Chain([b"a"])
        self.refuses("blocks is not contiguous", self.client.get, self.space, chain, blocks[::2])
        self.refuses("no multiple of the 24", self.client.get, self.space, chain,
                     numpy.zeros(5, numpy.uint8))

    def test_every_bad_argument_is_named(self) -> None:
        chain = terrace.Chain([b"a"])
        refuses, client, space = self.refuses, self.client, self.space
        refuses("blocks[0].position is 5", client.get, space, chain, [(5, 1, 0, 0)])
        refuses("blocks[0] is 'text'", client.get, space, chain, ["text"])
        refuses("keys[1] is a str", terrace.Chain, [b"a", "b"])
        refuses("key 0 has 65 bytes", terrace.Chain, [b"k" * 65])
        refuses("keys is one bytes", terrace.Chain, b"key")
        refuses("token has 3 bytes", client.commit, b"abc")
        refuses("first is 4294967297", client.remove, space, chain, 2**32 + 1, 1)
        refuses("count is 70000", client.remove, space, chain, 0, 70000)
        refuses("shard is -1", client.match, space, chain, shard=-1)
        refuses("lease is -1 s", client.lend, space, chain, [0], lease=-1)
        refuses("groups[0].block_bytes is 1", client.open_namespace, "x", block_tokens=1,
                groups=[terrace.Group(0, 1)])
        refuses("prefill_rate[1].context is 0", client.open_namespace, "x", block_tokens=1,
                groups=[terrace.Group(0, BLOCK_BYTES)], prefill_rate=[(0, 1e4), (0, 1e3)])
        refuses("prefill_rate[0].tokens_per_s is 0", client.open_namespace, "x", block_tokens=1,
                groups=[terrace.Group(0, BLOCK_BYTES)], prefill_rate=0)
        refuses("prefill_rate is 'fast'", client.open_namespace, "x", block_tokens=1,
                groups=[terrace.Group(0, BLOCK_BYTES)], prefill_rate="fast")
        client.open_namespace("python", block_tokens=16, groups=[terrace.Group(0, BLOCK_BYTES)],
                              prefill_rate=[(0, 1e4), (100_000, 2e3)])
        with self.assertRaises(terrace.IncompatibleError):
            client.open_namespace("python", block_tokens=17,
                                  groups=[terrace.Group(0, BLOCK_BYTES)])

    # ---- life ----

    def test_use_after_close_is_an_error(self) -> None:
        with self.client as client:
            region = client.register(bytearray(BLOCK_BYTES))
        self.assertTrue(client.closed)
        for call in (client.ping, client.poll, lambda: client.connected,
                     lambda: client.match(self.space, terrace.Chain([b"a"])),
                     lambda: client.register(bytearray(1)),
                     lambda: region.quiesce()):
            self.refuses("client was closed", call)
        client.close()

    def test_closing_ends_a_call_of_another_thread(self) -> None:
        self.daemon.freeze()
        self.addCleanup(self.daemon.thaw)
        caught: list[BaseException] = []

        def match() -> None:
            try:
                self.client.match(self.space, terrace.Chain([b"a"]))
            except terrace.Error as error:
                caught.append(error)
        thread = threading.Thread(target=match)
        thread.start()
        time.sleep(0.2)
        self.client.close()
        thread.join(WAIT_S)
        self.assertEqual(len(caught), 1)

    def test_a_forked_child_is_told_and_hurts_nobody(self) -> None:
        chain, _ = self.stored("fork")
        child = os.fork()
        if child == 0:
            right = False
            try:
                self.client.match(self.space, chain)
            except terrace.InvalidError as error:
                right = "after fork()" in str(error)
            self.client.close()
            with terrace.Client(self.daemon.address, connect_timeout=WAIT_S) as own:
                right &= own.match(self.open(own), chain, timeout=WAIT_S).matched == 4
            os._exit(0 if right else 1)
        self.assertEqual(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0)
        self.assertEqual(self.client.match(self.space, chain).matched, 4)

    def test_other_threads_run_while_a_call_waits(self) -> None:
        chain, _ = self.stored("lock")
        self.daemon.freeze()
        self.addCleanup(self.daemon.thaw)
        turns = 0
        ended = threading.Event()

        def match() -> None:
            try:
                self.client.match(self.space, chain, timeout=0.5)
            except terrace.Error:
                pass
            ended.set()
        thread = threading.Thread(target=match)
        thread.start()
        while not ended.is_set():
            turns += 1
            time.sleep(0.001)
        thread.join()
        self.assertGreater(turns, 5)  # of about 500; 1 if the call kept the lock

    # ---- lent blocks ----

    def test_lent_blocks_are_the_daemons_memory_and_read_only(self) -> None:
        chain, expected = self.stored("lent")
        with self.client.lend(self.space, chain, range(4)) as lent:
            self.assertEqual(len(lent), 4)
            for position, block in enumerate(lent):
                self.assertEqual(block.status, terrace.Status.OK)
                array = numpy.frombuffer(block.buffer, numpy.uint8)
                self.assertEqual(array.ctypes.data, block.address)
                self.assertFalse(array.flags.writeable)
                begin = position * BLOCK_BYTES
                self.assertTrue((array == expected[begin:begin + BLOCK_BYTES]).all())
                self.assertTrue(block.intact)
        self.refuses("was released", lambda: lent[0].buffer)
        self.refuses("given back before", lent[0].release)

    def test_a_view_of_a_lent_block_can_be_kept_past_everything(self) -> None:
        chain, _ = self.stored("kept")
        with self.client.lend(self.space, chain, [0])[0] as block:
            array = numpy.frombuffer(block.buffer, numpy.uint8)
        del block
        self.client.close()
        gc.collect()
        self.assertEqual(len(array.tobytes()), BLOCK_BYTES)

    def test_a_block_that_was_not_lent_says_why(self) -> None:
        with self.client.lend(self.space, terrace.Chain([b"never put"]), [0]) as lent:
            self.assertEqual(lent[0].status, terrace.Status.MISS)
            self.refuses("not lent: miss", lambda: lent[0].buffer)
            with self.assertRaises(terrace.Error):
                with lent[0]:
                    pass

    # ---- asynchronous ----

    def test_many_gets_are_gathered_by_asyncio(self) -> None:
        chain, expected = self.stored("asyncio", 8)

        async def story() -> None:
            async with await terrace.AsyncClient.connect(
                    self.daemon.address, connect_timeout=WAIT_S, timeout=WAIT_S) as client:
                space = await client.open_namespace(
                    "python", block_tokens=16, groups=[terrace.Group(0, BLOCK_BYTES)])
                arrays = [numpy.zeros(BLOCK_BYTES, numpy.uint8) for _ in range(64)]
                regions = [await client.register(array) for array in arrays]
                results = await asyncio.gather(*[
                    client.get(space, chain, [terrace.Block(i % 8, region.id, 0)])
                    for i, region in enumerate(regions)])
                self.assertTrue(all(result.ok for result in results))
                for i, array in enumerate(arrays):
                    begin = i % 8 * BLOCK_BYTES
                    self.assertTrue((array == expected[begin:begin + BLOCK_BYTES]).all())
                self.assertEqual((await client.match(space, chain)).matched, 8)
                self.assertTrue(await client.run("stat"))
                lent = await client.lend(space, chain, [3])
                self.assertEqual(bytes(lent[0].buffer),
                                 expected[3 * BLOCK_BYTES:4 * BLOCK_BYTES].tobytes())
                lent[0].release()
        asyncio.run(story())

    def test_the_loop_goes_on_while_a_call_waits_and_closing_ends_it(self) -> None:
        self.daemon.freeze()
        self.addCleanup(self.daemon.thaw)

        async def story() -> None:
            client = terrace.AsyncClient(self.client)
            waiting = asyncio.create_task(client.match(self.space, terrace.Chain([b"a"])))
            for _ in range(20):
                await asyncio.sleep(0.001)
            self.assertFalse(waiting.done())
            await client.close()
            with self.assertRaises(terrace.Error):
                await waiting
        asyncio.run(story())

    def test_tickets_come_back_once_and_the_descriptor_says_when(self) -> None:
        chain, _ = self.stored("ticket")
        ticket = self.client.submit_match(self.space, chain)
        self.client.wait_for_completion()
        with os.fdopen(os.dup(self.client.completion_fd), "rb"):
            done = self.client.poll()
        self.assertEqual([completion.ticket for completion in done], [ticket])
        self.assertEqual(done[0].match.matched, 4)
        self.assertEqual(self.client.poll(), [])

    # ---- the rest ----

    def test_removing_and_clearing_tell_how_many(self) -> None:
        chain, _ = self.stored("remove")
        self.assertTrue(self.client.remove(self.space, chain, 3, 1).ok)
        self.assertEqual(self.client.match(self.space, chain).matched, 3)
        self.assertGreaterEqual(self.client.clear_namespace("python"), 3)
        self.assertIn("python", [info.name for info in self.client.list_namespaces()])
        self.assertIn("terrace_get_blocks_hit_total", [s.name for s in self.client.stat()])

    def test_groups_match_with_a_lease(self) -> None:
        chain, _ = self.stored("groups")
        found = self.client.match_groups(self.space, chain, [terrace.GroupPolicy(0)], lease=1.0)
        self.assertEqual(found.longest, 4)

    def test_the_layouts_are_those_of_the_library(self) -> None:
        from terrace import _library
        for structure, nbytes in (
                (_library.OptionsStruct, 48), (_library.DescriptorStruct, 104),
                (_library.QueryStruct, 48), (_library.PrefetchStruct, 16),
                (_library.RetainStruct, 24), (_library.AnswerStruct, 224),
                (_library.PlanRequestStruct, 32), (_library.LoadPlanStruct, 80),
                (_library.LoadSourceStruct, 24), (_library.ErrorStruct, 512),
                (_library.LentStruct, 32), (_library.PresenceStruct, 32)):
            self.assertEqual(ctypes.sizeof(structure), nbytes, structure)
        for layout, nbytes in ((terrace.BLOCK_DTYPE, 24), (terrace.PIECE_DTYPE, 24),
                               (terrace.BLOCK_PIECES_DTYPE, 48), (terrace.FRAGMENT_DTYPE, 16),
                               (terrace.BLOCK_RESULT_DTYPE, 16)):
            self.assertEqual(numpy.dtype(layout).itemsize, nbytes)


class LentOnGpuTest(DaemonTest):
    """A daemon with a double of a GPU, whose memory this process cannot map."""

    GPU = f"python-{os.getpid()}"

    @classmethod
    def setUpClass(cls) -> None:
        cls.daemon = Daemon('[hbm]\ngpus = ["0"]\ngpu_capacity = "32MiB"\n'
                            'lend_tenants = ["default"]\n', TERRACE_GPU_DOUBLES=f"{cls.GPU}:1")

    def test_what_cannot_be_mapped_is_lent_in_dram_and_the_reason_told(self) -> None:
        gpu = f"double {self.GPU}/0"
        chain, expected = self.stored("on a gpu")
        array = numpy.zeros(4 * BLOCK_BYTES, numpy.uint8)
        end = time.monotonic() + WAIT_S
        with self.client.register(array) as region:
            while self.client.device_lending(gpu) is None:
                self.assertLess(time.monotonic(), end, "nothing was lent on the GPU")
                self.client.get(self.space, chain, region.blocks(4, BLOCK_BYTES))
                with self.client.lend(self.space, chain, range(4), gpu=gpu) as lent:
                    shown = b"".join(bytes(block.buffer) for block in lent)
                    self.assertEqual(shown, expected.tobytes())
                    self.assertFalse(any(block.on_gpu for block in lent))
                    self.assertFalse(hasattr(lent[0], "__cuda_array_interface__"))
        with self.client.lend(self.space, chain, range(4), gpu=gpu) as lent:
            self.assertTrue(all(block.status is terrace.Status.OK for block in lent))
            # Of one that would lie on a GPU. torch refuses what the interface calls read-only.
            block = lent[0]
            block.on_gpu = True
            interface = block.__cuda_array_interface__
            self.assertEqual(interface["data"], (block.address, False))
            self.assertEqual((interface["shape"], interface["typestr"]), ((block.nbytes,), "|u1"))
        self.assertIsNone(self.client.device_lending("GPU-of-another"))
        self.refuses("at most 64", self.client.lend, self.space, chain, [0], gpu="x" * 65)
        self.refuses("gpu is 7", self.client.lend, self.space, chain, [0], gpu=7)


if __name__ == "__main__":
    TERRACED = sys.argv.pop(1)
    unittest.main(verbosity=2)
