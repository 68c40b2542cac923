#include "tests/faults/fault_disk.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace terrace::faults {

namespace {

constexpr std::uint64_t kFileNode = 2;  // the folder is FUSE_ROOT_ID
constexpr std::uint32_t kTransferMax = 1 << 20;
constexpr std::uint32_t kPage = 4096;
/// Of a request: its headers beside the bytes of a write.
constexpr std::size_t kHeadersMax = 64 << 10;
constexpr int kPollMs = 20;
constexpr const char* kFileName = "disk";

Status Failed(const std::string& what) {
  return {StatusCode::kIo, what + ": " + std::strerror(errno)};
}

template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

}  // namespace

/// A request of the kernel, in the buffer that it was read into.
struct FaultDisk::Request {
  explicit Request(std::span<const std::byte> the_bytes) : bytes(the_bytes) {
    std::memcpy(&header, bytes.data(), sizeof header);
  }
  /// The argument behind the header.
  template <typename T>
  [[nodiscard]] T As() const {
    T value;
    std::memcpy(&value, bytes.data() + sizeof header, sizeof value);
    return value;
  }
  std::span<const std::byte> bytes;
  fuse_in_header header{};
};

Result<std::unique_ptr<FaultDisk>> FaultDisk::Mount(const std::string& folder,
                                                    std::uint64_t bytes) {
  const int descriptor = ::open("/dev/fuse", O_RDWR | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) return Failed("open /dev/fuse");
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    ::close(descriptor);
    return Failed("mmap");
  }
  std::unique_ptr<FaultDisk> disk(
      new FaultDisk(folder, descriptor, static_cast<std::byte*>(memory), bytes));
  const std::string options =
      "fd=" + std::to_string(descriptor) +
      ",rootmode=40000,user_id=0,group_id=0,allow_other,max_read=" + std::to_string(kTransferMax);
  if (::mount("terrace-faults", folder.c_str(), "fuse", MS_NOSUID | MS_NODEV, options.c_str()) !=
      0) {
    return Failed("mount " + folder);
  }
  return disk;
}

FaultDisk::FaultDisk(std::string folder, int descriptor, std::byte* memory, std::uint64_t capacity)
    : folder_(std::move(folder)),
      descriptor_(descriptor),
      memory_(memory),
      capacity_(capacity),
      server_([this] { Serve(); }) {}

FaultDisk::~FaultDisk() {
  Heal();
  ::umount2(folder_.c_str(), MNT_DETACH);
  stop_ = true;
  server_.join();
  ::close(descriptor_);  // ends what is under way
  ::munmap(memory_, capacity_);
}

void FaultDisk::Resize(std::uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  size_ = std::min(bytes, capacity_);
}

void FaultDisk::Inject(const Fault& fault) {
  const std::lock_guard lock(mutex_);
  faults_.push_back(fault);
}

void FaultDisk::Hold(DiskOp op) {
  const std::lock_guard lock(mutex_);
  hold_[static_cast<std::size_t>(op)] = true;
}

void FaultDisk::Heal() {
  std::vector<std::vector<std::byte>> held;
  {
    const std::lock_guard lock(mutex_);
    faults_.clear();
    std::fill(std::begin(hold_), std::end(hold_), false);
    held = std::exchange(held_, {});
    counts_.held = 0;
  }
  for (const std::vector<std::byte>& bytes : held) Answer(Request(bytes));
}

DiskCounts FaultDisk::counts() const {
  const std::lock_guard lock(mutex_);
  return counts_;
}

void FaultDisk::Serve() {
  std::vector<std::byte> buffer(kTransferMax + kHeadersMax);
  while (!stop_) {
    pollfd poll{.fd = descriptor_, .events = POLLIN, .revents = 0};
    if (::poll(&poll, 1, kPollMs) <= 0) continue;
    const ssize_t bytes = ::read(descriptor_, buffer.data(), buffer.size());
    if (bytes >= static_cast<ssize_t>(sizeof(fuse_in_header))) {
      Answer(Request(std::span(buffer).first(static_cast<std::size_t>(bytes))));
    } else if (bytes < 0 && errno != EAGAIN && errno != EINTR && errno != ENOENT) {
      // Not mounted yet (EPERM), or not any more (ENODEV).
      ::usleep(kPollMs * 100);
    }
  }
}

