#include "tools/terraced/metrics/status_endpoint.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <thread>

namespace terrace {
namespace {

using testing::HasSubstr;

std::unique_ptr<StatusEndpoint> Started(std::function<Status()> health) {
  auto endpoint = StatusEndpoint::Start(
      {"127.0.0.1", 0},
      {.metrics = [] { return std::string("terrace_x 1\n"); }, .health = std::move(health)});
  EXPECT_TRUE(endpoint.ok()) << endpoint.status().ToString();
  return std::move(endpoint).value();
}

TEST(StatusEndpoint, HealthFollowsTheDaemon) {
  std::atomic<bool> healthy{true};
  const auto endpoint = Started([&healthy] {
    return healthy ? Status::Ok() : Status(StatusCode::kIo, "reactor 1 has been stuck for 12 s");
  });
  httplib::Client client("127.0.0.1", endpoint->port());
  auto answer = client.Get("/healthz");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200);
  EXPECT_EQ(answer->body, "ok\n");
  healthy = false;
  answer = client.Get("/healthz");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 503);
  EXPECT_THAT(answer->body, HasSubstr("reactor 1 has been stuck for 12 s"));
}

TEST(StatusEndpoint, MetricsAreServedAndOtherPathsAreNot) {
  const auto endpoint = Started([] { return Status::Ok(); });
  httplib::Client client("127.0.0.1", endpoint->port());
  const auto metrics = client.Get("/metrics");
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->status, 200);
  EXPECT_EQ(metrics->body, "terrace_x 1\n");
  EXPECT_THAT(metrics->get_header_value("Content-Type"), HasSubstr("version=0.0.4"));
  const auto other = client.Get("/secrets");
  ASSERT_TRUE(other);
  EXPECT_EQ(other->status, 404);
}

TEST(StatusEndpoint, APortThatIsTakenIsNamed) {
  const auto endpoint = Started([] { return Status::Ok(); });
  const auto second = StatusEndpoint::Start(
      {"127.0.0.1", endpoint->port()},
      {.metrics = [] { return std::string(); }, .health = [] { return Status::Ok(); }});
  ASSERT_EQ(second.code(), StatusCode::kIo);
  EXPECT_THAT(second.status().message(),
              HasSubstr("127.0.0.1:" + std::to_string(endpoint->port())));
  EXPECT_THAT(second.status().message(), HasSubstr("in use"));
}

TEST(StatusEndpoint, StopEndsItAndThePortIsFree) {
  auto endpoint = Started([] { return Status::Ok(); });
  const std::uint16_t port = endpoint->port();
  endpoint->Stop();
  endpoint->Stop();
  const auto again = StatusEndpoint::Start(
      {"127.0.0.1", port},
      {.metrics = [] { return std::string(); }, .health = [] { return Status::Ok(); }});
  EXPECT_TRUE(again.ok()) << again.status().ToString();
}

TEST(StatusEndpoint, AStuckScraperDoesNotHoldTheDaemonsStop) {
  auto endpoint = Started([] { return Status::Ok(); });
  const int socket_fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(endpoint->port());
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(connect(socket_fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  ASSERT_EQ(send(socket_fd, "GET /met", 8, MSG_NOSIGNAL), 8);
  // Connections are accepted in order: once a later one is answered, the stuck one has a thread.
  ASSERT_TRUE(httplib::Client("127.0.0.1", endpoint->port()).Get("/healthz"));
  const auto start = std::chrono::steady_clock::now();
  endpoint->Stop();
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(30));
  close(socket_fd);
}

}  // namespace
}  // namespace terrace
