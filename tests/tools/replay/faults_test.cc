// terrace-replay with a library that misbehaves: every wrong byte must fail the run and be named,
// and everything short of that must be survived and counted. Needs no daemon.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace {

using ::testing::HasSubstr;

class FaultsTest : public ::testing::Test {
 protected:
  FaultsTest()
      : folder_(std::filesystem::temp_directory_path() /
                ("replay_faults_test." + std::to_string(getpid()))) {
    std::filesystem::create_directories(folder_ / "store");
  }
  ~FaultsTest() override { std::filesystem::remove_all(folder_); }

  /// Runs 40 small requests. @return the exit status.
  int Replay(const std::string& fault, const std::string& more = "") {
    return Execute(Command(fault, "--requests 40 --context 16384 " + more));
  }

  [[nodiscard]] std::string Command(const std::string& fault, const std::string& options) const {
    return "TERRACE_FAKE_FAULT=" + fault + " TERRACE_FAKE_STORE=" + (folder_ / "store").string() +
           " " + TERRACE_REPLAY_FAKE + " run --bytes-per-token 16 --quiet --batch 8 --out " +
           folder_.string() + " " + options;
  }

  /// Writes a trace of requests of two blocks, of which the first is the same in all, that arrive
  /// at these times. @return the option that names it.
  [[nodiscard]] std::string TraceOf(const std::vector<std::uint64_t>& timestamps_ms) const {
    std::ofstream file(folder_ / "trace.jsonl");
    std::uint64_t id = 0;
    for (const std::uint64_t timestamp : timestamps_ms) {
      file << R"({"timestamp": )" << timestamp
           << R"(, "input_length": 700, "output_length": 1, "hash_ids": [0, )" << ++id << "]}\n";
    }
    return "--trace " + (folder_ / "trace.jsonl").string() + " ";
  }

