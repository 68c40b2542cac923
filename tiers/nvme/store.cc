#include "tiers/nvme/store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

#include "base/crash_point.h"
#include "base/random.h"
#include "tiers/nvme/page_buffer.h"
#include "tiers/nvme/superblock_pages.h"

namespace terrace::nvme {

namespace {

Status Refused(StatusCode code, const std::string& path, const std::string& why) {
  return {code, "device " + path + ": " + why};
}

/// A device as it was found.
struct Found {
  std::string path;
  std::optional<DeviceFile> file;  ///< nothing: no such file, or an empty one
  SuperblockPages pages;           ///< not fresh: a superblock is there
  bool unfinished = false;         ///< of a store that was never finished (IsUnfinished)
};

std::vector<std::string> PathsOf(const StoreOptions& options) {
  if (!options.files.empty()) return options.files;
  return {options.folder + "/log-0"};
}

Status CheckPaths(const std::vector<std::string>& paths) {
  if (paths.size() > kDevicesMax) {
    return Status::Invalid(std::to_string(paths.size()) + " devices, at most " +
                           std::to_string(kDevicesMax));
  }
  for (std::size_t i = 0; i < paths.size(); ++i) {
    if (std::find(paths.begin(), paths.begin() + static_cast<std::ptrdiff_t>(i), paths[i]) !=
        paths.begin() + static_cast<std::ptrdiff_t>(i)) {
      return Refused(StatusCode::kInvalid, paths[i], "named twice");
    }
  }
  return {};
}

Status MakeFolder(const std::string& folder) {
  if (folder.empty() || ::mkdir(folder.c_str(), 0700) == 0 || errno == EEXIST) return {};
  return {StatusCode::kIo, "folder " + folder + ": mkdir: " + std::strerror(errno)};
}

/// Opens the device and looks at the superblocks.
Status Look(Found& found, const DeviceOptions& device) {
  Result<DeviceFile> file = DeviceFile::Open(device);
  if (!file.ok()) return file.status();
  if (file->alignment() > kPageBytes) {
    return Refused(StatusCode::kUnsupported, found.path,
                   "its sectors have " + std::to_string(file->alignment()) + " bytes, at most " +
                       std::to_string(kPageBytes));
  }
  Result<SuperblockPages> pages = ReadSuperblockPages(*file);
  if (!pages.ok()) return pages.status();
  found.file = std::move(file).value();
  found.pages = std::move(pages).value();
  return {};
}

/// Changes nothing.
Result<std::vector<Found>> LookAtAll(const std::vector<std::string>& paths, bool read_only) {
  std::vector<Found> devices;
  for (const std::string& path : paths) {
    Found& found = devices.emplace_back();
    found.path = path;
    struct stat status{};
    const bool exists = ::stat(path.c_str(), &status) == 0;
    if (!exists && errno != ENOENT) {
      return Refused(StatusCode::kIo, path, std::string("stat: ") + std::strerror(errno));
    }
    found.pages.fresh = !exists || (S_ISREG(status.st_mode) && status.st_size == 0);
    if (found.pages.fresh) continue;
    Status looked = Look(found, {.path = path, .create = false, .read_only = read_only});
    if (!looked.ok()) return looked;
  }
  return devices;
}

std::uint64_t DeviceBytesWanted(const StoreOptions& options, std::size_t devices) {
  return options.capacity_bytes / devices / kPageBytes * kPageBytes;
}

/// So that a file that was just made is found after power loss.
Status SyncFolderOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) {
    return {StatusCode::kIo, "folder " + folder + ": open: " + std::strerror(errno)};
  }
  const int failed = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  if (failed == 0) return {};
  return {StatusCode::kIo, "folder " + folder + ": fsync: " + std::strerror(error)};
}

/// What a device will have, before anything is made of it.
Result<std::uint64_t> SizeToBe(const Found& found, std::uint64_t wanted) {
  if (wanted != 0) return wanted;
  if (!found.file.has_value()) {
    return Refused(StatusCode::kInvalid, found.path,
                   "is missing or empty, and there is no capacity to make it with");
  }
  return found.file->size();
}

