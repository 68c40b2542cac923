#!/usr/bin/env python3
"""terraced with an NVMe tier, as an operator meets it: restarts, crashes, refusals.

Usage: nvme_daemon_test.py BIN_DIR. The store lies beside this checkout's build, because the file
system of /tmp may be one without O_DIRECT.
"""

import os
import shutil
import socket
import sys
import tempfile
import time
import unittest

import daemon_test
from daemon_test import Daemon, run

REQUESTS = 150  # of a replay: some hundred blocks of 64 KiB


class NvmeTest(unittest.TestCase):
    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="nvme-daemon-test-",
                                     dir=os.path.dirname(daemon_test.BIN))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)
        self.store = os.path.join(self.work, "store")
        self.index = os.path.join(self.store, "index")
        self.log = os.path.join(self.store, "log-0")

    def nvme(self, folder=None, more=""):
        return (f'[nvme]\nfolder = "{folder or self.store}"\ncapacity = "256MiB"\n'
                f'block_max = "64KiB"\nsync_ms = 50\n{more}')

    def start(self, wait=True, reactors=1, port=0, **options):
        daemon = Daemon(self.nvme(**options), reactors=reactors, wait=wait, port=port)
        self.addCleanup(daemon.kill)
        return daemon

    def refused(self, words, **options):
        """A start that is refused, and says so."""
        daemon = self.start(wait=False, **options)
        self.assertEqual(daemon.process.wait(timeout=60), 1, daemon.log())
        self.wait_for_log(daemon, "start_failed")
        for word in words:
            self.assertIn(word, daemon.log())

    def wait_for_log(self, daemon, words):
        """Lines come to the file a moment after their event."""
        deadline = time.monotonic() + 20
        while words not in daemon.log():
            self.assertLess(time.monotonic(), deadline, f"no '{words}' in: {daemon.log()}")
            time.sleep(0.05)

    def check_store(self):
        result = run("terracectl", "fsck", self.store)
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def put_blocks(self, daemon, requests=REQUESTS, keep=False):
        """Replays a workload and waits until what it put has been written."""
        out = os.path.join(self.work, "replay")
        result = run("terrace-replay", "run", "--requests", str(requests), "--seed", "5",
                     "--connect", f"127.0.0.1:{daemon.ports[0]}", "--out", out, "--quiet",
                     "--prefill", "1", "--decode", "1", *(["--keep-blocks"] if keep else []))
        self.assertEqual(result.returncode, 0, result.stderr + daemon.log())
        deadline = time.monotonic() + 60
        changes = -1
        # A record first, then its entry, which waits in a queue of its own.
        while daemon.metric("terrace_nvme_write_queue_bytes") > 0 or \
                daemon.metric("terrace_nvme_index_changes_total") != changes:
            self.assertLess(time.monotonic(), deadline, "the write queue does not empty")
            changes = daemon.metric("terrace_nvme_index_changes_total")
            time.sleep(0.1)

    def blocks(self, daemon, reactor=0):
        return daemon.metric(f'terrace_tier_blocks{{reactor="{reactor}",tier="nvme"}}')

    def test_a_clean_stop_loses_no_block(self):
        first = self.start()
        self.assertEqual(first.metric('terrace_nvme_state{state="on"}'), 1)
        self.assertEqual(first.metric("terrace_nvme_blocks_recovered"), 0)
        self.put_blocks(first)
        stored = self.blocks(first)
        self.assertGreater(stored, 0)
        self.assertEqual(first.stop(), 0, first.log())
        self.assertFalse(os.path.exists(os.path.join(self.store, "starts")))
        self.check_store()

        second = self.start()
        self.assertEqual(second.metric("terrace_nvme_blocks_recovered"), stored)
        self.assertEqual(self.blocks(second), stored)
        self.wait_for_log(second, f"blocks={int(stored)}")
        # The same workload finds them, and every byte is verified.
        self.put_blocks(second, keep=True)
        hits = second.metric('terrace_get_blocks_hit_total{reactor="0",tier="nvme"}')
        self.assertGreater(hits, 0)
        self.assertEqual(second.metric("terrace_nvme_errors_total"), 0)
        self.assertEqual(second.stop(), 0, second.log())

    def test_kill_9_loses_no_written_block(self):
        first = self.start(reactors=2)
        self.put_blocks(first)
        stored = self.blocks(first, 0) + self.blocks(first, 1)
        first.crash()
        self.check_store()
        second = self.start(reactors=2)
        self.assertEqual(second.metric("terrace_nvme_blocks_recovered"), stored)
        self.put_blocks(second, keep=True)
        self.assertEqual(second.stop(), 0, second.log())

    def test_a_lost_index_is_rebuilt_from_the_log(self):
        first = self.start()
        self.put_blocks(first)
        stored = self.blocks(first)
        self.assertEqual(first.stop(), 0, first.log())
        shutil.rmtree(self.index)
        second = self.start()
        self.wait_for_log(second, "nvme_index_missing")
        self.wait_for_log(second, "nvme_index_rebuilt")
        # Blocks whose record is still whole though they were evicted may come back.
        self.assertGreaterEqual(self.blocks(second), stored)
        self.put_blocks(second, keep=True)
        self.assertEqual(second.stop(), 0, second.log())
        self.assertEqual([name for name in os.listdir(self.store) if ".old-" in name], [])
        self.check_store()

    def test_a_broken_index_is_moved_aside_and_rebuilt(self):
        first = self.start()
        self.put_blocks(first)
        stored = self.blocks(first)
        self.assertEqual(first.stop(), 0, first.log())
        with open(os.path.join(self.index, "CURRENT"), "w", encoding="utf-8") as file:
            file.write("rubbish\n")
        second = self.start()
        self.wait_for_log(second, "nvme_index_moved_aside")
        self.assertGreaterEqual(self.blocks(second), stored)
        self.assertEqual(len([name for name in os.listdir(self.store) if ".old-" in name]), 1)

    def test_an_index_moved_aside_in_the_same_second_is_not_in_the_way(self):
        first = self.start()
        self.put_blocks(first)
        stored = self.blocks(first)
        self.assertEqual(first.stop(), 0, first.log())
        with open(os.path.join(self.index, "CURRENT"), "w", encoding="utf-8") as file:
            file.write("rubbish\n")
        now = int(time.time())
        for second in range(now, now + 60):
            os.makedirs(f"{self.index}.old-{second}/kept")
        second = self.start()
        self.wait_for_log(second, "nvme_index_moved_aside")
        self.assertGreaterEqual(self.blocks(second), stored)
        self.assertEqual(len([name for name in os.listdir(self.store) if name.endswith("-2")]), 1)

    def test_damage_inside_the_index_is_found_at_the_start(self):
        first = self.start()
        self.put_blocks(first)
        stored = self.blocks(first)
        self.assertEqual(first.stop(), 0, first.log())
        self.assertEqual(self.start().stop(), 0)  # makes a table of what RocksDB's log holds
        tables = [name for name in os.listdir(self.index) if name.endswith(".sst")]
        self.assertGreater(len(tables), 0)
        for name in tables:
            with open(os.path.join(self.index, name), "r+b") as file:
                file.seek(os.path.getsize(file.name) // 4)
                file.write(b"rubbish" * 10)
        daemon = self.start()
        self.wait_for_log(daemon, "nvme_index_moved_aside")
        self.assertGreaterEqual(self.blocks(daemon), stored)

    def test_an_index_of_another_log_is_not_believed(self):
        first = self.start()
        self.put_blocks(first)
        self.assertEqual(first.stop(), 0, first.log())
        os.unlink(self.log)
        second = self.start()
        self.wait_for_log(second, "belongs to another store")
        self.assertEqual(self.blocks(second), 0)
        self.put_blocks(second)
        self.assertEqual(second.stop(), 0, second.log())

    def test_a_file_of_somebody_else_is_refused_and_stays_as_it_is(self):
        foreign = os.path.join(self.work, "foreign")
        content = b"not a log of terraced\n" * 100_000
        with open(foreign, "wb") as file:
            file.write(content)
        self.refused([foreign, "something else"], more=f'files = ["{foreign}"]\n')
        with open(foreign, "rb") as file:
            self.assertEqual(file.read(), content)

    def test_another_number_of_reactors_is_refused_and_loses_nothing(self):
        first = self.start()
        self.put_blocks(first)
        stored = self.blocks(first)
        self.assertEqual(first.stop(), 0, first.log())
        self.refused(["made for 1 reactors, started with 2"], reactors=2)
        self.assertEqual(self.blocks(self.start()), stored)

    def test_a_second_daemon_on_the_folder_is_refused_and_harms_nobody(self):
        first = self.start()
        self.put_blocks(first)
        for _ in range(4):  # and is not taken for a crash, however often it is tried
            self.refused(["in use by another process"])
        self.put_blocks(first, keep=True)
        first.crash()
        self.assertEqual(self.start().metric('terrace_nvme_state{state="on"}'), 1)

    def test_starts_that_are_refused_do_not_count_as_crashes(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            for _ in range(4):
                self.refused(["reactor 0", str(taken.getsockname()[1])],
                             port=taken.getsockname()[1])
        self.assertEqual(self.start().metric('terrace_nvme_state{state="on"}'), 1)

    def test_three_crashes_in_a_minute_leave_the_tier_alone(self):
        for _ in range(3):
            daemon = self.start()
            self.assertEqual(daemon.metric('terrace_nvme_state{state="on"}'), 1)
            daemon.crash()
        daemon = self.start()
        self.assertEqual(daemon.metric('terrace_nvme_state{state="disabled"}'), 1)
        self.wait_for_log(daemon, "nvme_disabled")
        self.assertEqual(daemon.http("/healthz").strip(), "ok")
        self.assertIn("DISABLED", daemon.ctl("stat").stdout)
        self.assertEqual(daemon.stop(), 0, daemon.log())
        # What the operator is told to do.
        os.unlink(os.path.join(self.store, "starts"))
        self.assertEqual(self.start().metric('terrace_nvme_state{state="on"}'), 1)

    def test_stat_shows_the_tier(self):
        daemon = self.start()
        self.put_blocks(daemon)
        text = daemon.ctl("stat").stdout
        self.assertRegex(text, r"(?m)^nvme  +25\d MiB ")
        self.assertRegex(text, r"(?m)^nvme     on, 1 of 1 devices online, index healthy")

    def test_a_file_system_without_o_direct_is_named(self):
        if not os.path.isdir("/dev/shm"):
            self.skipTest("there is no /dev/shm")
        with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
            daemon = self.start(wait=False, folder=os.path.join(folder, "store"))
            try:
                daemon.wait_until_it_serves()  # tmpfs has O_DIRECT since Linux 6.6
            except AssertionError:
                self.wait_for_log(daemon, "does not support O_DIRECT")
            else:
                self.assertEqual(daemon.stop(), 0, daemon.log())


if __name__ == "__main__":
    daemon_test.BIN = sys.argv.pop(1)
    unittest.main(verbosity=2)
