#include "random_answer.h"

#include <array>
#include <charconv>
#include <map>
#include <utility>
#include <vector>

namespace irt::test {
namespace {

// A grammar: `$x` stands for one of the alternatives of x, which `|` parts (`3*`: three times as
// likely), `%key%` for a quoted key and its colon, `#` for a step number.
const std::map<char, std::string_view> kRules{
    {'_', "6*|6* |3*\n  |3*\t\r\n|\xC2\xA0| // it's\n|/* 'a' */"},
    {';', "15*,| |,,|\xEF\xBC\x8C"},  // between members
    {',', "4*|,$_"},                  // trailing
    // The frame.
    {'B', "4*|Sure! <thi"},
    {'T',
     "|<think>|<think>I compare <answer>{'previous_step_success': True}</answer> with it. |"
     "<think>a < b </thin|<think>gr\xC3\xB6\xC3\x9F zu \xF0\x9F\x98\x80 \xFF|<think><think> again"},
    {'E', "9*</think>|"},
    {'O', "17*<answer>|<Answer>|<answer>So: |"},
    {'P', "12*$p|```json\n$p\n```|```$p\n```"},
    {'V', "12*$v|```json\n$v\n```|```$v\n```"},
    // Plans.
    {'p',
     "8*{$_%execution_plan%[$_$l]$_$,}|{%note%$x,$_%execution_plan%[$l]}|"
     "{%execution_plan%[$_$l]$_,%note%$x}"},
    {'l', "|$s$_$,|$s$_,$_$s$_$,|$s,$_$s$_,$s$,|$s,$s,$_$s,$s"},
    {'s',
     "12*{$_%step_number%#,$_%step_name%$w$_,%instruction%$n,%prompt%$n$_,%auxiliary_text%$n$,}|"
     "5*{%prompt%$n,$_%auxiliary_text%$n,%step_number%#$_,%instruction%$n,%step_name%$w}|"
     "2*{%step_number%#,%mood%$x,$_%prompt%$n,%instruction%$n$_$,}|"
     "{%step_number%#,%step_name%$w,$_%auxiliary_text%$n}|"
     "{%instruction%$n,%step_number%#,%prompt%$n,%prompt%$x}|{%step_name%$w,$_%prompt%$n$_}|"
     "3*{$_%step_number%#$;$_%mood%$w$;%prompt%$n$;$_%auxiliary_text%$n$;$_}|"
     "{%step_number%'#'$;%prompt%$n$;{%step_number%#,%prompt%$n}"},
    // Verdicts.
    {'v',
     "10*{$_%previous_step_success%$b$_,$_%refine_prompt%$n$_$,}|"
     "4*{%refine_prompt%$n,$_%previous_step_success%$b$,}|"
     "3*{%note%$x,$_%previous_step_success%$b,%refine_prompt%$n}|"
     "{%previous_step_success%$x,%previous_step_success%$b,%refine_prompt%$n}|"
     "{%previous_step_success%$b$_}|{%refine_prompt%$n$_$,}|"
     "3*{%mood%$w$;$_%previous_step_success%$b$;%refine_prompt%$n$_$;%note%$w}"},
    // Values.
    {'b', "true|True|2*false|False|'True'"},
    {'n', "11*$w|null|None"},
    {'x', "3*$w|2*$b|null|2*$d|2*[$_$x,$_$x$_$,]|{$_%previous_step_success%$x$,}"},
    {'d', "0|-12|3.5e-2|01|1e|7"},
    {'w', "9*'$e$i$i$i'|9*\"$e$j$j$j\"|\xE2\x80\x9C$e$j$j$j\xE2\x80\x9D"},
    {'i', "8*|12*$k|it\\'s \"so\"|{\\'a\\': [1]}|the dog's| 'so'$_|', 'a'$_|'a':|'$;$_b: "},
    {'j', "8*|12*$k|it's \\\"so\\\"|{'a': [1]}|\xE2\x80\x9D |\"so\"|\", \"a\"$_:"},
    {'k',
     "2*a red circle|</answer>|<answer>|gr\xC3\xBC\xC3\x9F|None|\xF0\x9F\x90\xB1\xE2\x80\xA6|\n\t|"
     "C:\\\\new| "},
    {'e',
     "15*|\\u00e9$e|\\ud83d\\ude00$e|\\ud83d$e|\\ude00\\ud83d$e|\\x41$e|\\U0001F600$e|\\d$e|\\\n$e|"
     "\\n\\/$e|\xE2\x82$e"},
};

constexpr std::array<std::pair<std::string_view, std::string_view>, 10> kKeyQuotes{
    {{"'", "'"},
     {"'", "'"},
     {"'", "'"},
     {"'", "'"},
     {"\"", "\""},
     {"\"", "\""},
     {"\"", "\""},
     {"\"", "\""},
     {"", ""},
     {"\xE2\x80\x9C", "\xE2\x80\x9D"}}};

}  // namespace

std::string RandomAnswer::plan() {
  number_ = chance(80) ? 1 : static_cast<int>(below(5));
  return expand("$B$T$E$_$O$_$P$_</answer>$_");
}

std::string RandomAnswer::verdict() { return expand("$B$T$E$_$O$_$V$_</answer>$_"); }

std::string_view RandomAnswer::pick(std::string_view alternatives) {
  std::vector<std::string_view> all;
  for (std::size_t from = 0; from <= alternatives.size();) {
    std::string_view one = alternatives.substr(from, alternatives.find('|', from) - from);
    from += one.size() + 1;
    std::size_t weight = 1;
    if (const auto [end, error] = std::from_chars(one.data(), one.data() + one.size(), weight);
        error == std::errc() && end < one.data() + one.size() && *end == '*') {
      one.remove_prefix(static_cast<std::size_t>(end + 1 - one.data()));
    } else {
      weight = 1;  // a number, not a weight
    }
    all.insert(all.end(), weight, one);
  }
  return all[below(all.size())];
}

std::string RandomAnswer::expand(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '$') {
      out += expand(pick(kRules.at(text[++i])));
    } else if (text[i] == '%') {
      const std::size_t end = text.find('%', i + 1);
      const auto [begins, ends] = kKeyQuotes[below(kKeyQuotes.size())];
      out.append(begins).append(text.substr(i + 1, end - i - 1)).append(ends);
      out += expand("$_:$_");
      i = end;
    } else if (text[i] == '#') {
      out += std::to_string(number_);
      if (!chance(3)) ++number_;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::string RandomAnswer::damage(std::string text) {
  static constexpr std::string_view kBytes =
      "{}[]:,'\"\\ux0dD8c1-.etrufalsN`<>/#*\n \x80\xC3\xE2\xF0";
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

}  // namespace irt::test
