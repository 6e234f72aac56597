#include "slow_reader.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <utility>
#include <vector>

namespace irt::test {
namespace {

using Text = std::u32string;

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::string_view kSpace = " \t\n\v\f\r";
constexpr std::size_t kMaxBytes = 64 * 1024;

// The text ends here; or a character stands where it cannot.
struct End {};
struct Broken {
  std::size_t at = 0;
};

struct Member;

// A node is kept as far as it was read; `closed` says that all of it was.
struct Node {
  enum class Kind { kNone, kObject, kArray, kString, kNumber, kTrue, kFalse, kNull };
  Kind kind = Kind::kNone;
  bool closed = false;
  std::string text;
  std::vector<Member> members;
  std::vector<Node> elements;
};

struct Member {
  std::string key;
  Node value;
};

std::string utf8(std::uint32_t c) {
  if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) return std::string(kReplacement);
  std::string tail;
  std::uint32_t limit = 0x80;
  std::uint32_t lead = 0;
  while (c >= limit) {
    tail.insert(tail.begin(), static_cast<char>(0x80 | (c & 0x3F)));
    c >>= 6;
    lead = lead == 0 ? 0xC0 : 0x80 | (lead >> 1);
    limit = lead == 0xC0 ? 0x20 : limit >> 1;
  }
  tail.insert(tail.begin(), static_cast<char>(lead | c));
  return tail;
}

Text decoded(std::string_view bytes) {
  const std::string valid = slow_clean(bytes);
  Text out;
  for (std::size_t i = 0; i < valid.size();) {
    const auto at = [&valid](std::size_t k) { return static_cast<unsigned char>(valid[k]); };
    const std::size_t size = at(i) < 0x80 ? 1 : at(i) < 0xE0 ? 2 : at(i) < 0xF0 ? 3 : 4;
    char32_t value = size == 1 ? at(i) : at(i) & (0x7FU >> size);
    for (std::size_t k = 1; k < size; ++k) value = value << 6 | (at(i + k) & 0x3FU);
    out += value;
    i += size;
  }
  return out;
}

bool in(char32_t c, std::u32string_view all) { return all.find(c) != all.npos; }
char32_t small(char32_t c) { return c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c; }
bool space(char32_t c) {
  return in(c, U" \t\n\v\f\r\u0085\u00A0\u2028\u2029\u202F\u205F\u3000\uFEFF") ||
         (c >= 0x2000 && c <= 0x200B);
}
bool comma(char32_t c) { return in(c, U",\uFF0C\u3001"); }
bool colon(char32_t c) { return in(c, U":\uFF1A"); }
bool digit(char32_t c) { return c >= '0' && c <= '9'; }
bool letter(char32_t c) { return (small(c) >= 'a' && small(c) <= 'z') || c == '_'; }

// The quotes that end what begins with this one.
std::u32string_view closing(char32_t quote) {
  if (quote == '"') return U"\"";
  if (quote == '\'') return U"'";
  if (in(quote, U"“”„‟")) return U"“”‟\"";
  if (in(quote, U"‘’‚‛")) return U"‘’‛'";
  return U"";
}

class Parser {
 public:
  Parser(const Text& text, std::size_t at, std::vector<std::string> keys)
      : text_(text), at_(at), keys_(std::move(keys)) {}

  // The first object with one of `found` as a key, as far as it can be read.
  Node parse(const std::vector<std::string>& found) {
    for (;;) {
      Node root;
      tagged_ = broken_ = false;
      at_ = text_.find(U'{', at_);
      if (at_ == text_.npos) return root;
      try {
        container(root, 0);
      } catch (const End&) {
        at_ = text_.size();
      } catch (const Broken& here) {
        broken_ = true;
        at_ = here.at;
      }
      for (const Member& member : root.members) {
        if (std::ranges::find(found, member.key) != found.end()) return root;
      }
    }
  }
  bool broken() const { return broken_; }

 private:
  char32_t peek() const {
    if (at_ >= text_.size()) throw End{};
    return text_[at_];
  }
  [[noreturn]] void broken_here() const { throw Broken{at_}; }