Result<OpenedStore> MakeStore(const StoreOptions& options, std::vector<Found> devices) {
  const std::uint64_t wanted = DeviceBytesWanted(options, devices.size());
  std::uint64_t smallest = ~std::uint64_t{0};
  for (const Found& found : devices) {
    const Result<std::uint64_t> bytes = SizeToBe(found, wanted);
    if (!bytes.ok()) return bytes.status();
    smallest = std::min(smallest, *bytes);
  }
  const Result<DeviceGeometry> shape =
      ShapeOf(smallest, options.slices, options.block_bytes_max, options.segment_bytes);
  if (!shape.ok()) {
    return Refused(shape.code(), devices.front().path, shape.status().message());
  }
  for (Found& found : devices) {
    // Opened again to be preallocated, a sparse file too. Its own lock would refuse it.
    const std::uint64_t bytes = wanted != 0 ? wanted : found.file->size();
    found.file.reset();
    Status looked = Look(found, {.path = found.path, .size_bytes = bytes});
    if (!looked.ok()) return looked;
    if (!found.pages.fresh && !found.unfinished) {
      return Refused(StatusCode::kInvalid, found.path, "changed meanwhile");
    }
  }
  CrashHere(CrashPoint::kStoreAllocated);
  OpenedStore store;
  store.made_new = true;
  SystemRandom random;
  const std::array<std::uint64_t, 2> store_id = {random.Next(), random.Next()};
  const std::uint64_t salt = random.Next();
  StoreGeometry geometry;
  static_cast<DeviceGeometry&>(geometry) = *shape;
  geometry.devices = static_cast<std::uint32_t>(devices.size());
  // From the last to the first: IsUnfinished goes by that.
  for (std::uint32_t device = geometry.devices; device-- > 0;) {
    const Superblock superblock =
        MakeSuperblock(geometry, device, store_id, salt, options.now_unix_s);
    Status written = WriteSuperblockPages(*devices[device].file, superblock);
    if (written.ok()) written = SyncFolderOf(devices[device].path);
    if (!written.ok()) return written;
    CrashHere(CrashPoint::kStoreWritten);
    if (device == 0) store.superblock = superblock;
  }
  for (Found& found : devices) store.files.push_back(std::move(*found.file));
  return store;
}

/// Refuses a device that is not the one that belongs here. `first` is device 0's superblock.
Status CheckDevice(const StoreOptions& options, const Found& found, const Superblock& first,
                   std::uint32_t position, std::size_t devices) {
  const Superblock& superblock = found.pages.superblock;
  const auto refused = [&](const std::string& why) {
    return Refused(StatusCode::kInvalid, found.path, why);
  };
  if (superblock.store_id != first.store_id) return refused("belongs to another store");
  if (superblock.devices != devices) {
    return refused("belongs to a store of " + std::to_string(superblock.devices) +
                   " devices, started with " + std::to_string(devices));
  }
  if (superblock.device != position) {
    return refused("is device " + std::to_string(superblock.device) + " of its store, named as " +
                   std::to_string(position) + ": keep the order in which it was made");
  }
  if (GeometryOf(superblock) != GeometryOf(first) || superblock.salt != first.salt) {
    return Refused(StatusCode::kCorrupt, found.path, "is cut otherwise than the store's device 0");
  }
  if (options.slices != 0 && superblock.slices != options.slices) {
    return refused("made for " + std::to_string(superblock.slices) + " reactors, started with " +
                   std::to_string(options.slices) + ": set it back, or make a new store");
  }
  if (found.file->size() < superblock.device_bytes) {
    return refused("too small: " + std::to_string(found.file->size()) + " bytes, made with " +
                   std::to_string(superblock.device_bytes));
  }
  const std::uint64_t longest = GeometryOf(superblock).payload_bytes_max();
  if (!options.read_only && options.block_bytes_max > longest) {
    return refused("made for blocks of up to " + std::to_string(longest) +
                   " bytes, started with up to " + std::to_string(options.block_bytes_max) +
                   ": set it back, or make a new store");
  }
  return {};
}

/// What of the options an existing store does not follow.
void WarnOfWishes(const StoreOptions& options, OpenedStore& store) {
  const StoreGeometry geometry = GeometryOf(store.superblock);
  const std::string name = "store of " + store.files.front().name() + ": ";
  if (options.segment_bytes != 0 && options.segment_bytes != geometry.segment_bytes) {
    store.warnings.push_back(name + "keeps its segments of " +
                             std::to_string(geometry.segment_bytes) + " bytes, not " +
                             std::to_string(options.segment_bytes));
  }
  if (options.capacity_bytes == 0) return;
  const std::uint64_t wanted = DeviceBytesWanted(options, geometry.devices);
  const Result<DeviceGeometry> shape =
      ShapeOf(wanted, geometry.slices, kBlockBytesMin, geometry.segment_bytes);
  if (shape.ok() && shape->segments == geometry.segments) return;
  store.warnings.push_back(
      name + "keeps the " + std::to_string(geometry.devices * geometry.device_bytes()) +
      " bytes that it was made with, not " + std::to_string(options.capacity_bytes) +
      ": to change them, stop the daemon and remove its files; what they hold is lost");
}

Result<OpenedStore> OpenExisting(const StoreOptions& options, std::vector<Found> devices) {
  OpenedStore store;
  store.superblock = devices.front().pages.superblock;
  for (std::uint32_t device = 0; device < devices.size(); ++device) {
    Status good = CheckDevice(options, devices[device], store.superblock, device, devices.size());
    if (!good.ok()) return good;
  }
  for (Found& found : devices) {
    if (!found.pages.damage.empty()) {
      store.warnings.push_back("device " + found.path + ": " + found.pages.damage +
                               (options.read_only ? "" : "; mended"));
      if (!options.read_only) {
        Status mended = MendSuperblockPage(*found.file, found.pages);
        if (!mended.ok()) return mended;
      }
    }
    store.files.push_back(std::move(*found.file));
  }
  WarnOfWishes(options, store);
  return store;
}

