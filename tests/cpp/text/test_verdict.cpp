#include <doctest/doctest.h>

#include <string>
#include <string_view>

#include "text/scanner.h"

namespace irt {
namespace {

Verdict read(std::string_view text) {
  VerdictScanner scanner;
  scanner.feed(text);
  return scanner.finish();
}

TEST_CASE("an accepted answer ends at the last letter of its boolean") {
  VerdictScanner scanner;
  scanner.feed("<think>fine</think><answer>{'previous_step_success': Tru");
  CHECK_FALSE(scanner.accepted());
  CHECK_FALSE(scanner.boolean_started_at());
  CHECK_FALSE(scanner.done());
  scanner.feed("e");
  CHECK(scanner.accepted() == true);
  CHECK(scanner.done());
  scanner.feed(", 'refine_prompt': 'again'}</answer>");
  const Verdict verdict = scanner.finish();
  CHECK(verdict.readable);
  CHECK(verdict.accepted);
  CHECK_FALSE(verdict.refined);
  CHECK(verdict.reasoning == "fine");
}

TEST_CASE("the boolean's offset counts the bytes of the whole stream") {
  const std::string text = "<think>\xC3\xBC</think><answer>{'previous_step_success':  false}";
  VerdictScanner scanner;
  for (const char byte : text) scanner.feed({&byte, 1});
  CHECK(scanner.boolean_started_at() == text.find("false"));
}

TEST_CASE("a refused answer ends with its refined prompt") {
  VerdictScanner scanner;
  scanner.feed("<answer>{\"previous_step_success\": false, \"refine_prompt\": \"a red hat");
  CHECK(scanner.accepted() == false);
  CHECK_FALSE(scanner.done());
  CHECK_FALSE(scanner.finish().refined);
  scanner.feed("\"");
  CHECK(scanner.done());
  CHECK(scanner.finish().refined == "a red hat");
}

TEST_CASE("the refined prompt may come before the boolean") {
  VerdictScanner scanner;
  scanner.feed("<answer>{'refine_prompt': 'a red hat', 'previous_step_success': False");
  CHECK(scanner.done());
  CHECK(scanner.finish().refined == "a red hat");
  CHECK_FALSE(read("<answer>{'refine_prompt': 'x', 'previous_step_success': True").refined);
}

TEST_CASE("of several refined prompts the first counts") {
  CHECK(read("<answer>{'refine_prompt': 'first', 'refine_prompt': 'second', "
             "'previous_step_success': False")
            .refined == "first");
}

TEST_CASE("a refused answer without a usable prompt is refused all the same") {
  for (const char* rest :
       {"}", ", 'refine_prompt': ''}", ", 'refine_prompt': ' \\n'}", ", 'refine_prompt': None}",
        ", 'refine_prompt': 3}", ", 'refine_prompt': ['x']}", ", 'refine_prompt': 'cut", " oops",
        "hood, 'refine_prompt': 'x'}",
        ", 'refine_prompt': None, "
        "'refine_prompt': 'second'}"}) {
    CAPTURE(rest);
    const Verdict verdict = read("<answer>{'previous_step_success': False" + std::string(rest));
    CHECK(verdict.readable);
    CHECK_FALSE(verdict.accepted);
    CHECK_FALSE(verdict.refined);
  }
}

TEST_CASE("an answer without a boolean under its key is unreadable") {
  for (const char* text :
       {"", "true", "<answer>true</answer>", "<answer>{'previous_step_success': 'True'}",
        "<answer>{'previous_step_success': 1}", "<answer>{'success': True}",
        "<answer>{'a': {'previous_step_success': True}}",
        "<answer>[{'previous_step_success': True}]", "<answer>{'previous_step_success': TRUE}",
        "<answer>{'previous_step_success' True}", "{'previous_step_success': True}",
        "<think><answer>{'previous_step_success': True}</answer>",
        "<answer>`{'previous_step_success': True}"}) {
    CAPTURE(text);
    const Verdict verdict = read(text);
    CHECK_FALSE(verdict.readable);
    CHECK_FALSE(verdict.accepted);
  }
}

TEST_CASE("of several booleans the first counts") {
  CHECK_FALSE(
      read("<answer>{'previous_step_success': False, 'previous_step_success': True}").accepted);
  CHECK(read("<answer>{'previous_step_success': None, 'previous_step_success': True}").accepted);
}

TEST_CASE("a verdict quoted while thinking is not the verdict") {
  const Verdict verdict = read(
      "<think>I could say <answer>{'previous_step_success': True}</answer></think> then "
      "<answer>{'previous_step_success': False, 'refine_prompt': 'x'}</answer>");
  CHECK(verdict.readable);
  CHECK_FALSE(verdict.accepted);
}

TEST_CASE("a violation is named, an answer that ended well names none") {
  VerdictScanner good;
  good.feed("<answer>{'previous_step_success': True}");
  CHECK(good.violation().empty());
  VerdictScanner list;
  list.feed("<answer>[");
  CHECK(list.violation() == "byte 8: an answer that is no object");
  VerdictScanner bad;
  bad.feed("<answer>{'previous_step_success': yes}");
  CHECK(bad.violation() == "byte 34: a byte that begins no value");
}

}  // namespace
}  // namespace irt
