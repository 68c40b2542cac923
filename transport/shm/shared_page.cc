#include "transport/shm/shared_page.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <new>
#include <string>

namespace terrace {
namespace {

Status Failed(const char* what) {
  return {StatusCode::kIo, std::string("shared page: ") + what + ": " + std::strerror(errno)};
}

void* Map(int fd) {
  return ::mmap(nullptr, sizeof(SharedLayout), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

}  // namespace

Result<std::shared_ptr<SharedPage>> SharedPage::Create(UniqueFd* fd) {
  UniqueFd made(::memfd_create("terrace:link", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!made) return Failed("memfd_create");
  if (::ftruncate(made.get(), sizeof(SharedLayout)) != 0) return Failed("ftruncate");
  // Neither side can make the other's accesses SIGBUS by shrinking it.
  if (::fcntl(made.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    return Failed("sealing");
  }
  void* const memory = Map(made.get());
  if (memory == MAP_FAILED) return Failed("mmap");
  *fd = std::move(made);
  return std::shared_ptr<SharedPage>(new SharedPage(new (memory) SharedLayout));
}

Result<std::shared_ptr<SharedPage>> SharedPage::Open(int fd) {
  struct stat about{};
  if (::fstat(fd, &about) != 0) return Failed("fstat");
  const int seals = ::fcntl(fd, F_GET_SEALS);
  if (about.st_size != static_cast<off_t>(sizeof(SharedLayout)) || seals < 0 ||
      (seals & F_SEAL_SHRINK) == 0) {
    return Status::Invalid("shared page of " + std::to_string(about.st_size) + " bytes, not " +
                           std::to_string(sizeof(SharedLayout)) + " and sealed");
  }
  void* const memory = Map(fd);
  if (memory == MAP_FAILED) return Failed("mmap");
  auto* const layout = std::launder(static_cast<SharedLayout*>(memory));
  std::shared_ptr<SharedPage> page(new SharedPage(layout));
  if (layout->magic != SharedLayout::kMagic || layout->version != kSharedPageVersion) {
    return Status::Invalid("shared page of version " + std::to_string(layout->version) + ", not " +
                           std::to_string(kSharedPageVersion));
  }
  return page;
}

SharedPage::~SharedPage() { ::munmap(layout_, sizeof(SharedLayout)); }

}  // namespace terrace
