// Bytes from strangers to every port that a daemon opens.

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <sstream>

#include "tests/transport/harness.h"
#include "tests/transport/raw_client.h"

namespace terrace::test {
namespace {

/// Inodes of this process's sockets, as "socket:[N]".
std::set<std::string> OwnSockets() {
  std::set<std::string> sockets;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code closed_meanwhile;
    sockets.insert(std::filesystem::read_symlink(entry, closed_meanwhile).string());
  }
  return sockets;
}

/// TCP ports on which this process listens on the loopback interface. The table shows those of the
/// whole host: noise to the port of a test that runs beside this one would abort it.
std::set<std::uint16_t> ListeningPorts() {
  const std::set<std::string> own = OwnSockets();
  std::set<std::uint16_t> ports;
  std::ifstream table("/proc/self/net/tcp");
  std::string line;
  std::getline(table, line);
  while (std::getline(table, line)) {
    std::istringstream stream(line);
    const std::vector<std::string> fields(std::istream_iterator<std::string>(stream), {});
    if (fields.size() < 10 || fields[3] != "0A" || !own.contains("socket:[" + fields[9] + "]")) {
      continue;
    }
    const auto colon = fields[1].find(':');
    if (colon == std::string::npos) continue;
    ports.insert(static_cast<std::uint16_t>(std::stoul(fields[1].substr(colon + 1), nullptr, 16)));
  }
  return ports;
}

std::vector<std::byte> Noise(Random& random, std::size_t bytes) {
  std::vector<std::byte> noise(bytes);
  for (auto& byte : noise) byte = std::byte{static_cast<unsigned char>(random.Next())};
  return noise;
}

void ThrowEverythingAt(std::uint16_t port, Random& random) {
  std::vector<std::unique_ptr<RawClient>> half_open;
  for (int round = 0; round < 30; ++round) {
    RawClient client(port);
    if (!client.connected()) continue;
    client.SendBytes(Noise(random, random.Below(3000)));
    if (round % 3 == 0) half_open.push_back(std::make_unique<RawClient>(port));
    if (round % 4 == 0) {
      const linger reset{1, 0};
      setsockopt(client.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    }
  }
  RawClient huge(port);
  const std::uint32_t claim[2] = {0x46525254, 0xffffffff};
  huge.SendBytes(std::as_bytes(std::span(claim)));
  huge.SendBytes(Noise(random, 100'000));
  RawClient text(port);
  const std::string http = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
  text.SendBytes(std::as_bytes(std::span(http.data(), http.size())));
}

TEST(NoiseTest, RandomBytesToTheDaemonsPortsDisturbNobody) {
  const std::set<std::uint16_t> before = ListeningPorts();
  Pair pair(LinkKind::kTcp);
  ASSERT_TRUE(pair.connect_status.ok()) << pair.connect_status.ToString();
  std::set<std::uint16_t> ports;
  for (const std::uint16_t port : ListeningPorts()) {
    if (!before.contains(port)) ports.insert(port);
  }
  EXPECT_EQ(ports.size(), 1u);  // no link opens another
  SeededRandom random(4242);
  std::vector<std::byte> frame(1 << 20);
  std::vector<std::byte> memory(1 << 20);
  FillPattern(frame, 1);
  pair.Register(1, memory);
  std::uint64_t request = 1;
  for (const std::uint16_t port : ports) {
    SCOPED_TRACE("port " + std::to_string(port));
    ThrowEverythingAt(port, random);
    pair.Expect(request, {memory});
    EXPECT_EQ(Runner::Take(pair.Push(frame, request, 0), Status::Internal("hang")).ToString(),
              "ok");
    pair.Reply(request, 1);
    EXPECT_EQ(pair.Arrived(request, 0), StatusCode::kOk);
    ++request;
  }
  EXPECT_EQ(memory, frame);
  EXPECT_GT(pair.counters().malformed.load(), 0u);
  EXPECT_EQ(pair.counters().peers.load(), 1u);
}

TEST(NoiseTest, AHalfFrameAndAHangUpLeaveNothingBehind) {
  Pair pair(LinkKind::kShm);
  for (int i = 0; i < 50; ++i) {
    RawClient client(pair.server->port(), i % 2 == 0);
    const auto hello = BuildHello({});
    const std::uint32_t header[2] = {0x46525254, static_cast<std::uint32_t>(hello.size())};
    client.SendBytes(std::as_bytes(std::span(header)));
    client.SendBytes(std::span(hello).first(hello.size() / 2));
  }
  pair.RoundTrip();
  EXPECT_EQ(pair.counters().peers.load(), 1u);
}

}  // namespace
}  // namespace terrace::test
