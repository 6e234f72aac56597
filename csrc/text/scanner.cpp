#include "text/scanner.h"

#include <charconv>
#include <system_error>

#include "core/error.h"

namespace irt {
namespace {

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool is_blank(std::string_view text) { return trimmed(text).empty(); }

std::string violation_at(const AnswerFrame& frame, std::string_view problem) {
  if (problem.empty()) problem = frame.problem();
  if (problem.empty()) return {};
  return "byte " + std::to_string(frame.position() - 1) + ": " + std::string(problem);
}

// The answer is an object.
bool is_top(const Lexeme& lexeme) { return lexeme.kind == LexemeKind::kBeginObject; }

}  // namespace

std::string text_of(const PlanStep& step) {
  const auto text = [](const std::optional<std::string>& field) {
    return trimmed(field ? std::string_view(*field) : std::string_view());
  };
  const std::string_view auxiliary = text(step.auxiliary_text);
  const bool says_nothing = auxiliary.empty() || auxiliary == "None";
  return std::string(says_nothing ? text(step.instruction) : auxiliary);
}

// ---- plan ---------------------------------------------------------------------------------

PlanScanner::PlanScanner(int max_steps, int first_step_number)
    : max_steps_(max_steps), first_(first_step_number) {
  if (max_steps < 1 || first_step_number < 0) {
    throw Error(ErrorCode::kBadRequest, "[PlanScanner] max_steps is " + std::to_string(max_steps) +
                                            " and first_step_number " +
                                            std::to_string(first_step_number) +
                                            ": give at least 1 and 0 (0 = any first number)");
  }
}

void PlanScanner::feed(std::string_view bytes) { frame_.feed(bytes, *this); }

bool PlanScanner::done() const noexcept { return frame_.status() != LiteralReader::Status::kOpen; }

Plan PlanScanner::finish() const { return {steps_, !list_closed_, frame_.reasoning()}; }

std::string PlanScanner::violation() const { return violation_at(frame_, problem_); }

bool PlanScanner::on_lexeme(const Lexeme& lexeme) {
  switch (lexeme.depth) {
    case 0:
      if (is_top(lexeme)) return true;
      return violate(lexeme.kind == LexemeKind::kEndObject ? "an answer without execution_plan"
                                                           : "an answer that is no object");
    case 1: return on_top(lexeme);
    case 2: return !in_list_ || on_element(lexeme);
    case 3: return !in_list_ || on_field(lexeme);
    default: return true;  // inside a value that is skipped
  }
}

bool PlanScanner::on_top(const Lexeme& lexeme) {
  if (lexeme.kind == LexemeKind::kKey) {
    plan_key_ = lexeme.text == "execution_plan";
    return true;
  }
  if (!plan_key_) return true;
  if (lexeme.kind == LexemeKind::kBeginArray) {
    in_list_ = true;
    return true;
  }
  if (lexeme.kind != LexemeKind::kEndArray) return violate("an execution_plan that is no list");
  list_closed_ = true;
  return false;
}

bool PlanScanner::on_element(const Lexeme& lexeme) {
  if (lexeme.kind == LexemeKind::kEndObject) return close_step();
  if (lexeme.kind != LexemeKind::kBeginObject) return violate("a step that is no object");
  if (steps_.size() == static_cast<std::size_t>(max_steps_)) return violate("too many steps");
  step_ = {};
  has_number_ = false;
  return true;
}

bool PlanScanner::on_field(const Lexeme& lexeme) {
  if (lexeme.kind == LexemeKind::kKey) {
    field_ = lexeme.text == "step_number"      ? Field::kNumber
             : lexeme.text == "step_name"      ? Field::kName
             : lexeme.text == "instruction"    ? Field::kInstruction
             : lexeme.text == "prompt"         ? Field::kPrompt
             : lexeme.text == "auxiliary_text" ? Field::kText
                                               : Field::kOther;
    return true;
  }
  if (field_ == Field::kOther) return true;
  if (field_ == Field::kNumber) {
    const char* const end = lexeme.text.data() + lexeme.text.size();
    const auto parsed = std::from_chars(lexeme.text.data(), end, step_.step_number);
    has_number_ =
        lexeme.kind == LexemeKind::kNumber && parsed.ec == std::errc() && parsed.ptr == end;
    return has_number_ || violate("a step_number that is no integer");
  }
  const bool is_string = lexeme.kind == LexemeKind::kString;
  if (!is_string && lexeme.kind != LexemeKind::kNull) {
    return violate("a field of a step that is neither a string nor null");
  }
  if (field_ == Field::kName) {
    step_.step_name = lexeme.text;
    return true;
  }
  std::optional<std::string>& field = field_ == Field::kInstruction ? step_.instruction
                                      : field_ == Field::kPrompt    ? step_.prompt
                                                                    : step_.auxiliary_text;
  field.reset();
  if (is_string && !(field_ == Field::kPrompt && is_blank(lexeme.text))) field.emplace(lexeme.text);
  return true;
}

bool PlanScanner::close_step() {
  if (!has_number_) return violate("a step without step_number");
  const int number = step_.step_number;
  const bool in_order = number >= 1 && (!steps_.empty() ? number - 1 == steps_.back().step_number
                                                        : first_ == 0 || number == first_);
  if (!in_order) return violate("a step_number out of order");
  if (first_ > 0 && !step_.has_image() && text_of(step_).empty()) {
    return violate("a step with neither prompt nor text");
  }
  steps_.push_back(std::move(step_));
  return true;
}

bool PlanScanner::violate(const char* problem) {
  problem_ = problem;
  return false;
}

// ---- verdict ------------------------------------------------------------------------------

void VerdictScanner::feed(std::string_view bytes) { frame_.feed(bytes, *this); }

bool VerdictScanner::done() const noexcept {
  return frame_.status() != LiteralReader::Status::kOpen;
}

Verdict VerdictScanner::finish() const {
  Verdict verdict;
  verdict.readable = accepted_.has_value();
  verdict.accepted = accepted_.value_or(false);
  if (verdict.readable && !verdict.accepted) verdict.refined = refined_;
  verdict.reasoning = frame_.reasoning();
  return verdict;
}

std::string VerdictScanner::violation() const { return violation_at(frame_, problem_); }

bool VerdictScanner::on_lexeme(const Lexeme& lexeme) {
  if (lexeme.depth == 0) {
    if (is_top(lexeme)) return true;
    if (lexeme.kind != LexemeKind::kEndObject) problem_ = "an answer that is no object";
    return false;
  }
  if (lexeme.depth > 1) return true;
  if (lexeme.kind == LexemeKind::kKey) {
    field_ = lexeme.text == "previous_step_success" ? Field::kSuccess
             : lexeme.text == "refine_prompt"       ? Field::kRefine
                                                    : Field::kOther;
    return true;
  }
  const bool is_bool = lexeme.kind == LexemeKind::kTrue || lexeme.kind == LexemeKind::kFalse;
  if (field_ == Field::kSuccess && is_bool && !accepted_) {
    accepted_ = lexeme.kind == LexemeKind::kTrue;
    start_ = lexeme.offset;
  } else if (field_ == Field::kRefine && !refine_seen_) {
    refine_seen_ = true;
    if (lexeme.kind == LexemeKind::kString && !is_blank(lexeme.text)) refined_ = lexeme.text;
  }
  return !(accepted_ && (*accepted_ || refine_seen_));
}

}  // namespace irt