void FaultDisk::Send(std::uint64_t unique, int error, std::span<const std::byte> payload) const {
  fuse_out_header header{};
  header.len = static_cast<std::uint32_t>(sizeof header + payload.size());
  header.error = -error;
  header.unique = unique;
  const std::array<iovec, 2> parts = {
      iovec{.iov_base = &header, .iov_len = sizeof header},
      iovec{.iov_base = const_cast<std::byte*>(payload.data()), .iov_len = payload.size()}};
  // ENOENT: the one who asked is gone.
  (void)!::writev(descriptor_, parts.data(), payload.empty() ? 1 : 2);
}

void FaultDisk::Answer(const Request& request) {
  const std::uint64_t unique = request.header.unique;
  switch (request.header.opcode) {
    case FUSE_INIT: {
      const auto wanted = request.As<fuse_init_in>();
      fuse_init_out out{};
      out.major = FUSE_KERNEL_VERSION;
      out.minor = FUSE_KERNEL_MINOR_VERSION;
      out.max_readahead = wanted.max_readahead;
      out.flags = wanted.flags & (FUSE_ASYNC_READ | FUSE_ASYNC_DIO | FUSE_BIG_WRITES |
                                  FUSE_MAX_PAGES | FUSE_PARALLEL_DIROPS);
      out.max_background = 128;
      out.congestion_threshold = 96;
      out.max_write = kTransferMax;
      out.time_gran = 1;
      out.max_pages = kTransferMax / kPage;
      return Send(unique, 0, BytesOf(out));
    }
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT: return;  // take no answer
    case FUSE_READ: return DoTransfer(request, DiskOp::kRead);
    case FUSE_WRITE: return DoTransfer(request, DiskOp::kWrite);
    case FUSE_FSYNC: return DoTransfer(request, DiskOp::kSync);
    default: return AnswerFile(request);
  }
}

