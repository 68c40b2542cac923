// DeviceMapper: how memory of a GPU that another process exported is mapped here, for who reads it
// where it lies. DeviceMapping: such memory, mapped until it goes.
//
// Model. Addresses of device memory are the GPU's; the host does not follow them (of a double it
// may). Implementation: client/regions/lent_gpus.h. Thread: any.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/device_export.h"
#include "base/result.h"

namespace terrace {

class DeviceMapping {
 public:
  /// Unmaps it; in a child of the process that mapped it nothing. May block for milliseconds.
  virtual ~DeviceMapping() = default;
  [[nodiscard]] virtual std::span<const std::byte> bytes() const noexcept = 0;
  /// Of which GPU, as DeviceExport::gpu.
  [[nodiscard]] virtual const std::string& gpu() const noexcept = 0;
};

class DeviceMapper {
 public:
  virtual ~DeviceMapper() = default;
  /// kInvalid names what is wrong with it, kPeerDead: whose it was is gone; kUnsupported: this
  /// process cannot map such memory. May block for milliseconds.
  virtual Result<std::shared_ptr<const DeviceMapping>> Map(const DeviceExport& exported) = 0;
  /// What is lent of that GPU cannot be had here: Map failed although its owner lives, or it was
  /// not even tried.
  virtual void Refuse(const std::string& gpu, const Status& why) = 0;
};

}  // namespace terrace
