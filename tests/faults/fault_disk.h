// FaultDisk: a file whose reads, writes and syncs fail, flip or wait when a test says so, and which
// counts each of them.
//
// Model. A file system of one file, FOLDER/disk, kept in memory and served to the kernel through
// /dev/fuse by a thread of this process. Whoever opens the file meets real errors of real system
// calls, io_uring's too; as the backing file of a loop device it makes a block device that fails.
// Every operation of the file that the kernel asks for is one request here: files are opened for
// direct I/O, so nothing is cached, read ahead or merged.
//
// Thread: any; one lock. Lifetime: ends with an abort of what is under way, so whoever uses the
// file gets errors. Needs root, and a kernel with FUSE.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"

namespace terrace::faults {

enum class DiskOp : std::uint8_t { kRead, kWrite, kSync };

/// Requests, counted. `held`: under way until Release.
struct DiskCounts {
  std::uint64_t reads = 0, writes = 0, syncs = 0;
  std::uint64_t failed_reads = 0, failed_writes = 0, failed_syncs = 0;
  std::uint64_t held = 0;
};

class FaultDisk {
 public:
  /// Mounts it on `folder`, which exists. `bytes`: what the file may grow to.
  static Result<std::unique_ptr<FaultDisk>> Mount(const std::string& folder, std::uint64_t bytes);
  ~FaultDisk();
  FaultDisk(const FaultDisk&) = delete;
  FaultDisk& operator=(const FaultDisk&) = delete;

  [[nodiscard]] std::string path() const { return folder_ + "/disk"; }
  /// The size of the file from now on; what is new is zeros.
  void Resize(std::uint64_t bytes);

  /// As `error` of a fault on reads: the bytes come with one bit flipped, and count as failed.
  static constexpr int kFlipBit = -1;
  /// The next `times` operations of that kind that touch [first, first + bytes) answer `error`, an
  /// errno. A sync touches everything. Rules add up, the oldest that has times left counts.
  struct Fault {
    DiskOp op = DiskOp::kRead;
    int error = 0;
    std::uint64_t times = ~std::uint64_t{0};
    std::uint64_t first = 0;
    std::uint64_t bytes = ~std::uint64_t{0};
  };
  void Inject(const Fault& fault);
  /// Operations of that kind wait from now on.
  void Hold(DiskOp op);
  /// No faults any more; what was held happens now.
  void Heal();

  [[nodiscard]] DiskCounts counts() const;
  /// The bytes of the medium. REQUIRES: nobody uses them meanwhile, or the test wants that.
  [[nodiscard]] std::span<std::byte> medium() noexcept { return {memory_, capacity_}; }

 private:
  struct Request;
  struct Reply;
  FaultDisk(std::string folder, int descriptor, std::byte* memory, std::uint64_t capacity);
  void Serve();
  void Answer(const Request& request);
  void AnswerFile(const Request& request);
  void DoTransfer(const Request& request, DiskOp op);
  void Perform(const Request& request, DiskOp op, bool flip);
  [[nodiscard]] int FaultOf(DiskOp op, std::uint64_t offset, std::uint64_t bytes);
  void Count(DiskOp op, bool failed);
  void Send(std::uint64_t unique, int error, std::span<const std::byte> payload) const;

  const std::string folder_;
  const int descriptor_;
  std::byte* const memory_;
  const std::uint64_t capacity_;
  std::atomic<bool> stop_{false};
  std::thread server_;

  mutable std::mutex mutex_;  // guards everything below
  std::uint64_t size_ = 0;
  std::vector<Fault> faults_;
  bool hold_[3] = {};
  std::vector<std::vector<std::byte>> held_;  // whole requests
  DiskCounts counts_;
};

}  // namespace terrace::faults
