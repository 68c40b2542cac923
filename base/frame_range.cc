#include "base/frame_range.h"

#include <algorithm>
#include <string>

#include "base/checksum.h"
#include "base/wait.h"

namespace terrace {
namespace {

constexpr std::uint64_t kSliceBytes = 1 << 20;  // hashed at a time

Status Wrong(const char* field, std::uint64_t value, const std::string& why) {
  return Status::Invalid(std::string("range.") + field + " is " + std::to_string(value) + ", " +
                         why);
}

}  // namespace

Status CheckFrameRange(const FrameRange& range, std::uint64_t frame_bytes) {
  const auto block = [frame_bytes] {
    return "the block has " + std::to_string(frame_bytes) + " bytes";
  };
  if (range.count == 0 || range.count > kStretchesMax) {
    return Wrong("count", range.count, "not 1 to " + std::to_string(kStretchesMax));
  }
  if (range.offset >= frame_bytes) return Wrong("offset", range.offset, block());
  const std::uint64_t left = frame_bytes - range.offset;
  if (range.bytes == 0) {
    if (range.count == 1) return {};
    return Wrong("bytes", 0,
                 "which is one stretch up to the end, but count is " + std::to_string(range.count));
  }
  if (range.bytes > left) {
    return Wrong("bytes", range.bytes,
                 "from " + std::to_string(range.offset) + " on, and " + block());
  }
  if (range.count == 1) return {};
  if (range.stride < range.bytes) {
    return Wrong("stride", range.stride,
                 "less than the " + std::to_string(range.bytes) + " bytes of a stretch");
  }
  // By division: nothing overflows, whatever the numbers are.
  if ((left - range.bytes) / range.stride < range.count - 1) {
    return Wrong("count", range.count,
                 "whose last stretch, at a stride of " + std::to_string(range.stride) +
                     ", reaches beyond the block: " + block());
  }
  return {};
}

RangeView::RangeView(std::span<std::byte> frame, const FrameRange& range) noexcept
    : frame_(frame),
      offset_(range.offset),
      stretch_bytes_(range.bytes == 0 ? frame.size() - range.offset : range.bytes),
      stride_(range.stride),
      count_(range.count) {
  if (count_ > 1 && stride_ == stretch_bytes_) {  // they lie together
    stretch_bytes_ *= count_;
    count_ = 1;
  }
  if (count_ == 1) stride_ = 0;
}

std::vector<std::span<std::byte>> RangeView::Stretches() const {
  std::vector<std::span<std::byte>> stretches;
  stretches.reserve(count_);
  for (std::uint64_t at = 0; at < size(); at += stretch_bytes_) stretches.push_back(From(at));
  return stretches;
}

bool RangeView::Touches(std::uint64_t begin, std::uint64_t end) const noexcept {
  // The first stretch that ends after `begin`.
  std::uint64_t stretch = 0;
  if (offset_ + stretch_bytes_ <= begin) {
    if (count_ == 1) return false;
    stretch = (begin - offset_ - stretch_bytes_) / stride_ + 1;
  }
  return stretch < count_ && offset_ + stretch * stride_ < end;
}

std::uint64_t RangeView::Checksum(std::uint64_t at, std::uint64_t bytes) const noexcept {
  const std::span<std::byte> first = From(at);
  if (first.size() >= bytes) return Checksum64(first.first(bytes));
  ChecksumStream stream;
  while (bytes > 0) {
    const std::span<std::byte> part = From(at);
    const std::uint64_t length = std::min<std::uint64_t>(bytes, part.size());
    stream.Update(part.first(length));
    at += length;
    bytes -= length;
  }
  return stream.Digest();
}

RangeView::Pieces RangeView::OwnPieces() const noexcept {
  const std::uint64_t end = offset_ + size();
  const bool whole_pieces = count_ == 1 && offset_ % kChecksumPieceBytes == 0 &&
                            (end % kChecksumPieceBytes == 0 || end == frame_.size());
  if (!whole_pieces) return {};
  return {.first = static_cast<std::ptrdiff_t>(offset_ / kChecksumPieceBytes),
          .count = static_cast<std::ptrdiff_t>(ChecksumPieceCount(size()))};
}

Task<Status> ChecksumRange(RangeView view, std::span<const std::uint64_t> stored,
                           std::vector<std::uint64_t>* sums) {
  if (const auto own = view.OwnPieces(); own.count > 0) {
    sums->assign(stored.begin() + own.first, stored.begin() + own.first + own.count);
    co_return Status::Ok();
  }
  sums->resize(ChecksumPieceCount(view.size()));
  for (std::size_t i = 0; i < sums->size(); ++i) {
    const std::uint64_t at = i * kChecksumPieceBytes;
    if (at % kSliceBytes == 0) {
      co_await LongWork{.bytes = std::min<std::uint64_t>(kSliceBytes, view.size() - at)};
    }
    (*sums)[i] = view.Checksum(at, std::min<std::uint64_t>(kChecksumPieceBytes, view.size() - at));
  }
  const std::span<std::byte> frame = view.frame();
  std::uint64_t hashed = 0;
  for (std::size_t piece = 0; piece < stored.size(); ++piece) {
    const std::uint64_t begin = piece * kChecksumPieceBytes;
    const std::uint64_t end = std::min<std::uint64_t>(begin + kChecksumPieceBytes, frame.size());
    if (!view.Touches(begin, end)) continue;
    if (hashed % kSliceBytes == 0) co_await LongWork{.bytes = kSliceBytes};
    hashed += kChecksumPieceBytes;
    if (Checksum64(frame.subspan(begin, end - begin)) != stored[piece]) {
      co_return Status(StatusCode::kCorrupt, "bytes " + std::to_string(begin) + " to " +
                                                 std::to_string(end) +
                                                 " of the frame do not have their checksum");
    }
  }
  co_return Status::Ok();
}

}  // namespace terrace
