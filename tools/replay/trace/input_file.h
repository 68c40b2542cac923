// InputFile: a file from outside, read line by line or whole, that can neither hang nor flood.
//
// Model. Regular files and FIFOs (`<(zcat trace.gz)`) are read; devices are refused, since they may
// have no end. A FIFO that nobody writes to, or that is silent for a minute, is an error. A line
// longer than the limit is not kept; it counts as a line that is too long.
//
// Thread: one. Failure: kIo with the file and the cause.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace terrace::replay {

class InputFile {
 public:
  static Result<InputFile> Open(const std::string& path);
  InputFile(InputFile&& other) noexcept;
  InputFile& operator=(InputFile&& other) = delete;
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;
  ~InputFile();

  /// The next line without its end, or that there is none any more. Valid until the next call.
  struct Line {
    std::string_view text;
    std::uint64_t number = 0;  ///< from 1
    bool too_long = false;     ///< then the text is empty
    bool end = false;          ///< no line; `number` is that of the last one
  };
  Result<Line> NextLine(std::size_t bytes_max);
  /// What is left of the file. kInvalid when that is more than `bytes_max` bytes.
  Result<std::string> Rest(std::size_t bytes_max);
  /// The next bytes, which stay unread: 64 KiB, or all where there are fewer.
  Result<std::string_view> Peek();

  [[nodiscard]] const std::string& path() const noexcept { return path_; }

 private:
  InputFile(std::string path, int fd, bool is_fifo);
  Status AwaitWriter();
  Status AwaitBytes();
  /// Appends what can be read to the buffer; sets ended_ where there is no more.
  Status Fill();
  /// Throws away what is read up to the end of the line.
  Status PassLine();

  std::string path_;
  int fd_;
  bool is_fifo_;
  bool ended_ = false;
  std::string buffer_;
  std::size_t begin_ = 0;  // of what was not taken yet
  std::uint64_t lines_ = 0;
};

}  // namespace terrace::replay
