#include "tools/terraced/config/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>

#include "base/random.h"
#include "tools/terraced/config/config_keys.h"
#include "tools/terraced/daemon_options.h"

namespace terrace {
namespace {

using testing::HasSubstr;

constexpr std::uint64_t kMemory = 8ULL << 30;

std::string ErrorsOf(std::string_view text) {
  const Result<DaemonConfig> config = ParseConfig(text, "t.toml", kMemory);
  EXPECT_FALSE(config.ok()) << "accepted: " << text;
  return config.ok() ? "" : config.status().message();
}

DaemonConfig Accepted(std::string_view text) {
  Result<DaemonConfig> config = ParseConfig(text, "t.toml", kMemory);
  EXPECT_TRUE(config.ok()) << config.status().ToString();
  return config.ok() ? *config : DaemonConfig{};
}

TEST(Config, TheDefaultConfigurationGivesTheDefaults) {
  EXPECT_EQ(Accepted(PrintDefaultConfig()), DaemonConfig{});
  EXPECT_EQ(Accepted(""), DaemonConfig{});
}

TEST(Config, TheDefaultConfigurationShowsEveryKey) {
  const std::string text = "\n" + PrintDefaultConfig();
  for (const ConfigKey& key : ConfigKeys()) {
    EXPECT_THAT(text, HasSubstr("\n" + std::string(key.name) + " = " +
                                std::string(key.default_value) + "\n"));
    EXPECT_FALSE(key.unit.empty()) << key.Path();
    EXPECT_FALSE(key.help.empty()) << key.Path();
  }
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 100U) << line;
}

TEST(Config, KeysAreDescribedOnceAndInKnownSections) {
  std::set<std::string> paths;
  std::set<std::string_view> sections;
  for (const ConfigSection& section : ConfigSections()) sections.insert(section.name);
  for (const ConfigKey& key : ConfigKeys()) {
    EXPECT_TRUE(paths.insert(key.Path()).second) << key.Path();
    EXPECT_TRUE(sections.contains(key.section)) << key.Path();
  }
}

TEST(Config, EveryKeyIsStored) {
  const DaemonConfig config = Accepted(R"(
[server]
listen = "[::1]:9000"
trusted_network = true
reactors = 4
clients_max = 7
same_host = false
rdma = false
heartbeat_ms = 100
heartbeat_idle_ms = 200
client_timeout_ms = 400
spin_us = 20
io_uring = false
port_file = "/tmp/ports"
[dram]
capacity = "25%"
extent = 4194304
huge_pages = false
[cache]
transfers_max = 8
window_per_request = 2
policy = "sieve"
blocks_max = 1000
[log]
level = "debug"
file = "/tmp/log"
rate_limit_per_s = 3
[metrics]
enabled = false
listen = "127.0.0.1:0"
)");
  EXPECT_EQ(config.server.listen, (ListenAddress{"::1", 9000}));
  EXPECT_TRUE(config.server.trusted_network);
  EXPECT_EQ(config.server.reactors, 4U);
  EXPECT_EQ(config.server.clients_max, 7U);
  EXPECT_FALSE(config.server.same_host);
  EXPECT_FALSE(config.server.rdma);
  EXPECT_EQ(config.server.heartbeat_ms, 100U);
  EXPECT_EQ(config.server.heartbeat_idle_ms, 200U);
  EXPECT_EQ(config.server.client_timeout_ms, 400U);
  EXPECT_EQ(config.server.spin_us, 20U);
  EXPECT_FALSE(config.server.io_uring);
  EXPECT_EQ(config.server.port_file, "/tmp/ports");
  EXPECT_EQ(config.dram.capacity_bytes, 2ULL << 30);
  EXPECT_EQ(config.dram.extent_bytes, 4ULL << 20);
  EXPECT_FALSE(config.dram.huge_pages);
  EXPECT_EQ(config.cache.transfers_max, 8U);
  EXPECT_EQ(config.cache.window_per_request, 2U);
  EXPECT_EQ(config.cache.policy, "sieve");
  EXPECT_EQ(config.cache.blocks_max, 1000U);
  EXPECT_EQ(config.log.level, LogLevel::kDebug);
  EXPECT_EQ(config.log.file, "/tmp/log");
  EXPECT_EQ(config.log.rate_limit_per_s, 3U);
  EXPECT_FALSE(config.metrics.enabled);
  EXPECT_EQ(config.metrics.listen, (ListenAddress{"127.0.0.1", 0}));
}

TEST(Config, EveryKeyOfTheNvmeTierIsStored) {
  const DaemonConfig config = Accepted(R"(
[nvme]
folder = "/tmp/terrace-nvme/"
files = ["/tmp/a", "/tmp/b"]
capacity = "80%"
block_max = "1MiB"
drive_writes_per_day = 0.5
sync_ms = 20
write_share_percent = 50
read_bytes_per_s = "200MB"
errors_max = 3
stuck_ms = 500
)");
  EXPECT_EQ(config.nvme.folder, "/tmp/terrace-nvme/");
  EXPECT_EQ(config.nvme.files, (std::vector<std::string>{"/tmp/a", "/tmp/b"}));
  EXPECT_EQ(config.nvme.capacity, (ByteAmount{.is_percent = true, .percent = 80, .bytes = 0}));
  EXPECT_EQ(config.nvme.block_bytes_max, 1U << 20);
  EXPECT_EQ(config.nvme.drive_writes_per_day, 0.5);
  EXPECT_EQ(config.nvme.sync_ms, 20U);
  EXPECT_EQ(config.nvme.write_share_percent, 50U);
  EXPECT_EQ(config.nvme.read_bytes_per_s, 200'000'000U);
  EXPECT_EQ(config.nvme.errors_max, 3U);
  EXPECT_EQ(config.nvme.stuck_ms, 500U);
  EXPECT_EQ(Accepted("[nvme]\nfolder = \"/tmp/x\"\nwrite_bytes_per_day = \"1TB\"\n")
                .nvme.write_bytes_per_day,
            1'000'000'000'000U);
}

TEST(Config, AReadLimitThatNoReactorCanLiveOnIsRefused) {
  EXPECT_EQ(Accepted("[nvme]\nfolder = \"/tmp/x\"\n").nvme.read_bytes_per_s, 0U);
  const std::string errors = ErrorsOf(
      "[server]\nreactors = 4\n[nvme]\nfolder = \"/tmp/x\"\nread_bytes_per_s = \"3MiB\"\n");
  EXPECT_NE(errors.find("nvme.read_bytes_per_s"), std::string::npos) << errors;
  EXPECT_NE(errors.find("4 reactors, which need 1 MiB each"), std::string::npos) << errors;
}

TEST(Config, AllErrorsAreToldAtOnceWithFileLineAndKey) {
  const std::string errors = ErrorsOf(
      "[server]\n"
      "lsiten = \"127.0.0.1:1\"\n"
      "reactors = 65\n"
      "rdma = \"yes\"\n"
      "[dram]\n"
      "capacity = \"1XB\"\n"
      "[log]\n"
      "level = \"loud\"\n"
      "[disks]\n"
      "a = 1\n");
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 5) << errors;
  EXPECT_THAT(errors, HasSubstr("t.toml:2: server.lsiten: unknown key; did you mean "
                                "server.listen?\n"));
  EXPECT_THAT(errors, HasSubstr("t.toml:3: server.reactors: 65 is out of range: 1 to 64 threads"));
  EXPECT_THAT(errors, HasSubstr("t.toml:4: server.rdma: expected a flag (true or false), found a "
                                "text"));
  EXPECT_THAT(errors, HasSubstr("t.toml:6: dram.capacity: \"1XB\": has an unknown unit"));
  EXPECT_THAT(errors, HasSubstr("t.toml:8: log.level: unknown level \"loud\""));
  EXPECT_THAT(errors, HasSubstr("t.toml:9: disks: unknown section"));
}

