// The style and the script of report.html, as text. Nothing is loaded from anywhere. Without the
// script the page has all it says; with it tables sort, and points tell their values at once.
//
// Colours: c0 to c8 can be told apart with any of the common colour blindnesses (after Okabe and
// Ito, darkened where white paper needs it), and differ in dashes and markers too, for print.
#pragma once

#include <string_view>

namespace terrace::replay {

extern const std::string_view kPageStyle;
extern const std::string_view kPageScript;

}  // namespace terrace::replay
