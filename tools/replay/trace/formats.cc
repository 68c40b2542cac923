#include "tools/replay/trace/formats.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>

namespace terrace::replay {
namespace {

struct FormatName {
  TraceFormat format;
  std::string_view name;
};
constexpr FormatName kFormatNames[] = {{TraceFormat::kAuto, "auto"},
                                       {TraceFormat::kMooncake, "mooncake"},
                                       {TraceFormat::kBailian, "bailian"},
                                       {TraceFormat::kWeka, "weka"}};

/// Longest session file, bytes: the published ones have up to about 10 MiB. Parsed it takes
/// several times as much memory.
constexpr std::size_t kSessionBytesMax = 128 << 20;
constexpr std::size_t kSessionFilesMax = 1'000'000;
constexpr double kSessionsPerHourMin = 0.001;
constexpr double kSessionsPerHourMax = 1e9;
/// Lines that are looked at to find out a format.
constexpr int kLinesTried = 100;

/// Fails with `reason`, or counts it when broken lines are to be skipped.
Status Skip(TraceReadResult& result, const TraceReadOptions& options, const std::string& reason) {
  if (!options.skip_bad_lines) return Status::Invalid(reason);
  if (result.skipped_lines++ == 0) result.first_skipped = reason;
  return Status::Ok();
}

Status NothingIn(const std::string& path, const std::string& what, const TraceReadResult& result) {
  return Status::Invalid(path + ": no request in " + what +
                         (result.skipped_lines == 0 ? "" : "; first: " + result.first_skipped));
}

Result<TraceReadResult> ReadLines(InputFile& file, const TraceReadOptions& options,
                                  LineParser& parser) {
  TraceReadResult result;
  result.trace.source = file.path();
  BlockMerger merger(options.block_tokens);
  std::uint64_t lines = 0;
  // Where the first lines need not be the first requests, all are read before some are taken.
  const std::uint64_t enough = parser.InOrderOfTime() ? options.limit : 0;
  while (enough == 0 || result.trace.requests.size() < enough) {
    const Result<InputFile::Line> line = file.NextLine(kLineBytesMax);
    if (!line.ok()) return line.status();
    lines = line->number;
    if (line->end) break;
    Status status = line->too_long ? Status::Invalid("the line is longer than 4 MiB")
                                   : parser.Parse(line->text, lines, result.trace);
    if (status.ok()) {
      merger.MergeLast(result.trace);
      continue;
    }
    status =
        Skip(result, options, file.path() + ":" + std::to_string(lines) + ": " + status.message());
    if (!status.ok()) return status;
  }
  if (result.trace.requests.empty()) {
    return NothingIn(file.path(), std::to_string(lines) + " lines", result);
  }
  merger.Finish(result.trace);
  parser.Finish(result, options.limit);
  return result;
}

/// Names of the session files of a folder, in order: the order in which they start.
Result<std::vector<std::string>> SessionFiles(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  for (std::filesystem::directory_iterator entry(folder, error), end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().extension() != ".json") continue;
    files.push_back(entry->path().string());
    if (files.size() > kSessionFilesMax) {
      return Status::Invalid(folder + ": there are more than " + std::to_string(kSessionFilesMax) +
                             " session files");
    }
  }
  if (error) {
    return Status(StatusCode::kIo, folder + ": cannot read: " + error.message());
  }
  if (files.empty()) {
    return Status::Invalid(folder + ": no session file (*.json) in this folder");
  }
  std::ranges::sort(files);
  return files;
}

/// @return its message begins with the file.
Status AddSession(InputFile& file, WekaSessions& sessions) {
  const Result<std::string> text = file.Rest(kSessionBytesMax);
  Status status = text.ok() ? sessions.Add(*text) : text.status();
  if (status.ok() || status.code() == StatusCode::kIo) return status;
  return Status::Invalid(file.path() + ": " + status.message());
}

Status OpenAndAddSession(const std::string& path, WekaSessions& sessions) {
  Result<InputFile> file = InputFile::Open(path);
  return file.ok() ? AddSession(*file, sessions) : file.status();
}

/// @param files the sessions; those that are read already (a FIFO can be read only once) `opened`.
Result<TraceReadResult> ReadWeka(const std::string& source, const std::vector<std::string>& files,
                                 InputFile* opened, const TraceReadOptions& options) {
  TraceReadResult result;
  WekaSessions sessions(options);
  for (const std::string& path : files) {
    Status status =
        opened != nullptr ? AddSession(*opened, sessions) : OpenAndAddSession(path, sessions);
    if (status.ok()) continue;
    // A file of a folder that cannot be read is one broken session of many.
    if (status.code() == StatusCode::kIo && (opened != nullptr || !options.skip_bad_lines)) {
      return status;
    }
    status = Skip(result, options, status.message());
    if (!status.ok()) return status;
  }
  result.format = TraceFormat::kWeka;
  result.trace = sessions.Finish();
  result.trace.source = source;
  if (options.limit != 0) result.trace.KeepFirst(options.limit);
  if (result.trace.requests.empty()) {
    return NothingIn(source, std::to_string(files.size()) + " sessions", result);
  }
  return result;
}

/// The fields of the object that `text` begins with, or of as much of it as there is.
std::vector<std::string_view> FieldsOfObject(std::string_view text) {
  std::vector<std::string_view> fields;
  std::string_view last;  // the text value or name that ended before this position
  int depth = 0;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char character = text[at];
    if (character == '"') {
      const std::size_t begin = ++at;
      while (at < text.size() && text[at] != '"') at += text[at] == '\\' ? 2 : 1;
      if (at >= text.size()) break;
      last = text.substr(begin, at - begin);
    } else if (character == '{' || character == '[') {
      ++depth;
    } else if (character == '}' || character == ']') {
      if (--depth <= 0) break;
    } else if (character == ':' && depth == 1) {
      fields.push_back(last);
    }
  }
  return fields;
}

}  // namespace