TEST(Config, KeysInTheWrongPlaceAreSentToTheRightOne) {
  EXPECT_THAT(ErrorsOf("[server]\ncapacity = \"1GiB\"\n"),
              HasSubstr("t.toml:2: server.capacity: unknown key; did you mean dram.capacity?"));
  EXPECT_THAT(ErrorsOf("reactors = 2\n"),
              HasSubstr("t.toml:1: reactors: unknown key; did you mean server.reactors?"));
  EXPECT_THAT(ErrorsOf("[sever]\n"), HasSubstr("did you mean [server]?"));
  EXPECT_THAT(ErrorsOf("server = 3\n"), HasSubstr("expected a table, written [server]"));
  EXPECT_THAT(ErrorsOf("[[server]]\nreactors = 1\n"), HasSubstr("found an array"));
}

TEST(Config, BrokenTomlNamesItsLine) {
  EXPECT_THAT(ErrorsOf("[server]\nreactors = = 2\n"), HasSubstr("t.toml:2: not TOML: "));
  EXPECT_THAT(ErrorsOf("[server]\nreactors = 1\nreactors = 2\n"), HasSubstr("t.toml:3: "));
}

TEST(Config, AnAddressThatOthersReachNeedsTrustAndSaysWhy) {
  const std::string errors = ErrorsOf("[server]\nlisten = \"0.0.0.0:7420\"\n");
  EXPECT_THAT(errors, HasSubstr("t.toml:2: server.listen: "));
  EXPECT_THAT(errors, HasSubstr("nothing is authenticated"));
  EXPECT_THAT(errors, HasSubstr("trusted_network = true"));
  Accepted("[server]\nlisten = \"0.0.0.0:7420\"\ntrusted_network = true\n");
  EXPECT_THAT(ErrorsOf("[metrics]\nlisten = \"10.0.0.1:7421\"\n"),
              HasSubstr("t.toml:2: metrics.listen: "));
  Accepted("[metrics]\nenabled = false\nlisten = \"10.0.0.1:7421\"\n");
}

