#include "random_answer.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

namespace irt::test {

std::string RandomAnswer::plan() {
  std::vector<std::string> steps;
  int number = chance(80) ? 1 : static_cast<int>(below(5));
  for (std::size_t n = below(5); n > 0; --n) {
    steps.push_back(step(number));
    if (!chance(3)) ++number;
  }
  std::vector<std::string> members{member("execution_plan", list(steps))};
  if (chance(20)) members.push_back(member("note", anything(0)));
  return frame(object(members));
}

std::string RandomAnswer::verdict() {
  std::vector<std::string> members;
  if (chance(95)) members.push_back(member("previous_step_success", boolean()));
  if (chance(95)) members.push_back(member("refine_prompt", text_or_null()));
  if (chance(20)) members.push_back(member("note", anything(0)));
  if (chance(5)) members.push_back(member("previous_step_success", anything(0)));
  return frame(object(members));
}

std::string RandomAnswer::damage(std::string text) {
  static constexpr std::string_view kBytes =
      "{}[]:,'\"\\ux0dD8c1-.etrufalsN`<>/\n \x80\xC3\xE2\xF0";
  if (chance(30)) text.resize(below(text.size() + 1));
  for (std::size_t n = below(4); n > 0 && !text.empty(); --n) {
    const std::size_t at = below(text.size());
    switch (below(4)) {
      case 0: text.erase(at, 1 + below(3)); break;
      case 1: text.insert(at, text, at, 1 + below(8)); break;
      case 2: text[at] = kBytes[below(kBytes.size())]; break;
      default: text.insert(at, 1, kBytes[below(kBytes.size())]);
    }
  }
  return text;
}

std::string RandomAnswer::frame(const std::string& answer) {
  static const std::array<std::string, 5> kThoughts{
      "", "I compare <answer>{'previous_step_success': True}</answer> with it. ", "a < b </thin",
      "gr\xC3\xB6\xC3\x9F"
      "er \xF0\x9F\x98\x80 \xFF",
      "<think> again"};
  std::string out = chance(20) ? "Sure! <thi" : "";
  if (chance(80)) out.append("<think>").append(kThoughts[below(kThoughts.size())]);
  if (chance(90)) out += "</think>";
  out += space();
  if (chance(95)) out += "<answer>";
  out += space();
  const bool fence = chance(15);
  if (fence) out += chance(50) ? "```json\n" : "```";
  out += answer;
  if (fence) out += "\n```";
  return out + space() + "</answer>" + space();
}

std::string RandomAnswer::space() {
  static const std::array<std::string, 5> kSpaces{"", "", " ", "\n  ", "\t\r\n"};
  return kSpaces[below(kSpaces.size())];
}

std::string RandomAnswer::quoted(const std::string& raw) {
  const char quote = chance(50) ? '"' : '\'';
  std::string out(1, quote);
  for (const char c : raw) {
    if (c == quote || c == '\\') out += '\\';
    out += c;
  }
  return out + quote;
}

std::string RandomAnswer::words() {
  static const std::array<std::string, 12> kWords{"a red circle",
                                                  "</answer>",
                                                  "<answer>",
                                                  "it's \"so\"",
                                                  "gr\xC3\xBC\xC3\x9F",
                                                  "None",
                                                  "\xF0\x9F\x90\xB1\xE2\x80\xA6",
                                                  "\n\t",
                                                  "C:\\new",
                                                  "{'a': [1]}",
                                                  "",
                                                  " "};
  std::string out;
  for (std::size_t n = below(4); n > 0; --n) out += kWords[below(kWords.size())];
  std::string text = quoted(out);
  static const std::array<std::string, 10> kEscapes{
      "\\u00e9", "\\ud83d\\ude00", "\\ud83d", "\\ude00\\ud83d", "\\x41", "\\U0001F600",
      "\\d",     "\\\n",           "\\n\\/",  "\xE2\x82"};
  while (chance(40)) text.insert(1, kEscapes[below(kEscapes.size())]);
  return text;
}

std::string RandomAnswer::text_or_null() {
  return chance(85) ? words() : chance(50) ? "null" : "None";
}

std::string RandomAnswer::boolean() {
  static const std::array<std::string, 6> kBooleans{"true",  "True",  "false",
                                                    "False", "false", "'True'"};
  return kBooleans[below(kBooleans.size())];
}

std::string RandomAnswer::anything(int depth) {
  switch (below(depth < 3 ? 6 : 4)) {
    case 0: return words();
    case 1: return boolean();
    case 2: return chance(50) ? "null" : "None";
    case 3: {
      static const std::array<std::string, 6> kNumbers{"0", "-12", "3.5e-2", "01", "1e", "7"};
      return kNumbers[below(kNumbers.size())];
    }
    case 4: return list({anything(depth + 1), anything(depth + 1)});
    default: return object({member("previous_step_success", anything(depth + 1))});
  }
}

std::string RandomAnswer::step(int number) {
  std::vector<std::string> members;
  if (chance(98)) members.push_back(member("step_number", std::to_string(number)));
  if (chance(90)) members.push_back(member("step_name", words()));
  if (chance(95)) members.push_back(member("instruction", text_or_null()));
  if (chance(95)) members.push_back(member("prompt", text_or_null()));
  if (chance(80)) members.push_back(member("auxiliary_text", text_or_null()));
  if (chance(10)) members.push_back(member("mood", anything(0)));
  if (chance(2)) members.push_back(member("prompt", anything(0)));
  return object(members);
}

std::string RandomAnswer::object(std::vector<std::string> members) {
  if (chance(30)) std::shuffle(members.begin(), members.end(), random_);
  std::string out = list(members);
  out.front() = '{';
  out.back() = '}';
  return out;
}

std::string RandomAnswer::list(const std::vector<std::string>& elements) {
  std::string out("[");
  out += space();
  for (std::size_t i = 0; i < elements.size(); ++i) {
    if (i > 0) out.append(",").append(space());
    out += elements[i] + space();
  }
  if (!elements.empty() && chance(20)) out.append(",").append(space());
  return out + "]";
}

std::string RandomAnswer::member(const std::string& key, const std::string& value) {
  return quoted(key) + space() + ":" + space() + value;
}

}  // namespace irt::test
