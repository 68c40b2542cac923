// Real devices and file systems that a test can fill, freeze and slow down: loop devices, a small
// ext4 on one, and the kernel's throttle.
//
// Lifetime: everything is undone in the destructors. Loop devices detach by themselves when nobody
// has them open any more (LO_FLAGS_AUTOCLEAR), and mounts lie in this program's own mount namespace
// (main.cc): the kernel undoes both even after kill -9.
// Thread: one. Needs root. A failure is kIo with the call and its errno.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"

namespace terrace::faults {

/// A block device over a file.
class LoopDevice {
 public:
  static Result<std::unique_ptr<LoopDevice>> Attach(const std::string& file);
  ~LoopDevice();
  LoopDevice(const LoopDevice&) = delete;
  LoopDevice& operator=(const LoopDevice&) = delete;
  [[nodiscard]] const std::string& path() const noexcept { return path_; }
  /// The device takes the size that its file has now.
  Status TakeNewSize() const;

 private:
  LoopDevice(std::string path, int descriptor) : path_(std::move(path)), descriptor_(descriptor) {}
  const std::string path_;
  const int descriptor_;
};

/// An ext4 on a loop device over FOLDER.img, mounted on FOLDER.
class SmallFileSystem {
 public:
  static Result<std::unique_ptr<SmallFileSystem>> Make(const std::string& folder,
                                                       std::uint64_t bytes);
  ~SmallFileSystem();
  SmallFileSystem(const SmallFileSystem&) = delete;
  SmallFileSystem& operator=(const SmallFileSystem&) = delete;

  [[nodiscard]] const std::string& folder() const noexcept { return folder_; }
  [[nodiscard]] const std::string& device() const noexcept { return device_->path(); }
  /// No more than `leave` bytes can be had any more; until Free.
  Status Fill(std::uint64_t leave = 0);
  Status Free();
  /// Writes and syncs wait, for as long as it is frozen.
  Status Freeze();
  Status Thaw();

 private:
  SmallFileSystem(std::string folder, std::unique_ptr<LoopDevice> device);
  [[nodiscard]] std::string Filler() const { return folder_ + "/filler"; }
  Status Control(unsigned long request, const char* name) const;

  const std::string folder_;
  std::unique_ptr<LoopDevice> device_;
  bool frozen_ = false;
};

/// Thaws what is mounted there, if it is frozen.
void ThawFolder(const std::string& folder);

/// Limits what a process moves from and to a block device (control group blkio).
class Throttle {
 public:
  static Result<std::unique_ptr<Throttle>> Make(const std::string& device,
                                                std::uint64_t bytes_per_s);
  ~Throttle();
  Throttle(const Throttle&) = delete;
  Throttle& operator=(const Throttle&) = delete;
  Status Catch(pid_t process);
  /// At full speed from now on.
  Status Lift();

 private:
  explicit Throttle(std::string group, std::string number)
      : group_(std::move(group)), number_(std::move(number)) {}
  Status Limit(std::uint64_t bytes_per_s) const;
  const std::string group_;
  const std::string number_;  // MAJOR:MINOR
};

}  // namespace terrace::faults
