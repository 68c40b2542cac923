#include "tests/faults/loop_device.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "tests/crash/crash_daemon.h"

namespace terrace::faults {

namespace {

constexpr int kAttachTriesMax = 20;  // another program may take the free number first
constexpr std::uint32_t kSectorBytes = 4096;
constexpr const char* kThrottleRoot = "/sys/fs/cgroup/blkio";

Status Failed(const std::string& what) {
  return {StatusCode::kIo, what + ": " + std::strerror(errno)};
}

Status WriteText(const std::string& path, const std::string& text) {
  std::ofstream file(path);
  file << text;
  file.flush();
  return file ? Status::Ok() : Failed("write \"" + text + "\" to " + path);
}

}  // namespace

Result<std::unique_ptr<LoopDevice>> LoopDevice::Attach(const std::string& file) {
  const int backing = ::open(file.c_str(), O_RDWR | O_CLOEXEC);
  if (backing < 0) return Failed("open " + file);
  const int control = ::open("/dev/loop-control", O_RDWR | O_CLOEXEC);
  Status failed = Failed("open /dev/loop-control");
  for (int attempt = 0; control >= 0 && attempt < kAttachTriesMax; ++attempt) {
    const int number = ::ioctl(control, LOOP_CTL_GET_FREE);
    const std::string path = "/dev/loop" + std::to_string(number);
    const int device = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    if (device < 0) {
      failed = Failed("open " + path);
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      continue;
    }
    loop_config config{};
    config.fd = static_cast<std::uint32_t>(backing);
    config.block_size = kSectorBytes;
    config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO;
    if (::ioctl(device, LOOP_CONFIGURE, &config) == 0) {
      ::close(control);
      ::close(backing);
      return std::unique_ptr<LoopDevice>(new LoopDevice(path, device));
    }
    failed = Failed("LOOP_CONFIGURE " + path);
    ::close(device);
  }
  if (control >= 0) ::close(control);
  ::close(backing);
  return failed;
}

LoopDevice::~LoopDevice() { ::close(descriptor_); }

Status LoopDevice::TakeNewSize() const {
  return ::ioctl(descriptor_, LOOP_SET_CAPACITY) == 0 ? Status::Ok() : Failed("LOOP_SET_CAPACITY");
}

Result<std::unique_ptr<SmallFileSystem>> SmallFileSystem::Make(const std::string& folder,
                                                               std::uint64_t bytes) {
  const std::string image = folder + ".img";
  const int file = ::open(image.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0) return Failed("open " + image);
  const int sized = ::ftruncate(file, static_cast<off_t>(bytes));
  ::close(file);
  if (sized != 0) return Failed("ftruncate " + image);
  // No blocks for root, so that full is full; no lazy work of the kernel behind it.
  const Result<crash::ProcessEnd> made =
      crash::RunProgram({"/usr/sbin/mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-E",
                         "lazy_itable_init=0,lazy_journal_init=0", image},
                        folder + ".mkfs");
  if (!made.ok()) return made.status();
  if (!made->Clean())
    return Status(StatusCode::kIo, "mkfs.ext4 " + image + ": " + made->ToString());
  Result<std::unique_ptr<LoopDevice>> device = LoopDevice::Attach(image);
  if (!device.ok()) return device.status();
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST) return Failed("mkdir " + folder);
  if (::mount((*device)->path().c_str(), folder.c_str(), "ext4", MS_NOSUID | MS_NODEV, "") != 0) {
    return Failed("mount " + (*device)->path() + " on " + folder);
  }
  return std::unique_ptr<SmallFileSystem>(new SmallFileSystem(folder, std::move(device).value()));
}

SmallFileSystem::SmallFileSystem(std::string folder, std::unique_ptr<LoopDevice> device)
    : folder_(std::move(folder)), device_(std::move(device)) {}

SmallFileSystem::~SmallFileSystem() {
  if (frozen_) (void)Thaw();
  ::umount2(folder_.c_str(), MNT_DETACH);
}

Status SmallFileSystem::Fill(std::uint64_t leave) {
  struct statvfs room{};
  if (::statvfs(folder_.c_str(), &room) != 0) return Failed("statvfs " + folder_);
  const std::uint64_t free = room.f_bavail * room.f_frsize;
  const int file = ::open(Filler().c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (file < 0) return Failed("open " + Filler());
  if (leave > 0) {
    const std::uint64_t take = free - std::min(leave, free);
    const int taken = ::posix_fallocate(file, 0, static_cast<off_t>(take));
    ::close(file);
    errno = taken;
    return taken == 0 ? Status::Ok() : Failed("fallocate " + Filler());
  }
  const std::vector<std::byte> bytes(1 << 20);
  // Ever smaller pieces, each synced: what the kernel promised to delayed writes counts too.
  for (std::size_t piece = bytes.size(); piece >= kSectorBytes; piece /= 4) {
    while (::write(file, bytes.data(), piece) > 0) {
    }
    (void)::fsync(file);
  }
  ::close(file);
  return errno == ENOSPC ? Status::Ok() : Failed("fill " + folder_);
}

Status SmallFileSystem::Free() {
  return ::unlink(Filler().c_str()) == 0 ? Status::Ok() : Failed("unlink " + Filler());
}

Status SmallFileSystem::Control(unsigned long request, const char* name) const {
  const int folder = ::open(folder_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return Failed("open " + folder_);
  const int done = ::ioctl(folder, request, 0);
  const Status status = done == 0 ? Status::Ok() : Failed(name);
  ::close(folder);
  return status;
}

Status SmallFileSystem::Freeze() {
  Status frozen = Control(FIFREEZE, "FIFREEZE");
  frozen_ = frozen.ok();
  return frozen;
}

Status SmallFileSystem::Thaw() {
  frozen_ = false;
  return Control(FITHAW, "FITHAW");
}

void ThawFolder(const std::string& path) {
  const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  (void)::ioctl(folder, FITHAW, 0);
  ::close(folder);
}

Result<std::unique_ptr<Throttle>> Throttle::Make(const std::string& device,
                                                 std::uint64_t bytes_per_s) {
  struct stat found{};
  if (::stat(device.c_str(), &found) != 0) return Failed("stat " + device);
  const std::string group =
      std::string(kThrottleRoot) + "/terrace-faults-" + std::to_string(::getpid());
  if (::mkdir(group.c_str(), 0700) != 0 && errno != EEXIST) return Failed("mkdir " + group);
  std::unique_ptr<Throttle> throttle(new Throttle(
      group, std::to_string(major(found.st_rdev)) + ":" + std::to_string(minor(found.st_rdev))));
  Status limited = throttle->Limit(bytes_per_s);
  if (!limited.ok()) return limited;
  return throttle;
}

Status Throttle::Limit(std::uint64_t bytes_per_s) const {
  for (const char* which : {"read", "write"}) {
    Status limited = WriteText(group_ + "/blkio.throttle." + which + "_bps_device",
                               number_ + " " + std::to_string(bytes_per_s));
    if (!limited.ok()) return limited;
  }
  return {};
}

Status Throttle::Catch(pid_t process) {
  return WriteText(group_ + "/cgroup.procs", std::to_string(process));
}

Status Throttle::Lift() { return Limit(0); }

Throttle::~Throttle() {
  (void)Lift();
  // Empty as soon as the daemon has ended.
  for (int attempt = 0; attempt < 100 && ::rmdir(group_.c_str()) != 0 && errno == EBUSY;
       ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

}  // namespace terrace::faults
