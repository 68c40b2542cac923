#include "client/regions/lent_gpus.h"

#include <unistd.h>

#include <utility>

#include "client/regions/device_memory.h"

namespace terrace {
namespace {

class Mapping final : public DeviceMapping {
 public:
  Mapping(std::string gpu, std::span<std::byte> memory)
      : gpu_(std::move(gpu)), memory_(memory), process_(::getpid()) {}
  ~Mapping() override {
    // What a child has of a GPU is its parent's.
    if (::getpid() == process_) UnmapDeviceMemory(gpu_, memory_);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  [[nodiscard]] std::span<const std::byte> bytes() const noexcept override { return memory_; }
  [[nodiscard]] const std::string& gpu() const noexcept override { return gpu_; }

 private:
  const std::string gpu_;
  const std::span<std::byte> memory_;
  const pid_t process_;
};

}  // namespace

Result<std::shared_ptr<const DeviceMapping>> LentGpus::Map(const DeviceExport& exported) {
  if (!Asked(exported.gpu)) {
    return Status(StatusCode::kUnsupported, "nobody asked for memory of that GPU");
  }
  const Result<std::span<std::byte>> memory = MapDeviceMemory(exported);
  if (!memory.ok()) return memory.status();
  return std::shared_ptr<const DeviceMapping>(std::make_shared<Mapping>(exported.gpu, *memory));
}

bool LentGpus::Ask(const std::string& gpu) {
  const std::lock_guard lock(mutex_);
  if (refused_.contains(gpu)) return false;
  asked_.insert(gpu);
  return true;
}

bool LentGpus::Asked(const std::string& gpu) const {
  const std::lock_guard lock(mutex_);
  return asked_.contains(gpu);
}

void LentGpus::Refuse(const std::string& gpu, const Status& why) {
  const std::lock_guard lock(mutex_);
  if (asked_.contains(gpu)) refused_.try_emplace(gpu, why);
}

Status LentGpus::RefusalOf(std::string_view gpu) const {
  const std::lock_guard lock(mutex_);
  const auto found = refused_.find(gpu);
  return found == refused_.end() ? Status() : found->second;
}

}  // namespace terrace
