#!/usr/bin/env python3
"""terraced with an HBM tier, as an operator meets it, on doubles of GPUs in host memory
(TERRACE_GPU_DOUBLES): no machine needs a GPU for it.

Usage: hbm_daemon_test.py BIN_DIR.
"""

import json
import os
import signal
import sys
import tempfile
import time
import unittest

import daemon_test
from daemon_test import Daemon, run

HBM = '[hbm]\ngpus = [{gpus}]\ngpu_capacity = "{capacity}"\n'


class HbmTest(unittest.TestCase):
    def setUp(self):
        self.work = tempfile.TemporaryDirectory(prefix="hbm-daemon-test-")
        self.addCleanup(self.work.cleanup)
        # A name of this test's own: doubles are held as GPUs are, over all of the machine.
        os.environ["TERRACE_GPU_DOUBLES"] = f"{os.path.basename(self.work.name)}:2"
        self.addCleanup(os.environ.pop, "TERRACE_GPU_DOUBLES", None)

    def start(self, gpus='"0"', capacity="128MiB", more="", wait=True, **options):
        hbm = HBM.format(gpus=gpus, capacity=capacity)
        daemon = Daemon(hbm + more, wait=wait, **options)
        self.addCleanup(daemon.kill)
        return daemon

    def wait_for_log(self, daemon, words):
        """Lines come to the file a moment after their event."""
        deadline = time.monotonic() + 20
        while words not in daemon.log():
            self.assertLess(time.monotonic(), deadline, f"no '{words}' in: {daemon.log()}")
            time.sleep(0.05)

    def refused(self, words, **options):
        daemon = self.start(wait=False, **options)
        self.assertEqual(daemon.process.wait(timeout=60), 1, daemon.log())
        for word in words:
            self.wait_for_log(daemon, word)

    def replay(self, daemon):
        out = os.path.join(self.work.name, "replay")
        result = run("terrace-replay", "run", "--requests", "400", "--seed", "5", "--connect",
                     f"127.0.0.1:{daemon.ports[0]}", "--out", out, "--quiet", "--prefill", "1",
                     "--decode", "1")
        self.assertEqual(result.returncode, 0, result.stderr + daemon.log())

    def test_what_leaves_dram_is_got_from_hbm_without_nvme_and_with_lending(self):
        daemon = self.start(dram='"32MiB"')
        self.wait_for_log(daemon, "hbm_ready")
        self.wait_for_log(daemon, "gpu_doubles")
        self.replay(daemon)
        text = daemon.ctl("stat").stdout
        self.assertIn("1 of 1 GPUs online", text)
        # Doubles are memory of the host, which any NIC would read.
        self.assertIn("gpu memory on the wire: staged through DRAM (no NIC for RDMA)", text)
        self.wait_for_log(daemon, "hbm_wire reactor=0 path=staged reason=no_nic")
        stat = json.loads(daemon.ctl("stat", "--json").stdout)
        self.assertGreater(stat["hbm"]["blocks_copied_in"], 100)
        self.assertGreater(stat["hbm"]["loads"], 20)
        self.assertEqual(stat["hbm"]["failures"], 0)
        self.assertEqual(stat["hbm"]["wires"],
                         [{"path": "staged", "reason": "no_nic", "reactors": 1}])
        self.assertEqual(stat["hbm"]["straight_bytes"], 0)
        self.assertEqual(stat["tiers"][0]["tier"], "hbm")
        self.assertEqual(daemon.stop(), 0, daemon.log())

    def test_a_gpu_serves_one_daemon_and_the_second_is_told_whose_it_is(self):
        daemon = self.start()
        self.refused(['hbm.gpus: "0"', "serves another daemon",
                      f"process {daemon.process.pid}", daemon.config])
        self.refused(["serves another daemon"], gpus='"1", "0"')
        other = self.start(gpus='"1"')
        self.assertEqual(other.stop(), 0, other.log())
        # The kernel lets go of it, however the process ends.
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait()
        self.start()

    def test_a_gpu_that_is_not_there_and_a_pool_beyond_it_are_named(self):
        self.refused(['hbm.gpus: "7"', "there is no GPU 7"], gpus='"7"')
        self.refused(["hbm.gpu_capacity", "more than is free there"], capacity="2GiB")
        os.environ["TERRACE_GPU_DOUBLES"] = "x"
        self.refused(["TERRACE_GPU_DOUBLES", "is not NAME:COUNT"])

    def test_two_reactors_share_a_gpu_and_two_gpus_serve_one_daemon(self):
        daemon = self.start(gpus='"0", "1"', reactors=2, dram='"64MiB"')
        self.replay(daemon)
        stat = json.loads(daemon.ctl("stat", "--json").stdout)
        self.assertEqual(stat["hbm"]["gpus"], 2)
        self.assertEqual(stat["tiers"][0]["capacity_bytes"], 2 * 128 << 20)
        self.assertEqual(daemon.stop(), 0, daemon.log())

    def test_without_gpus_nothing_of_them_is_shown(self):
        daemon = Daemon()
        self.addCleanup(daemon.kill)
        self.assertIsNone(json.loads(daemon.ctl("stat", "--json").stdout)["hbm"])
        self.assertNotIn("gpu", daemon.ctl("stat").stdout)


if __name__ == "__main__":
    daemon_test.BIN = sys.argv.pop(1)
    unittest.main()