Result<TraceFormat> ParseTraceFormat(std::string_view name) {
  for (const FormatName& entry : kFormatNames) {
    if (entry.name == name) return entry.format;
  }
  return Status::Invalid("unknown format '" + std::string(name.substr(0, 40)) +
                         "'; there are mooncake, bailian, weka and auto");
}

std::string_view TraceFormatName(TraceFormat format) noexcept {
  for (const FormatName& entry : kFormatNames) {
    if (entry.format == format) return entry.name;
  }
  return "unknown";
}

TraceFormat DetectFormat(std::string_view text) {
  // Broken lines before the first good one tell nothing.
  for (int lines = 0; lines < kLinesTried && !text.empty(); ++lines) {
    const std::size_t begin = text.find_first_not_of(" \t\r\n\xef\xbb\xbf");
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    if (text.front() == '{') {
      // Fields of an object have no order: all are looked at before one decides.
      const std::vector<std::string_view> fields = FieldsOfObject(text);
      const auto has = [&fields](std::string_view name) {
        return std::ranges::find(fields, name) != fields.end();
      };
      if (has("chat_id")) return TraceFormat::kBailian;
      if (has("requests")) return TraceFormat::kWeka;
      if (has("hash_ids") || has("input_length")) return TraceFormat::kMooncake;
    }
    text.remove_prefix(std::min(text.find('\n'), text.size()));
  }
  return TraceFormat::kMooncake;
}

Result<TraceReadResult> ReadTrace(const std::string& path, const TraceReadOptions& options) {
  if (!(options.sessions_per_hour >= kSessionsPerHourMin &&
        options.sessions_per_hour <= kSessionsPerHourMax)) {  // so that NaN is outside, too
    return Status::Invalid("--sessions-per-hour is " + std::to_string(options.sessions_per_hour) +
                           ", must be from 0.001 to 1000000000");
  }
  std::error_code absent;
  const bool may_be_folder =
      options.format == TraceFormat::kAuto || options.format == TraceFormat::kWeka;
  if (may_be_folder && std::filesystem::is_directory(path, absent)) {
    const Result<std::vector<std::string>> files = SessionFiles(path);
    if (!files.ok()) return files.status();
    return ReadWeka(path, *files, nullptr, options);
  }
  Result<InputFile> file = InputFile::Open(path);
  if (!file.ok()) return file.status();
  TraceFormat format = options.format;
  if (format == TraceFormat::kAuto) {
    const Result<std::string_view> text = file->Peek();
    if (!text.ok()) return text.status();
    format = DetectFormat(*text);
  }
  if (format == TraceFormat::kWeka) return ReadWeka(path, {path}, &*file, options);
  std::unique_ptr<LineParser> parser;
  if (format == TraceFormat::kBailian) {
    parser = std::make_unique<BailianParser>(options.block_tokens);
  } else {
    parser = std::make_unique<MooncakeParser>(options.block_tokens);
  }
  return ReadLines(*file, options, *parser);
}

}  // namespace terrace::replay
