#include "slow_reader.h"

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <utility>
#include <vector>

namespace irt::test {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr std::string_view kSpace = " \t\n\v\f\r";

struct Violation {};

// A node is kept as far as it was read; `closed` says that its last byte was there.
struct Member;

struct Node {
  enum class Kind { kObject, kArray, kString, kNumber, kTrue, kFalse, kNull } kind = Kind::kNull;
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

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  // The tree of everything that stands before the first violation or the end of the text.
  Node parse() {
    Node root;
    try {
      value(root, 0);
    } catch (const Violation&) {
    }
    return root;
  }

 private:
  char peek() const {
    if (at_ >= text_.size()) throw Violation{};
    return text_[at_];
  }
  char next() {
    const char c = peek();
    ++at_;
    return c;
  }
  void space() {
    while (at_ < text_.size() && kSpace.find(text_[at_]) != std::string_view::npos) ++at_;
  }

  void value(Node& node, int depth) {
    space();
    const char c = peek();
    if (c == '{' || c == '[') return container(node, depth);
    if (c == '"' || c == '\'') {
      node.kind = Node::Kind::kString;
      node.text = string();
    } else if (c == '-' || (c >= '0' && c <= '9')) {
      node.kind = Node::Kind::kNumber;
      node.text = number();
    } else {
      node.kind = word();
    }
    node.closed = true;
  }

  void container(Node& node, int depth) {
    const bool object = next() == '{';
    if (depth == 32) throw Violation{};
    node.kind = object ? Node::Kind::kObject : Node::Kind::kArray;
    const char end = object ? '}' : ']';
    for (bool first = true;; first = false) {
      space();
      if (peek() == end) break;
      if (!first) {
        if (next() != ',') throw Violation{};
        space();
        if (peek() == end) break;
      }
      if (object) {
        if (peek() != '"' && peek() != '\'') throw Violation{};
        std::string key = string();
        space();
        if (next() != ':') throw Violation{};
        node.members.push_back({std::move(key), {}});
        value(node.members.back().value, depth + 1);
      } else {
        node.elements.emplace_back();
        value(node.elements.back(), depth + 1);
      }
    }
    ++at_;
    node.closed = true;
  }

  std::uint32_t hex(int digits) {
    std::uint32_t out = 0;
    while (digits-- > 0) {
      const char c = next();
      const std::size_t digit =
          std::string_view("0123456789abcdef")
              .find(static_cast<char>(c >= 'A' && c <= 'F' ? c - 'A' + 'a' : c));
      if (digit == std::string_view::npos) throw Violation{};
      out = out * 16 + static_cast<std::uint32_t>(digit);
    }
    if (out > 0x10FFFF) throw Violation{};
    return out;
  }

  // -1 where no \u or \U begins here; consumes it otherwise.
  std::int64_t unicode_escape() {
    const std::string_view head = text_.substr(at_, 2);
    if (head != "\\u" && head != "\\U") return -1;
    at_ += 2;
    return hex(head == "\\u" ? 4 : 8);
  }

  std::string string() {
    const char quote = next();
    std::string out;
    std::string raw;  // bytes between escapes
    const auto settle = [&out, &raw] {
      out += slow_clean(raw);
      raw.clear();
    };
    while (peek() != quote) {
      if (peek() != '\\') {
        raw += next();
        continue;
      }
      if (std::int64_t c = unicode_escape(); c >= 0) {
        settle();
        while (c >= 0xD800 && c < 0xDC00) {  // high: look for the low one
          const std::int64_t low = unicode_escape();
          if (low >= 0xDC00 && low < 0xE000) {
            out += utf8(static_cast<std::uint32_t>(0x10000 + ((c - 0xD800) << 10) + low - 0xDC00));
            c = -1;
          } else {
            out += kReplacement;
            c = low;
          }
        }
        if (c >= 0) out += utf8(static_cast<std::uint32_t>(c));
        continue;
      }
      ++at_;
      const std::string_view known = "\"'\\/abfnrtv";
      const std::string_view means = "\"'\\/\a\b\f\n\r\t\v";
      const char c = next();
      settle();
      if (c == 'x') {
        out += utf8(hex(2));
      } else if (const std::size_t i = known.find(c); i != std::string_view::npos) {
        raw += means[i];
      } else if (c != '\n') {
        raw += '\\';
        raw += c;
      }
    }
    ++at_;
    settle();
    if (out.size() > 64 * 1024) throw Violation{};
    return out;
  }

  std::string number() {
    const std::size_t from = at_;
    while (std::string_view("0123456789+-.eE").find(peek()) != std::string_view::npos) ++at_;
    const std::string all(text_.substr(from, at_ - from));
    std::size_t i = all[0] == '-' ? 1 : 0;
    const auto digits = [&all, &i] {
      const std::size_t begin = i;
      while (i < all.size() && all[i] >= '0' && all[i] <= '9') ++i;
      if (i == begin) throw Violation{};
      return all.substr(begin, i - begin);
    };
    if (const std::string whole = digits(); whole.size() > 1 && whole[0] == '0') throw Violation{};
    if (i < all.size() && all[i] == '.') ++i, digits();
    if (i < all.size() && (all[i] == 'e' || all[i] == 'E')) {
      ++i;
      if (i < all.size() && (all[i] == '+' || all[i] == '-')) ++i;
      digits();
    }
    if (i != all.size() || all.size() > 64) throw Violation{};
    return all;
  }

