// Readers of the answers of planner and critic, fed as the bytes are decoded.
//
// What has been read after n bytes depends on those bytes alone, never on how they were cut into
// feeds (law 1: streaming and reference read alike). Work is linear in the bytes, memory bounded
// by the limits of LiteralReader and AnswerFrame. Not thread-safe; copies are independent.
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

// Finds <think>...</think><answer>{...} in a byte stream and reads the answer's literal.
//
// The answer begins after the first <answer>; where a <think> was opened before it, after the first
// <answer> that follows </think>. Up to its literal it may hold white space and one code fence
// (```json). It ends with its literal: `</answer>` inside a string is text, elsewhere it is a byte
// that breaks the literal.
class AnswerFrame {
 public:
  static constexpr std::size_t kMaxReasoningBytes = 64 * 1024;  // the rest is dropped

  // Bytes after the end of the literal are ignored.
  void feed(std::string_view bytes, LexemeSink& sink);

  [[nodiscard]] LiteralReader::Status status() const noexcept { return literal_.status(); }
  // Bytes taken so far; after the end: the offset behind the byte that ended the literal.
  [[nodiscard]] std::size_t position() const noexcept { return position_; }
  [[nodiscard]] std::string_view problem() const noexcept { return literal_.problem(); }
  // The think part as far as it was read, valid UTF-8. Where the stream has a </think> alone (the
  // prompt opened the think part): what stands before it.
  [[nodiscard]] std::string reasoning() const;

 private:
  enum class State { kBefore, kThink, kBetween, kOpening, kFence, kLiteral };
  enum class Tag { kThink, kEndThink, kAnswer };

  void outside_byte(char byte);
  void opening_byte(char byte, LexemeSink& sink);
  void fence_byte(char byte, LexemeSink& sink);
  void literal_byte(char byte, LexemeSink& sink);
  [[nodiscard]] bool wants(Tag tag) const noexcept;
  void enter(Tag tag);
  void text(std::string_view bytes);

  State state_ = State::kBefore;
  std::size_t position_ = 0;
  std::string tag_;  // the beginning of a tag that may be one of ours, at most 8 bytes
  int ticks_ = 0;    // of the code fence
  bool reasoned_ = false;
  std::string reasoning_;
  Utf8Cleaner utf8_;
  LiteralReader literal_;
};

// What both readers share: the frame around the answer, its end, and what was wrong with it.
class AnswerScanner : private LexemeSink {
 public:
  // Bytes after done() are ignored.
  void feed(std::string_view bytes) { frame_.feed(bytes, *this); }
  // No further byte can change what was read: it is complete, has closed or was violated.
  [[nodiscard]] bool done() const noexcept {
    return frame_.status() != LiteralReader::Status::kOpen;
  }
  // "byte 120: a comma that follows no value"; empty where nothing was violated.
  [[nodiscard]] std::string violation() const;

 protected:
  AnswerScanner() = default;
  bool violate(std::string_view problem) noexcept;  // false

  AnswerFrame frame_;

 private:
  std::string_view problem_;
};

// Reads <answer>{"execution_plan": [{...}, ...]}: the step objects that close before the first
// violation. Violations: bad syntax or a value of the wrong type; a step_number that is absent or
// not consecutive; the beginning of step max_steps + 1; in narrative mode a step with neither
// prompt nor text. A prompt that is null, blank or absent makes a text-only step. Unknown keys are
// skipped, whatever their value; of equal keys in a step the last counts.
class PlanScanner : public AnswerScanner {
 public:
  // `first_step_number`: 1 in narrative mode; 0 in guidance mode, where the first step may bear any
  // number from 1 on. Throws kBadRequest for max_steps < 1 or first_step_number < 0.
  PlanScanner(int max_steps, int first_step_number);

  // Grows only; an element never changes once it is there.
  [[nodiscard]] const std::vector<PlanStep>& closed() const noexcept { return steps_; }
  // The plan if the answer ended here; truncated unless the list has closed. May be asked any time.
  [[nodiscard]] Plan finish() const;

 private:
  enum class Field { kOther, kNumber, kName, kInstruction, kPrompt, kText };

  bool on_lexeme(const Lexeme& lexeme) override;
  bool on_top(const Lexeme& lexeme);
  bool on_element(const Lexeme& lexeme);
  bool on_field(const Lexeme& lexeme);
  bool close_step();

  int max_steps_;
  int first_;
  bool plan_key_ = false;  // the key under way is execution_plan
  bool in_list_ = false;
  bool list_closed_ = false;
  Field field_ = Field::kOther;
  PlanStep step_;
  bool has_number_ = false;
  std::vector<PlanStep> steps_;
};

// Reads <answer>{"previous_step_success": bool, "refine_prompt": str}, both at the top level.
// The verdict is the first boolean under its key; it is complete with its last letter, and what
// follows cannot revoke it. The refined prompt is the first value under its key, before or after
// the boolean; it counts only if it is a string that is not blank.
class VerdictScanner : public AnswerScanner {
 public:
  // The boolean, as soon as it is complete.
  [[nodiscard]] std::optional<bool> accepted() const noexcept { return accepted_; }
  // Offset in the stream of the boolean's first byte, so that its token can be found.
  [[nodiscard]] std::optional<std::size_t> boolean_started_at() const noexcept { return start_; }
  // The verdict if the answer ended here, without p_success. May be asked any time.
  [[nodiscard]] Verdict finish() const;

 private:
  enum class Field { kOther, kSuccess, kRefine };

  bool on_lexeme(const Lexeme& lexeme) override;

  Field field_ = Field::kOther;
  std::optional<bool> accepted_;
  std::optional<std::size_t> start_;
  bool refine_seen_ = false;
  std::optional<std::string> refined_;
};

}  // namespace irt
