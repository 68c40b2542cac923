// Labels of a sample as the daemon tells them: name="value",name="value". Any thread.
#pragma once

#include <string>
#include <string_view>

namespace terrace {

/// The value of a label in `tier="dram",link="tcp"`, unescaped; empty when it is not there.
std::string LabelValue(std::string_view labels, std::string_view name);

}  // namespace terrace
