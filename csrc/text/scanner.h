// Readers of the answers of planner and critic, fed as the bytes are decoded.
//
// What has been read after n bytes depends on those bytes alone, never on how they were cut into
// feeds (law 1: streaming and reference read alike). Work is linear in the bytes, memory bounded
// by the limits of LiteralReader and AnswerScanner. Not thread-safe; copies are independent.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/literal.h"

namespace irt {

// The text of a step for the reader: auxiliary_text unless that is absent, blank or "None", else
// instruction, else ""; without the white space around it.
[[nodiscard]] std::string text_of(const PlanStep& step);

// What both readers share: where the answer is, its object, and what was wrong with it.
//
// The answer begins after the first <answer>; where a <think> was opened before it, after the first
// <answer> that follows </think>. Its object is the first one that has a key of the answer before
// it closes or breaks; whatever stands before that (a sentence, a code fence, other objects) is
// passed over. It is read as its bytes come. Where nothing begins so, `end` looks for the object
// after </think>, then after an <answer> in the thoughts, then anywhere; the first place that
// holds a readable answer counts. Tags are found in any case.
class AnswerScanner : private LexemeSink {
 public:
  static constexpr std::size_t kMaxAnswerBytes = 256 * 1024;    // that `end` looks at
  static constexpr std::size_t kMaxReasoningBytes = 64 * 1024;  // the rest is dropped

  void feed(std::string_view bytes);
  // No more bytes come; later ones are ignored.
  void end();
  // No further byte can change what was read: it is complete or was violated, or has ended.
  [[nodiscard]] bool done() const noexcept { return ended_ || (found_ && !open()); }
  // "byte 120: a colon that follows no key"; empty where nothing was violated.
  [[nodiscard]] std::string violation() const;
  // The think part as far as it was read, valid UTF-8. Where the stream has a </think> alone (the
  // prompt opened the think part): what stands before it.
  [[nodiscard]] std::string reasoning() const;
  // Characters that were looked at, some of them more than once: the work that was done.
  [[nodiscard]] std::size_t work() const noexcept { return work_; }

 protected:
  AnswerScanner() = default;
  AnswerScanner(const AnswerScanner&) = default;
  AnswerScanner& operator=(const AnswerScanner&) = default;
  ~AnswerScanner() = default;

  bool violate(std::string_view problem) noexcept;  // false
  [[nodiscard]] bool violated() const noexcept {
    return !problem_.empty() || (found_ && literal_.status() == LiteralReader::Status::kFailed);
  }
  // Forget what was read: the object was not the answer's.
  virtual void reset() = 0;
  [[nodiscard]] virtual bool readable() const = 0;

  bool found_ = false;  // a key of the answer

 private:
  enum class State { kBefore, kThink, kBetween, kAnswer };

  [[nodiscard]] bool open() const noexcept {
    return literal_.status() == LiteralReader::Status::kOpen;
  }
  void outside(char byte);
  void answer(char byte);
  void flush();
  void take_decoded();
  void take_again();
  void take(const Character& character);

  State state_ = State::kBefore;
  std::size_t position_ = 0;  // bytes taken
  std::string raw_;
  std::string tag_;  // the beginning of a tag that may be one of ours, at most 8 bytes, lower case
  std::size_t think_ = std::string::npos;      // where the thoughts begin
  std::size_t think_end_ = std::string::npos;  // the tag that ends them
  std::size_t inner_ = std::string::npos;      // behind the first <answer> in them
  bool ended_ = false;

  bool in_object_ = false;
  std::size_t at_ = 0;  // of the character that was looked at last
  Utf8Decoder decoder_;
  std::vector<Character> decoded_;
  std::vector<Character> again_;  // to look at next, the last one first
  LiteralReader literal_;
  std::string_view problem_;
  std::size_t work_ = 0;
};

// Reads {"execution_plan": [{...}, ...]}: the step objects that close before the first violation.
// Violations: bad syntax; a value of the wrong type; the beginning of step max_steps + 1; in
// narrative mode a step with neither prompt nor text. A number is taken for the text that it is
// written as. A prompt that is null, blank or absent makes a text-only step. Unknown keys are
// skipped, whatever their value; of equal keys in a step the last counts.
//
// Steps are numbered on from the first one, whatever numbers they bear: from 1 in narrative mode,
// and in guidance mode from the number that the first step bears (1 where it bears none).
class PlanScanner final : public AnswerScanner {
 public:
  // `first_step_number`: 1 in narrative mode; 0 in guidance mode, where the first step may bear any
  // number from 1 on. Throws kBadRequest for max_steps < 1 or first_step_number < 0.
  PlanScanner(int max_steps, int first_step_number);

  // Grows only; an element never changes once it is there.
  [[nodiscard]] const std::vector<PlanStep>& closed() const noexcept { return steps_; }
  // The plan; ends the answer.
  [[nodiscard]] Plan finish();

 private:
  bool on_lexeme(const Lexeme& lexeme) override;
  [[nodiscard]] bool knows(std::string_view key) const override;
  void reset() override;
  [[nodiscard]] bool readable() const override { return !steps_.empty(); }
  bool on_top(const Lexeme& lexeme);
  bool on_element(const Lexeme& lexeme);
  bool on_field(const Lexeme& lexeme);
  bool close_step();

  int max_steps_;
  int first_;
  bool in_list_ = false;
  bool list_closed_ = false;
  bool too_many_ = false;
  std::string_view field_;  // the step's key under way; empty: an unknown one
  PlanStep step_;
  std::vector<PlanStep> steps_;
};

// Reads {"previous_step_success": bool, "refine_prompt": str}, both at the top level.
// The verdict is the first boolean under its key; it is complete with its last letter, and what
// follows cannot revoke it. The refined prompt is the first value under its key, before or after
// the boolean; it counts only if it is a string that is not blank, and nothing is violated before
// the object closes (a quote too many may have cut it).
class VerdictScanner final : public AnswerScanner {
 public:
  // The boolean, as soon as it is complete.
  [[nodiscard]] std::optional<bool> accepted() const noexcept { return accepted_; }
  // Offset in the stream of the boolean's first byte, so that its token can be found.
  [[nodiscard]] std::optional<std::size_t> boolean_started_at() const noexcept { return start_; }
  // The verdict without p_success; ends the answer.
  [[nodiscard]] Verdict finish();

 private:
  bool on_lexeme(const Lexeme& lexeme) override;
  [[nodiscard]] bool knows(std::string_view key) const override;
  void reset() override;
  [[nodiscard]] bool readable() const override { return accepted_.has_value(); }

  std::string_view field_;
  std::optional<bool> accepted_;
  std::optional<std::size_t> start_;
  bool refine_seen_ = false;
  std::optional<std::string> refined_;
};

}  // namespace irt
