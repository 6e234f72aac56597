// What answers mean: dialects, escapes, encodings, frames, limits, violations. Each is read by the
// scanner whole, in pieces and byte by byte, and by the slow reader.
#include <doctest/doctest.h>

#include <ctime>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "text/scanner.h"
#include "text/scanner_law.h"

namespace irt::test {
namespace {

// Sanitizers cost a factor; a quadratic reader would need minutes.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr double kMaxSeconds = 20;
#else
constexpr double kMaxSeconds = 0.5;
#endif

constexpr int kNarrative = 1;
constexpr int kGuidance = 0;

Cuts cuts() {
  return {[n = std::size_t{0}](std::size_t bound) mutable { return (n += 7) % bound; }};
}

Plan plan_in(std::string_view text, int first = kNarrative, int max_steps = 25) {
  return check_plan(text, max_steps, first, cuts());
}

// "unreadable", "accepted", "refused", or the refined prompt in brackets.
std::string said(std::string_view text) {
  const Verdict verdict = check_verdict(text, cuts());
  CHECK((verdict.readable || !verdict.accepted));
  if (!verdict.readable) return "unreadable";
  if (verdict.accepted) return verdict.refined ? "accepted with a prompt" : "accepted";
  return verdict.refined ? "[" + *verdict.refined + "]" : "refused";
}

std::string refined(const std::string& literal) {
  return said("<answer>{'previous_step_success': False, 'refine_prompt': " + literal + "}");
}

std::string quoted(const std::string& text) { return "'" + text + "'"; }

std::string reasoning_of(std::string_view text) { return check_verdict(text, cuts()).reasoning; }

std::string plan_answer(const std::string& steps) {
  return "<think></think><answer>{\"execution_plan\": [" + steps + "]}</answer>";
}

std::string numbered(int number) {
  return "{'step_number': " + std::to_string(number) + ", 'prompt': 'p'}";
}

TEST_CASE("strings of both dialects, their escapes and their encoding") {
  const std::string smile = "\xF0\x9F\x98\x80";
  const std::string bad = "\xEF\xBF\xBD";  // U+FFFD, one for each maximal ill-formed part
  const std::pair<std::string, std::string> cases[] = {
      {R"("a\n\t\"\\\/\b\f\r")", "a\n\t\"\\/\b\f\r"},
      {R"('it\'s \a\v')", "it's \a\v"},
      {R"('\x41\xe9')", "A\xC3\xA9"},
      {R"("\u00e9\u20AC")", "\xC3\xA9\xE2\x82\xAC"},
      {R"('\U0001F600')", smile},
      {R"('\d \% \0')", R"(\d \% \0)"},
      {"'a\\\nb'", "ab"},
      {"'two\nlines'", "two\nlines"},
      {R"("\ud83d\ude00")", smile},
      {R"("\ud83d")", bad},
      {R"("\ude00\ud83dx")", bad + bad + "x"},
      {R"("\ud83d\ud83d\ude00")", bad + smile},
      {R"("\ud83d\n\ude00")", bad + "\n" + bad},
      {"'a\xFF b'", "a" + bad + " b"},
      {"'\xE2\x82'", bad},
      {"'\xE2\x82\\n'", bad + "\n"},
      {"'\xC0\x80'", bad + bad},
      {"'\xED\xA0\x80'", bad + bad + bad},
      {"'\xF0\x9F\x98'", bad},
      {"'</answer> <answer> <think>'", "</answer> <answer> <think>"},
  };
  for (const auto& [literal, text] : cases) {
    CAPTURE(literal);
    CHECK(refined(literal) == "[" + text + "]");
  }
  for (const char* literal :
       {R"('\u12g4')", R"('\x4')", R"('\U00110000')", R"('\u')", "''", "' \\n'", "None", "3",
        "['x']", "'cut", "None, 'refine_prompt': 'second'"}) {
    CAPTURE(literal);
    CHECK(refined(literal) == "refused");  // all the same
  }
}

TEST_CASE("what is accepted, refused or unreadable, whatever surrounds it") {
  const std::string yes = "<answer>{'previous_step_success': true}";
  const std::pair<std::string, const char*> cases[] = {
      {"<answer>\r\n { \"previous_step_success\"\t:\n true , } </answer>", "accepted"},
      {"<answer>\n```json\n{'previous_step_success': True}\n```\n</answer>", "accepted"},
      {"<answer>```{'previous_step_success': True}```</answer>", "accepted"},
      {"<answer>{'a': [1, 2,], 'previous_step_success': True}", "accepted"},
      {"<answer>``{'previous_step_success': True}", "unreadable"},
      {"<answer>`{'previous_step_success': True}", "unreadable"},
      {"<answer>```json```{'previous_step_success': True}", "unreadable"},
      {"<answer>here: {'previous_step_success': True}", "unreadable"},
      {"<answer>{,'previous_step_success': True}", "unreadable"},
      {"<answer>{'a': [1,,], 'previous_step_success': True}", "unreadable"},
      {"<answer>{'a': ], 'previous_step_success': True}", "unreadable"},
      // frames
      {yes, "accepted"},
      {"Sure. " + yes, "accepted"},
      {"Sure. <think>hm</think> so: " + yes, "accepted"},
      {"the prompt had opened it</think>" + yes, "accepted"},
      {"<think><answer>{'previous_step_success': false}</answer></think>" + yes, "accepted"},
      {"<<answer<think</think></think>" + yes, "accepted"},
      {"<think>never closed " + yes, "unreadable"},
      {"<think></think><answer>{'previous_step_success': false}" + yes, "refused"},
      {"< answer>{'previous_step_success': true}", "unreadable"},
      // of equal keys the first that can be used counts
      {"<answer>{'refine_prompt': 'x', 'previous_step_success': True", "accepted"},
      {"<answer>{'refine_prompt': '1', 'refine_prompt': '2', 'previous_step_success': False",
       "[1]"},
      {"<answer>{'previous_step_success': False, 'previous_step_success': True}", "refused"},
      {"<answer>{'previous_step_success': None, 'previous_step_success': True}", "accepted"},
      // a boolean stands, whatever follows
      {"<answer>{'previous_step_success': True, 'refine_prompt': 'again'}</answer>", "accepted"},
      {"<answer>{'previous_step_success': False oops", "refused"},
      {"<answer>{'previous_step_success': Falsehood, 'refine_prompt': 'x'}", "refused"},
      // no boolean under its key
      {"", "unreadable"},
      {"true", "unreadable"},
      {"<answer>true</answer>", "unreadable"},
      {"<answer>{'previous_step_success': 'True'}", "unreadable"},
      {"<answer>{'previous_step_success': 1}", "unreadable"},
      {"<answer>{'previous_step_success': TRUE}", "unreadable"},
      {"<answer>{'previous_step_success' True}", "unreadable"},
      {"<answer>{'success': True}", "unreadable"},
      {"<answer>{'a': {'previous_step_success': True}}", "unreadable"},
      {"<answer>[{'previous_step_success': True}]", "unreadable"},
      {"{'previous_step_success': True}", "unreadable"},
  };
  for (const auto& [text, says] : cases) {
    CAPTURE(text);
    CHECK(said(text) == says);
  }
}

TEST_CASE("the reasoning is the think part, as valid UTF-8") {
  CHECK(reasoning_of("<think>a <b> </thin </think><answer>") == "a <b> </thin ");
  CHECK(reasoning_of("before <think>after</think>") == "after");
  CHECK(reasoning_of("opened by the prompt</think><answer>") == "opened by the prompt");
  CHECK(reasoning_of("no thoughts <answer>{}") == "");
  CHECK(reasoning_of("<think>cut off </th") == "cut off </th");
  CHECK(reasoning_of("<think>\xE2\x82") == "\xEF\xBF\xBD");
}

TEST_CASE("an answer ends with its boolean, or with the refined prompt of a refusal") {
  VerdictScanner yes;
  yes.feed("<answer>{'previous_step_success': Tru");
  CHECK_FALSE(yes.accepted());
  CHECK_FALSE(yes.done());
  yes.feed("e");
  CHECK(yes.accepted() == true);
  CHECK(yes.done());
  VerdictScanner no;
  no.feed("<answer>{\"previous_step_success\": false, \"refine_prompt\": \"a red hat");
  CHECK(no.accepted() == false);
  CHECK_FALSE(no.done());
  VerdictScanner copy = no;  // goes on by itself
  no.feed("\"");
  CHECK(no.done());
  CHECK_FALSE(copy.done());
}

TEST_CASE("what is read has limits: strings, depth, numbers; the reasoning is cut at its own") {
  const std::string most(LiteralReader::kMaxStringBytes, 'x');
  const auto accepts = [](const std::string& members) {
    VerdictScanner scanner;
    scanner.feed("<answer>{" + members + ", 'previous_step_success': true}");
    return scanner.accepted() == true;
  };
  for (const int over : {0, 1}) {
    const std::string more(static_cast<std::size_t>(over), 'x');
    const auto depth = static_cast<std::size_t>(LiteralReader::kMaxDepth - 1 + over);
    const auto digits = static_cast<std::size_t>(LiteralReader::kMaxNumberBytes + over);
    CHECK(accepts("'s': " + quoted(most + more)) == (over == 0));
    CHECK(accepts(quoted(most + more) + ": 1") == (over == 0));
    CHECK(accepts("'x': " + std::string(depth, '[') + std::string(depth, ']')) == (over == 0));
    CHECK(accepts("'n': " + std::string(digits, '7')) == (over == 0));
  }
  CHECK_FALSE(accepts("'s': " + quoted(most.substr(1) + "\xE2\x82")));
  VerdictScanner scanner;
  scanner.feed("<think>" + std::string(1 << 20, 't') + "</think>");
  CHECK(scanner.finish().reasoning.size() == AnswerFrame::kMaxReasoningBytes);
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

TEST_CASE("a plan as the official planner writes it is read with all its fields") {
  const Plan plan = plan_in(
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

TEST_CASE("a step is there as soon as its brace is, the plan with its bracket") {
  PlanScanner scanner(25, kNarrative);
  scanner.feed("<answer>{\"execution_plan\": [{\"step_number\": 1, \"prompt\": \"p\"");
  CHECK(scanner.closed().empty());
  scanner.feed("}");
  CHECK(scanner.closed().size() == 1);
  CHECK_FALSE(scanner.done());
  scanner.feed("]");
  CHECK(scanner.done());
  CHECK_FALSE(scanner.finish().truncated);
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
      {"{'step_number': -, 'prompt': 'p'}", "a malformed number"},
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
    const std::string text = plan_answer(numbered(1) + "," + second + "," + numbered(2));
    PlanScanner scanner(25, kNarrative);
    scanner.feed(text);
    CHECK(scanner.done());
    CHECK(scanner.violation().find(problem) != std::string::npos);
    const Plan plan = plan_in(text);
    CHECK(plan.truncated);
    CHECK(plan.steps.size() == 1);
  }
  VerdictScanner verdict;
  verdict.feed("<answer>[");
  CHECK(verdict.violation() == "byte 8: an answer that is no object");
}

TEST_CASE("an answer without a list of steps is unreadable") {
  for (const char* text :
       {"", "no answer at all", "<think>only thoughts", "<answer>", "<answer></answer>",
        "<answer>[]</answer>", "<answer>{}</answer>", "<answer>{'steps': []}</answer>",
        "<answer>{'execution_plan': None}</answer>", "<answer>'text'</answer>",
        "{'execution_plan': [{'step_number': 1, 'prompt': 'p'}]}",
        "<think><answer>{'execution_plan': [{'step_number': 1, 'prompt': 'p'}]}</answer>"}) {
    CAPTURE(text);
    const Plan plan = plan_in(text);
    CHECK_FALSE(plan.readable());
    CHECK(plan.truncated);
  }
  CHECK_FALSE(plan_in(plan_answer("")).readable());
  CHECK_FALSE(plan_in(plan_answer("")).truncated);
}

TEST_CASE("how many steps are read: by the first number, the mode and the limit") {
  const auto count = [](const std::string& steps, int first, int most = 25) {
    return plan_in(plan_answer(steps), first, most).steps.size();
  };
  CHECK(count(numbered(4) + "," + numbered(5), kGuidance) == 2);
  CHECK(count(numbered(4), kNarrative) == 0);
  CHECK(count(numbered(0), kGuidance) == 0);
  CHECK(count(numbered(-1), kGuidance) == 0);
  CHECK(count(numbered(std::numeric_limits<int>::max()) + "," + numbered(1), kGuidance) == 1);
  const std::string two = numbered(1) + "," + numbered(2);
  CHECK(count(two, kNarrative, 2) == 2);
  CHECK_FALSE(plan_in(plan_answer(two), kNarrative, 2).truncated);
  CHECK(count(two + "," + numbered(3), kNarrative, 2) == 2);
  CHECK(plan_in(plan_answer(two + "," + numbered(3)), kNarrative, 2).truncated);
  PlanScanner scanner(1, kNarrative);
  scanner.feed(plan_answer(two));
  CHECK(scanner.violation().find("too many steps") != std::string::npos);
  CHECK_THROWS_WITH_AS(PlanScanner(0, kNarrative),
                       "[PlanScanner] max_steps is 0 and first_step_number 1: give at least 1 and "
                       "0 (0 = any first number)",
                       Error);
  CHECK_THROWS_AS(PlanScanner(1, -1), Error);
}

TEST_CASE(
    "a step without a prompt is text only; unknown keys are skipped; the last of equal ones") {
  const Plan plan = plan_in(
      plan_answer("{'step_number': 1, 'instruction': None, 'prompt': null, 'auxiliary_text': 'A.'},"
                  "{'step_number': 2, 'instruction': 'Rest', 'prompt': ' \\n'},"
                  "{'step_number': 3, 'step_name': None}"),
      kGuidance);
  REQUIRE(plan.steps.size() == 3);
  for (const PlanStep& step : plan.steps) CHECK_FALSE(step.has_image());
  CHECK(plan.steps[2].step_name.empty());
  const Plan other = plan_in(
      "<answer>{'meta': {'execution_plan': [1]}, 'old': [{'prompt': 3}], 'execution_plan': "
      "[{'mood': {'prompt': [{}, 3.5e2, True]}, 'step_number': 7, 'prompt': 'a', 'prompt': 'p', "
      "'step_number': 1, 'list': [['step_number', 9]]}]}");
  REQUIRE(other.steps.size() == 1);
  CHECK(other.steps[0].prompt == "p");
  CHECK(other.steps[0].step_number == 1);
}

TEST_CASE("the text of a step is its auxiliary text unless that says nothing") {
  CHECK(text_of(PlanStep{}).empty());
  for (const auto& [auxiliary, text] :
       {std::pair{"None", "instruction"}, {" \n", "instruction"}, {"\ntwo words ", "two words"}}) {
    CHECK(text_of(PlanStep{1, "", "instruction", {}, auxiliary}) == text);
  }
}

}  // namespace
}  // namespace irt::test