/// Whether the process ended while it made this very store: the last devices have superblocks, the
/// first ones nothing, and no segment was begun on any, so that there is nothing to lose.
bool IsUnfinished(const std::vector<Found>& devices) {
  const auto made = std::find_if_not(devices.begin(), devices.end(),
                                     [](const Found& found) { return found.pages.fresh; });
  if (made == devices.begin() || made == devices.end()) return false;
  const Superblock& first = made->pages.superblock;
  for (auto found = made; found != devices.end(); ++found) {
    const auto position = static_cast<std::uint32_t>(found - devices.begin());
    const Superblock& superblock = found->pages.superblock;
    if (found->pages.fresh || superblock.store_id != first.store_id ||
        superblock.devices != devices.size() || superblock.device != position) {
      return false;
    }
    for (std::uint32_t slice = 0; slice < superblock.slices; ++slice) {
      std::vector<SegmentHeader> headers;
      const Status read = ReadSegmentHeaders(*found->file, superblock, position, slice, headers);
      const bool none =
          std::all_of(headers.begin(), headers.end(),
                      [](const SegmentHeader& header) { return header.generation == 0; });
      if (!read.ok() || !none) return false;
    }
  }
  return true;
}

}  // namespace

Result<OpenedStore> OpenStore(const StoreOptions& options) {
  const std::vector<std::string> paths = PathsOf(options);
  Status good = CheckPaths(paths);
  if (good.ok() && !options.read_only) good = MakeFolder(options.folder);
  if (!good.ok()) return good;
  Result<std::vector<Found>> looked = LookAtAll(paths, options.read_only);
  if (!looked.ok()) return looked.status();
  std::vector<Found> devices = std::move(looked).value();
  const auto fresh = [](const Found& found) { return found.pages.fresh; };
  const auto empty = std::find_if(devices.begin(), devices.end(), fresh);
  if (empty == devices.end()) return OpenExisting(options, std::move(devices));
  const auto full = std::find_if_not(devices.begin(), devices.end(), fresh);
  if (full != devices.end() && !options.read_only && IsUnfinished(devices)) {
    for (Found& found : devices) found.unfinished = !found.pages.fresh;
  } else if (full != devices.end()) {
    return Refused(StatusCode::kInvalid, empty->path,
                   "is empty, but " + full->path + " belongs to a store of " +
                       std::to_string(full->pages.superblock.devices) +
                       " devices: name its own devices, or remove it to make a new store");
  }
  if (options.read_only || options.slices == 0) {
    return Refused(StatusCode::kMiss, devices.front().path, "there is no store");
  }
  return MakeStore(options, std::move(devices));
}

Superblock MakeSuperblock(const StoreGeometry& geometry, std::uint32_t device,
                          const std::array<std::uint64_t, 2>& store_id, std::uint64_t salt,
                          std::uint64_t now_unix_s) noexcept {
  Superblock superblock;
  superblock.store_id = store_id;
  superblock.salt = salt;
  superblock.device = device;
  superblock.devices = geometry.devices;
  superblock.slices = geometry.slices;
  superblock.segments = geometry.segments;
  superblock.segment_bytes = geometry.segment_bytes;
  superblock.device_bytes = geometry.device_bytes();
  superblock.created_unix_s = now_unix_s;
  Seal(superblock);
  return superblock;
}

bool IsHeaderOf(const SegmentHeader& header, const Superblock& superblock, std::uint32_t device,
                std::uint32_t slice, std::uint32_t segment) noexcept {
  return IsSealed(header, superblock.salt) && header.store_id == superblock.store_id &&
         header.device == device && header.slice == slice && header.segment == segment &&
         header.generation != 0;
}

Status ReadSegmentHeaders(const DeviceFile& file, const Superblock& superblock,
                          std::uint32_t device, std::uint32_t slice,
                          std::vector<SegmentHeader>& headers, std::uint32_t* unreadable_count) {
  const StoreGeometry geometry = GeometryOf(superblock);
  headers.assign(geometry.segments, {});
  PageBuffer page(kPageBytes);
  std::uint32_t unreadable = 0;
  Status last;
  for (std::uint32_t segment = 0; segment < geometry.segments; ++segment) {
    Status read = file.ReadNow(geometry.SegmentOffset(slice, segment), page.bytes());
    if (!read.ok()) {
      ++unreadable;
      last = std::move(read);
      continue;
    }
    const auto header = HeaderIn<SegmentHeader>(page.bytes());
    if (IsHeaderOf(header, superblock, device, slice, segment)) headers[segment] = header;
  }
  if (unreadable_count != nullptr) *unreadable_count = unreadable;
  return unreadable == geometry.segments ? last : Status::Ok();
}

}  // namespace terrace::nvme
