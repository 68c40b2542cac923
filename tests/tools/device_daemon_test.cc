// Memory of GPUs (doubles) that a client registers with a real terraced: what its process does when
// it is stopped while a GPU hangs.
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "tests/tools/device_engine.h"

namespace terrace {
namespace {

using namespace std::chrono_literals;
using testing::GpuEngine;

constexpr std::uint32_t kBlocks = 8;

/// A terraced of one reactor, with NVMe and one double of a GPU, in a folder of its own.
class DeviceDaemon : public ::testing::Test {
 protected:
  DeviceDaemon() {
    EXPECT_NE(::mkdtemp(folder_.data()), nullptr);
    name_ = std::filesystem::path(folder_).filename();
    std::ofstream(folder_ + "/terraced.toml")
        << "[server]\nlisten = \"127.0.0.1:0\"\nreactors = 1\nport_file = \"" << folder_
        << "/ports\"\n[dram]\ncapacity = \"64MiB\"\n[log]\nfile = \"" << folder_
        << "/log\"\n[metrics]\nenabled = false\n[nvme]\nfolder = \""
        << folder_
        // Then a clean stop writes what is in DRAM, and nothing does before.
        << "/nvme\"\ncapacity = \"256MiB\"\nwrite = \"worth\"\nwrite_percent_of_puts = 100\n"
        << "[hbm]\ngpus = [\"0\"]\ngpu_capacity = \"32MiB\"\n";
  }
  ~DeviceDaemon() override {
    if (process_ > 0) {
      ::kill(process_, SIGKILL);
      ::waitpid(process_, nullptr, 0);
    }
    std::filesystem::remove_all(folder_);
  }

  void Start() {
    std::vector<std::string> arguments = {TERRACED, "--config", folder_ + "/terraced.toml"};
    std::vector<std::string> variables = {"TERRACE_GPU_DOUBLES=" + name_ + ":1",
                                          "TERRACE_GPU_DOUBLES_HANG=" + folder_ + "/hang"};
    ASSERT_EQ(::posix_spawn(&process_, TERRACED, nullptr, nullptr, Pointers(arguments).data(),
                            Pointers(variables).data()),
              0);
    const std::string ports = folder_ + "/ports";
    for (int i = 0; i < 6000 && !std::filesystem::exists(ports); ++i) {
      std::this_thread::sleep_for(10ms);
    }
    std::ifstream(ports) >> port_;
    ASSERT_GT(port_, 0) << Log();
  }
  /// SIGTERM, and how the process ended.
  int Stop() {
    ::kill(process_, SIGTERM);
    int status = 0;
    const pid_t stopped = std::exchange(process_, 0);
    EXPECT_EQ(::waitpid(stopped, &status, 0), stopped);
    return status;
  }
  [[nodiscard]] std::string Uuid() const { return "double " + name_ + "/0"; }
  void Hang(bool hangs) const {
    const std::string file = folder_ + "/hang";
    if (hangs) {
      std::ofstream(file) << "1";
    } else {
      std::filesystem::remove(file);
    }
  }
  [[nodiscard]] std::string Log() const {
    std::ifstream file(folder_ + "/log");
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string folder_ = ::testing::TempDir() + "/device_daemon_XXXXXX";
  std::string name_;
  pid_t process_ = 0;
  int port_ = 0;

 private:
  static std::vector<char*> Pointers(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
  }
};

TEST_F(DeviceDaemon, AStopBesideAGpuThatHangsWritesWhatIsInDram) {
  Start();
  {
    GpuEngine engine(static_cast<std::uint16_t>(port_), 16, {}, Uuid());
    ASSERT_TRUE(engine.Register().ok());
    ASSERT_EQ(engine.Put("a", kBlocks), kBlocks);
    for (int use = 0; use < 6; ++use) EXPECT_EQ(engine.GetRight("a", kBlocks), kBlocks);
    Hang(true);
    // The client's transfers are under way, and nothing ends them.
    ASSERT_TRUE(engine
                    ->SubmitGet(engine.space(), GpuEngine::ChainOf("a", kBlocks),
                                engine.Blocks(kBlocks), {}, GpuEngine::Soon())
                    .ok());
    ASSERT_TRUE(engine
                    ->SubmitPut(engine.space(), GpuEngine::ChainOf("b", kBlocks),
                                engine.Blocks(kBlocks), {}, GpuEngine::Soon())
                    .ok());
    std::this_thread::sleep_for(200ms);
    const int ended = Stop();
    EXPECT_TRUE(WIFEXITED(ended));
    EXPECT_EQ(WEXITSTATUS(ended), 1) << "a GPU that hangs is no clean stop";
  }
  EXPECT_NE(Log().find("transfers_did_not_end"), std::string::npos) << Log();
  EXPECT_EQ(Log().find("reactor_did_not_stop"), std::string::npos) << Log();
  Hang(false);
  Start();
  GpuEngine engine(static_cast<std::uint16_t>(port_), 16, {}, Uuid());
  ASSERT_TRUE(engine.Register().ok());
  const auto found =
      engine->Match(engine.space(), GpuEngine::ChainOf("a", kBlocks), {}, GpuEngine::Soon());
  ASSERT_TRUE(found.ok());
  EXPECT_EQ(found->matched, kBlocks) << Log();
  EXPECT_EQ(engine.GetRight("a", kBlocks), kBlocks);
  EXPECT_EQ(Stop(), 0) << Log();
}

}  // namespace
}  // namespace terrace
