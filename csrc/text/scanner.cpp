#include "text/scanner.h"

#include <charconv>
#include <system_error>
#include <utility>

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

constexpr bool is_language_byte(char byte) noexcept {
  return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
         (byte >= '0' && byte <= '9');
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

// ---- frame ---------------------------------------------------------------------------------

void AnswerFrame::feed(std::string_view bytes, LexemeSink& sink) {
  for (const char byte : bytes) {
    if (literal_.status() != LiteralReader::Status::kOpen) return;
    ++position_;
    switch (state_) {
      case State::kBefore:
      case State::kThink:
      case State::kBetween: outside_byte(byte); break;
      case State::kOpening: opening_byte(byte, sink); break;
      case State::kFence: fence_byte(byte, sink); break;
      case State::kLiteral: literal_byte(byte, sink); break;
    }
  }
}

std::string AnswerFrame::reasoning() const {
  if (!reasoned_) return {};
  std::string out = reasoning_;
  Utf8Cleaner tail = utf8_;
  if (state_ == State::kThink) {
    for (const char byte : tag_) tail.push(byte, out);
  }
  tail.flush(out);
  return out;
}

void AnswerFrame::outside_byte(char byte) {
  static constexpr std::array<std::pair<std::string_view, Tag>, 3> kTags{
      {{"<think>", Tag::kThink}, {"</think>", Tag::kEndThink}, {"<answer>", Tag::kAnswer}}};
  tag_.push_back(byte);
  for (const auto& [spelling, tag] : kTags) {
    if (!wants(tag) || !spelling.starts_with(tag_)) continue;
    if (tag_.size() == spelling.size()) {
      tag_.clear();
      enter(tag);
    }
    return;
  }
  // No tag: its bytes are text. A tag holds '<' only in front, so only the last byte can begin one.
  const bool again = byte == '<' && tag_.size() > 1;
  text(std::string_view(tag_).substr(0, tag_.size() - (again ? 1 : 0)));
  tag_.assign(again ? 1 : 0, '<');
}

bool AnswerFrame::wants(Tag tag) const noexcept {
  switch (state_) {
    case State::kBefore: return true;
    case State::kThink: return tag == Tag::kEndThink;
    case State::kBetween: return tag == Tag::kAnswer;
    default: return false;
  }
}

void AnswerFrame::enter(Tag tag) {
  switch (tag) {
    case Tag::kThink:
      state_ = State::kThink;
      reasoned_ = true;
      reasoning_.clear();
      utf8_ = {};
      return;
    case Tag::kEndThink:
      state_ = State::kBetween;
      reasoned_ = true;
      utf8_.flush(reasoning_);
      return;
    case Tag::kAnswer: state_ = State::kOpening; return;
  }
}

void AnswerFrame::text(std::string_view bytes) {
  if (state_ == State::kBetween) return;
  for (const char byte : bytes) {
    if (reasoning_.size() >= kMaxReasoningBytes) return;
    utf8_.push(byte, reasoning_);
  }
}

void AnswerFrame::opening_byte(char byte, LexemeSink& sink) {
  if (is_space(byte)) return;
  if (byte == '`' && ticks_ == 0) {
    ticks_ = 1;
    state_ = State::kFence;
    return;
  }
  state_ = State::kLiteral;
  literal_byte(byte, sink);
}

void AnswerFrame::fence_byte(char byte, LexemeSink& sink) {
  if (ticks_ < 3) {
    // The literal refuses a backtick, and says so.
    if (byte != '`') return literal_byte('`', sink);
    ++ticks_;
  } else if (!is_language_byte(byte)) {
    state_ = State::kOpening;
    opening_byte(byte, sink);
  }
}

void AnswerFrame::literal_byte(char byte, LexemeSink& sink) {
  literal_.feed(byte, position_ - 1, sink);
}

std::string AnswerScanner::violation() const {
  const std::string_view problem = problem_.empty() ? frame_.problem() : problem_;
  if (problem.empty()) return {};
  return "byte " + std::to_string(frame_.position() - 1) + ": " + std::string(problem);
}

bool AnswerScanner::violate(std::string_view problem) noexcept {
  problem_ = problem;
  return false;
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

Plan PlanScanner::finish() const { return {steps_, !list_closed_, frame_.reasoning()}; }

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

// ---- verdict ------------------------------------------------------------------------------

Verdict VerdictScanner::finish() const {
  Verdict verdict;
  verdict.readable = accepted_.has_value();
  verdict.accepted = accepted_.value_or(false);
  if (verdict.readable && !verdict.accepted) verdict.refined = refined_;
  verdict.reasoning = frame_.reasoning();
  return verdict;
}

bool VerdictScanner::on_lexeme(const Lexeme& lexeme) {
  if (lexeme.depth == 0) {
    if (is_top(lexeme)) return true;
    return lexeme.kind != LexemeKind::kEndObject && violate("an answer that is no object");
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
