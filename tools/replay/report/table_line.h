// One line of a table for people, as printf has it. Pure; any thread.
#pragma once

#include <string>

namespace terrace::replay {

/// Appends the line, cut after 399 bytes, and its end.
void Line(std::string& out, const char* format, ...) __attribute__((format(printf, 2, 3)));

}  // namespace terrace::replay
