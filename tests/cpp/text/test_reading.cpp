// What answers mean: dialects, escapes, encodings, frames, limits, violations. Each is read by the
// scanner whole, in pieces and byte by byte, and by the slow reader.
#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "text/scanner.h"
#include "text/scanner_law.h"

namespace irt::test {
namespace {

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
      {R"('\u12g4 \x4 \u')", R"(\u12g4 \x4 \u)"},
      {R"('\U00110000')", bad},
  };
  for (const auto& [literal, text] : cases) {
    CAPTURE(literal);
    CHECK(refined(literal) == "[" + text + "]");
  }
  for (const char* literal :
       {"''", "' \\n'", "None", "3", "['x']", "'cut", "None, 'refine_prompt': 'second'"}) {
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
      {"<answer>here {as asked}: {'previous_step_success': True}", "accepted"},
      {"<answer>{'note': {}} {'previous_step_success': True}", "accepted"},
      {"<answer>{{'previous_step_success': True}", "accepted"},
      {"<answer>{,'a': [1,,], 'previous_step_success': True}", "accepted"},
      {"<answer>{'a': ], 'previous_step_success': True}", "unreadable"},
      // frames
      {yes, "accepted"},
      {"Sure. " + yes, "accepted"},
      {"Sure. <think>hm</think> so: " + yes, "accepted"},
      {"the prompt had opened it</think>" + yes, "accepted"},
      {"<think><answer>{'previous_step_success': false}</answer></think>" + yes, "accepted"},
      {"<<answer<think</think></think>" + yes, "accepted"},
      {"<think>never closed " + yes, "accepted"},
      {"<think>" + yes + "</answer></think>", "accepted"},
      {"<think>" + yes + "</answer></think>{'previous_step_success': false}", "refused"},
      {"<Think></THINK> <Answer>{'previous_step_success': false}", "refused"},
      {"<think></think><answer>{'previous_step_success': false}" + yes, "refused"},
      {"< answer>{'previous_step_success': true}", "accepted"},
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
      {"<answer>{'previous_step_success' True}", "unreadable"},
      {"<answer>{'success': True}", "unreadable"},
      {"<answer>{'a': {'previous_step_success': True}}", "unreadable"},
      {"<answer>{'previous_step_success': maybe}", "unreadable"},
      // a piece of a prompt is never taken for the whole
      {"{'previous_step_success': False, 'refine_prompt': 'x'", "refused"},
      {"{'previous_step_success': False, 'refine_prompt': 'x'</answer>", "[x]"},
      {"{'previous_step_success': False, 'refine_prompt': 'say 'a', 'b': oh'}", "refused"},
      {"{'previous_step_success': False, 'refine_prompt': 'x', {'refine_prompt': 'y'}", "refused"},
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
  CHECK_FALSE(no.done());  // there may be more of it
  no.feed("}");
  CHECK(no.done());
  CHECK_FALSE(copy.done());
}

TEST_CASE("what is read has limits: strings, depth, numbers; the reasoning is cut at its own") {
  const std::string most(LiteralReader::kMaxStringBytes, 'x');
  const std::string key(LiteralReader::kMaxKeyBytes, 'x');
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
    CHECK(accepts(quoted(key + more) + ": 1") == (over == 0));
    CHECK(accepts(key + more + ": 1") == (over == 0));
    CHECK(accepts("'x': " + std::string(depth, '[') + std::string(depth, ']')) == (over == 0));
    CHECK(accepts("'n': " + std::string(digits, '7')) == (over == 0));
  }
  CHECK_FALSE(accepts("'s': " + quoted(most.substr(1) + "\xE2\x82")));
  VerdictScanner scanner;
  scanner.feed("<think>" + std::string(1 << 20, 't') + "</think>");
  CHECK(scanner.finish().reasoning.size() == AnswerScanner::kMaxReasoningBytes);
}

