#include "transport/shm/ring_stream.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "base/check.h"
#include "base/crash_point.h"

namespace terrace {
namespace {

constexpr std::size_t kReadBytes = 16 << 10;
constexpr int kReadsPerTurn = 8;  // so that one busy peer leaves room for the others

RingEnds& EndsTo(SharedLayout& layout, RingStream::Side reader) {
  return reader == RingStream::Side::kDaemon ? layout.to_daemon : layout.to_client;
}

std::byte* BytesTo(SharedLayout& layout, RingStream::Side reader) {
  return reader == RingStream::Side::kDaemon ? layout.to_daemon_bytes : layout.to_client_bytes;
}

RingStream::Side Other(RingStream::Side side) {
  return side == RingStream::Side::kDaemon ? RingStream::Side::kClient : RingStream::Side::kDaemon;
}

}  // namespace

RingStream::RingStream(RingHub& hub, std::shared_ptr<SharedPage> page, Side side, Bell bell,
                       std::size_t frame_bytes_max, ControlStreamOwner& owner)
    : hub_(hub),
      page_(std::move(page)),
      bell_(std::move(bell)),
      owner_(owner),
      reader_(frame_bytes_max),
      to_peer_(EndsTo(page_->layout(), Other(side)), BytesTo(page_->layout(), Other(side))),
      from_peer_(EndsTo(page_->layout(), side), BytesTo(page_->layout(), side)) {
  hub_.Add(*this, bell_.Fd());
}

RingStream::~RingStream() {
  if (destroyed_ != nullptr) *destroyed_ = true;
  Close();
}

void RingStream::Close() {
  if (!std::exchange(open_, false)) return;
  hub_.Remove(*this, bell_.Fd());
  out_.clear();
}

void RingStream::Send(std::vector<std::byte> message) {
  if (!open_ || !failure_.ok()) return;
  TERRACE_CHECK(message.size() <= ControlStream::kControlFrameMax);
  const auto header = FrameHeaderFor(message.size());
  if (out_bytes_ + message.size() > ControlStream::kQueuedBytesMax) {
    failure_ = Status(StatusCode::kPeerDead, "the peer does not take its messages");
    Awake();
    return;
  }
  message.insert(message.begin(), header.begin(), header.end());
  out_bytes_ += message.size();
  out_.push_back(std::move(message));
  // An answer is due: who polls for it finds it without a bell. Who sleeps instead says so (Arm).
  Awake();
  Flush();
}

void RingStream::Flush() {
  bool wrote = false;
  while (!out_.empty()) {
    const std::vector<std::byte>& front = out_.front();
    if (out_front_sent_ == 0 && CrashIsDue(CrashPoint::kClientMessageHalf)) {
      out_front_sent_ = to_peer_.Write(std::span(front).first(front.size() / 2));
      if (to_peer_.Publish()) bell_.Ring();
      CrashNow();
    }
    const std::size_t sent = to_peer_.Write(std::span(front).subspan(out_front_sent_));
    wrote = wrote || sent > 0;
    out_front_sent_ += sent;
    if (out_front_sent_ < front.size()) {
      if (to_peer_.broken()) break;
      // What is in the ring must be seen, or nobody would make room.
      if (to_peer_.Publish()) bell_.Ring();
      if (to_peer_.WaitForRoom()) continue;
      return;
    }
    out_bytes_ -= front.size();
    out_front_sent_ = 0;
    out_.pop_front();
  }
  if (to_peer_.broken() && failure_.ok()) {
    failure_ = Status::Invalid("the ends of the ring to the peer are impossible");
    Awake();
    return;
  }
  if (wrote && to_peer_.Publish()) bell_.Ring();
}

void RingStream::OnBell() {
  bell_.Hear();
  Awake();
  Drain();
}

void RingStream::Awake() {
  if (!std::exchange(asleep_, false)) return;
  from_peer_.Awake();
  hub_.Warm(*this);
}

bool RingStream::FallAsleep() {
  asleep_ = failure_.ok() && !from_peer_.broken() && from_peer_.Sleep();
  return asleep_;
}

unsigned RingStream::Drain() {
  if (!open_) return 0;
  ++turns_;
  if (!out_.empty()) Flush();
  unsigned messages = 0;
  bool destroyed = false;
  bool* const outer = std::exchange(destroyed_, &destroyed);
  Status status = failure_;
  for (int turn = 0; turn < kReadsPerTurn && status.ok(); ++turn) {
    std::array<std::byte, kReadBytes> buffer;
    const std::size_t got = from_peer_.Read(buffer);
    if (from_peer_.broken()) status = Status::Invalid("the ends of the peer's ring are impossible");
    if (got == 0) break;
    // Copied out before it is looked at: the peer may change it at any time.
    if (from_peer_.Free()) bell_.Ring();
    const Status taken =
        reader_.Take(std::span(buffer).first(got), [&](std::vector<std::byte> message) {
          ++messages;
          owner_.OnFrame(std::move(message));
          return !destroyed && open_;
        });
    if (destroyed) {
      if (outer != nullptr) *outer = true;
      return messages;
    }
    if (!open_) break;
    if (!taken.ok()) status = taken;
  }
  destroyed_ = outer;
  if (open_ && !status.ok()) End(status);
  return messages;
}

void RingStream::End(const Status& reason) {
  Close();
  owner_.OnStreamEnd(reason);
}

}  // namespace terrace
