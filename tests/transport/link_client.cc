// A client process for tests that kill or stop it: connects, registers region 1, offers it as
// request 2 and expects request 1 in it, says "ready", and lives until it is killed.
//
//   link_client PORT (tcp|shm) BYTES

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "base/clock.h"
#include "base/reactor.h"
#include "base/wait.h"
#include "transport/channel.h"
#include "transport/codec.h"

namespace terrace {
namespace {

struct Silent final : ChannelHandler {
  void OnMessage(const wire::Message& /*message*/) override {}
  void OnQuiet(std::uint64_t /*request_id*/) override {}
  void OnClosed(const Status& /*reason*/) override {}
};

Task<void> Live(ChannelFactory* factory, ChannelOptions options, std::vector<std::byte>* memory,
                ChannelHandler* handler, Scheduler* scheduler) {
  auto channel =
      co_await factory->Connect(std::move(options), *handler, scheduler->Now() + 10 * kSecond);
  if (!channel.ok()) {
    std::fprintf(stderr, "%s\n", channel.status().ToString().c_str());
    std::_Exit(1);
  }
  Channel& open = **channel;
  open.AddRegion(1, {*memory, nullptr});
  open.Expect(1, {*memory});
  open.Offer(2, {*memory});
  std::puts("ready");
  std::fflush(stdout);
  for (;;) {
    // Or the daemon would take us for dead.
    open.Send(BuildMessage<wire::Ping>({0, 42, 0}));
    co_await SleepUntil{scheduler->Now() + 200 * kMillisecond};
  }
}

int Main(int argc, char** argv) {
  if (argc != 4) return 2;
  SteadyClock clock;
  auto reactor = Reactor::Create({.name = "link-client"}, clock);
  if (!reactor.ok()) return 1;
  auto factory = ChannelFactory::Create(**reactor);
  if (!factory.ok()) return 1;
  ChannelOptions options;
  options.port = static_cast<std::uint16_t>(std::atoi(argv[1]));
  options.tcp_only = std::strcmp(argv[2], "tcp") == 0;
  options.incarnation = 42;
  std::vector<std::byte> memory(std::strtoull(argv[3], nullptr, 10));
  Silent handler;
  TaskScope scope;
  {
    const Scheduler::CurrentScope current((*reactor)->scheduler());
    scope.Spawn(Live(factory->get(), options, &memory, &handler, &(*reactor)->scheduler()));
  }
  (*reactor)->Run();
  return 0;
}

}  // namespace
}  // namespace terrace

int main(int argc, char** argv) { return terrace::Main(argc, argv); }
