// Dialects, escapes, encodings, frames and limits: what both scanners share.
#include <doctest/doctest.h>

#include <ctime>
#include <string>
#include <string_view>

#include "text/scanner.h"

namespace irt {
namespace {

// Sanitizers cost a factor; a quadratic reader would need minutes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kMaxSeconds = 20;
#else
constexpr double kMaxSeconds = 0.5;
#endif

constexpr char kReplacement[] = "\xEF\xBF\xBD";

// The value of a string literal as the critic's refined prompt; "unreadable" where it is none.
std::string value_of(std::string_view literal) {
  VerdictScanner scanner;
  scanner.feed("<answer>{'previous_step_success': false, 'refine_prompt': ");
  scanner.feed(literal);
  scanner.feed("}");
  return scanner.finish().refined.value_or("unreadable");
}

std::string quoted(std::string_view text) { return std::string("'").append(text).append("'"); }

bool accepts(std::string_view text) {
  VerdictScanner scanner;
  scanner.feed(text);
  return scanner.accepted() == true;
}

std::string reasoning_of(std::string_view text) {
  VerdictScanner scanner;
  scanner.feed(text);
  return scanner.finish().reasoning;
}

TEST_CASE("escapes of both dialects are decoded") {
  CHECK(value_of(R"("a\n\t\"\\\/\b\f\r")") == "a\n\t\"\\/\b\f\r");
  CHECK(value_of(R"('it\'s \a\v')") == "it's \a\v");
  CHECK(value_of(R"('\x41\xe9')") == "A\xC3\xA9");
  CHECK(value_of(R"("\u00e9\u20AC")") == "\xC3\xA9\xE2\x82\xAC");
  CHECK(value_of(R"('\U0001F600')") == "\xF0\x9F\x98\x80");
  CHECK(value_of(R"('\d \% \0')") == R"(\d \% \0)");
  CHECK(value_of("'a\\\nb'") == "ab");
  CHECK(value_of("'two\nlines'") == "two\nlines");
  for (const char* bad : {R"('\u12g4')", R"('\x4')", R"('\U00110000')", R"('\u')"}) {
    CAPTURE(bad);
    CHECK(value_of(bad) == "unreadable");
  }
}

TEST_CASE("surrogates pair up, a lone one becomes U+FFFD") {
  const std::string smile = "\xF0\x9F\x98\x80";
  CHECK(value_of(R"("\ud83d\ude00")") == smile);
  CHECK(value_of(R"("\ud83d")") == kReplacement);
  CHECK(value_of(R"("\ude00\ud83dx")") == std::string(kReplacement) + kReplacement + "x");
  CHECK(value_of(R"("\ud83d\ud83d\ude00")") == kReplacement + smile);
  CHECK(value_of(R"("\ud83d\n\ude00")") == std::string(kReplacement) + "\n" + kReplacement);
}

TEST_CASE("invalid UTF-8 becomes U+FFFD, one for each maximal part") {
  CHECK(value_of("'a\xFF"
                 "b'") == std::string("a") + kReplacement + "b");
  CHECK(value_of("'\xE2\x82'") == kReplacement);
  CHECK(value_of("'\xE2\x82\\n'") == std::string(kReplacement) + "\n");
  CHECK(value_of("'\xC0\x80'") == std::string(kReplacement) + kReplacement);
  CHECK(value_of("'\xED\xA0\x80'") == std::string(kReplacement) + kReplacement + kReplacement);
  CHECK(value_of("'\xF0\x9F\x98'") == kReplacement);
  CHECK(value_of("'</answer> <answer> <think>'") == "</answer> <answer> <think>");  // text
}

TEST_CASE("white space, trailing commas and a code fence are tolerated") {
  CHECK(accepts("<answer>\r\n { \"previous_step_success\"\t:\n true , } </answer>"));
  CHECK(accepts("<answer>\n```json\n{'previous_step_success': True}\n```\n</answer>"));
  CHECK(accepts("<answer>```{'previous_step_success': True}```</answer>"));
  CHECK(accepts("<answer>{'a': [1, 2,], 'previous_step_success': True}"));
  for (const char* bad :
       {"<answer>``{'previous_step_success': True}",
        "<answer>```json```{'previous_step_success': True}",
        "<answer>here: {'previous_step_success': True}", "<answer>{,'previous_step_success': True}",
        "<answer>{'a': [1,,], 'previous_step_success': True}",
        "<answer>{'a': ], 'previous_step_success': True}"}) {
    CAPTURE(bad);
    CHECK_FALSE(accepts(bad));
  }
}

TEST_CASE("the answer is found whatever surrounds the thoughts") {
  const std::string answer = "<answer>{'previous_step_success': true}";
  CHECK(accepts(answer));
  CHECK(accepts("Sure. " + answer));
  CHECK(accepts("Sure. <think>hm</think> so: " + answer));
  CHECK(accepts("the prompt had opened it</think>" + answer));
  CHECK(accepts("<think><answer>{'previous_step_success': false}</answer></think>" + answer));
  CHECK(accepts("<<answer<think</think></think>" + answer));
  CHECK_FALSE(accepts("<think>never closed " + answer));
  CHECK_FALSE(accepts("<think></think><answer>{'previous_step_success': false}" + answer));
  CHECK_FALSE(accepts("< answer>{'previous_step_success': true}"));
}

TEST_CASE("the reasoning is the think part, as valid UTF-8") {
  CHECK(reasoning_of("<think>a <b> </thin </think><answer>") == "a <b> </thin ");
  CHECK(reasoning_of("before <think>after</think>") == "after");
  CHECK(reasoning_of("opened by the prompt</think><answer>") == "opened by the prompt");
  CHECK(reasoning_of("no thoughts <answer>{}") == "");
  CHECK(reasoning_of("<think>cut off </th") == "cut off </th");
  CHECK(reasoning_of("<think>\xE2\x82</think>") == kReplacement);
  CHECK(reasoning_of("<think>\xE2\x82") == kReplacement);
}

TEST_CASE("what is read has limits: strings, depth, numbers; the reasoning is cut at its own") {
  const std::string most(LiteralReader::kMaxStringBytes, 'x');
  CHECK(value_of(quoted(most)) == most);
  CHECK(value_of(quoted(most + "x")) == "unreadable");
  CHECK(value_of(quoted(most.substr(1) + "\xE2\x82")) == "unreadable");
  const std::string after = ", 'previous_step_success': true}";
  CHECK_FALSE(accepts("<answer>{'k" + most + "': 1" + after));
  for (const int over : {0, 1}) {
    const auto depth = static_cast<std::size_t>(LiteralReader::kMaxDepth - 1 + over);
    const auto digits = static_cast<std::size_t>(LiteralReader::kMaxNumberBytes + over);
    CHECK(accepts("<answer>{'x': " + std::string(depth, '[') + std::string(depth, ']') + after) ==
          (over == 0));
    CHECK(accepts("<answer>{'n': " + std::string(digits, '7') + after) == (over == 0));
  }
  const std::string text =
      "<think>" + std::string(1 << 20, 't') + "</think><answer>{'previous_step_success': true}";
  CHECK(accepts(text));
  CHECK(reasoning_of(text).size() == AnswerFrame::kMaxReasoningBytes);
}

TEST_CASE("reading is linear: an answer of a megabyte fed byte by byte takes under half a second") {
  // Long thoughts full of broken tags, long strings, many steps, escapes, deep values.
  std::string text = "<think>";
  while (text.size() < 300'000) text += "<<think></thin<answer> ";
  text += "</think><answer>{'execution_plan': [";
  const std::string unicode(500, '\xC3');
  int number = 0;
  while (text.size() < 1'000'000) {
    text += "{'step_number': " + std::to_string(++number) + ", 'prompt': '" + unicode +
            "\\u00e9\\ud83d" + std::string(2000, 'p') + "', 'x': [[[[{'y': [1, 2.5, None]}]]]]},";
  }
  const std::clock_t begin = std::clock();  // of the processor: the machine may be busy
  PlanScanner scanner(1000, 1);
  for (const char byte : text) scanner.feed({&byte, 1});
  const double took = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
  CHECK(scanner.violation() == "");
  CHECK(scanner.closed().size() == static_cast<std::size_t>(number));
  MESSAGE("1 MB in " << took << " s");
  CHECK(took < kMaxSeconds);
}

TEST_CASE("a copy of a scanner goes on by itself") {
  VerdictScanner one;
  one.feed("<answer>{'previous_step_success': ");
  VerdictScanner other = one;
  one.feed("true");
  other.feed("false");
  CHECK(one.accepted() == true);
  CHECK(other.accepted() == false);
}

}  // namespace
}  // namespace irt
