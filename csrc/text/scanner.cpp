#include "text/scanner.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <span>
#include <system_error>
#include <utility>

#include "core/error.h"

namespace irt {
namespace {

constexpr std::string_view kThink = "<think>";
constexpr std::string_view kEndThink = "</think>";
constexpr std::string_view kAnswer = "<answer>";

std::string_view trimmed(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\v\f\r";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kSpace) - first + 1);
}

bool is_blank(std::string_view text) { return trimmed(text).empty(); }

constexpr std::array<std::string_view, 6> kPlanKeys{
    "execution_plan", "step_number", "step_name", "instruction", "prompt", "auxiliary_text"};
constexpr std::array<std::string_view, 2> kVerdictKeys{"previous_step_success", "refine_prompt"};

// The key as it stands in the table; empty: it is not there.
std::string_view known(std::span<const std::string_view> keys, std::string_view key) {
  const auto found = std::ranges::find(keys, key);
  return found == keys.end() ? std::string_view() : *found;
}

constexpr char lower(char byte) noexcept {
  return byte >= 'A' && byte <= 'Z' ? static_cast<char>(byte + 32) : byte;
}

// A whole number of at least 1 that leaves room for the numbers of a plan; 0: it is none.
int number_in(std::string_view text) {
  constexpr double kMost = 1'000'000;
  text = trimmed(text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = error == std::errc() && end == text.data() + text.size() && value >= 1 &&
                     value <= kMost && value == std::floor(value);
  return whole ? static_cast<int>(value) : 0;
}

}  // namespace

std::string text_of(const PlanStep& step) {
  const auto text = [](const std::optional<std::string>& field) {
    return trimmed(field ? std::string_view(*field) : std::string_view());
  };
  const std::string_view auxiliary = text(step.auxiliary_text);
  const bool says_nothing = auxiliary.empty() || auxiliary == "None";
  return std::string(says_nothing ? text(step.instruction) : auxiliary);
}

// ---- where the answer is ------------------------------------------------------------------

void AnswerScanner::feed(std::string_view bytes) {
  if (ended_) return;
  raw_.append(bytes.substr(0, kMaxAnswerBytes - raw_.size()));
  for (const char byte : bytes) {
    if (done()) return;
    state_ == State::kAnswer ? answer(byte) : outside(byte);
    ++position_;
  }
}

void AnswerScanner::end() {
  if (ended_) return;
  if (state_ == State::kAnswer) {
    flush();
  } else {
    const std::size_t behind =
        state_ == State::kBetween ? think_end_ + kEndThink.size() : std::string::npos;
    state_ = State::kAnswer;
    for (const std::size_t start : {behind, inner_, std::size_t{0}}) {
      if (start > raw_.size() || readable()) continue;
      found_ = in_object_ = false;
      problem_ = {};
      decoder_ = {};
      for (position_ = start; position_ < raw_.size() && !done(); ++position_) {
        answer(raw_[position_]);
      }
      flush();
    }
  }
  ended_ = true;
}

std::string AnswerScanner::violation() const {
  if (!violated()) return {};
  const std::string_view problem = problem_.empty() ? literal_.problem() : problem_;
  return "byte " + std::to_string(at_) + ": " + std::string(problem);
}

bool AnswerScanner::violate(std::string_view problem) noexcept {
  problem_ = problem;
  return false;
}

std::string AnswerScanner::reasoning() const {
  if (think_ == std::string::npos || think_ > raw_.size()) return {};
  return clean_utf8(std::string_view(raw_).substr(think_, think_end_ - think_), kMaxReasoningBytes);
}

// A byte before the answer.
void AnswerScanner::outside(char byte) {
  tag_.push_back(lower(byte));
  for (const std::string_view tag : {kThink, kEndThink, kAnswer}) {
    if (!tag.starts_with(tag_)) continue;
    if (tag_.size() < tag.size()) return;
    tag_.clear();
    const std::size_t behind = position_ + 1;
    const bool thinking = state_ == State::kThink;
    if (tag == kThink && state_ == State::kBefore) {
      state_ = State::kThink;
      think_ = behind;
    } else if (tag == kEndThink && state_ != State::kBetween) {
      state_ = State::kBetween;
      if (!thinking) think_ = 0;
      think_end_ = behind - tag.size();
    } else if (tag == kAnswer && !thinking) {
      state_ = State::kAnswer;
    } else if (tag == kAnswer) {
      inner_ = std::min(inner_, behind);
    }
    return;
  }
  // A tag holds '<' only in front, so only the last byte can begin one.
  tag_.assign(byte == '<' ? 1 : 0, '<');
}

// A byte behind the tag.
void AnswerScanner::answer(char byte) {
  decoder_.push(byte, position_, decoded_);
  take_decoded();
}

// The last byte was there.
void AnswerScanner::flush() {
  decoder_.flush(decoded_);
  take_decoded();
  while (in_object_ && !done() && literal_.end(again_)) take_again();
}

void AnswerScanner::take_decoded() {
  for (const Character& character : decoded_) {
    again_.assign(1, character);
    take_again();
  }
  decoded_.clear();
}

void AnswerScanner::take_again() {
  while (!again_.empty() && !done()) {
    const Character next = again_.back();
    again_.pop_back();
    take(next);
  }
}

void AnswerScanner::take(const Character& character) {
  ++work_;
  at_ = character.offset;
  if (!in_object_) {
    if (character.value != U'{') return;
    in_object_ = true;
    literal_ = {};
    reset();
  }
  literal_.feed(character, *this, again_);
  if (open() || found_) return;
  in_object_ = false;
  // What broke it may begin the next one.
  if (literal_.status() == LiteralReader::Status::kFailed) again_.push_back(character);
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

Plan PlanScanner::finish() {
  end();
  return {steps_, !list_closed_, violated() && !too_many_, reasoning()};
}

bool PlanScanner::knows(std::string_view key) const { return !known(kPlanKeys, key).empty(); }

void PlanScanner::reset() { in_list_ = list_closed_ = too_many_ = false; }

bool PlanScanner::on_lexeme(const Lexeme& lexeme) {
  switch (lexeme.depth) {
    case 1: return on_top(lexeme);
    case 2: return !in_list_ || on_element(lexeme);
    case 3: return !in_list_ || on_field(lexeme);
    default: return true;  // the object itself, or inside a value that is skipped
  }
}

bool PlanScanner::on_top(const Lexeme& lexeme) {
  if (lexeme.kind == LexemeKind::kKey) {
    found_ = lexeme.text == kPlanKeys[0];
    return true;
  }
  if (!found_) return true;
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
  too_many_ = steps_.size() == static_cast<std::size_t>(max_steps_);
  if (too_many_) return violate("too many steps");
  step_ = {};
  return true;
}

bool PlanScanner::on_field(const Lexeme& lexeme) {
  if (lexeme.kind == LexemeKind::kKey) {
    field_ = known(kPlanKeys, lexeme.text);
    return true;
  }
  const bool is_text = lexeme.kind == LexemeKind::kString || lexeme.kind == LexemeKind::kNumber;
  const std::string_view text = is_text ? lexeme.text : std::string_view();
  if (field_ == "step_number") {
    step_.step_number = number_in(text);
    return true;
  }
  if (field_.empty() || field_ == kPlanKeys[0]) return true;
  if (!is_text && lexeme.kind != LexemeKind::kNull) {
    return violate("a field of a step that is neither text nor null");
  }
  if (field_ == "step_name") {
    step_.step_name = text;
    return true;
  }
  std::optional<std::string>& field = field_ == "instruction" ? step_.instruction
                                      : field_ == "prompt"    ? step_.prompt
                                                              : step_.auxiliary_text;
  field.reset();
  if (is_text && !(field_ == "prompt" && is_blank(text))) field.emplace(text);
  return true;
}

bool PlanScanner::close_step() {
  if (first_ > 0 && !step_.has_image() && text_of(step_).empty()) {
    return violate("a step with neither prompt nor text");
  }
  if (!steps_.empty()) {
    step_.step_number = steps_.back().step_number + 1;
  } else if (first_ > 0 || step_.step_number == 0) {
    step_.step_number = std::max(first_, 1);
  }
  steps_.push_back(std::move(step_));
  return true;
}

// ---- verdict ------------------------------------------------------------------------------

Verdict VerdictScanner::finish() {
  end();
  Verdict verdict;
  verdict.readable = accepted_.has_value();
  verdict.accepted = accepted_.value_or(false);
  if (verdict.readable && !verdict.accepted && !violated()) verdict.refined = refined_;
  verdict.reasoning = reasoning();
  return verdict;
}

bool VerdictScanner::knows(std::string_view key) const { return !known(kVerdictKeys, key).empty(); }

void VerdictScanner::reset() {
  refine_seen_ = false;
  refined_.reset();
}

bool VerdictScanner::on_lexeme(const Lexeme& lexeme) {
  if (lexeme.depth != 1) return true;
  if (lexeme.kind == LexemeKind::kKey) {
    field_ = known(kVerdictKeys, lexeme.text);
    found_ = found_ || !field_.empty();
    return true;
  }
  const bool is_bool = lexeme.kind == LexemeKind::kTrue || lexeme.kind == LexemeKind::kFalse;
  if (field_ == kVerdictKeys[0] && is_bool && !accepted_) {
    accepted_ = lexeme.kind == LexemeKind::kTrue;
    start_ = lexeme.offset;
  } else if (field_ == kVerdictKeys[1] && !refine_seen_) {
    refine_seen_ = true;
    if (lexeme.kind == LexemeKind::kString && !is_blank(lexeme.text)) refined_ = lexeme.text;
  }
  return !accepted_.value_or(false);
}

}  // namespace irt