  // White space and comments.
  void gap() {
    for (;;) {
      const char32_t c = peek();
      if (c == '#') {
        line();
      } else if (c == '/') {
        ++at_;
        if (peek() == '/') {
          line();
        } else if (peek() == '*') {
          const std::size_t end = text_.find(U"*/", at_ + 1);
          if (end == text_.npos) throw End{};
          at_ = end + 2;
        } else {
          broken_here();
        }
      } else if (space(c)) {
        ++at_;
      } else {
        return;
      }
    }
  }
  void line() {
    at_ = text_.find(U'\n', at_);
    if (at_ == text_.npos) throw End{};
    ++at_;
  }

  // True: the answer ends here with `</answer`.
  bool end_tag() {
    for (const char32_t c : Text(U"</answer")) {
      if (small(peek()) != c) broken_here();
      ++at_;
    }
    return true;
  }

  void container(Node& node, int depth) {
    const bool object = peek() == '{';
    if (depth == 32) broken_here();
    ++at_;
    node.kind = object ? Node::Kind::kObject : Node::Kind::kArray;
    while (!tagged_) {
      for (gap(); comma(peek()); gap()) ++at_;
      const char32_t c = peek();
      if (c == (object ? '}' : ']')) {
        ++at_;
        break;
      }
      if (c == '<') {
        tagged_ = end_tag();
      } else if (object) {
        std::string name = key();
        gap();
        if (!colon(peek())) broken_here();
        ++at_;
        node.members.push_back({std::move(name), {}});
        value(node.members.back().value, depth + 1, true);
      } else {
        node.elements.emplace_back();
        value(node.elements.back(), depth + 1, false);
      }
    }
    node.closed = true;
  }

  std::string key() {
    std::string out;
    const std::u32string_view ends = closing(peek());
    if (ends.empty()) {
      if (!letter(peek())) broken_here();
      while (letter(peek()) || digit(peek())) {
        out += utf8(peek());
        if (out.size() > 128) broken_here();
        ++at_;
      }
      return out;
    }
    for (++at_; !in(peek(), ends); ++at_) {
      if (in(peek(), U"{}[]<\n")) broken_here();
      if (peek() != '\\') out += utf8(peek());
      if (out.size() > 128) broken_here();
    }
    ++at_;
    return out;
  }

  void value(Node& node, int depth, bool in_object) {
    gap();
    const char32_t c = peek();
    if (c == '{' || c == '[') return container(node, depth);
    if (c == '<' || comma(c) || colon(c)) broken_here();
    if (!closing(c).empty()) {
      node.kind = Node::Kind::kString;
      node.text = string(in_object);
    } else if (digit(c) || in(c, U"+-.")) {
      node.kind = Node::Kind::kNumber;
      for (; digit(peek()) || in(peek(), U"+-.eE"); ++at_) {
        node.text += utf8(peek());
        if (node.text.size() > 64) broken_here();
      }
    } else {
      node.kind = word();
    }
    node.closed = true;
  }

  Node::Kind word() {
    const std::pair<std::string, Node::Kind> words[] = {
        {"true", Node::Kind::kTrue},      {"false", Node::Kind::kFalse},
        {"null", Node::Kind::kNull},      {"none", Node::Kind::kNull},
        {"nan", Node::Kind::kNull},       {"infinity", Node::Kind::kNull},
        {"undefined", Node::Kind::kNull},
    };
    for (std::string read;;) {
      read += utf8(small(peek()));
      bool possible = false;
      for (const auto& [spelling, kind] : words) {
        if (spelling == read) {
          ++at_;
          return kind;
        }
        possible = possible || spelling.starts_with(read);
      }
      if (!possible) broken_here();
      ++at_;
    }
  }

  std::string string(bool in_object) {
    const std::u32string_view ends = closing(peek());
    std::string out;
    const auto add = [this, &out](char32_t c) {
      out += utf8(c);
      if (out.size() > kMaxBytes) broken_here();
    };
    for (++at_;;) {
      const char32_t c = peek();
      if (in(c, ends)) {
        if (continues(at_ + 1, in_object)) break;
        if (in_object) inner_key(ends);
      }
      if (c != '\\') {
        add(c);
        ++at_;
        continue;
      }
      if (const auto escape = hex(at_)) {
        const auto low = hex(escape->second);
        at_ = escape->second;
        if (escape->first >= 0xD800 && escape->first < 0xDC00 && low && low->first >= 0xDC00 &&
            low->first < 0xE000) {
          add(0x10000 + ((escape->first - 0xD800) << 10) + (low->first - 0xDC00));
          at_ = low->second;
        } else {
          add(escape->first);
        }
        continue;
      }
      ++at_;
      const std::u32string_view known = U"\"'\\/abfnrtv";
      const std::u32string_view means = U"\"'\\/\a\b\f\n\r\t\v";
      const char32_t letter = peek();
      if (const std::size_t i = known.find(letter); i != known.npos) {
        add(means[i]);
      } else if (in(letter, U"xuU")) {
        unfinished_hex();
        add('\\');
        continue;  // its letters are text
      } else if (letter != '\n') {
        add('\\');
        add(letter);
      }
      ++at_;
    }
    ++at_;
    return out;
  }