TEST(Config, ContradictionsNameBothSettings) {
  Accepted("[server]\nreactors = 2\n");
  // Two reactors take 7420 and 7421.
  const std::string ports =
      ErrorsOf("[server]\nreactors = 2\n[metrics]\nlisten = \"127.0.0.1:7421\"\n");
  EXPECT_THAT(ports, HasSubstr("metrics.listen: port 7421 is that of reactor 1"));
  EXPECT_THAT(ErrorsOf("[server]\nlisten = \"127.0.0.1:65535\"\nreactors = 2\n"),
              HasSubstr("65535 is the last"));
  EXPECT_THAT(ErrorsOf("[server]\nheartbeat_ms = 3000\n"), HasSubstr("heartbeat_idle_ms"));
  EXPECT_THAT(ErrorsOf("[server]\nclient_timeout_ms = 1900\n"),
              HasSubstr("t.toml:2: server.client_timeout_ms: 1900 ms is less than twice "
                        "server.heartbeat_idle_ms = 1000"));
  EXPECT_THAT(ErrorsOf("[dram]\ncapacity = \"9GiB\"\n"), HasSubstr("more than the 8 GiB"));
  EXPECT_THAT(ErrorsOf("[server]\nreactors = 4\nlisten=\"127.0.0.1:0\"\n[dram]\ncapacity = "
                       "\"4MiB\"\n"),
              HasSubstr("too little for 4 reactors"));
  EXPECT_THAT(ErrorsOf("[dram]\nextent = \"3MiB\"\n"), HasSubstr("not a power of two"));
  EXPECT_THAT(ErrorsOf("[cache]\nwindow_per_request = 65\n"), HasSubstr("cache.transfers_max"));
  EXPECT_THAT(
      ErrorsOf("[cache]\npolicy = \"clock\"\n"),
      HasSubstr("t.toml:2: cache.policy: no policy 'clock'; there are: terrace, leaf-lru, lru"));
  EXPECT_THAT(ErrorsOf("[log]\nfile = \"/no/such/folder/log\"\n"),
              HasSubstr("t.toml:2: log.file: there is no folder \"/no/such/folder\""));
  EXPECT_THAT(ErrorsOf("[log]\nfile = \"/tmp\"\n"), HasSubstr("is a folder"));
}