/// What concerns the folder, and the file but for its bytes.
void FaultDisk::AnswerFile(const Request& request) {
  const std::uint64_t unique = request.header.unique;
  const auto attributes = [&](std::uint64_t node) {
    const std::lock_guard lock(mutex_);
    fuse_attr attr{};
    attr.ino = node;
    attr.mode = node == kFileNode ? S_IFREG | 0600 : S_IFDIR | 0700;
    attr.nlink = 1;
    attr.size = node == kFileNode ? size_ : 0;
    attr.blocks = attr.size / 512;
    attr.blksize = kPage;
    return attr;
  };
  switch (request.header.opcode) {
    case FUSE_LOOKUP: {
      const char* name =
          reinterpret_cast<const char*>(request.bytes.data() + sizeof(fuse_in_header));
      if (std::strcmp(name, kFileName) != 0) return Send(unique, ENOENT, {});
      fuse_entry_out out{};
      out.nodeid = kFileNode;
      out.attr = attributes(kFileNode);
      return Send(unique, 0, BytesOf(out));
    }
    case FUSE_SETATTR: {
      const auto wanted = request.As<fuse_setattr_in>();
      if ((wanted.valid & FATTR_SIZE) != 0) {
        if (wanted.size > capacity_) return Send(unique, ENOSPC, {});
        Resize(wanted.size);
      }
      [[fallthrough]];
    }
    case FUSE_GETATTR: {
      fuse_attr_out out{};
      out.attr = attributes(request.header.nodeid);
      return Send(unique, 0, BytesOf(out));
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR: {
      fuse_open_out out{};
      if (request.header.opcode == FUSE_OPEN) {
        out.open_flags = FOPEN_DIRECT_IO | FOPEN_PARALLEL_DIRECT_WRITES;
      }
      return Send(unique, 0, BytesOf(out));
    }
    case FUSE_STATFS: {
      fuse_statfs_out out{};
      out.st.bsize = out.st.frsize = kPage;
      out.st.blocks = out.st.bfree = out.st.bavail = capacity_ / kPage;
      out.st.namelen = NAME_MAX;
      return Send(unique, 0, BytesOf(out));
    }
    case FUSE_FALLOCATE: {
      const auto wanted = request.As<fuse_fallocate_in>();
      if (wanted.offset + wanted.length > capacity_) return Send(unique, ENOSPC, {});
      const std::lock_guard lock(mutex_);
      size_ = std::max(size_, wanted.offset + wanted.length);
      return Send(unique, 0, {});
    }
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FLUSH:
    case FUSE_FSYNCDIR:
    case FUSE_DESTROY: return Send(unique, 0, {});
    default: return Send(unique, ENOSYS, {});
  }
}

int FaultDisk::FaultOf(DiskOp op, std::uint64_t offset, std::uint64_t bytes) {
  for (Fault& fault : faults_) {
    if (fault.op != op || fault.times == 0) continue;
    const bool before = op != DiskOp::kSync && offset + bytes <= fault.first;
    const bool behind =
        op != DiskOp::kSync && offset >= fault.first && offset - fault.first >= fault.bytes;
    if (before || behind) continue;
    --fault.times;
    return fault.error;
  }
  return 0;
}

void FaultDisk::Count(DiskOp op, bool failed) {
  const auto add = [failed](std::uint64_t& all, std::uint64_t& bad) {
    ++all;
    bad += failed ? 1 : 0;
  };
  switch (op) {
    case DiskOp::kRead: return add(counts_.reads, counts_.failed_reads);
    case DiskOp::kWrite: return add(counts_.writes, counts_.failed_writes);
    case DiskOp::kSync: return add(counts_.syncs, counts_.failed_syncs);
  }
}

void FaultDisk::DoTransfer(const Request& request, DiskOp op) {
  std::uint64_t offset = 0;
  std::uint64_t bytes = 0;
  if (op == DiskOp::kRead) {
    const auto in = request.As<fuse_read_in>();
    offset = in.offset;
    bytes = in.size;
  } else if (op == DiskOp::kWrite) {
    const auto in = request.As<fuse_write_in>();
    offset = in.offset;
    bytes = in.size;
  }
  int error = 0;
  {
    const std::lock_guard lock(mutex_);
    if (hold_[static_cast<std::size_t>(op)]) {
      held_.emplace_back(request.bytes.begin(), request.bytes.end());
      ++counts_.held;
      return;
    }
    error = FaultOf(op, offset, bytes);
    Count(op, error != 0);
  }
  if (error > 0) return Send(request.header.unique, error, {});
  Perform(request, op, error == kFlipBit);
}

void FaultDisk::Perform(const Request& request, DiskOp op, bool flip) {
  const std::uint64_t unique = request.header.unique;
  std::uint64_t size = 0;
  {
    const std::lock_guard lock(mutex_);
    size = size_;
  }
  if (op == DiskOp::kSync) return Send(unique, 0, {});
  if (op == DiskOp::kRead) {
    const auto in = request.As<fuse_read_in>();
    const std::uint64_t left = in.offset < size ? size - in.offset : 0;
    const std::span<const std::byte> bytes =
        medium().subspan(std::min(in.offset, size), std::min<std::uint64_t>(left, in.size));
    if (!flip || bytes.empty()) return Send(unique, 0, bytes);
    std::vector<std::byte> flipped(bytes.begin(), bytes.end());
    flipped[in.offset / kPage * 61 % flipped.size()] ^= std::byte{0x10};
    return Send(unique, 0, flipped);
  }
  const auto in = request.As<fuse_write_in>();
  if (in.offset + in.size > capacity_) return Send(unique, ENOSPC, {});
  const std::byte* const data =
      request.bytes.data() + sizeof(fuse_in_header) + sizeof(fuse_write_in);
  std::memcpy(memory_ + in.offset, data, in.size);
  {
    const std::lock_guard lock(mutex_);
    size_ = std::max(size_, in.offset + in.size);
  }
  fuse_write_out out{};
  out.size = in.size;
  Send(unique, 0, BytesOf(out));
}

}  // namespace terrace::faults
