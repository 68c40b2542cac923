// What UCX does with messages that no peer of ours sends.
#include "transport/ucx_worker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <vector>

namespace terrace {
namespace {

using namespace std::chrono_literals;

constexpr unsigned kGood = 2;

class Heard final : public AmReceiver {
 public:
  void OnActiveMessage(unsigned id, std::span<const std::byte> /*header*/,
                       std::span<const std::byte> /*data*/, ucp_ep_h /*from*/) override {
    ids.push_back(id);
  }
  std::vector<unsigned> ids;
};

class Owner final : public UcxEndpointOwner {
 public:
  void OnEndpointFailed(const Status& reason) override { failure = reason; }
  Status failure;
};

struct Message final : UcxOperation {
  std::array<std::byte, 8> header{};
  void OnSent(Status /*status*/) override { delete this; }
};

TEST(UcxWorkerTest, AMessageIdThatNobodyHasIsHeardAsAnotherAndHarmsNobody) {
  auto accepting = UcxWorker::Create({.name = "accepting", .devices = "lo"});
  auto sending = UcxWorker::Create({.name = "sending", .devices = "lo"});
  ASSERT_TRUE(accepting.ok() && sending.ok());
  Heard heard;
  (*accepting)->SetReceiver(kGood, &heard);
  (*accepting)->SetReceiver(UcxWorker::kOtherAmIds, &heard);
  const auto port = (*accepting)->Listen(*NumericAddress("127.0.0.1", 0));
  ASSERT_TRUE(port.ok()) << port.status().ToString();
  Owner owner;
  auto endpoint = (*sending)->ConnectTo(*NumericAddress("127.0.0.1", *port), owner);
  ASSERT_TRUE(endpoint.ok()) << endpoint.status().ToString();
  const std::vector<unsigned> ids = {kGood, UcxWorker::kAmIds, 200, 5000, 40'000, 65'535, kGood};
  for (const unsigned id : ids) {
    auto* message = new Message;
    (*endpoint)->SendAm(id, message->header, {}, *message);
  }
  const auto patience = std::chrono::steady_clock::now() + 30s;
  while (heard.ids.size() < ids.size() && std::chrono::steady_clock::now() < patience) {
    (*accepting)->Poll();
    (*sending)->Poll();
  }
  std::vector<unsigned> expected;
  for (const unsigned id : ids) expected.push_back(std::min(id, UcxWorker::kOtherAmIds));
  EXPECT_EQ(heard.ids, expected);
  EXPECT_TRUE(owner.failure.ok()) << owner.failure.ToString();
  endpoint->reset();
  (*accepting)->StopListening(*port);
}

}  // namespace
}  // namespace terrace