TEST(Config, ContradictionsOfTheNvmeTierNameTheirSettings) {
  EXPECT_THAT(ErrorsOf("[nvme]\nfiles = [\"/tmp/a\"]\n"),
              HasSubstr("t.toml:2: nvme.files: without nvme.folder there is no NVMe tier"));
  EXPECT_THAT(ErrorsOf("[nvme]\nfolder = \"/tmp/x\"\nfiles = [\"/tmp/a\", \"/tmp/b\", "
                       "\"/tmp/a\"]\n"),
              HasSubstr("t.toml:3: nvme.files: names \"/tmp/a\" twice"));
  EXPECT_THAT(ErrorsOf("[nvme]\nfolder = \"/tmp/x\"\ndrive_writes_per_day = 1\n"
                       "write_bytes_per_day = \"1TB\"\n"),
              HasSubstr("t.toml:3: nvme.drive_writes_per_day: both limit the writes of a day"));
  EXPECT_THAT(ErrorsOf("[nvme]\nfolder = \"/etc/passwd\"\n"),
              HasSubstr("t.toml:2: nvme.folder: \"/etc/passwd\" is not a folder"));
  EXPECT_THAT(ErrorsOf("[nvme]\n\nfolder = \"/no/such/folder/nvme\"\n"),
              HasSubstr("t.toml:3: nvme.folder: there is no folder \"/no/such/folder\"; make it "
                        "first"));
  // A slash at the end is no folder more.
  EXPECT_THAT(ErrorsOf("[nvme]\nfolder = \"/no/such/\"\n"),
              HasSubstr("there is no folder \"/no\"; make it first"));
}

TEST(Config, ContradictionsOfTheHbmTierNameTheirSettings) {
  const auto error = [](const std::string& lines) {
    return ErrorsOf("[dram]\nlend_percent = 50\n[hbm]\n" + lines);
  };
  for (const char* const wrong : {"x", "-1", "1.0", "01", "0 ", "1000", "GPU-1"}) {
    EXPECT_THAT(
        error("gpus = [\"" + std::string(wrong) + "\"]\n"),
        HasSubstr("t.toml:4: hbm.gpus: \"" + std::string(wrong) + "\" is not the number of a GPU"));
  }
  EXPECT_THAT(error("gpus = [\"1\", \"0\", \"1\"]\n"),
              HasSubstr("t.toml:4: hbm.gpus: names GPU 1 twice"));
  EXPECT_THAT(error("gpus = \"0\"\n"), HasSubstr("t.toml:4: hbm.gpus: "));
  EXPECT_THAT(error("gpus = [0]\n"), HasSubstr("t.toml:4: hbm.gpus"));
  EXPECT_THAT(error("gpu_capacity = \"0B\"\n"), HasSubstr("t.toml:4: hbm.gpu_capacity: "));
  EXPECT_THAT(error("gpu_capacity = 0\n"), HasSubstr("t.toml:4: hbm.gpu_capacity: "));
  EXPECT_THAT(error("gpu_capacity = \"-1GiB\"\n"), HasSubstr("t.toml:4: hbm.gpu_capacity: "));
  EXPECT_THAT(error("gpu_capacity = \"2TiB\"\n"), HasSubstr("out of range: 2 MiB to 1 TiB"));
  EXPECT_THAT(error("gpus = [\"0\"]\ngpu_capacity = \"2MiB\"\n[server]\nreactors = 2\n"),
              HasSubstr("t.toml:5: hbm.gpu_capacity: 2 MiB is too little for 2 reactors"));
  EXPECT_THAT(error("gpu_capacity = \"4GiB\"\n"),
              HasSubstr("t.toml:4: hbm.gpu_capacity: without hbm.gpus there is no HBM tier"));
  EXPECT_THAT(error("gpus = [\"\"]\n"), HasSubstr("t.toml:4: hbm.gpus: "));
  EXPECT_THAT(error("gpus = [\"0\"]\ndirect = \"on\"\n"),
              HasSubstr("t.toml:5: hbm.direct: is \"on\"; there are \"auto\" and \"off\""));
  EXPECT_THAT(error("direct = \"off\"\n"),
              HasSubstr("t.toml:4: hbm.direct: without hbm.gpus there is no HBM tier"));
  EXPECT_EQ(Accepted("[hbm]\ngpus = [\"0\"]\ndirect = \"off\"\n").hbm.direct, "off");
  EXPECT_THAT(error("lend_tenants = [\"a\"]\n"),
              HasSubstr("t.toml:4: hbm.lend_tenants: without hbm.gpus there is no HBM tier"));
  EXPECT_THAT(error("gpus = [\"0\"]\nlend_tenants = [\"" + std::string(129, 'a') + "\"]\n"),
              HasSubstr("aaa\" is no name of a tenant: at most 128 bytes"));
  EXPECT_THAT(error("gpus = [\"0\"]\nlend_tenants = [\"a\", \"b\", \"a\"]\n"),
              HasSubstr("t.toml:5: hbm.lend_tenants: names tenant a twice"));
  EXPECT_THAT(error("gpus = [\"0\"]\nlend_tenants = [\"a\"]\n[server]\nsame_host = false\n"),
              HasSubstr("t.toml:5: hbm.lend_tenants: only clients over shared memory"));
  EXPECT_THAT(error("lend_percent = 0\n"), HasSubstr("out of range: 1 to 90"));
  EXPECT_TRUE(Accepted("[hbm]\ngpus = [\"0\"]\n").hbm.lend_tenants.empty());
  const DaemonConfig config = Accepted("[hbm]\ngpus = [\"0\", \"10\"]\n");
  EXPECT_EQ(config.hbm.gpus, (std::vector<std::string>{"0", "10"}));
  EXPECT_FALSE(config.nvme.enabled()) << "it needs no NVMe tier";
}

