// ScriptedDevice: a Device that wraps another and does what a test says, when it says it: holds
// operations, fails them, dies; and notes what was asked for.
//
// Thread: the scheduler's. Operations that are held end when they are let go.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "base/device.h"
#include "base/scheduler.h"
#include "base/wait.h"

namespace terrace::testing {

class ScriptedDevice final : public Device {
 public:
  enum class Op : std::uint8_t { kRead, kWrite, kSync };
  struct Note {
    Op op;
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
    Nanos began = 0;
    Nanos ended = 0;  ///< 0 while it is under way
  };

  explicit ScriptedDevice(Device& device) : device_(device) {}
  [[nodiscard]] const std::string& name() const noexcept override { return device_.name(); }
  [[nodiscard]] std::uint64_t size() const noexcept override { return device_.size(); }
  [[nodiscard]] std::uint32_t alignment() const noexcept override { return device_.alignment(); }

  /// The next `calls` operations of this kind wait, before they reach the device, until LetGo.
  void Hold(Op op, std::uint64_t calls = ~std::uint64_t{0}) { held_[Index(op)] = calls; }
  void LetGo(Op op) {
    held_[Index(op)] = 0;
    for (Event* waiter : std::exchange(waiters_[Index(op)], {})) waiter->Set();
  }
  [[nodiscard]] std::size_t Held(Op op) const { return waiters_[Index(op)].size(); }
  /// The next `calls` operations of this kind end with kIo and do nothing.
  void FailNext(Op op, std::uint64_t calls) { failures_[Index(op)] = calls; }
  /// The process is gone: nothing reaches the device any more, everything ends with kIo.
  void Die() {
    dead_ = true;
    for (const Op op : {Op::kRead, Op::kWrite, Op::kSync}) LetGo(op);
  }
  [[nodiscard]] const std::vector<Note>& notes() const { return notes_; }
  [[nodiscard]] std::size_t Count(Op op) const {
    std::size_t count = 0;
    for (const Note& note : notes_) count += note.op == op ? 1 : 0;
    return count;
  }

  using Device::Read;
  using Device::Write;
  Task<Status> Read(std::uint64_t offset, std::span<std::byte> first,
                    std::span<std::byte> second) override {
    const std::size_t note = Begin(Op::kRead, offset, first.size() + second.size());
    Status status = co_await Gate(Op::kRead);
    if (status.ok()) status = co_await device_.Read(offset, first, second);
    co_return End(note, std::move(status));
  }
  Task<Status> Write(std::uint64_t offset, std::span<const std::byte> first,
                     std::span<const std::byte> second) override {
    const std::size_t note = Begin(Op::kWrite, offset, first.size() + second.size());
    Status status = co_await Gate(Op::kWrite);
    if (status.ok()) status = co_await device_.Write(offset, first, second);
    co_return End(note, std::move(status));
  }
  Task<Status> Sync() override {
    const std::size_t note = Begin(Op::kSync, 0, 0);
    Status status = co_await Gate(Op::kSync);
    if (status.ok()) status = co_await device_.Sync();
    co_return End(note, std::move(status));
  }

 private:
  static std::size_t Index(Op op) { return static_cast<std::size_t>(op); }
  std::size_t Begin(Op op, std::uint64_t offset, std::uint64_t bytes) {
    const Nanos now = Scheduler::Current().Now();
    notes_.push_back({.op = op, .offset = offset, .bytes = bytes, .began = now, .ended = 0});
    return notes_.size() - 1;
  }
  Status End(std::size_t note, Status status) {
    notes_[note].ended = Scheduler::Current().Now();
    return dead_ ? Status(StatusCode::kIo, "device " + name() + ": its process is gone") : status;
  }
  Task<Status> Gate(Op op) {
    if (held_[Index(op)] > 0) {
      --held_[Index(op)];
      Event go;
      waiters_[Index(op)].push_back(&go);
      (void)co_await go.Wait();
    }
    if (dead_) co_return Status(StatusCode::kIo, "device " + name() + ": its process is gone");
    if (failures_[Index(op)] > 0) {
      --failures_[Index(op)];
      co_return Status(StatusCode::kIo, "device " + name() + ": told to fail");
    }
    co_return Status::Ok();
  }

  Device& device_;
  bool dead_ = false;
  std::array<std::uint64_t, 3> held_{};
  std::array<std::uint64_t, 3> failures_{};
  std::array<std::vector<Event*>, 3> waiters_;
  std::vector<Note> notes_;
};

}  // namespace terrace::testing
