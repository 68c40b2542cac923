// UringDevice: a Device on the reactor's io_uring.
//
// A call is cut into chunks of at most 1 MiB, of which at most 4 are in flight, so that one long
// block neither fills the device's queue nor the ring. The call ends when no chunk is in flight,
// also after an error: the buffer is then the caller's again.
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
#include "base/device_file.h"
#include "base/reactor.h"
#include "base/result.h"

namespace terrace {

class UringDevice final : public Device {
 public:
  /// See DeviceFile::Open. kUnsupported when the reactor has no ring.
  static Result<std::unique_ptr<UringDevice>> Open(Reactor& reactor, const DeviceOptions& options);

  [[nodiscard]] const std::string& name() const noexcept override { return file_.name(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return file_.size(); }
  [[nodiscard]] std::uint32_t alignment() const noexcept override { return file_.alignment(); }

  Task<Status> Read(std::uint64_t offset, std::span<std::byte> destination) override;
  Task<Status> Write(std::uint64_t offset, std::span<const std::byte> source) override;
  Task<Status> Sync() override;

 private:
  enum class Kind : std::uint8_t { kRead, kWrite, kSync };
  struct Chunk;
  struct Transfer;

  UringDevice(Reactor& reactor, DeviceFile file) : reactor_(reactor), file_(std::move(file)) {}
  Task<Status> Move(Kind kind, std::uint64_t offset, std::byte* bytes, std::size_t length);
  bool TrySubmit(Kind kind, Chunk& chunk);
  Task<bool> Submit(Kind kind, Chunk* chunk);
  [[nodiscard]] Status Settle(Kind kind, Chunk& chunk, Transfer& left) const;
  [[nodiscard]] Status Failed(Kind kind, std::uint64_t offset, const std::string& why) const;

  Reactor& reactor_;
  DeviceFile file_;
};

}  // namespace terrace