  // The character of a whole \x, \u or \U escape at `at`, and where it ends.
  std::optional<std::pair<char32_t, std::size_t>> hex(std::size_t at) const {
    const char32_t letter = at + 1 < text_.size() && text_[at] == '\\' ? text_[at + 1] : 0;
    const std::size_t digits = letter == 'x' ? 2 : letter == 'u' ? 4 : letter == 'U' ? 8 : 0;
    char32_t out = 0;
    for (std::size_t i = 0; i < digits; ++i) {
      const std::u32string_view all = U"0123456789abcdef";
      const std::size_t place = at + 2 + i;
      const std::size_t found = place < text_.size() ? all.find(small(text_[place])) : all.npos;
      if (found == all.npos) return std::nullopt;
      out = out * 16 + static_cast<char32_t>(found);
    }
    if (digits == 0) return std::nullopt;
    return std::pair(out, at + 2 + digits);
  }
  // Of digits that the end of the text cuts off nobody knows yet what they are.
  void unfinished_hex() const {
    std::size_t i = at_ + 1;
    while (i < text_.size() && in(small(text_[i]), U"0123456789abcdef")) ++i;
    if (i == text_.size()) throw End{};
  }

  // At a quote that ends no string: broken if it begins a known key that has its colon.
  void inner_key(std::u32string_view ends) const {
    for (const std::string& key : keys_) {
      const Text name(key.begin(), key.end());
      std::size_t i = at_ + 1 + name.size();
      if (text_.compare(at_ + 1, name.size(), name) != 0 || !in(text_[i], ends)) continue;
      for (++i; space(text_[i]) && i - at_ <= 256;) ++i;
      if (colon(text_[i]) && i - at_ <= 256) throw Broken{i};
    }
  }

  // Whether what stands at `at` may follow a string.
  bool continues(std::size_t at, bool in_object) const {
    try {
      return follows(at, in_object);
    } catch (const End&) {
      return false;
    }
  }

  bool follows(std::size_t at, bool in_object) const {
    int spent = 0;
    const std::size_t from = at;
    bool over = false;
    const auto look = [&](bool counts) {  // at the next character
      if (at >= text_.size()) throw End{};
      over = over || (counts && ++spent > 256) || at - from >= kMaxBytes;
      return text_[at++];
    };
    bool had_comma = false;
    bool had_key = false;
    bool right_key = false;
    char32_t c = 0;
    bool again = false;
    for (;;) {
      if (!again) {
        if (at >= text_.size()) throw End{};
        c = look(!space(text_[at]));
      }
      again = false;
      if (over) return false;
      if (space(c)) continue;
      if (c == '#' || c == '/') {
        if (c == '/') {
          c = look(true);
          if (over || (c != '/' && c != '*')) return false;
        }
        if (c == '*') {
          for (bool star = false; !over; star = c == '*') {
            c = look(true);
            if (star && c == '/') break;
          }
        } else {
          do {
            c = look(true);
          } while (!over && c != '\n');
        }
        if (over) return false;
        continue;
      }
      if (had_key) return colon(c) && right_key;
      if (comma(c)) {
        if (!in_object) return true;
        had_comma = true;
        continue;
      }
      if (c == '<') {
        for (const char32_t wanted : Text(U"/answer")) {
          if (small(look(true)) != wanted || over) return false;
        }
        return true;
      }
      if (!in_object) return c == ']';
      if (c == '}') return true;
      const std::u32string_view ends = closing(c);
      if (ends.empty() && !letter(c)) return false;
      std::string name;
      if (ends.empty()) {
        for (; letter(c) || digit(c); c = look(true)) {
          name += utf8(c);
          if (over || name.size() > 128) return false;
        }
        if (over) return false;
        again = true;
      } else {
        for (c = look(true); !in(c, ends); c = look(true)) {
          if (c != '\\') name += utf8(c);
          if (over || in(c, U"{}[]<\n") || name.size() > 128) return false;
        }
        if (over) return false;
      }
      had_key = true;
      right_key = std::ranges::find(keys_, name) != keys_.end() || (!ends.empty() && had_comma);
    }
  }