TEST(Config, ValuesOfTheNvmeTierAreChecked) {
  const auto error = [](const std::string& line) { return ErrorsOf("[nvme]\n" + line + "\n"); };
  EXPECT_THAT(error("capacity = \"101%\""), HasSubstr("t.toml:2: nvme.capacity: "));
  EXPECT_THAT(error("capacity = \"0%\""), HasSubstr("above 0 %"));
  EXPECT_THAT(error("capacity = \"1MiB\""), HasSubstr("out of range: 16 MiB to "));
  EXPECT_THAT(error("capacity = [1]"), HasSubstr("found an array"));
  EXPECT_THAT(error("drive_writes_per_day = -0.5"), HasSubstr("out of range: 0 to 1000"));
  EXPECT_THAT(error("drive_writes_per_day = nan"), HasSubstr("out of range"));
  EXPECT_THAT(error("drive_writes_per_day = \"1\""),
              HasSubstr("t.toml:2: nvme.drive_writes_per_day: expected a number"));
  EXPECT_EQ(Accepted("[nvme]\ndrive_writes_per_day = 3\n").nvme.drive_writes_per_day, 3);
  EXPECT_THAT(error("files = \"/tmp/a\""),
              HasSubstr("t.toml:2: nvme.files: expected an array of texts"));
  EXPECT_THAT(error("files = [\"/tmp/a\", 7]"), HasSubstr("found an integer"));
  EXPECT_THAT(error("files = [\"\"]"), HasSubstr("empty or has a zero byte"));
  EXPECT_THAT(error("block_max = \"128MiB\""), HasSubstr("4 KiB to 64 MiB"));
  EXPECT_THAT(error("block_max = \"1%\""), HasSubstr("this key takes bytes"));
  EXPECT_THAT(
      error("write = \"most\""),
      HasSubstr("t.toml:2: nvme.write: is \"most\"; there are \"everything\" and \"worth\""));
  EXPECT_THAT(error("write_percent_of_puts = 0"), HasSubstr("out of range: 1 to 100"));
  EXPECT_EQ(Accepted("[nvme]\nwrite = \"worth\"\n").nvme.write_percent_of_puts, 40U);
}

TEST(Config, PercentagesAreOnlyForCapacities) {
  EXPECT_THAT(ErrorsOf("[dram]\nextent = \"10%\"\n"), HasSubstr("this key takes bytes"));
  EXPECT_THAT(ErrorsOf("[dram]\ncapacity = \"0%\"\n"), HasSubstr("above 0 %"));
  EXPECT_THAT(ErrorsOf("[dram]\ncapacity = -1\n"), HasSubstr("negative"));
  EXPECT_THAT(ErrorsOf("[dram]\ncapacity = 1.5\n"), HasSubstr("a number with a fraction"));
  EXPECT_THAT(ErrorsOf("[dram]\ncapacity = \"0.001%\"\n"), HasSubstr("out of range"));
}

