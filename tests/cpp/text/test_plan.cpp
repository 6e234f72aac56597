#include <doctest/doctest.h>

#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "text/scanner.h"

namespace irt {
namespace {

constexpr int kNarrative = 1;
constexpr int kGuidance = 0;

Plan read(std::string_view text, int first = kNarrative, int max_steps = 25) {
  PlanScanner scanner(max_steps, first);
  scanner.feed(text);
  return scanner.finish();
}

std::string answer(const std::string& steps) {
  return "<think></think><answer>{\"execution_plan\": [" + steps + "]}</answer>";
}

std::string numbered(int number) {
  return "{'step_number': " + std::to_string(number) + ", 'prompt': 'p'}";
}

TEST_CASE("a plan as the official planner writes it is read with all its fields") {
  const Plan plan = read(
      "<think>\nTwo steps.\n</think>\n<answer>\n{'execution_plan': [{'step_number': 1, "
      "'step_name': 'Body', 'instruction': \"Draw the snowman's body\", 'prompt': 'a snowman', "
      "'auxiliary_text': None}, {'step_number': 2, 'step_name': 'Hat', 'instruction': 'Add it', "
      "'prompt': 'add a hat', 'auxiliary_text': 'Done!'}]}\n</answer>");
  CHECK(plan.reasoning == "\nTwo steps.\n");
  CHECK_FALSE(plan.truncated);
  REQUIRE(plan.steps.size() == 2);
  CHECK(plan.steps[0] == PlanStep{1, "Body", "Draw the snowman's body", "a snowman", std::nullopt});
  CHECK(plan.steps[1] == PlanStep{2, "Hat", "Add it", "add a hat", "Done!"});
}

TEST_CASE("a step is there as soon as its brace is") {
  PlanScanner scanner(25, kNarrative);
  scanner.feed("<answer>{\"execution_plan\": [{\"step_number\": 1, \"prompt\": \"p\"");
  CHECK(scanner.closed().empty());
  scanner.feed("}");
  CHECK(scanner.closed().size() == 1);
  CHECK_FALSE(scanner.done());
  CHECK(scanner.finish().truncated);
  scanner.feed("]");
  CHECK(scanner.done());
  CHECK_FALSE(scanner.finish().truncated);
  CHECK(scanner.violation().empty());
}

TEST_CASE("the plan is cut at the first violation and keeps what had closed") {
  const std::pair<const char*, const char*> cases[] = {
      {"{'step_number': 3, 'prompt': 'p'}", "a step_number out of order"},
      {"{'step_number': 1, 'prompt': 'p'}", "a step_number out of order"},
      {"{'step_number': -2147483648, 'prompt': 'p'}", "a step_number out of order"},
      {"{'step_number': '2', 'prompt': 'p'}", "a step_number that is no integer"},
      {"{'step_number': 2.0, 'prompt': 'p'}", "a step_number that is no integer"},
      {"{'step_number': 99999999999, 'prompt': 'p'}", "a step_number that is no integer"},
      {"{'step_number': True, 'prompt': 'p'}", "a step_number that is no integer"},
      {"{'prompt': 'p'}", "a step without step_number"},
      {"{'step_number': 2, 'prompt': ['p']}", "neither a string nor null"},
      {"{'step_number': 2, 'step_name': 7, 'prompt': 'p'}", "neither a string nor null"},
      {"{'step_number': 2, 'prompt': 'p'", "a container where no value belongs"},
      {"{'step_number': 2, 'prompt': 'p']", "an end that matches no beginning"},
      {"{'step_number': 02, 'prompt': 'p'}", "a malformed number"},
      {"{'step_number': 2, prompt: 'p'}", "a byte where"},
      {"{'step_number' 2}", "a byte where"},
      {"{'step_number': nil}", "a word other than"},
      {"{'step_number': maybe}", "a byte that begins no value"},
      {",", "a comma that follows no value"},
      {"'step'", "a step that is no object"},
      {"{'step_number': 2, 'prompt': ''}", "neither prompt nor text"},
  };
  for (const auto& [second, problem] : cases) {
    CAPTURE(second);
    PlanScanner scanner(25, kNarrative);
    scanner.feed(answer(numbered(1) + "," + second + "," + numbered(2)));
    CHECK(scanner.done());
    CHECK(scanner.violation().find(problem) != std::string::npos);
    const Plan plan = scanner.finish();
    CHECK(plan.truncated);
    CHECK(plan.steps.size() == 1);
  }
}

TEST_CASE("an answer without a list of steps is unreadable") {
  for (const char* text :
       {"", "no answer at all", "<think>only thoughts", "<answer>", "<answer></answer>",
        "<answer>[]</answer>", "<answer>{}</answer>", "<answer>{'steps': []}</answer>",
        "<answer>{'execution_plan': None}</answer>", "<answer>'text'</answer>",
        "{'execution_plan': [{'step_number': 1, 'prompt': 'p'}]}",
        "<think><answer>{'execution_plan': [{'step_number': 1, 'prompt': 'p'}]}</answer>"}) {
    CAPTURE(text);
    const Plan plan = read(text);
    CHECK_FALSE(plan.readable());
    CHECK(plan.truncated);
  }
  CHECK_FALSE(read(answer("")).readable());
  CHECK_FALSE(read(answer("")).truncated);
}

TEST_CASE("a narrative plan begins with step 1, a guidance plan with any") {
  CHECK(read(answer(numbered(4) + "," + numbered(5)), kGuidance).steps.size() == 2);
  CHECK_FALSE(read(answer(numbered(4)), kNarrative).readable());
  CHECK_FALSE(read(answer(numbered(0)), kGuidance).readable());
  CHECK_FALSE(read(answer(numbered(-1)), kGuidance).readable());
  const int last = std::numeric_limits<int>::max();
  CHECK(read(answer(numbered(last) + "," + numbered(1)), kGuidance).steps.size() == 1);
}

TEST_CASE("the limit of steps cuts a longer plan and leaves an equal one whole") {
  const Plan equal = read(answer(numbered(1) + "," + numbered(2)), kNarrative, 2);
  CHECK(equal.steps.size() == 2);
  CHECK_FALSE(equal.truncated);
  PlanScanner scanner(2, kNarrative);
  scanner.feed(answer(numbered(1) + "," + numbered(2) + "," + numbered(3)));
  CHECK(scanner.finish().steps.size() == 2);
  CHECK(scanner.finish().truncated);
  CHECK(scanner.violation().find("too many steps") != std::string::npos);
}

TEST_CASE("a step without a prompt is text only") {
  const Plan plan = read(
      answer("{'step_number': 1, 'instruction': None, 'prompt': null, 'auxiliary_text': 'All.'},"
             "{'step_number': 2, 'instruction': 'Rest', 'prompt': ' \\n'},"
             "{'step_number': 3, 'step_name': None}"),
      kGuidance);
  REQUIRE(plan.steps.size() == 3);
  for (const PlanStep& step : plan.steps) CHECK_FALSE(step.has_image());
  CHECK(plan.steps[2].step_name.empty());
}

TEST_CASE("the text of a step is its auxiliary text unless that says nothing") {
  CHECK(text_of(PlanStep{}).empty());
  for (const auto& [auxiliary, text] :
       {std::pair{"None", "instruction"}, {" \n", "instruction"}, {"\ntwo words ", "two words"}}) {
    CHECK(text_of(PlanStep{1, "", "instruction", {}, auxiliary}) == text);
  }
}

TEST_CASE("unknown keys are skipped with their values; of equal keys in a step the last counts") {
  const Plan plan = read(
      "<answer>{'meta': {'execution_plan': [1]}, 'old': [{'prompt': 3}], 'execution_plan': "
      "[{'mood': {'prompt': [{}, 3.5e2, True]}, 'step_number': 7, 'prompt': 'a', 'prompt': 'p', "
      "'step_number': 1, 'list': [['step_number', 9]]}]}");
  REQUIRE(plan.steps.size() == 1);
  CHECK(plan.steps[0].prompt == "p");
  CHECK(plan.steps[0].step_number == 1);
}

TEST_CASE("a scanner without room for a step is refused") {
  CHECK_THROWS_WITH_AS(PlanScanner(0, kNarrative),
                       "[PlanScanner] max_steps is 0 and first_step_number 1: give at least 1 and "
                       "0 (0 = any first number)",
                       Error);
  CHECK_THROWS_AS(PlanScanner(1, -1), Error);
}

}  // namespace
}  // namespace irt
