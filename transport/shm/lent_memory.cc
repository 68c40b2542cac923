#include "transport/shm/lent_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace terrace {
Result<std::shared_ptr<const ExtentMapping>> ExtentMapping::Map(int fd, std::uint64_t bytes) {
  const auto mapping = MapSealed(fd, bytes, PROT_READ, "lent extent");
  if (!mapping.ok()) return mapping.status();
  return std::shared_ptr<const ExtentMapping>(new ExtentMapping(*mapping, bytes));
}

std::shared_ptr<const ExtentMapping> ExtentMapping::OfDevice(
    std::shared_ptr<const DeviceMapping> mapping, UniqueFd held,
    std::shared_ptr<const DeviceSession> session) {
  std::shared_ptr<ExtentMapping> extent(new ExtentMapping({}, 0));
  extent->held_ = std::move(held);
  extent->device_ = std::move(mapping);
  extent->session_ = std::move(session);
  return extent;
}

ExtentMapping::~ExtentMapping() {
  attached_.reset();
  if (device_ == nullptr) ::munmap(mapping_.begin, mapping_.mapped);
}

bool ExtentMapping::Attach(const std::function<std::shared_ptr<void>()>& make) const {
  const std::lock_guard lock(mutex_);
  if (attached_ == nullptr) attached_ = make();
  return attached_ != nullptr;
}

Result<std::unique_ptr<LentMemory>> LentMemory::Make(const Loan& loan,
                                                     std::shared_ptr<SharedPage> page,
                                                     std::shared_ptr<const ExtentMapping> extent) {
  const std::uint64_t size = extent->bytes().size();
  if (loan.bytes == 0 || loan.place.offset > size || loan.bytes > size - loan.place.offset ||
      loan.slot >= kLeaseSlots) {
    return Status::Invalid("a loan of " + std::to_string(loan.bytes) + " bytes at byte " +
                           std::to_string(loan.place.offset) + " of an extent of " +
                           std::to_string(size) + ", slot " + std::to_string(loan.slot));
  }
  return std::unique_ptr<LentMemory>(new LentMemory(loan, std::move(page), std::move(extent)));
}

LentMemory::LentMemory(const Loan& loan, std::shared_ptr<SharedPage> page,
                       std::shared_ptr<const ExtentMapping> extent)
    : loan_(loan),
      process_(::getpid()),
      page_(std::move(page)),
      extent_(std::move(extent)),
      bytes_(extent_->bytes().subspan(loan.place.offset, loan.bytes)) {}

bool LentMemory::Release() noexcept {
  if (released_.exchange(true) || ::getpid() != process_) return false;
  const bool intact = Intact();
  if (intact) GiveBack(page_->layout(), loan_.slot, loan_.generation);
  return intact;
}

void LentMemory::GiveBack(SharedLayout& page, std::uint32_t slot,
                          std::uint32_t generation) noexcept {
  page.released[slot].store(generation, std::memory_order_relaxed);
  page.released_bits[slot / 64].fetch_or(std::uint64_t{1} << (slot % 64),
                                         std::memory_order_release);
}

}  // namespace terrace