TEST_CASE("the work grows with the answer: so many looks at a character, however long it is") {
  // What repeats, and the most that one of its characters may cost.
  const std::pair<std::string, int> patterns[] = {
      {"<<think></thin<answer> {", 3},
      {"{'prompt': 'p\\u00e9\\ud83d \xC3', 'x': [[[[{'y': [1, 2.5, None]}]]]]}, ", 3},
      {"' ", 5},
      {"', 'key' ", 5},
      {"', // it's", LiteralReader::kMaxTrial + 2},
      {"'#", LiteralReader::kMaxTrial + 2},
      {"'                                ", 5},
  };
  for (const auto& [pattern, most] : patterns) {
    CAPTURE(pattern);
    for (const std::string& head :
         {std::string(), std::string("<answer>"),
          std::string("<answer>{'execution_plan': [{'step_number': 1, 'prompt': '")}) {
      std::size_t before = 0;
      for (std::size_t times = 4000; times <= 16'000; times *= 2) {
        std::string text = head;
        for (std::size_t i = 0; i < times; ++i) text += pattern;
        PlanScanner scanner(1000, 1);
        for (const char byte : text) scanner.feed({&byte, 1});
        scanner.end();
        CHECK(scanner.work() <= static_cast<std::size_t>(most) * text.size());
        CHECK((before == 0 || scanner.work() <= before * 21 / 10));
        before = std::max<std::size_t>(scanner.work(), 10'000);
      }
    }
  }
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
  CHECK(scanner.violation() == "");
  CHECK_FALSE(scanner.finish().truncated);
}

TEST_CASE("the plan is cut at the first violation and keeps what had closed") {
  const std::pair<const char*, const char*> cases[] = {
      {"{'step_number': 2, 'prompt': ['p']}", "neither text nor null"},
      {"{'step_number': 2, 'prompt': True, 'x': ''}", "neither text nor null"},
      {"{'step_number': 2, 'prompt': 'p'", "a key of the answer inside a text"},
      {"{'step_number': 2, 'prompt': 'p']", "a key of the answer inside a text"},
      {"{'step_number' 2}", "a character where a colon belongs"},
      {"{'step_number', 2}", "a comma where a colon or a value belongs"},
      {"{'step_number': }", "an end that matches no beginning"},
      {"{'step_number': : 2}", "a colon that follows no key"},
      {"{'step_number': <b>2}", "a tag, not a value"},
      {"{'prompt': p}", "a word that is no value"},
      {"{'prompt': /p}", "a slash that begins no comment"},
      {"{'a': 1 {}}", "a container where no value belongs"},
      {"{'a{': 1}", "a key that holds a bracket"},
      {"{5: 1}", "a character where a key or an end belongs"},
      {"}", "an end that matches no beginning"},
      {"<b>", "a tag other than </answer>"},
      {"'step'", "a step that is no object"},
      {"{'step_number': 2, 'prompt': ''}", "neither prompt nor text"},
  };
  for (const auto& [second, problem] : cases) {
    CAPTURE(std::string(second));
    const std::string text = plan_answer(numbered(1) + "," + second + "," + numbered(2));
    PlanScanner scanner(25, kNarrative);
    scanner.feed(text);
    CHECK(scanner.done());
    CAPTURE(scanner.violation());
    CHECK(scanner.violation().find(problem) != std::string::npos);
    const Plan plan = plan_in(text);
    CHECK(plan.truncated);
    CHECK(plan.violated);
    CHECK(plan.steps.size() == 1);
  }
  VerdictScanner verdict;
  verdict.feed("<answer>{'refine_prompt': maybe");
  CHECK(verdict.violation() == "byte 26: a word that is no value");
}

TEST_CASE("what models make of a list of steps is read whole") {
  for (const char* second : {
           "{'step_number': 3, 'prompt': 'p'}",
           "{'step_number': 1, 'prompt': 'p'}",
           "{'step_number': '2', 'prompt': 'p'}",
           "{'step_number': -99999999999, 'prompt': 'p'}",
           "{'step_number': True, 'prompt': 'p'}",
           "{'step_number': 'two', 'prompt': 'p'}",
           "{'step_number': 1.5e, 'prompt': 'p'}",
           "{'prompt': 'p'}",
           ",{,'prompt': 'p',,},",
           "{prompt: 'p', step_number: 02}",
           "{'prompt': 'p' step_name: 'n' 'auxiliary_text': 'a'}",
           "{'prompt': 'p', // the dog's\n 'step_name': 'n' # two\n, /* three ' **/}",
           "{\xE2\x80\x9Cprompt\xE2\x80\x9D\xEF\xBC\x9A "
           "\xE2\x80\x9Cp\xE2\x80\x9D\xEF\xBC\x8C\xC2\xA0'a': 1}",
           "{\xE2\x80\x98prompt\xE2\x80\x99: \xE2\x80\x98p\xE2\x80\x99}",
           "{'prompt': 'p', 'a': NaN, 'b': Infinity, 'c': undefined}",
           "{'step\\_number': 2, 'prompt': 'p'}",
       }) {
    CAPTURE(second);
    const std::string mid = second;
    const Plan plan = plan_in(plan_answer(numbered(1) + "," + mid + " " + numbered(9)));
    CHECK_FALSE(plan.truncated);
    CHECK_FALSE(plan.violated);
    REQUIRE(plan.steps.size() == 3);
    for (int i = 0; i < 3; ++i) CHECK(plan.steps[static_cast<std::size_t>(i)].step_number == i + 1);
    CHECK(plan.steps[1].prompt == "p");
  }
  // `</answer>` ends what is open; an end of the stream does not.
  const std::string open = "<answer>{'execution_plan': [" + numbered(1) + ", {'prompt': 'p'";
  CHECK(plan_in(open + "\n</answer>").steps.size() == 2);
  CHECK_FALSE(plan_in(open + "\n</answer>").truncated);
  CHECK(plan_in(open).steps.size() == 1);
  CHECK(plan_in(open).truncated);
  CHECK_FALSE(plan_in(open).violated);
}

TEST_CASE("a string ends only where what follows may follow it") {
  const std::pair<std::string, std::string> cases[] = {
      {"'move the cat's bowl left'", "move the cat's bowl left"},
      {"\"paint the word \"OPEN\" on the door\"", "paint the word \"OPEN\" on the door"},
      {"'a 'b', 'c' and 'd''", "a 'b', 'c' and 'd'"},
      {"'one', two: three'", "one', two: three"},
      {"'a' 'note': b'", "a' 'note': b"},
      {"'say [\"x\"]'] , ok'", "say [\"x\"]'] , ok"},
      {"'the dogs' // bowls'", "the dogs' // bowls"},
      {"''''", "''"},
      {"'a' \xE2\x80\x99 b'", "a' \xE2\x80\x99 b"},
      {"\xE2\x80\x9Csay \xE2\x80\x9Cyes\xE2\x80\x9D twice\xE2\x80\x9D",
       "say \xE2\x80\x9Cyes\xE2\x80\x9D twice"},
      {"'" + std::string(300, ' ') + "' x'", std::string(300, ' ') + "' x"},
      {"'x' /*" + std::string(300, '*') + "*/ '", "x' /*" + std::string(300, '*') + "*/ "},
      {"'x' /*" + std::string(200, '*') + "*/ ", "x"},
      {"'x'" + std::string(3000, '\n'), "x"},
  };
  for (const auto& [literal, text] : cases) {
    CAPTURE(literal);
    CHECK(refined(literal) == "[" + text + "]");
    CHECK(refined(literal + ", 'note': 1") == "[" + text + "]");
  }
}

TEST_CASE("an answer without a list of steps is unreadable") {
  for (const char* text :
       {"", "no answer at all", "<think>only thoughts", "<answer>", "<answer></answer>",
        "<answer>[]</answer>", "<answer>{}</answer>", "<answer>{'steps': []}</answer>",
        "<answer>{'execution_plan': None}</answer>", "<answer>'text'</answer>"}) {
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
  const auto first_of = [](int number, int mode) {
    return plan_in(plan_answer(numbered(number)), mode).steps.at(0).step_number;
  };
  CHECK(first_of(4, kNarrative) == 1);
  CHECK(first_of(4, kGuidance) == 4);
  CHECK(first_of(1'000'000, kGuidance) == 1'000'000);
  for (const int none : {0, -1, 1'000'001}) CHECK(first_of(none, kGuidance) == 1);
  const std::string two = numbered(1) + "," + numbered(2);
  CHECK(count(two, kNarrative, 2) == 2);
  CHECK_FALSE(plan_in(plan_answer(two), kNarrative, 2).truncated);
  CHECK(count(two + "," + numbered(3), kNarrative, 2) == 2);
  const Plan cut = plan_in(plan_answer(two + "," + numbered(3)), kNarrative, 2);
  CHECK(cut.truncated);
  CHECK_FALSE(cut.violated);
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
  const Plan numbers = plan_in(plan_answer("{'step_name': 7, 'prompt': 3.50}"));
  REQUIRE(numbers.steps.size() == 1);
  CHECK(numbers.steps[0] == PlanStep{1, "7", std::nullopt, "3.50", std::nullopt});
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
