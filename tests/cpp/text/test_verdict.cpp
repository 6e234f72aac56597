#include <doctest/doctest.h>

#include <optional>
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
  CHECK(verdict.accepted);
  CHECK_FALSE(verdict.refined);
  CHECK(verdict.reasoning == "fine");
  CHECK(scanner.violation().empty());
}

TEST_CASE("a refused answer ends with its refined prompt, wherever that stands") {
  VerdictScanner scanner;
  scanner.feed("<answer>{\"previous_step_success\": false, \"refine_prompt\": \"a red hat");
  CHECK(scanner.accepted() == false);
  CHECK_FALSE(scanner.done());
  CHECK_FALSE(scanner.finish().refined);
  scanner.feed("\"");
  CHECK(scanner.done());
  CHECK(scanner.finish().refined == "a red hat");
  VerdictScanner before;
  before.feed("<answer>{'refine_prompt': 'a red hat', 'previous_step_success': False");
  CHECK(before.done());
  CHECK(before.finish().refined == "a red hat");
}

TEST_CASE("of equal keys the first that can be used counts") {
  CHECK_FALSE(read("<answer>{'refine_prompt': 'x', 'previous_step_success': True").refined);
  CHECK(read("<answer>{'refine_prompt': '1', 'refine_prompt': '2', 'previous_step_success': False")
            .refined == "1");
  CHECK_FALSE(
      read("<answer>{'previous_step_success': False, 'previous_step_success': True}").accepted);
  CHECK(read("<answer>{'previous_step_success': None, 'previous_step_success': True}").accepted);
  // What is quoted while thinking is no answer.
  CHECK_FALSE(read("<think>I could say <answer>{'previous_step_success': True}</answer></think> "
                   "then <answer>{'previous_step_success': False, 'refine_prompt': 'x'}</answer>")
                  .accepted);
}

TEST_CASE("a refused answer without a usable prompt is refused all the same") {
  for (const char* rest :
       {"}", ", 'refine_prompt': ''}", ", 'refine_prompt': ' \\n'}", ", 'refine_prompt': None}",
        ", 'refine_prompt': 3}", ", 'refine_prompt': ['x']}", ", 'refine_prompt': 'cut", " oops",
        "hood, 'refine_prompt': 'x'}", ", 'refine_prompt': None, 'refine_prompt': 'second'}"}) {
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
    CHECK_FALSE(read(text).readable);
    CHECK_FALSE(read(text).accepted);
  }
}

TEST_CASE("a violation names the byte") {
  VerdictScanner list;
  list.feed("<answer>[");
  CHECK(list.violation() == "byte 8: an answer that is no object");
  VerdictScanner bad;
  bad.feed("<answer>{'previous_step_success': yes}");
  CHECK(bad.violation() == "byte 34: a byte that begins no value");
}

}  // namespace
}  // namespace irt
