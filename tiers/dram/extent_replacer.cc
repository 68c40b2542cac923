#include "tiers/dram/extent_replacer.h"

namespace terrace {

Result<std::unique_ptr<ExtentReplacer>> ExtentReplacer::Create(ArenaMemory& memory, Nanos patience,
                                                               ExtentMemoryUser* user) {
  std::unique_ptr<ExtentReplacer> replacer(new ExtentReplacer(memory, patience, user));
  if (Status none = replacer->thread_.Begin(); !none.ok()) return none;
  return replacer;
}

void ExtentReplacer::Stop() {
  thread_.Stop();
  thread_.Join();
}

std::optional<bool> ExtentReplacer::Replace(std::uint32_t extent) {
  if (!thread_.AwaitLetGo([&] { return !memory_.LentOut(extent); })) return false;
  const std::span<std::byte> memory(memory_.PartBase(extent), memory_.PartBytes(extent));
  if (user_ != nullptr) user_->BeforeReplaced(memory);
  while (!memory_.SwapPart(extent).ok()) {
    ++failures_;
    if (!thread_.Wait(thread_.RetryPause())) return std::nullopt;
  }
  while (!memory_.TouchPart(extent).ok()) {
    ++failures_;
    if (!thread_.Wait(thread_.RetryPause())) return std::nullopt;
  }
  if (user_ != nullptr) user_->AfterReplaced(memory);
  return true;
}

}  // namespace terrace