  const Text& text_;
  std::size_t at_ = 0;
  std::vector<std::string> keys_;  // what ends a text in any form
  bool tagged_ = false;
  bool broken_ = false;
};

// The reasoning, and the places from which the answer is read, the best first.
struct Places {
  std::string reasoning;
  std::vector<std::size_t> starts;
};

Places places(std::string_view text) {
  std::string low(text);
  for (char& c : low) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  const std::size_t think = low.find("<think>");
  const std::size_t end = low.find("</think>");
  const std::size_t answer = low.find("<answer>");
  Places out;
  if (answer < std::min(think, end)) return {"", {answer + 8}};
  if (think == low.npos && end == low.npos) return {"", {0}};
  const std::size_t from = think < end ? think + 7 : 0;
  const std::size_t to = low.find("</think>", from);
  out.reasoning = slow_clean(text.substr(from, to == low.npos ? to : to - from));
  if (to != low.npos) {
    const std::size_t tagged = low.find("<answer>", to + 8);
    if (tagged != low.npos) return {out.reasoning, {tagged + 8}};
    out.starts.push_back(to + 8);
  }
  const std::size_t inner = low.find("<answer>", from);
  if (inner < to) out.starts.push_back(inner + 8);
  out.starts.push_back(0);
  return out;
}

bool blank(const std::string& text) { return text.find_first_not_of(kSpace) == std::string::npos; }

std::string stripped(std::string text) {
  while (!text.empty() && blank(text.substr(0, 1))) text.erase(0, 1);
  while (!text.empty() && blank(text.substr(text.size() - 1))) text.pop_back();
  return text;
}

bool is_text(const Node& node) {
  return node.closed && (node.kind == Node::Kind::kString || node.kind == Node::Kind::kNumber);
}

// Digits, perhaps a point and zeros or an exponent, that make a whole number; 0: it is none.
int step_number(const Node& node) {
  if (!is_text(node)) return 0;
  const std::string text = stripped(node.text);
  if (text.find_first_not_of("0123456789.eE+-") != text.npos || text.starts_with('+')) return 0;
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const bool whole = end == text.c_str() + text.size() && value >= 1 && value <= 1e6;
  return whole && static_cast<int>(value) == value ? static_cast<int>(value) : 0;
}

// A step, as far as it was read; nothing where a value has the wrong type.
std::optional<PlanStep> step_of(const Node& node) {
  PlanStep step;
  for (const auto& [key, value] : node.members) {
    if (key == "step_number") {
      if (value.closed) step.step_number = step_number(value);
      continue;
    }
    std::optional<std::string>* field = key == "instruction"      ? &step.instruction
                                        : key == "prompt"         ? &step.prompt
                                        : key == "auxiliary_text" ? &step.auxiliary_text
                                                                  : nullptr;
    if (field == nullptr && key != "step_name") continue;
    const bool none = value.kind == Node::Kind::kNull;
    const bool container = value.kind == Node::Kind::kObject || value.kind == Node::Kind::kArray;
    if (container || (value.closed && !none && !is_text(value))) return std::nullopt;
    if (field == nullptr) {
      step.step_name = none ? "" : value.text;
    } else {
      *field = none ? std::nullopt : std::optional(value.text);
    }
  }
  if (step.prompt && blank(*step.prompt)) step.prompt.reset();
  return step;
}

// The steps of a list and whether it was violated, where nothing but the list's own text counts.
void read_steps(const Node& list, int max_steps, int first, Plan& plan, bool broken) {
  plan.violated = broken && !list.closed;
  for (const Node& element : list.elements) {
    if (element.kind != Node::Kind::kObject) {
      plan.violated = plan.violated || element.closed || element.kind == Node::Kind::kArray;
      return;
    }
    if (static_cast<int>(plan.steps.size()) == max_steps) {
      plan.violated = false;
      return;
    }
    auto step = step_of(element);
    if (!step) {
      plan.violated = true;
      return;
    }
    if (!element.closed) return;
    const std::string aux = stripped(step->auxiliary_text.value_or(""));
    const bool has_text = (!aux.empty() && aux != "None") || !blank(step->instruction.value_or(""));
    if (first > 0 && !step->prompt && !has_text) {
      plan.violated = true;
      return;
    }
    if (!plan.steps.empty()) {
      step->step_number = plan.steps.back().step_number + 1;
    } else if (first > 0 || step->step_number == 0) {
      step->step_number = first > 0 ? first : 1;
    }
    plan.steps.push_back(*std::move(step));
  }
  plan.truncated = !list.closed;
}

}  // namespace