  Node::Kind word() {
    const std::vector<std::pair<std::string_view, Node::Kind>> words{
        {"true", Node::Kind::kTrue},   {"True", Node::Kind::kTrue}, {"false", Node::Kind::kFalse},
        {"False", Node::Kind::kFalse}, {"null", Node::Kind::kNull}, {"None", Node::Kind::kNull}};
    for (const auto& [spelling, kind] : words) {
      if (text_.substr(at_, spelling.size()) == spelling) {
        at_ += spelling.size();
        return kind;
      }
    }
    throw Violation{};
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// The reasoning, and what stands after <answer> (nothing where there is none).
std::pair<std::string, std::string> split(std::string_view text) {
  const std::size_t think = text.find("<think>");
  const std::size_t end = text.find("</think>");
  std::size_t answer = text.find("<answer>");
  std::string reasoning;
  if (answer > std::min(think, end)) {
    const std::size_t from = think < end ? think + 7 : 0;
    const std::size_t to = text.find("</think>", from);
    reasoning = slow_clean(text.substr(from, to == text.npos ? to : to - from));
    answer = to == text.npos ? to : text.find("<answer>", to + 8);
  }
  if (answer == text.npos) return {reasoning, ""};
  std::string rest(text.substr(answer + 8));
  const auto strip = [&rest] {
    rest.erase(0, std::min(rest.find_first_not_of(kSpace), rest.size()));
  };
  strip();
  if (rest.starts_with("```")) {
    std::size_t i = 3;
    while (i < rest.size() && (std::isalnum(static_cast<unsigned char>(rest[i])) != 0)) ++i;
    rest.erase(0, i);
    strip();
  }
  return {reasoning, rest};
}

bool blank(const std::string& text) { return text.find_first_not_of(kSpace) == std::string::npos; }

std::optional<PlanStep> step_of(const Node& node, bool narrative) {
  if (node.kind != Node::Kind::kObject || !node.closed) return std::nullopt;
  PlanStep step;
  bool numbered = false;
  for (const auto& [key, value] : node.members) {
    if (key == "step_number") {
      if (value.kind != Node::Kind::kNumber || value.text.size() > 11 ||
          value.text.find_first_of(".eE") != std::string::npos) {
        return std::nullopt;
      }
      const long long number = std::atoll(value.text.c_str());
      if (number > INT32_MAX || number < INT32_MIN) return std::nullopt;
      step.step_number = static_cast<int>(number);
      numbered = true;
    } else if (key == "step_name" || key == "instruction" || key == "prompt" ||
               key == "auxiliary_text") {
      std::optional<std::string> text;
      if (value.kind == Node::Kind::kString) {
        text = value.text;
      } else if (value.kind != Node::Kind::kNull) {
        return std::nullopt;
      }
      if (key == "step_name") step.step_name = text.value_or("");
      if (key == "instruction") step.instruction = text;
      if (key == "prompt") step.prompt = text && !blank(*text) ? text : std::nullopt;
      if (key == "auxiliary_text") step.auxiliary_text = text;
    }
  }
  std::string aux = step.auxiliary_text.value_or("");
  while (!aux.empty() && blank(aux.substr(0, 1))) aux.erase(0, 1);
  while (!aux.empty() && blank(aux.substr(aux.size() - 1))) aux.pop_back();
  const bool has_text = (!aux.empty() && aux != "None") || !blank(step.instruction.value_or(""));
  if (!numbered || (narrative && !step.prompt && !has_text)) return std::nullopt;
  return step;
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
  Plan plan;
  plan.truncated = true;
  const auto [reasoning, rest] = split(text);
  plan.reasoning = reasoning;
  const Node root = Parser(rest).parse();
  for (const auto& [key, value] : root.members) {
    if (key != "execution_plan") continue;
    if (value.kind != Node::Kind::kArray) return plan;
    for (const Node& element : value.elements) {
      const auto step = step_of(element, first > 0);
      if (!step || static_cast<int>(plan.steps.size()) == max_steps) return plan;
      const long long expected = plan.steps.empty() ? first : plan.steps.back().step_number + 1LL;
      if (step->step_number < 1 || (expected > 0 && step->step_number != expected)) return plan;
      plan.steps.push_back(*step);
    }
    plan.truncated = !value.closed;
    return plan;
  }
  return plan;
}

Verdict slow_verdict(std::string_view text) {
  Verdict verdict;
  const auto [reasoning, rest] = split(text);
  verdict.reasoning = reasoning;
  const Node root = Parser(rest).parse();
  for (const auto& [key, value] : root.members) {
    const bool yes = value.kind == Node::Kind::kTrue;
    if (key != "previous_step_success" || !value.closed) continue;
    if (!yes && value.kind != Node::Kind::kFalse) continue;
    verdict.readable = true;
    verdict.accepted = yes;
    break;
  }
  if (!verdict.readable || verdict.accepted) return verdict;
  for (const auto& [key, value] : root.members) {
    if (key != "refine_prompt") continue;
    const bool is_text = value.kind == Node::Kind::kString && value.closed && !blank(value.text);
    if (is_text) verdict.refined = value.text;
    break;
  }
  return verdict;
}

}  // namespace irt::test
