// CudaIpcMappings: the allocations of other processes that this process has mapped, by CUDA IPC.
//
// Model. Reactors share a context of each GPU, and several regions of a client may lie in one
// allocation: each allocation is mapped once a GPU, and unmapped with its last user. How large it
// is, the driver says, never whose it is: a copy past its end would cost the process its context.
// What the calls answer of a bad handle leaves the context as it was.
//
// Thread: any; one at a time is inside.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

#include "base/device_export.h"
#include "base/result.h"

namespace terrace {

class CudaIpcMappings {
 public:
  /// Of this process; lives until its end.
  static CudaIpcMappings& OfProcess();

  /// The memory that `exported`, which was checked, names, mapped on GPU `device`. Statuses as of
  /// DeviceMemory::OpenExport. Blocks.
  Result<std::span<std::byte>> Open(int device, const DeviceExport& exported);
  /// REQUIRES: from Open of that device. Blocks.
  void Close(int device, std::span<std::byte> memory);

 private:
  struct Mapping {
    std::byte* base = nullptr;
    std::uint64_t bytes = 0;
    std::size_t users = 0;
  };
  using Mappings = std::map<std::pair<int, std::vector<std::byte>>, Mapping>;
  static Result<Mapping> Map(int device, const std::vector<std::byte>& handle);
  static void Unmap(const Mapping& mapping);

  std::mutex mutex_;
  Mappings mappings_;  ///< by device and handle; guarded by mutex_
  /// Of what, by device and address: allocations may share pages, and so may their mappings.
  std::multimap<std::pair<int, const std::byte*>, Mappings::iterator> opened_;
};

}  // namespace terrace