std::string slow_clean(std::string_view bytes) {
  std::string out;
  for (std::size_t i = 0; i < bytes.size();) {
    // Try every character from the longest; of an ill-formed one take the longest viable part.
    const auto at = [&bytes](std::size_t k) { return static_cast<unsigned char>(bytes[k]); };
    std::size_t viable = 1;
    bool whole = at(i) < 0x80;
    for (std::size_t n = 2; n <= 4 && !whole && i + n <= bytes.size(); ++n) {
      const unsigned lead = at(i);
      const unsigned size = lead >> 5 == 6 ? 2 : lead >> 4 == 14 ? 3 : lead >> 3 == 30 ? 4 : 0;
      if (n > size || at(i + n - 1) >> 6 != 2) break;
      // The range of values that the bytes so far can still become.
      std::uint32_t low = lead & (0x7FU >> size);
      for (std::size_t k = 1; k < n; ++k) low = low << 6 | (at(i + k) & 0x3FU);
      std::uint32_t high = low;
      for (std::size_t k = n; k < size; ++k) low <<= 6, high = high << 6 | 0x3F;
      const std::uint32_t least = size == 2 ? 0x80 : size == 3 ? 0x800 : 0x10000;
      if (high < least || low > 0x10FFFF || (low >= 0xD800 && high <= 0xDFFF)) break;
      viable = n;
      whole = n == size;
    }
    out += whole ? bytes.substr(i, viable) : kReplacement;
    i += viable;
  }
  return out;
}

Plan slow_plan(std::string_view text, int max_steps, int first) {
  const Places where = places(text);
  Plan plan;
  for (const std::size_t start : where.starts) {
    plan = {};
    plan.truncated = true;
    const Text rest = decoded(text.substr(start));
    Parser parser(
        rest, 0,
        {"execution_plan", "step_number", "step_name", "instruction", "prompt", "auxiliary_text"});
    const Node root = parser.parse({"execution_plan"});
    for (const auto& [key, value] : root.members) {
      if (key != "execution_plan") continue;
      if (value.kind == Node::Kind::kArray) {
        read_steps(value, max_steps, first, plan, parser.broken());
      } else {
        plan.violated = parser.broken() || value.closed || value.kind == Node::Kind::kObject;
      }
      break;
    }
    if (plan.readable()) break;
  }
  plan.reasoning = where.reasoning;
  return plan;
}

Verdict slow_verdict(std::string_view text) {
  const Places where = places(text);
  Verdict verdict;
  for (const std::size_t start : where.starts) {
    const Text rest = decoded(text.substr(start));
    const std::vector<std::string> keys{"previous_step_success", "refine_prompt"};
    Parser parser(rest, 0, keys);
    const Node root = parser.parse(keys);
    for (const auto& [key, value] : root.members) {
      const bool yes = value.kind == Node::Kind::kTrue;
      if (key != keys[0] || !value.closed || (!yes && value.kind != Node::Kind::kFalse)) continue;
      verdict.readable = true;
      verdict.accepted = yes;
      break;
    }
    if (!verdict.readable) continue;
    for (const auto& [key, value] : root.members) {
      if (verdict.accepted || parser.broken() || key != keys[1]) continue;
      const bool is_text = value.kind == Node::Kind::kString && value.closed && !blank(value.text);
      if (is_text) verdict.refined = value.text;
      break;
    }
    break;
  }
  verdict.reasoning = where.reasoning;
  return verdict;
}

}  // namespace irt::test
