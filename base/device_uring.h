// UringDevice: a Device on the reactor's io_uring.
//
// A call is cut into chunks of at most 1 MiB (a call of up to 1 MiB + 4 KiB is one chunk), of which
// at most 4 of a read and 2 of a write are in flight, so that one long block neither fills the
// device's queue nor the ring. A chunk is one operation, also where it has a part of both buffers
// (readv, writev). The call ends when no chunk is in flight, also after an error: the buffers are
// then the caller's again.
//
// Thread: the reactor's, after Run began. Lifetime: the reactor outlives the device, the device
// outlives its calls.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/device.h"
#include "base/device_buffers.h"
#include "base/device_file.h"
#include "base/reactor.h"
#include "base/result.h"

namespace terrace {

class UringDevice final : public Device {
 public:
  /// See DeviceFile::Open. kUnsupported when the reactor has no ring.
  static Result<std::unique_ptr<UringDevice>> Open(Reactor& reactor, const DeviceOptions& options);
  /// On what is open already, a slice for example. kUnsupported when the reactor has no ring.
  static Result<std::unique_ptr<UringDevice>> Open(Reactor& reactor, DeviceFile file);

  [[nodiscard]] const std::string& name() const noexcept override { return file_.name(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return file_.size(); }
  [[nodiscard]] std::uint32_t alignment() const noexcept override { return file_.alignment(); }

  using Device::Read;
  using Device::Write;
  Task<Status> Read(std::uint64_t offset, std::span<std::byte> first,
                    std::span<std::byte> second) override;
  Task<Status> Write(std::uint64_t offset, std::span<const std::byte> first,
                     std::span<const std::byte> second) override;
  Task<Status> Sync() override;

 private:
  enum class Kind : std::uint8_t { kRead, kWrite, kSync };
  struct Chunk;
  struct Transfer;

  UringDevice(Reactor& reactor, DeviceFile file) : reactor_(reactor), file_(std::move(file)) {}
  Task<Status> Move(Kind kind, std::uint64_t offset, DeviceBuffers buffers);
  bool TrySubmit(Kind kind, Chunk& chunk);
  Task<bool> Submit(Kind kind, Chunk* chunk);
  [[nodiscard]] Status Settle(Kind kind, Chunk& chunk, Transfer& left) const;
  [[nodiscard]] Status Failed(Kind kind, std::uint64_t offset, const std::string& why) const;

  Reactor& reactor_;
  DeviceFile file_;
};

}  // namespace terrace
