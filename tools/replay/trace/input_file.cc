#include "tools/replay/trace/input_file.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace terrace::replay {
namespace {

constexpr std::size_t kChunkBytes = 64 << 10;
/// Who starts the writer of a FIFO after this program gets so long, ms.
constexpr int kWriterPatienceMs = 2'000;
constexpr int kWriterPauseMs = 20;
/// A pipe may wait for a slow program before it, but not forever, ms.
constexpr int kSilenceMs = 60'000;
/// A line that is passed over: beyond this the file is no text at all, bytes.
constexpr std::size_t kPassedBytesMax = std::size_t{1} << 30;

Status Failed(const std::string& path, const char* what) {
  return Status(StatusCode::kIo, path + ": cannot " + what + ": " + std::strerror(errno));
}

}  // namespace

InputFile::InputFile(std::string path, int fd, bool is_fifo)
    : path_(std::move(path)), fd_(fd), is_fifo_(is_fifo) {}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      is_fifo_(other.is_fifo_),
      ended_(other.ended_),
      buffer_(std::move(other.buffer_)),
      begin_(other.begin_),
      lines_(other.lines_) {}

InputFile::~InputFile() {
  if (fd_ >= 0) close(fd_);
}

Result<InputFile> InputFile::Open(const std::string& path) {
  // Not to wait in open() for the writer of a FIFO that never comes.
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return Failed(path, "open");
  InputFile file(path, fd, false);
  struct stat status{};
  if (fstat(fd, &status) != 0) return Failed(path, "open");
  if (S_ISDIR(status.st_mode)) {
    errno = EISDIR;
    return Failed(path, "read");
  }
  file.is_fifo_ = S_ISFIFO(status.st_mode);
  if (!file.is_fifo_ && !S_ISREG(status.st_mode)) {
    return Status(StatusCode::kIo, path + ": cannot read: it is a device or a socket, not a file");
  }
  if (file.is_fifo_) {
    Status waited = file.AwaitWriter();
    if (!waited.ok()) return waited;
  }
  return file;
}

Status InputFile::AwaitWriter() {
  for (int waited_ms = 0; waited_ms < kWriterPatienceMs; waited_ms += kWriterPauseMs) {
    char byte = 0;
    const ssize_t got = read(fd_, &byte, 1);  // 0: nobody writes to it
    if (got == 1) buffer_.push_back(byte);
    if (got != 0) return Status::Ok();
    poll(nullptr, 0, kWriterPauseMs);
  }
  return Status(StatusCode::kIo, path_ + ": cannot read: a FIFO that nobody writes to");
}

Status InputFile::AwaitBytes() {
  pollfd waited{.fd = fd_, .events = POLLIN, .revents = 0};
  for (;;) {
    const int ready = poll(&waited, 1, kSilenceMs);
    if (ready > 0) return Status::Ok();
    if (ready == 0) {
      return Status(StatusCode::kIo, path_ + ": cannot read: nothing came for " +
                                         std::to_string(kSilenceMs / 1000) + " s");
    }
    if (errno != EINTR) return Failed(path_, "read");
  }
}

Status InputFile::Fill() {
  if (begin_ > 0) {
    buffer_.erase(0, begin_);
    begin_ = 0;
  }
  const std::size_t had = buffer_.size();
  for (;;) {
    if (is_fifo_) {
      Status status = AwaitBytes();
      if (!status.ok()) return status;
    }
    buffer_.resize(had + kChunkBytes);
    const ssize_t got = read(fd_, buffer_.data() + had, kChunkBytes);
    buffer_.resize(had + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got > 0) return Status::Ok();
    if (got == 0) {
      ended_ = true;
      return Status::Ok();
    }
    if (errno != EINTR && errno != EAGAIN) return Failed(path_, "read");
  }
}

Status InputFile::PassLine() {
  for (std::size_t passed = 0;;) {
    const std::size_t end = buffer_.find('\n', begin_);
    if (end != std::string::npos) {
      begin_ = end + 1;
      return Status::Ok();
    }
    passed += buffer_.size() - begin_;
    begin_ = buffer_.size();
    if (passed > kPassedBytesMax) {
      return Status(StatusCode::kIo,
                    path_ + ": cannot read: line " + std::to_string(lines_) + " does not end");
    }
    if (ended_) return Status::Ok();
    Status status = Fill();
    if (!status.ok()) return status;
  }
}

Result<InputFile::Line> InputFile::NextLine(std::size_t bytes_max) {
  std::size_t searched = 0;  // from begin_, without finding an end
  for (;;) {
    const std::size_t end = buffer_.find('\n', begin_ + searched);
    const bool found = end != std::string::npos;
    const std::size_t length = (found ? end : buffer_.size()) - begin_;
    if (length > bytes_max) {
      ++lines_;
      Status status = PassLine();
      if (!status.ok()) return status;
      return Line{.text = {}, .number = lines_, .too_long = true};
    }
    if (found || ended_) {
      if (!found && length == 0) return Line{.text = {}, .number = lines_, .end = true};
      const std::string_view text = std::string_view(buffer_).substr(begin_, length);
      begin_ += length + (found ? 1 : 0);
      return Line{.text = text, .number = ++lines_};
    }
    searched = length;
    Status status = Fill();
    if (!status.ok()) return status;
  }
}

Result<std::string> InputFile::Rest(std::size_t bytes_max) {
  while (!ended_) {
    Status status = Fill();
    if (!status.ok()) return status;
    if (buffer_.size() > bytes_max) {
      return Status::Invalid("the file is longer than " + std::to_string(bytes_max >> 20) + " MiB");
    }
  }
  std::string rest = buffer_.substr(begin_);
  begin_ = buffer_.size();
  return rest;
}

Result<std::string_view> InputFile::Peek() {
  while (!ended_ && buffer_.size() - begin_ < kChunkBytes) {
    Status status = Fill();
    if (!status.ok()) return status;
  }
  return std::string_view(buffer_).substr(begin_);
}

}  // namespace terrace::replay