  /// @return the exit status of a command of the shell; its output and report are in the members.
  int Execute(std::string command) {
    command = "{ " + command + "; } 2>&1";
    std::FILE* pipe = popen(command.c_str(), "r");
    if (pipe == nullptr) return -1;
    std::array<char, 4096> buffer{};
    while (const std::size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) {
      output_.append(buffer.data(), got);
    }
    const int status = pclose(pipe);
    std::ifstream file(folder_ / "report.json");
    report_ = nlohmann::json::parse(file, nullptr, false);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  /// Calls in a distribution of the report.
  [[nodiscard]] std::uint64_t Calls(const std::string& name) const {
    std::uint64_t sum = 0;
    for (const auto& step : report_["latency_us"][name]) sum += step[1].get<std::uint64_t>();
    return sum;
  }
  [[nodiscard]] std::uint64_t TimelineSum(const std::string& key) const {
    std::uint64_t sum = 0;
    for (const auto& interval : report_["timeline"]) sum += interval[key].get<std::uint64_t>();
    return sum;
  }

  std::filesystem::path folder_;
  std::string output_;
  nlohmann::json report_;
};

TEST_F(FaultsTest, WithoutAFaultEverythingIsFoundAndRight) {
  ASSERT_EQ(Replay("none"), 0) << output_;
  EXPECT_EQ(report_["requests"], 40);
  EXPECT_EQ(report_["wrong_bytes"], 0);
  EXPECT_EQ(report_["decode_blocks_missing"], 0);
  EXPECT_GT(report_["blocks_hit"], 0);
  // A store that never evicts: what the trace allows, and what is simulated.
  EXPECT_EQ(report_["block_hit_ratio"], report_["trace_infinite_block_hit_ratio"]);
  EXPECT_EQ(report_["block_hit_ratio"], report_["simulated_block_hit_ratio"]);
  EXPECT_EQ(report_["token_hit_ratio"], report_["trace_infinite_token_hit_ratio"]);
  EXPECT_THAT(output_, HasSubstr("wrong bytes              0"));
}

TEST_F(FaultsTest, LockstepAndManyWorkersFindTheSame) {
  ASSERT_EQ(Replay("none", "--lockstep"), 0) << output_;
  EXPECT_EQ(report_["block_hit_ratio"], report_["trace_infinite_block_hit_ratio"]);
  std::filesystem::remove_all(folder_ / "store");
  std::filesystem::create_directories(folder_ / "store");
  ASSERT_EQ(Replay("none", "--prefill 3 --decode 3"), 0) << output_;
  EXPECT_EQ(report_["requests"], 40);
  EXPECT_EQ(report_["decode_blocks_missing"], 0);
}

TEST_F(FaultsTest, OneWrongBitFailsTheRunWithKeyTierAndOffset) {
  EXPECT_EQ(Replay("flip"), 1);
  EXPECT_EQ(report_["wrong_bytes"], 1 * report_["wrong_blocks"].get<int>());
  EXPECT_GT(report_["wrong_blocks"], 0);
  EXPECT_THAT(output_, HasSubstr("wrong bytes: key "));
  EXPECT_THAT(output_, HasSubstr("tier dram, offset 4097: byte is 0x"));
  EXPECT_LT(report_["requests"], 40);
}

TEST_F(FaultsTest, ByteThatWasNotDeliveredFailsTheRun) {
  EXPECT_EQ(Replay("short"), 1);
  EXPECT_THAT(output_, HasSubstr("offset 8191: byte is 0x"));
}

TEST_F(FaultsTest, AnotherBlocksBytesFailTheRun) {
  EXPECT_EQ(Replay("other"), 1);
  EXPECT_GT(report_["wrong_bytes"], 4096);
}

TEST_F(FaultsTest, WrongNumberOfTokensFailsTheRun) {
  EXPECT_EQ(Replay("tokens"), 1);
  EXPECT_EQ(report_["wrong_bytes"], 0);
  EXPECT_GT(report_["wrong_blocks"], 0);
  EXPECT_THAT(output_, HasSubstr("valid_tokens is 511, must be 512"));
}

TEST_F(FaultsTest, DeadDaemonIsAMissAndTheRunFinishes) {
  EXPECT_EQ(Replay("dead"), 0) << output_;
  EXPECT_EQ(report_["requests"], 40);
  EXPECT_GT(report_["peer_dead"], 0);
  EXPECT_EQ(report_["reconnects"], 2);
  EXPECT_EQ(report_["wrong_bytes"], 0);
  EXPECT_GT(report_["decode_blocks_missing"], 0);
}

TEST_F(FaultsTest, HitsAreCountedByTheTierThatTheyCameFrom) {
  ASSERT_EQ(Replay("nvme", "--lockstep"), 0) << output_;
  EXPECT_GT(report_["hits_nvme"], 0);
  EXPECT_GE(report_["hits_dram"], report_["hits_nvme"]);  // odd batches have one more
  EXPECT_EQ(report_["hits_dram"].get<int>() + report_["hits_nvme"].get<int>(),
            report_["blocks_hit"].get<int>());
  // The daemon's counters: what they rose by between the two looks, and gauges at the end.
  EXPECT_EQ(report_["nvme_bytes"], 1 << 30);
  EXPECT_EQ(report_["device_bytes_written"], 10'000);
  EXPECT_EQ(report_["nvme_bytes_admitted"], 20 * 8192);
  EXPECT_EQ(report_["nvme_blocks_written"], 23);
  EXPECT_EQ(report_["nvme_blocks_reinserted"], 3);
  EXPECT_EQ(report_["nvme_blocks"], 70);
  EXPECT_EQ(report_["nvme_used_bytes"], 70 * 12288);
  EXPECT_EQ(report_["daemon_restarts"], 0);
  EXPECT_GT(report_["simulated_nvme_blocks_written"], 0);
  EXPECT_EQ(report_["block_hit_ratio"], report_["simulated_block_hit_ratio"]);
  EXPECT_THAT(output_, HasSubstr("written to the device"));
}

TEST_F(FaultsTest, RestartIsSeenDuringTheRunWithTheBlocksThatCameBack) {
  const std::string progress = (folder_ / "progress").string();
  ASSERT_EQ(Replay("restart", "--progress-file " + progress), 0) << output_;
  EXPECT_EQ(report_["daemon_restarts"], 1);
  // 70 on NVMe at the first look after the restart, 40 of them written since.
  EXPECT_EQ(report_["blocks_recovered"], 30);
  EXPECT_THAT(output_, HasSubstr("restarts of the daemon   1; 30 blocks"));
  std::ifstream file(progress);
  int percent = -1;
  file >> percent;
  EXPECT_EQ(percent, 100);
}

TEST_F(FaultsTest, OpenLoopStartsNothingBeforeItsTimeAndCountsEveryWait) {
  ASSERT_EQ(Execute(Command("none", TraceOf({7'000, 7'000, 7'000, 9'000, 9'000}) + "--speed 4")), 0)
      << output_;
  EXPECT_EQ(report_["mode"], "open");
  EXPECT_EQ(report_["speed"], 4);
  EXPECT_EQ(report_["recorded_s"], 2);
  EXPECT_EQ(report_["requests"], 5);
  EXPECT_GE(report_["duration_s"], 0.5);  // the last two came then
  EXPECT_EQ(report_["blocks_hit"], 4);    // the block that they share, in the order of arrival
  EXPECT_EQ(report_["block_hit_ratio"], report_["simulated_block_hit_ratio"]);
  EXPECT_EQ(Calls("queue"), 5);
  EXPECT_EQ(Calls("request"), 5);
  EXPECT_GE(report_["request_ms_max"], report_["prefill_ms_max"]);
  // Three at once, and one worker.
  EXPECT_GE(report_["queue_ms_max"], report_["prefill_ms_p50"]);
}

TEST_F(FaultsTest, BurstThatIsLargerThanTheWorkersIsServedToTheLastRequest) {
  ASSERT_EQ(Execute(Command("none", TraceOf(std::vector<std::uint64_t>(60, 0)) +
                                        "--speed 1 --prefill 2 --decode 2")),
            0)
      << output_;
  EXPECT_EQ(report_["requests"], 60);
  EXPECT_EQ(report_["decode_blocks_missing"], 0);
  EXPECT_EQ(Calls("queue"), 60);
  EXPECT_GT(report_["queue_ms_max"], report_["queue_ms_p50"]);
  EXPECT_EQ(TimelineSum("requests"), 60);
  EXPECT_EQ(TimelineSum("blocks_looked_up"), 120);
}

TEST_F(FaultsTest, DeadDaemonDoesNotHoldUpAnOpenLoop) {
  ASSERT_EQ(Replay("dead", "--speed 10000"), 0) << output_;
  EXPECT_EQ(report_["requests"], 40);
  EXPECT_GT(report_["peer_dead"], 0);
  EXPECT_EQ(report_["wrong_bytes"], 0);
  EXPECT_EQ(Calls("queue"), 40);
}

TEST_F(FaultsTest, ClosedLoopOfOneIsAsLockstep) {
  ASSERT_EQ(Replay("none", "--closed-loop --concurrency 1 --think-time none --prefill 3"), 0)
      << output_;
  EXPECT_EQ(report_["mode"], "closed");
  EXPECT_EQ(report_["requests"], 40);
  EXPECT_EQ(report_["block_hit_ratio"], report_["trace_infinite_block_hit_ratio"]);
  EXPECT_EQ(report_["block_hit_ratio"], report_["simulated_block_hit_ratio"]);
  EXPECT_EQ(TimelineSum("blocks_looked_up"), report_["blocks_looked_up"]);
  EXPECT_EQ(TimelineSum("bytes_got"), report_["bytes_got"]);
  EXPECT_EQ(TimelineSum("bytes_put"), report_["bytes_put"]);
}

TEST_F(FaultsTest, ClosedLoopDoesNotWaitForTimestamps) {
  // A century between them, as recorded: without sessions nobody thinks.
  ASSERT_EQ(Execute(Command("none", TraceOf({0, 3'000'000'000'000}) +
                                        "--closed-loop --concurrency 2 --think-time 0")),
            0)
      << output_;
  EXPECT_EQ(report_["requests"], 2);
  EXPECT_EQ(Execute(Command("none", TraceOf({0, 3'000'000'000'000}) + "--speed 1")), 2);
  EXPECT_THAT(output_, HasSubstr("the timestamps of the trace span 34722.2 days at --speed 1"));
}

TEST_F(FaultsTest, InterruptedWhileItWaitsForTheNextArrivalEndsAtOnceWithAReport) {
  const std::string progress = (folder_ / "progress").string();
  const std::string run =
      Command("none", TraceOf({0, 86'400'000}) + "--speed 1 --progress-file " + progress);
  // A day would pass before the second request.
  ASSERT_EQ(
      Execute(run + " & until grep -q 50 " + progress +
              " 2>/dev/null; do kill -0 $! || break; sleep 0.05; done; kill -INT $!; wait $!"),
      130)
      << output_;
  EXPECT_EQ(report_["interrupted"], true);
  EXPECT_EQ(report_["requests"], 1);
  EXPECT_EQ(report_["worker_errors"], 0);
  EXPECT_EQ(Calls("request"), 1);
}

TEST_F(FaultsTest, MemoryInDoubtIsLeftAloneAndBounded) {
  EXPECT_EQ(Replay("doubt"), 1);
  EXPECT_THAT(output_, HasSubstr("never ended; giving up"));
  EXPECT_GT(report_["regions_replaced"], 8);
  EXPECT_EQ(report_["wrong_bytes"], 0);
}

TEST_F(FaultsTest, OutcomeThatMustNotBeFailsTheRunInsteadOfLookingLikeAMiss) {
  EXPECT_EQ(Replay("invalid"), 1);
  EXPECT_THAT(output_, HasSubstr("-0: invalid: fake"));
  EXPECT_LT(report_["requests"], 40);
}

TEST_F(FaultsTest, WorkerThatDiesFailsTheRunAtOnce) {
  EXPECT_EQ(Replay("abort"), 1);
  EXPECT_THAT(output_, HasSubstr("died at request"));
  EXPECT_EQ(report_["worker_errors"], 1);
}

}  // namespace