TEST(Config, RandomDamageNeverCrashesAndIsAlwaysExplained) {
  const std::uint64_t seed = SystemRandom().Next();
  SCOPED_TRACE("seed " + std::to_string(seed));
  SeededRandom random(seed);
  const std::string original = PrintDefaultConfig();
  for (int round = 0; round < 300; ++round) {
    std::string text = original;
    for (std::uint64_t change = random.Between(1, 8); change > 0; --change) {
      text[random.Below(text.size())] = static_cast<char>(random.Below(256));
    }
    const Result<DaemonConfig> config = ParseConfig(text, "t.toml", kMemory);
    if (!config.ok()) EXPECT_THAT(config.status().message(), HasSubstr("t.toml:"));
  }
}

TEST(Config, AFloodOfErrorsIsCut) {
  std::string text = "[server]\n";
  for (int key = 0; key < 500; ++key) text += "unknown_" + std::to_string(key) + " = 1\n";
  const std::string errors = ErrorsOf(text);
  EXPECT_EQ(std::count(errors.begin(), errors.end(), '\n'), 100);
  EXPECT_THAT(errors, HasSubstr("and 400 more errors"));
}

class ConfigFile : public testing::Test {
 protected:
  ConfigFile() : path_("/tmp/terrace-config-test-" + std::to_string(getpid()) + ".toml") {}
  ~ConfigFile() override { std::remove(path_.c_str()); }
  void Write(std::string_view text) { std::ofstream(path_, std::ios::binary) << text; }
  const std::string path_;
};

TEST_F(ConfigFile, MissingFilesAndFoldersAreNamed) {
  const Result<DaemonConfig> missing = LoadConfig("/no/such/terraced.toml");
  EXPECT_EQ(missing.code(), StatusCode::kIo);
  EXPECT_THAT(missing.status().message(), HasSubstr("/no/such/terraced.toml: cannot be opened: No "
                                                    "such file"));
  EXPECT_THAT(LoadConfig("/tmp").status().message(), HasSubstr("is a folder"));
}

TEST_F(ConfigFile, AHugeFileIsRefused) {
  Write(std::string((1 << 20) + 1, '#'));
  EXPECT_THAT(LoadConfig(path_).status().message(), HasSubstr("longer than 1 MiB"));
}

TEST_F(ConfigFile, CheckTellsOkOrEveryError) {
  std::ostringstream out;
  std::ostringstream errors;
  Write("[dram]\ncapacity = \"4MiB\"\n");
  EXPECT_EQ(CheckConfigFile(path_, out, errors), 0);
  EXPECT_EQ(out.str(), path_ + ": ok\n");
  EXPECT_EQ(errors.str(), "");
  Write("[dram]\ncapcity = 1\nextent = 1\n");
  EXPECT_EQ(CheckConfigFile(path_, out, errors), 1);
  EXPECT_THAT(errors.str(), HasSubstr(path_ + ":2: dram.capcity: unknown key; did you mean "
                                              "dram.capacity?\n"));
  EXPECT_THAT(errors.str(), HasSubstr(path_ + ":3: dram.extent: "));
}

TEST(DaemonOptions, ReactorsShareCapacityAndTakePortsInARow) {
  DaemonConfig config;
  config.server.reactors = 3;
  config.dram.capacity_bytes = 9 << 20;
  config.cache.blocks_max = 10;
  EXPECT_EQ(CacheOptionsOf(config, 2).arena.capacity_bytes, 3U << 20);
  EXPECT_EQ(CacheOptionsOf(config, 2).blocks_max, 4U);
  EXPECT_EQ(ServerOptionsOf(config, 2).port, 7422);
  EXPECT_EQ(ServerOptionsOf(config, 2).peer_timeout, 2500 * kMillisecond);
  EXPECT_EQ(ReactorOptionsOf(config, 2).name, "reactor-2");
  config.server.listen.port = 0;
  EXPECT_EQ(ServerOptionsOf(config, 2).port, 0);
  config.cache.blocks_max = 0;
  EXPECT_EQ(CacheOptionsOf(config, 0).blocks_max, 0U);
}

}  // namespace
}  // namespace terrace
