// HostMemory: what stands for memory of a device in the double: a memfd, which other processes of
// the same user can map.
//
// Model. Its handle names the process that has it, the descriptor there and a random name. Who maps
// it asks the kernel, which looks whether it may (as for ptrace), and then whether what it got has
// that name: a descriptor that was given to something else meanwhile is not taken for it.
//
// Thread: any, one at a time for an object. Owns its mapping; move-only.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"

namespace terrace {

class HostMemory {
 public:
  HostMemory() noexcept = default;
  HostMemory(HostMemory&& other) noexcept;
  HostMemory& operator=(HostMemory&& other) noexcept;
  ~HostMemory();

  /// Zeros. kRetry, with errno, when the system has no memory or descriptors. REQUIRES: bytes > 0.
  static Result<HostMemory> Make(std::size_t bytes);
  /// Maps all of what `handle` names. kInvalid: it is no handle; kPeerDead: whose it was is gone,
  /// or has freed it; kUnsupported: the kernel does not let us.
  static Result<HostMemory> Open(std::span<const std::byte> handle);

  [[nodiscard]] std::span<std::byte> bytes() const noexcept { return bytes_; }
  /// REQUIRES: from Make.
  [[nodiscard]] std::vector<std::byte> Handle() const;

 private:
  std::span<std::byte> bytes_;
  int descriptor_ = -1;
  std::string name_;
};

}  // namespace terrace
