#include "tools/replay/report/table_line.h"

#include <cstdarg>
#include <cstdio>

namespace terrace::replay {

void Line(std::string& out, const char* format, ...) {
  char text[400];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  out += text;
  out += '\n';
}

}  // namespace terrace::replay
