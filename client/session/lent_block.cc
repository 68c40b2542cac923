#include "client/session/lent_block.h"

#include <utility>

#include "transport/shm/lent_memory.h"

namespace terrace {

LentBlock::LentBlock() noexcept = default;
LentBlock::~LentBlock() = default;
LentBlock::LentBlock(LentBlock&& other) noexcept = default;
LentBlock& LentBlock::operator=(LentBlock&& other) noexcept = default;

LentBlock::LentBlock(const BlockResult& result, std::unique_ptr<LentMemory> memory) noexcept
    : status(result.status),
      tier(result.tier),
      valid_tokens(result.valid_tokens),
      memory_(std::move(memory)) {}

std::span<const std::byte> LentBlock::bytes() const noexcept {
  return IsLent() && gpu().empty() ? memory_->bytes() : std::span<const std::byte>();
}

std::span<const std::byte> LentBlock::device_bytes() const noexcept {
  return IsLent() && !gpu().empty() ? memory_->bytes() : std::span<const std::byte>();
}

std::string_view LentBlock::gpu() const noexcept {
  return memory_ == nullptr ? std::string_view() : memory_->extent().gpu();
}

bool LentBlock::IsLent() const noexcept { return memory_ != nullptr && !memory_->released(); }

bool LentBlock::Intact() const noexcept { return IsLent() && memory_->Intact(); }

// The mapping stays until this object is destroyed: a view that somebody kept, as every array of
// Python is, then reads another block's bytes instead of ending the process.
StatusCode LentBlock::Release() noexcept {
  if (!IsLent()) return StatusCode::kInvalid;
  return memory_->Release() ? StatusCode::kOk : StatusCode::kExpired;
}

std::vector<LentBlock> LentBlocksOf(Request& request) {
  std::vector<LentBlock> blocks;
  blocks.reserve(request.lent.size());
  for (std::size_t i = 0; i < request.lent.size(); ++i) {
    blocks.emplace_back(request.blocks[i], std::move(request.lent[i]));
  }
  request.lent.clear();
  return blocks;
}

}  // namespace terrace
