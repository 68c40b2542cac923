// The load of a cycle: writers and readers that work until they are told to stop, or the daemon is
// gone.
//
// Model. Writer w owns the chains whose number is w modulo the writers: nobody else puts or removes
// their blocks. Shared chains are put by all. Writer 0 also clears namespaces 0 and the ones that
// it makes; only it adds namespaces, to `spaces`.
#pragma once

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "tests/crash/block_client.h"

namespace terrace::crash {

class Load {
 public:
  /// Connects and starts the threads. Everything referred to outlives it; `spaces` is not touched
  /// by others until Stop has returned.
  Load(const std::string& address, const StorePlan& store, const CyclePlan& cycle,
       std::vector<SpacePlan>& spaces, Oracle& oracle, Findings& findings);
  /// As Stop.
  ~Load();
  Load(const Load&) = delete;
  Load& operator=(const Load&) = delete;

  /// No call is begun any more, those in flight end, the clients leave.
  void Stop();

 private:
  struct Worker;
  void Run(std::uint32_t number, bool writes);

  const std::string address_;
  const StorePlan& store_;
  const CyclePlan& cycle_;
  std::vector<SpacePlan>& spaces_;
  Oracle& oracle_;
  Findings& findings_;
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace terrace::crash
