#include "tools/terracectl/advise_command.h"

#include <iostream>

#include "client/terrace.hpp"

namespace terrace {

int RunAdvise(const CommandOptions& options) {
  const auto fail = [](const std::string& message) {
    std::cerr << "terracectl: " << message << '\n';
    return 1;
  };
  const Result<std::unique_ptr<Client>> client =
      Client::Connect({.address = options.address,
                       .tenant = options.tenant,
                       .name = "terracectl",
                       .link = LinkChoice::kTcp,
                       .connect_timeout = options.timeout});
  if (!client.ok()) return fail(ConnectAdvice(options.address, client.status()));
  const Result<std::vector<Sample>> samples = (*client)->Stat(In(options.timeout));
  if (!samples.ok()) {
    return fail("advice of " + options.address + " failed: " + samples.status().ToString());
  }
  AdviceSamples all;
  for (const Sample& sample : *samples) all.Add(sample.name, sample.labels, sample.value);
  const Advice advice = Advise(all);
  std::cout << (options.json ? AdviceJson(advice) : AdviceText(advice)) << std::flush;
  return std::cout ? 0 : 1;
}

}  // namespace terrace
