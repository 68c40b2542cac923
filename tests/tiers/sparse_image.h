// Images of devices as text: small enough for the repository, and legible without a program.
//
// One line a run of equal rows: the offset (hex, bytes), how many rows, and the row (32 bytes in
// hex). Rows of zeros have no line; the last line is the size and the word "end".
//
// Thread: any; reads and writes whole files.
#pragma once

#include <string>

namespace terrace::nvme {

/// The text of a file. REQUIRES: its size is a multiple of 32.
std::string SparseText(const std::string& path);
/// Makes the file that the text describes. False when the text is not of this form.
bool WriteSparse(const std::string& text, const std::string& path);

}  // namespace terrace::nvme
