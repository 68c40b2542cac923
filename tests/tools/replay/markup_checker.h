// MarkupError: what is wrong with a page as XML, for tests of report.html. Strict on purpose: each
// tag closed in its order, attributes in double quotes and once each, no bare '<' or '&' in text.
// Thread: any; nothing is kept.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace terrace::replay {

class MarkupChecker {
 public:
  explicit MarkupChecker(std::string_view page) : rest_(page) {}

  /// Empty when all is well, else what is wrong and where.
  std::string Error() {
    Skip("<!DOCTYPE html>");
    while (!rest_.empty() && error_.empty()) {
      if (rest_.starts_with("<![CDATA[")) {
        SkipPast("]]>");
      } else if (rest_[0] == '<') {
        Tag();
      } else {
        Text();
      }
    }
    if (error_.empty() && !open_.empty()) error_ = "never closed: " + open_.back();
    return error_;
  }

 private:
  void Fail(const std::string& what) {
    if (error_.empty()) error_ = what + " before: " + std::string(rest_.substr(0, 80));
  }
  bool Skip(std::string_view text) {
    if (!rest_.starts_with(text)) return false;
    rest_.remove_prefix(text.size());
    return true;
  }
  void SkipPast(std::string_view text) {
    const std::size_t at = rest_.find(text);
    if (at == std::string_view::npos) return Fail("no " + std::string(text));
    rest_.remove_prefix(at + text.size());
  }
  std::string Name() {
    const std::size_t end = rest_.find_first_of(" \n/>=\"<");
    std::string name(rest_.substr(0, end));
    rest_.remove_prefix(name.size());
    return name;
  }
  void Spaces() {
    while (!rest_.empty() && (rest_[0] == ' ' || rest_[0] == '\n')) rest_.remove_prefix(1);
  }
  void Entity() {
    for (const char* known : {"&amp;", "&lt;", "&gt;", "&quot;", "&#39;"}) {
      if (Skip(known)) return;
    }
    Fail("a bare &");
  }
  void Text() {
    if (open_.empty() && static_cast<unsigned char>(rest_[0]) > ' ') {
      return Fail("text outside of all tags");
    }
    Character();
  }
  void Character() {
    const auto code = static_cast<unsigned char>(rest_[0]);
    if (rest_[0] == '&') return Entity();
    if (code < 0x20 && code != '\n') return Fail("a control character");
    rest_.remove_prefix(1);
  }
  void Tag() {
    rest_.remove_prefix(1);
    if (Skip("/")) {
      const std::string name = Name();
      if (open_.empty() || open_.back() != name) {
        return Fail("</" + name + "> closes " + (open_.empty() ? "nothing" : open_.back()));
      }
      open_.pop_back();
      if (!Skip(">")) Fail("no >");
      return;
    }
    const std::string name = Name();
    if (name.empty()) return Fail("a bare <");
    std::set<std::string> attributes;
    for (Spaces(); error_.empty() && !rest_.empty() && rest_[0] != '>' && rest_[0] != '/';
         Spaces()) {
      Attribute(attributes);
    }
    if (Skip("/>")) return;
    if (!Skip(">")) return Fail("<" + name + " without end");
    open_.push_back(name);
  }
  void Attribute(std::set<std::string>& attributes) {
    const std::string name = Name();
    if (!attributes.insert(name).second) return Fail(name + " twice");
    if (!Skip("=\"")) return Fail("no value of " + name);
    const std::string_view begin = rest_;
    while (error_.empty() && !rest_.empty() && rest_[0] != '"') {
      if (rest_[0] == '<') return Fail("< in " + name);
      Character();
    }
    const std::string_view value = begin.substr(0, begin.size() - rest_.size());
    const bool drawn = name != "aria-label" && name != "content";
    if (drawn && (value.find("nan") != value.npos || value.find("inf") != value.npos)) {
      return Fail("no number in " + name);
    }
    if (!Skip("\"")) Fail("no end of " + name);
  }

  std::string_view rest_;
  std::vector<std::string> open_;
  std::string error_;
};

inline std::string MarkupError(std::string_view page) { return MarkupChecker(page).Error(); }

}  // namespace terrace::replay
